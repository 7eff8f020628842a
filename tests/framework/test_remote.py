"""The gateway's side of commands beside tasks, with the executor's real side but no Mesos between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from executor.messages import MOST_INPUT, Reply, Run, encode
from executor.remote import Remote as ExecutorSide
from executor.runtimes.base import Command, CommandEnd, Output
from framework import conversation
from framework.model.errors import Invalid, NotFound, TooLarge, Unavailable
from framework.remote import Cancelled, CommandFailed, Finished, Remote
from tests.framework.mesos.peer import eventually

MiB = 1024 * 1024


class Commands:
    """What runs beside tasks here: argv[0] names it."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __call__(
        self, task_id: str, command: Command, output: Output, cancelled: threading.Event
    ) -> CommandEnd:
        name, *words = command.argv
        if name == "cat":
            for start in range(0, len(command.stdin), 100_000):
                output("stdout", command.stdin[start : start + 100_000])
            output("stderr", task_id.encode())
            return CommandEnd(int(words[0]) if words else 0)
        if name == "sleep":
            output("stdout", b"sleeping")
            cancelled.wait(60)
            self.ended.append(command.argv[1])
            return CommandEnd(None, "it was killed")
        return CommandEnd(None, f"there is no {name}")


class Wire:
    """The service: to one executor, as long as ``refusal`` is None and nothing is ``cut``."""

    def __init__(self) -> None:
        self.commands = Commands()
        self.refusal: Exception | None = None
        self.cut = False
        self._listeners: list[Callable[[str, str, bytes], None]] = []
        self.executor = ExecutorSide(self.commands, self.say)

    def send_message(self, task_id: str, *data: bytes) -> None:
        if self.refusal is not None:
            raise self.refusal
        for one in () if self.cut else data:
            self.executor.received(one)

    def listen(self, listener: Callable[[str, str, bytes], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def say(self, data: bytes) -> None:
        if not self.cut:
            for listener in self._listeners:
                listener("a-1", "e-1", data)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.executor.close()


def test_a_command_ends_with_its_code_and_all_of_its_output(wire: Wire) -> None:
    stdin = bytes(range(256)) * 20_000  # 5 MiB: in parts, and more than a window of chunks back
    seen: list[tuple[str, int]] = []
    finished = Remote(wire).run(
        "t1", ["cat", "3"], stdin, on_output=lambda stream, data: seen.append((stream, len(data)))
    )
    assert finished == Finished(3, stdin, b"t1")
    assert sum(size for stream, size in seen if stream == "stdout") == len(stdin)


def test_many_threads_run_commands_at_once(wire: Wire) -> None:
    remote = Remote(wire)

    def one(number: int) -> bool:
        stdin = f"{number} ".encode() * 10_000
        return remote.run(f"t{number}", ["cat"], stdin) == Finished(0, stdin, f"t{number}".encode())

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(one, range(48)))


def test_a_command_that_is_not_wanted_any_more_is_killed(wire: Wire) -> None:
    wanted = threading.Event()
    with pytest.raises(Cancelled, match="nobody wants it"):
        Remote(wire).run(
            "t1",
            ["sleep", "one"],
            on_output=lambda stream, data: wanted.set(),
            cancelled=wanted.is_set,
        )
    eventually(lambda: wire.commands.ended == ["one"])


def test_what_the_listener_to_the_output_raises_ends_the_command(wire: Wire) -> None:
    def refuse(stream: Any, data: bytes) -> None:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        Remote(wire).run("t1", ["sleep", "two"], on_output=refuse)
    eventually(lambda: wire.commands.ended == ["two"])


def test_the_end_of_the_gateway_ends_what_it_runs(wire: Wire) -> None:
    remote, running = Remote(wire), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(
            remote.run, "t1", ["sleep", "three"], on_output=lambda stream, data: running.set()
        )
        assert running.wait(30)
        remote.close()
        with pytest.raises(Unavailable, match="the gateway is stopping"):
            future.result(30)
    eventually(lambda: wire.commands.ended == ["three"])
    with pytest.raises(Unavailable, match="the gateway is stopping"):
        remote.run("t1", ["cat"])


def test_a_task_that_ends_ends_the_command(wire: Wire) -> None:
    running = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(
            Remote(wire).run, "t1", ["sleep", "four"], on_output=lambda stream, data: running.set()
        )
        assert running.wait(30)
        wire.refusal = NotFound("task t1 does not run: it is FAILED")
        with pytest.raises(NotFound, match="it is FAILED"):
            future.result(30)


def test_an_executor_that_does_not_answer_is_given_up(wire: Wire) -> None:
    wire.cut = True
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"'cat' beside task t1: the executor has not answered"):
        Remote(wire, patience=0.5).run("t1", ["cat"])
    assert time.monotonic() - began >= 0.5


def test_what_keeps_messages_from_being_sent_is_told(wire: Wire) -> None:
    wire.refusal = Unavailable("gateway-2:8888 leads")
    with pytest.raises(Unavailable, match=r"\(gateway-2:8888 leads\); it may still be run"):
        Remote(wire, patience=0.5).run("t1", ["cat"])


def test_a_command_that_its_executor_does_not_end_is_given_up(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives its time here, and every question is answered all the same."""
    monkeypatch.setattr(conversation, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(conversation, "LONGEST_PAUSE", 0.1)
    ahead = 0.0

    def hear(*_: Any) -> None:
        """Time passes with each answer, so that none comes too late, however busy the machine is."""
        nonlocal ahead
        ahead += 20.0

    wire.listen(hear)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead)
    monkeypatch.setattr("framework.remote.time", clock)
    with pytest.raises(CommandFailed, match=r"answers, but has not ended it within its 0\.1 s"):
        Remote(wire, patience=60).run("t1", ["sleep", "five"], timeout=0.1)
    eventually(lambda: wire.commands.ended == ["five"])


def test_an_outage_in_the_middle_is_survived(wire: Wire) -> None:
    """Nothing arrives for a while, in either direction; the command is run once all the same."""
    remote, stdin = Remote(wire), b"x" * (3 * MiB)

    def cut(stream: Any, data: bytes) -> None:
        if not wire.cut and not healing.is_set():
            wire.cut = True
            timer = threading.Timer(0.3, heal)
            timer.start()

    def heal() -> None:
        healing.set()
        wire.cut = False

    healing = threading.Event()
    assert remote.run("t1", ["cat"], stdin, on_output=cut) == Finished(0, stdin, b"t1")
    assert healing.is_set()


def test_a_command_that_could_not_be_run_says_why(wire: Wire) -> None:
    with pytest.raises(CommandFailed, match=r"command 'frob' beside task t1: there is no frob"):
        Remote(wire).run("t1", ["frob"])


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"]])
def test_what_is_no_command_is_refused(wire: Wire, argv: list[str]) -> None:
    with pytest.raises(Invalid, match="empty, or has a NUL"):
        Remote(wire).run("t1", argv)


def test_too_much_input_is_refused_here(wire: Wire) -> None:
    with pytest.raises(TooLarge, match="longer than 16 MiB"):
        Remote(wire).run("t1", ["cat"], b"x" * (MOST_INPUT + 1))


def test_replies_that_nobody_waits_for_and_noise_do_no_harm(wire: Wire) -> None:
    remote = Remote(wire)
    for noise in (b"", b"\xff", b"{}", encode(Run("c", "t", ("x",))), encode(Reply("gone", 0))):
        wire.say(noise)
    assert remote.run("t1", ["cat"], b"hello").stdout == b"hello"
