"""The life of a task: one table of transitions, and what each of them entails.

The table is Aurora's (its TaskStateMachine). What it does not hold is a defect and raises
:class:`IllegalTransition` with the task's own history.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

import msgspec

from framework.model.tasks import Task, TaskEvent, TaskState

Deleted = Literal["DELETED"]
# Where a task goes that leaves no trace: not a state, for nothing is in it.
DELETED: Final[Deleted] = "DELETED"


class Effect(StrEnum):
    """What a transition entails. The letters are those of the table below."""

    KILL = "K"
    RESCHEDULE = "R"
    # Count a failure, then reschedule if the task may still fail.
    COUNT_FAILURE = "F"
    DELETE = "D"
    # Go on to LOST at once.
    LOSE = "L"
    RESCHEDULE_SERVICE = "S"


_INTERRUPTED = "FINISHED(R) FAILED(R) KILLING KILLED(R) LOST(K,R) PARTITIONED(L)"
# An instance that is no longer wanted is not rescheduled whatever the letters say; so PARTITIONED ->
# LOST needs no exception for a task that was KILLING.
_TABLE = {
    "INIT": "PENDING THROTTLED",
    "PENDING": "ASSIGNED KILLING(D)",
    "THROTTLED": "PENDING KILLING(D)",
    "ASSIGNED": "STARTING RUNNING FINISHED(S) FAILED(F) RESTARTING(K) DRAINING(K) KILLED(R) KILLING(K) "
    "LOST(R,K) PREEMPTING(K)",
    "STARTING": "RUNNING FINISHED(S) FAILED(F) RESTARTING(K) DRAINING(K) KILLING(K) KILLED(R) LOST(R) "
    "PREEMPTING(K) PARTITIONED",
    "RUNNING": "FINISHED(S) RESTARTING(K) DRAINING(K) FAILED(F) KILLING(K) KILLED(R) LOST(R) "
    "PREEMPTING(K) PARTITIONED",
    "PARTITIONED": "LOST(K,R) FAILED(F) FINISHED RUNNING ASSIGNED STARTING RESTARTING(L) DRAINING(L) "
    "PREEMPTING(L) KILLING(L)",
    "PREEMPTING": _INTERRUPTED,
    "RESTARTING": _INTERRUPTED,
    "DRAINING": _INTERRUPTED,
    "KILLING": "FINISHED FAILED KILLED LOST PARTITIONED(L) DELETED(D)",
    "FINISHED": "DELETED(D)",
    "FAILED": "DELETED(D)",
    "KILLED": "DELETED(D)",
    "LOST": "DELETED(D)",
}
Table = Mapping[tuple[TaskState, TaskState | Deleted], frozenset[Effect]]


def _read(table: Mapping[str, str]) -> Table:
    read: dict[tuple[TaskState, TaskState | Deleted], frozenset[Effect]] = {}
    for start, ends in table.items():
        for entry in ends.split():
            name, _, letters = entry.rstrip(")").partition("(")
            end: TaskState | Deleted = DELETED if name == DELETED else TaskState(name)
            read[TaskState(start), end] = frozenset(map(Effect, filter(None, letters.split(","))))
    return read


TRANSITIONS: Final[Table] = _read(_TABLE)
# On an agent, and told to end.
ENDING = frozenset({TaskState.KILLING, TaskState.RESTARTING, TaskState.PREEMPTING, TaskState.DRAINING})


class IllegalTransition(Exception):
    """A transition that the table does not hold; ``task`` carries its history."""

    def __init__(self, task: Task, to: TaskState | Deleted) -> None:
        self.task = task
        self.to = to
        history = "; ".join(tell(task))
        super().__init__(f"task {task.task_id} may not go from {task.state} to {to}: {history}")


def tell(task: Task) -> tuple[str, ...]:
    """Returns a task's own history, a line for each transition."""
    return tuple(
        f"{event.at:.3f} {event.state} by {event.source}"
        + (f": {event.message}" if event.message else "")
        for event in task.events
    )


def allowed(task: Task, to: TaskState | Deleted) -> bool:
    """Whether the table has a way from where the task is to there."""
    return (task.state, to) in TRANSITIONS


def advance(
    task: Task, to: TaskState, *, at: float, message: str = "", source: str = "scheduler"
) -> tuple[Task, frozenset[Effect]]:
    """Returns the task in state ``to``, and what that entails.

    Going to the present state is no transition: the same task, and nothing to do.
    Raises :class:`IllegalTransition`.
    """
    if task.state is to:
        return task, frozenset()
    effects = TRANSITIONS.get((task.state, to))
    if effects is None:
        raise IllegalTransition(task, to)
    event = TaskEvent(at=at, state=to, message=message, source=source)
    return msgspec.structs.replace(task, state=to, events=(*task.events, event)), effects


def may_fail_again(task: Task) -> bool:
    """Whether a task that has just failed once more (not counted yet) gets another try."""
    config = task.config
    if config.service or config.max_task_failures == -1:
        return True
    return task.failures < config.max_task_failures - 1


def was_interrupted(task: Task) -> bool:
    """Whether we had told the task to end, so that its end is not its own doing."""
    return any(event.state in ENDING for event in task.events)
