"""A command beside a task, as the one who asks for it sees it: a pure machine.

It takes the replies that arrive (:mod:`executor.messages`: late, twice, in any order, or not at all)
and says what to send and when. The command's output comes out of it whole and in order.
"""

from __future__ import annotations

from executor.messages import CHUNK, WINDOW, Fetch, Message, Part, Reply, Run

# Seconds until something is asked for once more; doubled each time that nothing new has come.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 5.0
# Input is not sent again before it can have arrived at so many bytes a second.
_SLOWEST = 2 * 1024 * 1024


class Conversation:
    """Every method takes ``at`` (monotonic seconds).

    ``final`` is the last reply once the command has ended, ``heard_at`` when the executor was last
    heard of (at first: when it was first asked), ``ask_at`` when :meth:`due` has something to send.
    ``taken_up``: the executor has answered, so the command runs, has run, or never will.
    """

    def __init__(self, run: Run, at: float) -> None:
        self.run = run
        self.final: Reply | None = None
        self.heard_at = at
        self.ask_at = at
        self._next = 0
        self._fetched = 0
        self._early: dict[int, Reply] = {}
        # While there is no answer it is the whole input that is sent again.
        self._pause = FIRST_PAUSE + len(run.stdin) / _SLOWEST
        self._longest = max(LONGEST_PAUSE, self._pause)

    @property
    def taken_up(self) -> bool:
        return self._next > 0 or self.final is not None

    def due(self, at: float) -> list[Message]:
        """Returns what is to be sent now."""
        if self.final is not None or at < self.ask_at:
            return []
        self.ask_at = at + self._pause
        self._pause = min(self._pause * 2, self._longest)
        return self._opening() if self._next == 0 else [self._fetch()]

    def received(self, reply: Reply, at: float) -> list[Reply]:
        """Takes a reply; returns those whose turn has come, which may be none or several."""
        if self.final is not None:
            return []
        self.heard_at = at
        if reply.number < self._next:
            # One that was there already, unless it says that the executor has forgotten the rest.
            if reply.final:
                self.final = reply
            return []
        if reply.number < self._next + 2 * WINDOW:
            self._early[reply.number] = reply
        turn: list[Reply] = []
        while self.final is None and (one := self._early.pop(self._next, None)) is not None:
            self._next += 1
            turn.append(one)
            if one.final:
                self.final = one
        if turn:
            self._pause = FIRST_PAUSE
            # All that comes unasked has come.
            full = self._next - self._fetched >= WINDOW
            self.ask_at = at if full else at + self._pause
        return turn

    def farewell(self) -> list[Message]:
        """Returns what frees the executor of the call once ``final`` is there."""
        return [] if self.final is None else [Fetch(self.run.call, self.final.number + 1)]

    def _opening(self) -> list[Message]:
        """The call, with its input before it if that is long; all of it each time."""
        run = self.run
        if len(run.stdin) <= CHUNK:
            return [run]
        parts: list[Message] = [
            Part(run.call, offset, run.stdin[offset : offset + CHUNK])
            for offset in range(0, len(run.stdin), CHUNK)
        ]
        return [*parts, Run(run.call, run.task_id, run.argv, b"", run.timeout, run.user, len(run.stdin))]

    def _fetch(self) -> Fetch:
        """Asks for the last chunk once more, and for what follows: so there is always an answer."""
        self._fetched = self._next - 1
        return Fetch(self.run.call, self._fetched)
