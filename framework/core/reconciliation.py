"""When to ask Mesos what has become of our tasks, and which of them.

After each registration every task on an agent is asked for by name (explicit), and Mesos is asked
for whatever else it has of ours (implicit). Those not answered are asked for again, after a wait
that doubles up to a limit; everything again at a fixed interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from framework.core.messages import Reconcile
from framework.core.settings import Settings
from framework.model.tasks import Task


class Reconciler:
    """Keeps ``unanswered``, the ids of tasks that Mesos has been asked for."""

    def __init__(self, settings: Settings) -> None:
        self.unanswered: dict[str, None] = {}
        self._settings = settings
        self._retry_at: float | None = None
        self._round_at: float | None = None
        self._wait = 0.0

    def start(self, now: float, tasks: Iterable[Task]) -> list[Reconcile]:
        """Begins a round over ``tasks``: all that are on an agent. Returns the calls to make."""
        asked = sorted(tasks, key=lambda task: task.task_id)
        self.unanswered = {task.task_id: None for task in asked}
        self._round_at = now + self._settings.reconcile_interval_secs
        self._again_after(now, self._settings.reconcile_initial_secs)
        return [*self._calls(asked), Reconcile()]

    def doubt(self, now: float, tasks: Iterable[Task]) -> list[Reconcile]:
        """Asks for some tasks out of turn. Returns the calls to make."""
        asked = sorted(tasks, key=lambda task: task.task_id)
        if not asked:
            return []
        self.unanswered.update((task.task_id, None) for task in asked)
        self._again_after(now, self._settings.reconcile_initial_secs)
        return self._calls(asked)

    def stop(self) -> None:
        """The connection is gone: the next registration starts afresh."""
        self.unanswered.clear()
        self._retry_at = self._round_at = None

    def answered(self, task_id: str) -> None:
        """Something was heard of the task, or it has ended."""
        self.unanswered.pop(task_id, None)

    def next(self) -> float | None:
        """Returns when :meth:`due` has something to say."""
        if self._round_at is None or self._retry_at is None or not self.unanswered:
            return self._round_at
        return min(self._round_at, self._retry_at)

    def due(
        self, now: float, on_agents: Callable[[], Iterable[Task]], tasks: dict[str, Task]
    ) -> list[Reconcile]:
        """Returns the calls to make now: none, those for the unanswered, or a whole new round."""
        due = self.next()
        if due is None or due > now:
            return []
        if self._round_at is not None and self._round_at <= now:
            return self.start(now, on_agents())
        self._again_after(now, min(2 * self._wait, self._settings.reconcile_max_secs))
        return self._calls([tasks[task_id] for task_id in self.unanswered])

    def _again_after(self, now: float, wait: float) -> None:
        self._wait = wait
        self._retry_at = now + wait

    def _calls(self, tasks: list[Task]) -> list[Reconcile]:
        size = self._settings.reconcile_batch
        pairs = [(task.task_id, task.agent_id) for task in tasks]
        return [Reconcile(tuple(pairs[i : i + size])) for i in range(0, len(pairs), size)]
