"""The table of transitions against the contract, pair by pair, and what goes with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from framework.core.tasks import (
    DELETED,
    TRANSITIONS,
    Effect,
    IllegalTransition,
    advance,
    allowed,
    may_fail_again,
    was_interrupted,
)
from framework.model.tasks import ON_AGENT, Task, TaskState
from tests.framework.core.rig import KEY, config

ENDS = [*TaskState, DELETED]


def a_task(state: TaskState = TaskState.INIT, **fields: object) -> Task:
    settings = {"max_task_failures": 1, "service": True}
    settings |= {k: fields.pop(k) for k in list(fields) if k in settings}
    task = Task(
        task_id="t", key=KEY, instance=0, config=config(**settings), state=TaskState.INIT, events=()
    )
    path = {
        TaskState.INIT: "",
        TaskState.THROTTLED: "THROTTLED",
        TaskState.PENDING: "PENDING",
        TaskState.ASSIGNED: "PENDING ASSIGNED",
        TaskState.STARTING: "PENDING ASSIGNED STARTING",
        TaskState.RUNNING: "PENDING ASSIGNED RUNNING",
    }.get(state, f"PENDING ASSIGNED RUNNING {state}")
    for at, step in enumerate(path.split()):
        task, _ = advance(task, TaskState(step), at=float(at), message=f"step {at}")
    return task


def contract(text: str) -> dict[tuple[str, str], set[str]]:
    """Reads the transitions out of the contract's own notation."""
    begin, end = text.index("INIT -> "), text.index("A report ASSIGNED")
    table: dict[tuple[str, str], set[str]] = {}
    lines = re.sub(r" {4,}", "\n", text[begin:end]).splitlines()
    for line in lines:
        for part in line.split(".  "):
            starts, arrow, ends = part.partition(" -> ")
            if not arrow:
                continue
            for name, letters in re.findall(r"([A-Z]+)(?:\(([^)]*)\))?", ends):
                effects = {x.strip()[0] for x in letters.split(",") if x.strip()}
                for start in starts.strip().split("|"):
                    table[start, name] = effects
    return table


def test_the_table_is_the_contract_s(shared: Path) -> None:
    text = (shared / "contracts" / "aurora-semantics.md").read_text(encoding="utf-8")
    expected = contract(text)
    assert len(expected) > 70
    for start in TaskState:
        for end in ENDS:
            found = TRANSITIONS.get((start, end))
            wanted = expected.get((str(start), str(end)))
            assert (found is None) == (wanted is None), f"{start} -> {end}"
            if found is not None:
                assert {str(effect) for effect in found} == wanted, f"{start} -> {end}"


@pytest.mark.parametrize("start", list(TaskState))
@pytest.mark.parametrize("end", list(TaskState))
def test_each_pair_is_taken_or_refused_as_the_table_says(start: TaskState, end: TaskState) -> None:
    task = a_task(start)
    assert task.state is start
    if end is start:
        assert advance(task, end, at=9.0) == (task, frozenset())
    elif (start, end) in TRANSITIONS:
        moved, effects = advance(task, end, at=9.0, message="why")
        assert (moved.state, moved.since, moved.events[-1].message) == (end, 9.0, "why")
        assert moved.events[:-1] == task.events
        assert effects == TRANSITIONS[start, end]
        assert allowed(task, end)
    else:
        with pytest.raises(IllegalTransition) as caught:
            advance(task, end, at=9.0)
        assert caught.value.task is task
        for event in task.events:
            assert event.message in str(caught.value), "the refusal carries the task's history"
        assert not allowed(task, end)


def test_whatever_told_a_task_on_an_agent_to_end_sends_a_kill() -> None:
    told = {TaskState.KILLING, TaskState.RESTARTING, TaskState.DRAINING, TaskState.PREEMPTING}
    for start in (TaskState.ASSIGNED, TaskState.STARTING, TaskState.RUNNING):
        for end in told:
            assert Effect.KILL in TRANSITIONS[start, end]


def test_from_every_state_on_an_agent_a_task_can_be_lost() -> None:
    assert all((state, TaskState.LOST) in TRANSITIONS for state in ON_AGENT)


@pytest.mark.parametrize(
    ("service", "most", "so_far", "again"),
    [
        (True, 1, 50, True),
        (False, 1, 0, False),
        (False, 3, 0, True),
        (False, 3, 1, True),
        (False, 3, 2, False),
        (False, -1, 99, True),
    ],
)
def test_how_often_a_task_may_fail(service: bool, most: int, so_far: int, again: bool) -> None:
    task = Task(
        task_id="t",
        key=KEY,
        instance=0,
        config=config(service=service, max_task_failures=most),
        state=TaskState.FAILED,
        events=(),
        failures=so_far,
    )
    assert may_fail_again(task) is again


def test_an_end_that_we_asked_for_is_an_interruption() -> None:
    assert was_interrupted(a_task(TaskState.RESTARTING))
    assert not was_interrupted(a_task(TaskState.FAILED))
