"""Health commands in containers, with a Docker daemon that hears late of what has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from executor.runtimes.docker_processes import run_check


class Daemon:
    """One exec, whose output has ended; ``late`` looks long it is said to run on."""

    def __init__(self, late: int, code: int) -> None:
        self._late, self._code = late, code

    def exec_create(self, container: str, argv: list[str], **more: Any) -> str:
        return "exec"

    def exec_start(self, process: str, stdin: bytes = b"") -> Daemon:
        return self

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        yield "stdout", b"said\n"

    def close(self) -> None: ...

    def exec_inspect(self, process: str) -> dict[str, Any]:
        self._late -= 1
        running = self._late >= 0
        return {"Running": running, "ExitCode": None if running else self._code, "Pid": 0}


@pytest.mark.parametrize(
    ("code", "says"), [(0, None), (3, "the health command exited with code 3: said")]
)
def test_an_end_that_is_known_late_is_waited_for(code: int, says: str | None) -> None:
    assert run_check(Daemon(5, code), "c", "true", 60) == says  # type: ignore[arg-type]


def test_a_command_that_runs_on_without_output_is_given_its_time_and_no_more() -> None:
    said = run_check(Daemon(1_000_000, 0), "c", "true", 0.1)  # type: ignore[arg-type]
    assert said == "the health command did not end within 0.1 s"
