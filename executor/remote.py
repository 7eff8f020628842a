"""Carries the framework's calls to running tasks out: threads round :mod:`executor.calls`."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from executor.calls import Action, Begin, Calls, End, Send
from executor.messages import Reply, Run, decode, encode
from executor.runtimes.base import Command, CommandEnd, Output

logger = logging.getLogger(__name__)

_JOIN = 10.0


class RunCommand(Protocol):
    """Runs a command beside the task ``task_id``, to its end or until ``cancelled``."""

    def __call__(
        self, task_id: str, command: Command, output: Output, cancelled: threading.Event
    ) -> CommandEnd: ...


class Remote:
    """The executor's end of the calls.

    ``send`` may block for some seconds; what it loses is asked for again.
    """

    def __init__(self, run: RunCommand, send: Callable[[bytes], None]) -> None:
        self._run = run
        self._send = send
        self._calls = Calls()
        self._changed = threading.Condition()
        self._outbox: OrderedDict[tuple[str, int], Reply] = OrderedDict()
        self._cancels: dict[str, threading.Event] = {}
        self._commands: set[threading.Thread] = set()
        self._sender: threading.Thread | None = None
        self._closed = False

    def received(self, data: bytes) -> None:
        """Takes one framework message; does not block. One that means nothing here is left out."""
        try:
            message = decode(data)
        except ValueError as error:
            logger.warning("a framework message of %d bytes means nothing here: %s", len(data), error)
            return
        self._step(lambda at: self._calls.received(message, at))

    def close(self, timeout: float = _JOIN) -> None:
        """Kills the commands that run, and waits up to ``timeout`` seconds for their ends."""
        until = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            for cancelled in self._cancels.values():
                cancelled.set()
            threads = [*self._commands, *([self._sender] if self._sender is not None else [])]
            self._changed.notify_all()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    # -- the machine --

    def _step(self, event: Callable[[float], list[Action]]) -> None:
        with self._changed:
            if self._closed:
                return
            self._obey(event(time.monotonic()))
            if self._sender is None:
                self._sender = threading.Thread(target=self._keep_sending, name="replies", daemon=True)
                self._sender.start()
            self._changed.notify_all()

    def _obey(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._outbox[action.reply.call, action.reply.number] = action.reply
                case Begin():
                    self._begin(action.run)
                case End():
                    if action.call in self._cancels:
                        self._cancels[action.call].set()

    def _keep_sending(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                self._obey(self._calls.tick(time.monotonic()))
                if not self._outbox:
                    deadline = self._calls.next_deadline()
                    self._changed.wait(
                        None if deadline is None else max(0.0, deadline - time.monotonic())
                    )
                    continue
                _, reply = self._outbox.popitem(last=False)
            self._send(encode(reply))

    # -- the commands --

    def _begin(self, run: Run) -> None:
        cancelled = self._cancels[run.call] = threading.Event()
        thread = threading.Thread(
            target=self._carry_out, args=(run, cancelled), name="command", daemon=True
        )
        self._commands.add(thread)
        thread.start()

    def _carry_out(self, run: Run, cancelled: threading.Event) -> None:
        command = Command(run.argv, run.stdin, max(0.0, run.timeout), run.user)
        logger.info("task %s: runs %.200r", run.task_id, run.argv)
        try:
            end = self._run(
                run.task_id,
                command,
                lambda s, d: self._step(lambda at: self._calls.output(run.call, s, d, at)),
                cancelled,
            )
        except Exception:
            logger.exception("a command beside task %s fails", run.task_id)
            end = CommandEnd(None, "the executor failed: its own log says how")
        self._step(lambda at: self._calls.ended(run.call, end.code, end.problem, at))
        with self._changed:
            self._cancels.pop(run.call, None)
            self._commands.discard(threading.current_thread())
