"""Commands in the container of a task that runs."""

from __future__ import annotations

import time
import uuid

import pytest

from executor.messages import Cancel, Run, encode
from executor.runtimes import docker_processes
from executor.task import Container
from tests.executor.harness import UP, Bench, eventually, marked, payload, process, run

pytestmark = pytest.mark.docker


@pytest.fixture
def up(bench: Bench, image: str) -> str:
    bench.launch(payload("c1", process(UP), container=Container(image)))
    bench.wait("c1", "TASK_RUNNING")
    return "c1"


def test_commands_run_in_the_container(bench: Bench, up: str) -> None:
    assert run(bench, up, "echo out; echo err >&2; exit 3") == (3, "out\nerr\n")
    assert run(bench, up, "id -u; id -g", user="nobody")[1].split() == ["65534", "65534"]
    data = bytes(range(256)) * 4096
    final, out, _ = bench.call(Run("big", up, ("cat",), stdin=data))
    assert (final.code, out == data) == (0, True)
    final, _, _ = bench.call(Run("deaf", up, ("true",), stdin=data))
    assert final.code == 0
    final, out, err = bench.call(Run("absent", up, ("no-such-command",)))
    assert final.code in (126, 127)
    assert b"no-such-command" in out + err
    code, text = run(bench, up, "sleep 300 >/dev/null 2>&1 & echo left")
    assert (code, text) == (0, "left\n")


class Ahead:
    """The time, which can be set forward."""

    def __init__(self) -> None:
        self.by = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.by


@pytest.mark.parametrize("end", ["timeout", "cancel", "elsewhere"])
def test_a_command_that_is_ended_leaves_no_process_in_its_container(
    bench: Bench, up: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end == "elsewhere":
        # As for an executor that does not see the processes of containers.
        monkeypatch.setattr(docker_processes, "kill_marked", lambda mark: 0)
        monkeypatch.setattr(docker_processes, "signal_exec", lambda *_: None)
    mark = uuid.uuid4().hex
    script = f"setsid sh -c 'sleep 300; : {mark}' & (sh -c 'sleep 301; : {mark}' &); sleep 302; : {mark}"
    clock = Ahead()
    monkeypatch.setattr(docker_processes, "time", clock)
    bench.executor.message(encode(Run("c1", up, ("sh", "-c", script), timeout=1000.0)))
    eventually(lambda: len(marked(mark)) >= 3)
    if end == "cancel":
        bench.executor.message(encode(Cancel("c1")))
    else:
        # Not sooner than they are all there, however long that takes.
        clock.by = 1000.0
        final, _, _ = bench.call(Run("c1", up, ("true",)))
        assert final.problem == "the command did not end within 1000 s, and was killed"
    eventually(lambda: not marked(mark))
    sleeping = "ps | grep -c 'sleep 30[0-9]' || true"
    eventually(lambda: run(bench, up, sleeping)[1].strip() in ("0", "1"))
    assert bench.states(up)[-1] == "TASK_RUNNING"


def test_a_command_without_a_container_is_answered(bench: Bench, image: str, up: str) -> None:
    mark = uuid.uuid4().hex
    bench.executor.message(encode(Run("c1", up, ("sh", "-c", f"sleep 300; : {mark}"))))
    eventually(lambda: marked(mark))
    bench.executor.kill(up)
    bench.wait(up, "TASK_KILLED")
    final = eventually(lambda: next((r for r in bench.replies if r.final), None))
    assert final.call == "c1"
    assert final.problem or final.code == 137
