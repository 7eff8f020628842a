"""The calls of the framework to running tasks: a pure machine without clock, thread or process.

It takes what the framework says (:mod:`executor.messages`) and what the commands put out, and returns
what is to be done. No call is carried out twice, what is kept of them is bounded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from executor.messages import (
    CHUNK,
    KEPT_SECS,
    MOST_INPUT,
    MOST_OUTPUT,
    WINDOW,
    Cancel,
    Fetch,
    Message,
    Part,
    Reply,
    Run,
)

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
# Commands at the same time; more are refused.
MOST_RUNNING = 64
# Bytes of output, and of parts of input, that are kept for all calls together.
MOST_KEPT = 64 * 1024 * 1024
# Output is gathered for so long (seconds), unless it fills a chunk before.
GATHER = 0.1
# How many calls that are over are remembered: a Run for one of them can still be under way.
_REMEMBERED = 10_000


class Begin(msgspec.Struct, frozen=True):
    """Carry a call out; its output and its end are told to the machine."""

    run: Run


class End(msgspec.Struct, frozen=True):
    """Kill what ``call`` has begun; nobody wants to hear of it any more."""

    call: str


class Send(msgspec.Struct, frozen=True):
    """Send a reply to the framework. If it is lost it is asked for again."""

    reply: Reply


Action = Begin | End | Send


class Calls:
    """Every method takes ``at`` (monotonic seconds) and returns actions."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._inputs: dict[str, _Input] = {}
        self._over: OrderedDict[str, None] = OrderedDict()

    # -- events --

    def received(self, message: Message, at: float) -> list[Action]:
        """The framework has said something."""
        match message:
            case Run():
                return self._run(message, at)
            case Part():
                self._part(message, at)
            case Fetch():
                return self._fetch(message, at)
            case Cancel():
                return self._cancel(message.call)
        return []

    def output(self, call: str, stream: Stream, data: bytes, at: float) -> list[Action]:
        """The command of ``call`` has written ``data``."""
        state = self._calls.get(call)
        if state is None or state.final:
            return []
        state.write(stream, data, at, MOST_KEPT - self.kept)
        return state.due()

    def ended(self, call: str, code: int | None, problem: str, at: float) -> list[Action]:
        """The command has ended (``code``), or was not run or not to its end (``problem``)."""
        state = self._calls.get(call)
        if state is None or state.final:
            return []
        state.end(code, problem)
        state.touched = at
        return state.due()

    def tick(self, at: float) -> list[Action]:
        """Time has passed."""
        actions: list[Action] = []
        for call, state in list(self._calls.items()):
            if at >= state.touched + KEPT_SECS:
                actions += self._cancel(call)
            elif (due := state.flush_at()) is not None and at >= due:
                state.seal()
                actions += state.due()
        for call, given in list(self._inputs.items()):
            if at >= given.touched + KEPT_SECS:
                del self._inputs[call]
        return actions

    # -- what a reader may ask --

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do, if nothing else happens before."""
        moments = [s.touched + KEPT_SECS for s in self._calls.values()]
        moments += [i.touched + KEPT_SECS for i in self._inputs.values()]
        moments += [due for s in self._calls.values() if (due := s.flush_at()) is not None]
        return min(moments, default=None)

    @property
    def kept(self) -> int:
        """How many bytes are kept."""
        given = sum(i.size for i in self._inputs.values())
        return given + sum(s.size for s in self._calls.values())

    # -- the rules --

    def _run(self, run: Run, at: float) -> list[Action]:
        state = self._calls.get(run.call)
        if state is not None:
            # Its answer was lost, or is under way.
            return state.fetch(state.first, at)
        if run.call in self._over:
            return [Send(_refusal(run.call, 0, "what this call has put out is not kept any longer"))]
        problem = self._problem(run)
        if problem is None and run.parts:
            stdin = self._assembled(run)
            if stdin is None:
                return []
            run = msgspec.structs.replace(run, stdin=stdin, parts=0)
        self._inputs.pop(run.call, None)
        state = self._calls[run.call] = _Call(run.call, at)
        if problem is not None:
            state.end(None, problem)
            return state.due()
        return [*state.due(), Begin(run)]

    def _problem(self, run: Run) -> str | None:
        if not run.argv or any("\0" in word for word in run.argv) or not run.argv[0]:
            return "the command is empty, or has a NUL character in it"
        if max(run.parts, len(run.stdin)) > MOST_INPUT:
            return f"the command's input is longer than {MOST_INPUT >> 20} MiB"
        if sum(not s.final for s in self._calls.values()) >= MOST_RUNNING:
            return f"{MOST_RUNNING} commands are running on this agent already; try again later"
        return None

    def _assembled(self, run: Run) -> bytes | None:
        given = self._inputs.get(run.call)
        return given.joined(run.parts) if given is not None else None

    def _part(self, part: Part, at: float) -> None:
        if part.call in self._calls or part.call in self._over:
            return
        given = self._inputs.setdefault(part.call, _Input())
        given.touched = at
        if 0 <= part.offset <= MOST_INPUT and self.kept + len(part.data) <= MOST_KEPT:
            given.pieces[part.offset] = part.data

    def _fetch(self, fetch: Fetch, at: float) -> list[Action]:
        state = self._calls.get(fetch.call)
        if state is not None:
            actions = state.fetch(fetch.after, at)
            if state.final and not state.chunks:
                self._forget(fetch.call)
            return actions
        # Who fetches has heard of chunk 0.
        number = max(0, fetch.after)
        return [
            Send(_refusal(fetch.call, number, "this executor knows nothing of this call (any more)"))
        ]

    def _cancel(self, call: str) -> list[Action]:
        state = self._calls.get(call)
        self._forget(call)
        return [End(call)] if state is not None and not state.final else []

    def _forget(self, call: str) -> None:
        self._calls.pop(call, None)
        self._inputs.pop(call, None)
        self._over[call] = None
        while len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)


def _refusal(call: str, number: int, problem: str) -> Reply:
    return Reply(call, number, final=True, problem=problem)


class _Input:
    """Parts of a command's input that have arrived, by their offset."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.touched = 0.0

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces.values()))

    def joined(self, wanted: int) -> bytes | None:
        """Returns all ``wanted`` bytes, None if some are missing."""
        whole = bytearray()
        for offset, data in sorted(self.pieces.items()):
            if offset > len(whole):
                return None
            whole[offset:] = data
        return bytes(whole) if len(whole) == wanted else None


