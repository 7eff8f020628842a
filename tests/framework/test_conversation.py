"""A command asked for over a channel that loses, doubles and reorders: both machines, no clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from executor.calls import Begin, Calls, Send
from executor.messages import CHUNK, WINDOW, Fetch, Reply, Run, decode, encode
from framework.conversation import FIRST_PAUSE, LONGEST_PAUSE, Conversation

SIZES = (0, 1, 1000, CHUNK - 1, CHUNK, 3 * CHUNK + 1)
# What becomes of a message: it is lost (none), or arrives so many seconds later, perhaps twice.
FATES = ((), (0.01,), (0.4,), (3.0,), (0.01, 2.5), (7.0, 0.02))


def text(size: int, number: int) -> bytes:
    return random.Random(number).randbytes(size)


class Simulation:
    """One call in a time of its own. ``fates`` are those of the first messages; the others arrive.

    ``script``: what the command does, (seconds after the last step, stream, bytes).
    """

    def __init__(self, fates: list[int], script: list[tuple[float, Any, bytes]], stdin: bytes) -> None:
        self._fates = iter(fates)
        self._script = script
        self._order = itertools.count()
        self._queue: list[tuple[float, int, str, Any]] = []
        self._talk = Conversation(Run("c1", "t1", ("do",), stdin), 0.0)
        self._calls = Calls()
        self.now = 0.0
        self.sent: Counter[str] = Counter()
        self.begun: list[Run] = []
        self.output = {"stdout": b"", "stderr": b""}

    def run(self) -> Reply:
        """Returns the last reply."""
        while self._talk.final is None:
            moments = [self._talk.ask_at, self._calls.next_deadline()]
            moments += [self._queue[0][0]] if self._queue else []
            self.now = max(self.now, min(m for m in moments if m is not None))
            assert self.now < 300, "it never ends"
            self._post("executor", self._talk.due(self.now))
            self._obey(self._calls.tick(self.now))
            while self._queue and self._queue[0][0] <= self.now:
                _, _, to, what = heapq.heappop(self._queue)
                self._arrive(to, what)
        return self._talk.final

    def _arrive(self, to: str, what: Any) -> None:
        if to == "executor":
            self._obey(self._calls.received(decode(what), self.now))
        elif to == "framework":
            reply = decode(what)
            assert isinstance(reply, Reply)
            for one in self._talk.received(reply, self.now):
                self.output[one.stream] += one.data
            self._post("executor", self._talk.due(self.now))
        elif what is None:
            self._obey(self._calls.ended("c1", 7, "", self.now))
        else:
            self._obey(self._calls.output("c1", what[0], what[1], self.now))

    def _obey(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._post("framework", [action.reply])
            elif isinstance(action, Begin):
                self.begun.append(action.run)
                at = self.now
                for delay, stream, data in self._script:
                    at += delay
                    self._later(at, "command", (stream, data))
                self._later(at, "command", None)

    def _post(self, to: str, messages: list[Any]) -> None:
        for message in messages:
            self.sent[type(message).__name__] += 1
            fate = next(self._fates, None)
            for delay in (0.01,) if fate is None else FATES[fate]:
                self._later(self.now + delay, to, encode(message))

    def _later(self, at: float, to: str, what: Any) -> None:
        heapq.heappush(self._queue, (at, next(self._order), to, what))


_SCRIPTS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.05, 0.2, 4.0]),
        st.sampled_from(["stdout", "stderr"]),
        st.sampled_from(SIZES),
    ),
    max_size=6,
)


@settings(max_examples=150)
@given(st.lists(st.integers(0, len(FATES) - 1), max_size=80), _SCRIPTS, st.sampled_from(SIZES))
@example([0] * 80, [], 3 * CHUNK + 1)
@example([2] * 4 + [0] * 30, [(0.0, "stdout", 3 * CHUNK + 1)] * 6, 0)
def test_whatever_the_channel_does_the_command_runs_once_and_its_output_is_whole(
    fates: list[int], steps: list[tuple[float, str, int]], size: int
) -> None:
    script = [(delay, stream, text(n, i)) for i, (delay, stream, n) in enumerate(steps)]
    stdin = text(size, 99)
    simulation = Simulation(fates, script, stdin)
    final = simulation.run()
    assert (final.code, final.problem) == (7, "")
    assert [run.stdin for run in simulation.begun] == [stdin]
    for stream in ("stdout", "stderr"):
        assert simulation.output[stream] == b"".join(d for _, s, d in script if s == stream)


def test_a_good_channel_carries_each_chunk_about_once() -> None:
    script = [(0.0, "stdout", text(CHUNK, n)) for n in range(10 * WINDOW)]
    simulation = Simulation([], script, b"")
    simulation.run()
    assert simulation.sent["Run"] == 1
    assert simulation.sent["Reply"] <= 10 * WINDOW * 1.2
    assert simulation.now < 2


def test_a_silent_command_is_known_to_be_alive() -> None:
    """Every question is answered, though there is nothing new to tell."""
    simulation = Simulation([], [(100.0, "stdout", b"done")], b"")
    talk = simulation._talk
    heard = [0.0]
    received = talk.received

    def note(reply: Reply, at: float) -> list[Reply]:
        heard.append(at)
        return received(reply, at)

    talk.received = note  # type: ignore[method-assign]
    simulation.run()
    assert max(b - a for a, b in itertools.pairwise(heard)) < LONGEST_PAUSE + 0.1
    assert simulation.sent["Fetch"] < 40


def test_questions_become_rarer_until_something_new_comes() -> None:
    run = Run("c1", "t1", ("do",))
    talk = Conversation(run, 0.0)
    asked = []
    while talk.ask_at < 20:
        asked.append(talk.ask_at)
        assert talk.due(talk.ask_at) == [run]
    assert asked[:4] == [0.0, 1.0, 3.0, 7.0]
    assert max(b - a for a, b in itertools.pairwise(asked)) == LONGEST_PAUSE
    talk.received(Reply("c1", 0), 20.0)
    assert talk.ask_at == 20.0 + FIRST_PAUSE
    assert talk.due(talk.ask_at) == [Fetch("c1", 0)]


def test_an_executor_that_has_forgotten_the_call_ends_it() -> None:
    talk = Conversation(Run("c1", "t1", ("do",)), 0.0)
    for number in range(3):
        talk.received(Reply("c1", number), 1.0)
    assert talk.due(talk.ask_at) == [Fetch("c1", 2)]
    refusal = Reply("c1", 2, final=True, problem="this executor knows nothing of this call")
    assert talk.received(refusal, 2.0) == []
    assert talk.final == refusal
    assert talk.due(100.0) == []


def test_what_comes_too_early_by_far_is_not_kept() -> None:
    talk = Conversation(Run("c1", "t1", ("do",)), 0.0)
    for number in range(1000, 1, -1):
        assert talk.received(Reply("c1", number), 1.0) == []
    assert len(talk._early) < 2 * WINDOW
