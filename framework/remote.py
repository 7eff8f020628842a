"""Runs commands beside tasks: in a task's container, or in its sandbox where there is none.

The other side is :mod:`executor.remote`; between them are Mesos's framework messages, each of which
arrives once or not at all. A command is run once or not at all, and its output arrives whole.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

import msgspec

from executor.messages import MOST_INPUT, Cancel, Message, Reply, Run, decode, encode
from framework.conversation import Conversation
from framework.model.errors import GatewayError, Invalid, TooLarge, Unavailable

logger = logging.getLogger(__name__)

# An executor that has not answered for so long will not; one that was killed is known as such before.
PATIENCE = 60.0
# How often somebody who may have lost interest is asked.
_GLANCE = 0.2

OnOutput = Callable[[Literal["stdout", "stderr"], bytes], None]


class CommandFailed(GatewayError):
    """A command beside a task has not been run, or not to its end; the sentence says why."""

    code = "command_failed"


class Cancelled(CommandFailed):
    """Whoever wanted the command does not want it any more; it has been told to end."""


class Finished(msgspec.Struct, frozen=True):
    """A command that ended by itself. ``problem`` "": the output is all there is of it."""

    code: int
    stdout: bytes
    stderr: bytes
    problem: str = ""


class Service(Protocol):
    """What is used of SchedulerService and of Replica."""

    def send_message(self, task_id: str, *data: bytes) -> None: ...

    def listen(self, listener: Callable[[str, str, bytes], None]) -> Callable[[], None]: ...


class Remote:
    """The gateway's side of the calls; :meth:`run` may be called by many threads at once.

    ``patience``: after so many seconds without an answer the executor is given up.
    """

    def __init__(self, service: Service, patience: float = PATIENCE) -> None:
        self._service = service
        self._patience = patience
        self._lock = threading.Lock()
        self._calls: dict[str, SimpleQueue[Reply | None]] = {}
        self._closed = False
        self._deafen = service.listen(self._heard)

    def run(
        self,
        task_id: str,
        argv: Sequence[str],
        stdin: bytes = b"",
        timeout: float = 60.0,
        user: str | None = None,
        on_output: OnOutput | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Finished:
        """Runs ``argv`` to its end, which SIGKILL is after ``timeout`` seconds; blocks until then.

        ``user`` None: as the container has it. ``on_output`` is called in this thread with what the
        command puts out, as it comes; what it raises ends the command and comes out here. ``cancelled``
        is asked a few times a second. Raises :class:`NotFound` if the task does not run,
        :class:`Unavailable` if it, or its executor, cannot be reached, or the gateway is stopping,
        :class:`CommandFailed` if the command did not run or did not end by itself.
        """
        if not argv or not argv[0] or any("\0" in word for word in argv):
            raise Invalid("the command is empty, or has a NUL character in it")
        if len(stdin) > MOST_INPUT:
            raise TooLarge(f"the command's input is longer than {MOST_INPUT >> 20} MiB")
        call = Run(str(uuid.uuid4()), task_id, tuple(argv), stdin, timeout, user)
        box: SimpleQueue[Reply | None] = SimpleQueue()
        with self._lock:
            if self._closed:
                raise _stopping()
            self._calls[call.call] = box
        try:
            return _Errand(self._service, call, box, self._patience).run(on_output, cancelled)
        finally:
            with self._lock:
                del self._calls[call.call]

    def close(self) -> None:
        """Ends: every :meth:`run` under way raises :class:`Unavailable`, and has its command killed."""
        self._deafen()
        with self._lock:
            self._closed = True
            for box in self._calls.values():
                box.put(None)

    def _heard(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Takes what any executor says."""
        try:
            message = decode(data)
        except ValueError as error:
            logger.warning(
                "executor %s on agent %s says what is no message: %s", executor_id, agent_id, error
            )
            return
        if isinstance(message, Reply):
            with self._lock:
                box = self._calls.get(message.call)
            if box is not None:
                box.put(message)


def _stopping() -> Unavailable:
    return Unavailable("the gateway is stopping: the command has been told to end")


class _Errand:
    """One call from its beginning to its end, in the thread of its caller."""

    def __init__(
        self, service: Service, call: Run, box: SimpleQueue[Reply | None], patience: float
    ) -> None:
        self._service = service
        self._call = call
        self._box = box
        self._patience = patience
        self._trouble = ""
        self._until: float | None = None
        self._output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._talk = Conversation(call, time.monotonic())

    def run(self, on_output: OnOutput | None, cancelled: Callable[[], bool] | None) -> Finished:
        try:
            final = self._await_end(on_output, cancelled)
        except BaseException:
            self._part([Cancel(self._call.call)])
            raise
        self._part(self._talk.farewell())
        if final.code is None:
            said = self._output["stderr"][-500:].decode("utf-8", "replace").strip()
            why = final.problem or "it did not end by itself"
            raise CommandFailed(f"{self._what()}: {why}" + (f"; it said last: {said}" if said else ""))
        stdout, stderr = (bytes(self._output[stream]) for stream in ("stdout", "stderr"))
        return Finished(final.code, stdout, stderr, final.problem)

    def _await_end(self, on_output: OnOutput | None, cancelled: Callable[[], bool] | None) -> Reply:
        talk = self._talk
        while talk.final is None:
            self._send(talk.due(time.monotonic()))
            wait = max(0.0, talk.ask_at - time.monotonic())
            try:
                reply = self._box.get(timeout=wait if cancelled is None else min(wait, _GLANCE))
            except Empty:
                pass
            else:
                if reply is None:
                    raise _stopping()
                for one in talk.received(reply, time.monotonic()):
                    self._output[one.stream] += one.data
                    if one.data and on_output is not None:
                        on_output(one.stream, one.data)
            if talk.final is None and cancelled is not None and cancelled():
                raise Cancelled(f"{self._what()}: nobody wants it any more")
            if talk.final is None:
                self._check_time()
        return talk.final

    def _check_time(self) -> None:
        """Raises if the executor is silent for too long, or does not end the command in its time."""
        now = time.monotonic()
        if self._until is None and self._talk.taken_up:
            self._until = now + self._call.timeout + self._patience
        if self._until is not None and now > self._until:
            raise CommandFailed(
                f"{self._what()}: its executor answers, but has not ended it within its "
                f"{self._call.timeout:g} s, nor in the {self._patience:g} s after that"
            )
        silent = now - self._talk.heard_at
        if silent <= self._patience:
            return
        fate = "whether it ran is not known" if self._talk.taken_up else "it may still be run"
        why = f" ({self._trouble})" if self._trouble else ""
        raise Unavailable(
            f"{self._what()}: the executor has not answered for {silent:.0f} s{why}; {fate}"
        )

    def _send(self, messages: Iterable[Message]) -> None:
        """Sends messages; what cannot be sent now counts as lost."""
        encoded = [encode(message) for message in messages]
        if not encoded:
            return
        try:
            self._service.send_message(self._call.task_id, *encoded)
        except Unavailable as error:
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _part(self, messages: Iterable[Message]) -> None:
        """Says the last words; if they are lost, the executor ends the call by and by on its own."""
        try:
            self._send(messages)
        except GatewayError as error:
            logger.debug("%s: %s", self._what(), error)

    def _what(self) -> str:
        return f"command {self._call.argv[0]!r} beside task {self._call.task_id}"