class _Call:
    """One call: ``chunks`` are the replies from number ``first`` on, those before were fetched."""

    def __init__(self, call: str, at: float) -> None:
        self.call = call
        self.touched = at
        self.first = 0
        self.chunks: deque[Reply] = deque([Reply(call, 0)])
        self.final = False
        self._sent = 0
        self._open: dict[Stream, bytearray] = {s: bytearray() for s in STREAMS}
        self._opened = 0.0
        self._written = 0
        self._dropped = False
        self.size = 0

    def write(self, stream: Stream, data: bytes, at: float, room: int) -> None:
        fits = data[: max(0, min(MOST_OUTPUT - self._written, room))]
        self._dropped = self._dropped or len(fits) < len(data)
        if not any(self._open.values()):
            self._opened = at
        self._written += len(fits)
        self.size += len(fits)
        self._open[stream] += fits
        while len(self._open[stream]) >= CHUNK:
            self._add(stream)

    def end(self, code: int | None, problem: str) -> None:
        self.seal()
        if self._dropped and not problem:
            problem = f"output beyond {MOST_OUTPUT >> 20} MiB (or what the agent can keep) was dropped"
        number = self.first + len(self.chunks)
        self.chunks.append(Reply(self.call, number, final=True, code=code, problem=problem))
        self.final = True

    def seal(self) -> None:
        """Makes chunks of what was gathered."""
        for stream in STREAMS:
            while self._open[stream]:
                self._add(stream)

    def fetch(self, after: int, at: float) -> list[Action]:
        """Frees the chunks before ``after`` and sends the others again."""
        self.touched = at
        while self.chunks and self.first < after:
            self.size -= len(self.chunks.popleft().data)
            self.first += 1
        if len(self.chunks) < WINDOW:
            self.seal()
        self._sent = self.first
        return self.due()

    def due(self) -> list[Action]:
        """Returns the chunks that are to be sent now."""
        until = self.first + min(WINDOW, len(self.chunks))
        due: Iterable[Reply] = (self.chunks[n - self.first] for n in range(self._sent, until))
        actions: list[Action] = [Send(reply) for reply in due]
        self._sent = max(self._sent, until)
        return actions

    def flush_at(self) -> float | None:
        """When what was gathered becomes a chunk: not while nobody takes those that there are."""
        waits = any(self._open.values()) and len(self.chunks) < WINDOW
        return self._opened + GATHER if waits else None

    def _add(self, stream: Stream) -> None:
        data = bytes(self._open[stream][:CHUNK])
        del self._open[stream][:CHUNK]
        self.chunks.append(Reply(self.call, self.first + len(self.chunks), stream, data))
