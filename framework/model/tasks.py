"""Tasks: one try to run one instance of a job, with its states and its history."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from framework.model.jobs import JobKey, TaskConfig


class TaskState(StrEnum):
    """Aurora's ScheduleStatus; the order is the life of a task, not Thrift's numbering."""

    INIT = "INIT"
    THROTTLED = "THROTTLED"
    PENDING = "PENDING"
    ASSIGNED = "ASSIGNED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PARTITIONED = "PARTITIONED"
    PREEMPTING = "PREEMPTING"
    RESTARTING = "RESTARTING"
    DRAINING = "DRAINING"
    KILLING = "KILLING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    LOST = "LOST"


TERMINAL = frozenset({TaskState.FINISHED, TaskState.FAILED, TaskState.KILLED, TaskState.LOST})
ACTIVE = frozenset(TaskState) - TERMINAL - {TaskState.INIT}
# States in which the task holds an agent's resources.
ON_AGENT = ACTIVE - {TaskState.THROTTLED, TaskState.PENDING}
# States that must not last: after the timeout the task is LOST.
TRANSIENT = frozenset(
    {
        TaskState.ASSIGNED,
        TaskState.PREEMPTING,
        TaskState.RESTARTING,
        TaskState.KILLING,
        TaskState.DRAINING,
    }
)


class TaskEvent(msgspec.Struct, frozen=True, gc=False):
    """One transition: ``at`` in seconds since the epoch, ``message`` for people."""

    at: float
    state: TaskState
    message: str = ""
    source: str = "scheduler"


class Home(msgspec.Struct, frozen=True, gc=False):
    """Where a sticky task ran before: the only place where its successor may.

    ``agent_id`` tells agents of the same host apart, while that agent is known.
    """

    hostname: str
    disks: tuple[str, ...] = ()
    agent_id: str = ""


class Task(msgspec.Struct, frozen=True, gc=False):
    """One try to run instance ``instance`` of job ``key``.

    ``restarts`` counts the tries of this instance before this one, ``failures`` those that failed.
    ``agent_address`` is ``host:port`` of the agent's HTTP endpoint, ``sandbox`` the task's directory
    there. ``throttle_until`` (seconds since the epoch) ends THROTTLED; ``penalty_secs`` is what the
    throttling of a flapping instance has grown to. ``disks`` are the names of the data disks that it
    has. Tasks of the same ``gang`` are placed together or not at all.
    """

    task_id: str
    key: JobKey
    instance: int
    config: TaskConfig
    state: TaskState
    events: tuple[TaskEvent, ...]
    restarts: int = 0
    failures: int = 0
    ancestor_id: str | None = None
    agent_id: str | None = None
    hostname: str | None = None
    agent_address: str | None = None
    ports: dict[str, int] = {}
    sandbox: str = ""
    container_id: str = ""
    throttle_until: float = 0.0
    penalty_secs: float = 0.0
    disks: tuple[str, ...] = ()
    gang: str = ""
    home: Home | None = None

    @property
    def since(self) -> float:
        """When the task entered its present state."""
        return self.events[-1].at

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE
