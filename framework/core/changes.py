"""What one event changes, collected: each thing is written once, with its last value."""

from __future__ import annotations

from typing import Any

from framework.core.messages import (
    Action,
    DeleteJob,
    DeleteTask,
    DeleteUpdate,
    Job,
    Outcome,
    Publish,
    SaveFrameworkId,
    SaveJob,
    SaveTask,
    SaveUpdate,
    Write,
)
from framework.model.jobs import JobKey
from framework.model.tasks import Task
from framework.model.updates import Update


class Changes:
    """Writes and actions of the event at hand. ``None`` stands for: to be deleted."""

    def __init__(self) -> None:
        self.jobs: dict[JobKey, Job | None] = {}
        self.tasks: dict[str, Task | None] = {}
        self.updates: dict[str, Update | None] = {}
        self.framework_id: str | None = None
        self.published: list[Publish] = []
        self.actions: list[Action] = []

    @property
    def is_empty(self) -> bool:
        return not (
            self.jobs
            or self.tasks
            or self.updates
            or self.framework_id
            or self.published
            or self.actions
        )

    def act(self, action: Action) -> None:
        self.actions.append(action)

    def publish(self, line: Publish) -> None:
        self.published.append(line)

    def take(self, result: Any) -> Outcome:
        """Returns everything collected and starts afresh."""
        writes: list[Write] = []
        if self.framework_id is not None:
            writes.append(SaveFrameworkId(self.framework_id))
        writes += [DeleteJob(k) if job is None else SaveJob(job) for k, job in self.jobs.items()]
        writes += [DeleteTask(i) if task is None else SaveTask(task) for i, task in self.tasks.items()]
        writes += [DeleteUpdate(i) if u is None else SaveUpdate(u) for i, u in self.updates.items()]
        writes += self.published
        outcome = Outcome(writes=tuple(writes), actions=tuple(self.actions), result=result)
        for collected in (self.jobs, self.tasks, self.updates, self.published, self.actions):
            collected.clear()
        self.framework_id = None
        return outcome
