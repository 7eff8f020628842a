"""What waits for a place: tasks that are placed one by one, and gangs, placed together or not at all."""

from __future__ import annotations

import msgspec

from framework.model.jobs import Constraint, JobKey, Resources, TaskConfig
from framework.model.tasks import Home, Task

Rank = tuple[int, float, JobKey]


class Waiting(msgspec.Struct, eq=False, gc=False):
    """PENDING tasks of one job.

    ``fresh``: they have to be tried against every offer held, not only against new ones. ``limited``:
    a limit constraint may hold them back; ``disks``: they need data disks.
    """

    key: JobKey
    tasks: dict[str, Task] = msgspec.field(default_factory=dict)
    fresh: bool = True
    limited: bool = False
    disks: bool = False

    def has(self, config: TaskConfig) -> None:
        """Notes what such a task may wait for."""
        self.limited = self.limited or any(c.kind == "limit" for c in config.constraints)
        self.disks = self.disks or bool(config.resources.data_disks)

    @property
    def rank(self) -> Rank:
        """The order of placement: by priority, then by how long the first task has waited."""
        raise NotImplementedError


class Group(Waiting, kw_only=True):
    """Those with equal configs and the same home: what fits one of them fits all."""

    config: TaskConfig
    home: Home | None = None
    need: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        self.has(self.config)
        need = self.config.resources
        self.need = (need.cpus, float(need.mem_mb), float(need.disk_mb), float(need.gpus))

    @property
    def rank(self) -> Rank:
        return -self.config.priority, next(iter(self.tasks.values())).since, self.key


# Tasks of a job of which this is equal fit the same agents.
Shape = tuple[Resources, tuple[Constraint, ...], tuple[str, ...], Home | None]


def shape(task: Task) -> Shape:
    """Returns what tasks must have in common to wait for the same reasons."""
    config = task.config
    return config.resources, config.constraints, config.tags, task.home


class Gang(Waiting, kw_only=True):
    """Those that are placed in one pass or not at all; the highest of their priorities counts."""

    gang: str

    def add(self, task: Task) -> None:
        self.tasks[task.task_id] = task
        self.has(task.config)
        self.fresh = True

    def remove(self, task: Task) -> None:
        """What is left may fit where all did not."""
        del self.tasks[task.task_id]
        self.fresh = True

    @property
    def since(self) -> float:
        """Since when the first of the tasks has waited."""
        return min(task.since for task in self.tasks.values())

    @property
    def rank(self) -> Rank:
        return -max(task.config.priority for task in self.tasks.values()), self.since, self.key
