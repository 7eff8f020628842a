"""What an agent knows: frameworks, runs of executors, tasks. Values and small rules, no I/O."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from framework.local import resources as res
from framework.local.processes import Identity, Watch
from framework.local.resources import Resources
from framework.local.updates import TERMINAL_STATES

Json = dict[str, Any]


class ExecutorStream(Protocol):
    """The stream of a subscribed executor."""

    def send(self, event: Json) -> None: ...

    def end(self) -> None: ...


class RunState(StrEnum):
    """The life of a run; RECOVERING: the agent restarted and the executor has not subscribed again."""

    REGISTERING = "REGISTERING"
    RECOVERING = "RECOVERING"
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


@dataclass
class TaskRecord:
    """A task on the agent. ``delivered``: its LAUNCH was sent. ``group``: what was launched with it."""

    info: Json
    role: str
    group: tuple[str, ...] = ()
    state: str = "TASK_STAGING"
    statuses: list[Json] = field(default_factory=list)
    delivered: bool = False
    killing: Json | None = None
    update_state: str | None = None
    update_uuid: str | None = None

    @property
    def id(self) -> str:
        return str(self.info["task_id"]["value"])

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @property
    def resources(self) -> Resources:
        return res.from_json(self.info.get("resources", []))

    def record(self, status: Json) -> None:
        self.state = status["state"]
        if self.statuses and self.statuses[-1]["state"] == self.state:
            self.statuses[-1] = status
        else:
            self.statuses.append(status)


@dataclass
class Run:
    """One run of an executor. ``command_task``: made by the agent for a task without an executor."""

    framework_id: str
    info: Json
    container_id: str
    directory: Path
    role: str
    checkpoint: bool
    command_task: bool = False
    state: RunState = RunState.REGISTERING
    started: float = field(default_factory=time.time)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    completed: deque[TaskRecord] = field(default_factory=lambda: deque(maxlen=200))
    seen: set[str] = field(default_factory=set)
    who: Identity | None = None
    process: subprocess.Popen[bytes] | None = None
    watch: Watch | None = None
    stream: ExecutorStream | None = None
    timer: asyncio.TimerHandle | None = None
    # state, reason, message: what its end means for its tasks, if not simply that it ended
    verdict: tuple[str, str, str] | None = None
    # nobody waits for updates of its tasks any more
    abandoned: bool = False

    @property
    def executor_id(self) -> str:
        return str(self.info["executor_id"]["value"])

    @property
    def marker(self) -> str:
        """What every process of this run carries in its environment."""
        return f"MESOS_SANDBOX={self.directory}"

    @property
    def past(self) -> set[str]:
        """The ids of the tasks that are over and acknowledged, as far as they are remembered."""
        return {t.id for t in self.completed}

    @property
    def live(self) -> list[TaskRecord]:
        return [t for t in self.tasks.values() if not t.terminal]

    @property
    def resources(self) -> Resources:
        own = res.from_json(self.info.get("resources", []))
        return own + res.total(t.resources for t in self.live)

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass
class AgentFramework:
    """A framework with something on this agent."""

    info: Json
    runs: dict[str, Run] = field(default_factory=dict)
    # runs that are over but whose updates are not all acknowledged
    ended: dict[str, Run] = field(default_factory=dict)
    completed: deque[Run] = field(default_factory=lambda: deque(maxlen=150))
    removed: bool = False

    @property
    def id(self) -> str:
        return str(self.info["id"]["value"])

    @property
    def checkpoint(self) -> bool:
        return bool(self.info.get("checkpoint", False))

    @property
    def user(self) -> str:
        return str(self.info.get("user", ""))

    def lost_state(self, aware: str) -> str:
        """``aware`` for a PARTITION_AWARE framework, TASK_LOST for others."""
        able = {"type": "PARTITION_AWARE"} in self.info.get("capabilities", [])
        return aware if able else "TASK_LOST"

    def all_runs(self) -> list[Run]:
        return [*self.runs.values(), *self.ended.values()]
