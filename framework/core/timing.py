"""When something has to happen to a task: pure functions of the task and the time. Seconds."""

from __future__ import annotations

import heapq

from framework.core.settings import Settings
from framework.core.tasks import ENDING, was_interrupted
from framework.model.tasks import TRANSIENT, Task, TaskState

# The source of transitions that came of a reconciliation's answer (see reconciliation.py).
RECONCILIATION = "reconciliation"


def penalty(ended: Task, settings: Settings) -> float:
    """Returns for how long the successor of a task that ended by itself is THROTTLED; 0: not at all.

    A run counts from the last state before the end. The first short run costs
    ``throttle_initial_secs``, each further one in a row twice the one before.
    """
    if was_interrupted(ended):
        return 0.0
    run = ended.events[-1].at - ended.events[-2].at
    if run >= settings.flapping_secs:
        return 0.0
    return min(max(2 * ended.penalty_secs, settings.throttle_initial_secs), settings.throttle_max_secs)


def next_kill(task: Task, now: float, settings: Settings) -> float:
    """Returns when the kill of an ENDING task is to be sent again: after 15, 45, 105, 225 … s."""
    wait = settings.kill_retry_secs
    due = task.since + wait
    while due <= now:
        wait *= 2
        due += wait
    return due


def expiry(task: Task, registered_at: float | None, settings: Settings) -> float | None:
    """Returns when a task must be LOST if nothing is heard of it; None: never, or not while we hear
    nothing of anything (``registered_at`` None: there is no connection to a master)."""
    if registered_at is None:
        return None
    begin = max(task.since, registered_at)
    if task.state in TRANSIENT:
        return begin + settings.transient_timeout_secs
    if task.state is TaskState.PARTITIONED:
        policy = task.config.partition_policy
        if policy is not None and not policy.reschedule:
            return None
        delay = float(policy.delay_secs) if policy is not None else 0.0
        if task.events[-1].source == RECONCILIATION:
            delay = max(delay, settings.unknown_grace_secs)
        return begin + delay
    return None


def deadline(task: Task, now: float, registered_at: float | None, settings: Settings) -> float | None:
    """Returns when time alone next changes something about ``task``."""
    if task.state is TaskState.THROTTLED:
        return task.throttle_until
    end = expiry(task, registered_at, settings)
    if end is not None and task.state in ENDING:
        return min(end, next_kill(task, now, settings))
    return end


class Timers:
    """At most one deadline per id, the earliest first. Replaced entries stay in the heap until due."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float | None) -> None:
        if at is None:
            self._at.pop(name, None)
        elif self._at.get(name) != at:
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def next(self) -> float | None:
        while self._heap:
            at, name = self._heap[0]
            if self._at.get(name) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[str]:
        """Returns the ids whose deadline has come, and forgets them."""
        names: list[str] = []
        while (at := self.next()) is not None and at <= now:
            _, name = heapq.heappop(self._heap)
            del self._at[name]
            names.append(name)
        return names
