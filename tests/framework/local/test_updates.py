"""The agent's update streams: in order, one at a time, until acknowledged."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from framework.local.updates import TERMINAL_STATES, UpdateManager

KEY = ("framework", "task")


def status(number: int, state: str = "TASK_RUNNING") -> dict[str, Any]:
    return {"uuid": str(number), "state": state, "task_id": {"value": "task"}}


def test_the_second_waits_for_the_first() -> None:
    updates = UpdateManager(10)
    assert updates.add(KEY, status(1), 0) == status(1)
    assert updates.add(KEY, status(2, "TASK_FINISHED"), 1) is None
    assert updates.acknowledge(KEY, "2", 2) == (None, None)
    assert updates.acknowledge(KEY, "1", 2) == (status(1), status(2, "TASK_FINISHED"))
    assert updates.acknowledge(KEY, "2", 3) == (status(2, "TASK_FINISHED"), None)
    assert updates.next_due() is None


def test_what_is_not_acknowledged_is_due_again_later_and_later() -> None:
    updates = UpdateManager(10)
    updates.add(KEY, status(1), 0)
    times = []
    while len(times) < 9:
        due = updates.next_due()
        assert due is not None
        assert updates.due(due - 0.1) == []
        assert updates.due(due) == [(KEY, status(1))]
        times.append(due)
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert gaps == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_flush_sends_at_once_and_starts_the_retry_anew() -> None:
    updates = UpdateManager(10)
    updates.add(KEY, status(1), 0)
    assert list(updates.heads(7, "another")) == []
    assert list(updates.heads(7, "framework")) == [(KEY, status(1))]
    assert updates.next_due() == 17
    updates.forget("framework")
    assert updates.next_due() is None


class Machine(RuleBasedStateMachine):
    """Updates are sent and acknowledged in any order; the receiver sees each, in order, and no gap."""

    def __init__(self) -> None:
        super().__init__()
        self.updates = UpdateManager(10)
        self.now = 0.0
        self.made: list[dict[str, Any]] = []
        self.received: list[str] = []
        self.acknowledged = 0

    def over(self) -> bool:
        return bool(self.made) and self.made[-1]["state"] in TERMINAL_STATES

    def receive(self, update: dict[str, Any] | None) -> None:
        if update is not None and update["uuid"] not in self.received:
            self.received.append(update["uuid"])

    @precondition(lambda self: not self.over())
    @rule(state=st.sampled_from(["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]), again=st.booleans())
    def update(self, state: str, again: bool) -> None:
        made = status(len(self.made), state)
        self.made.append(made)
        self.receive(self.updates.add(KEY, made, self.now))
        if again:
            assert self.updates.add(KEY, made, self.now) is None

    @rule(number=st.integers(0, 20))
    def acknowledge(self, number: int) -> None:
        done, following = self.updates.acknowledge(KEY, str(number), self.now)
        assert (done is not None) == (number == self.acknowledged and number < len(self.made))
        self.acknowledged += done is not None
        self.receive(following)

    @rule(later=st.floats(0, 1000))
    def wait(self, later: float) -> None:
        self.now += later
        for _, update in self.updates.due(self.now):
            self.receive(update)

    @invariant()
    def in_order_and_one_at_a_time(self) -> None:
        assert self.received == [m["uuid"] for m in self.made[: len(self.received)]]
        assert len(self.received) == min(self.acknowledged + 1, len(self.made))
        assert self.updates.has(KEY) == (self.acknowledged < len(self.made))


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase
