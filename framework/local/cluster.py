"""What the master knows: frameworks, agents, tasks, offers. Values and small rules, no I/O."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from framework.local import resources as res
from framework.local import validation
from framework.local.resources import NOTHING, Resources
from framework.local.updates import TERMINAL_STATES

Json = dict[str, Any]

MAX_COMPLETED_FRAMEWORKS = 50
MAX_COMPLETED_TASKS = 1000


class Session(Protocol):
    """The stream of a subscribed framework."""

    stream_id: str

    def send(self, event: Json) -> None: ...

    def end(self) -> None: ...


class AgentLink(Protocol):
    """The way to an agent."""

    def send(self, message: Json) -> None: ...

    def close(self) -> None: ...


class Cancellable(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None: ...


@dataclass
class Task:
    """A task as the master sees it. ``executor_id`` is None for a command task."""

    info: Json
    framework_id: str
    agent_id: str
    executor_id: str | None
    role: str
    resources: Resources
    state: str = "TASK_STAGING"
    statuses: list[Json] = field(default_factory=list)
    update_state: str | None = None
    update_uuid: str | None = None
    unreachable_time: Json | None = None

    @property
    def id(self) -> str:
        return str(self.info["task_id"]["value"])

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    def record(self, status: Json) -> None:
        """Takes a status into the history; the newest of each state stands for it."""
        self.state = status["state"]
        kept = {k: v for k, v in status.items() if k != "data"}
        if self.statuses and self.statuses[-1]["state"] == status["state"]:
            self.statuses[-1] = kept
        else:
            self.statuses.append(kept)


@dataclass
class Executor:
    """An executor that runs on an agent."""

    info: Json
    framework_id: str
    agent_id: str
    role: str
    resources: Resources


@dataclass
class Offer:
    """Resources of an agent that a framework may take. ``json``: as the framework has been told."""

    id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources
    json: Json


class Holder(Protocol):
    """Whatever holds resources of an agent."""

    framework_id: str
    role: str
    resources: Resources


@dataclass
class InverseOffer:
    """The question to a framework whether it can leave an agent."""

    id: str
    framework_id: str
    agent_id: str


@dataclass
class Framework:
    """A framework, subscribed or waiting for its failover timeout."""

    id: str
    info: Json
    session: Session | None = None
    active: bool = False
    recovered: bool = False
    registered_time: float = field(default_factory=time.time)
    reregistered_time: float = 0.0
    unregistered_time: float = 0.0
    suppressed: set[str] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)
    completed: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    unreachable: dict[str, Task] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    removal: Cancellable | None = None
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def connected(self) -> bool:
        return self.session is not None

    @property
    def roles(self) -> tuple[str, ...]:
        return validation.roles(self.info)

    @property
    def capabilities(self) -> frozenset[str]:
        return validation.capabilities(self.info)

    def able(self, capability: str) -> bool:
        return capability in self.capabilities

    def lost_state(self, aware: str) -> str:
        """``aware`` for a PARTITION_AWARE framework, TASK_LOST for others."""
        return aware if self.able("PARTITION_AWARE") else "TASK_LOST"

    def send(self, event: Json) -> None:
        if self.session is not None:
            self.session.send(event)

    def count(self, what: str, by: int = 1) -> None:
        self.counters[what] = self.counters.get(what, 0) + by


@dataclass
class Agent:
    """An agent that registered; ``link`` is None while it is disconnected."""

    id: str
    info: Json
    address: str
    port: int
    total: Resources
    link: AgentLink | None = None
    registered_time: float = field(default_factory=time.time)
    reregistered_time: float = 0.0
    tasks: dict[tuple[str, str], Task] = field(default_factory=dict)
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    inverse_offers: dict[str, InverseOffer] = field(default_factory=dict)
    removal: Cancellable | None = None
    unavailability: Json | None = None
    missed_pings: int = 0

    @property
    def hostname(self) -> str:
        return str(self.info["hostname"])

    @property
    def pid(self) -> str:
        return f"slave(1)@{self.address}:{self.port}"

    @property
    def url(self) -> Json:
        address = {"hostname": self.hostname, "ip": self.address, "port": self.port}
        return {"scheme": "http", "address": address, "path": "/slave(1)"}

    def holders(self) -> list[Holder]:
        """The tasks that are not over, and the executors."""
        return [*(t for t in self.tasks.values() if not t.terminal), *self.executors.values()]

    @property
    def used(self) -> Resources:
        return res.total(h.resources for h in self.holders())

    @property
    def offered(self) -> Resources:
        return res.total(o.resources for o in self.offers.values())

    @property
    def free(self) -> Resources:
        """Never more than what is neither used nor offered."""
        return self.total - self.used - self.offered if self.link is not None else NOTHING

    def used_by(self, framework_id: str) -> Resources:
        return res.total(h.resources for h in self.holders() if h.framework_id == framework_id)


def status(
    task_id: str,
    state: str,
    message: str,
    reason: str,
    *,
    agent_id: str | None = None,
    executor_id: str | None = None,
) -> Json:
    """Returns a status that the master makes: it has no uuid and must not be acknowledged."""
    result: Json = {"task_id": {"value": task_id}, "state": state, "message": message}
    result |= {"source": "SOURCE_MASTER", "reason": reason}
    if agent_id is not None:
        result["agent_id"] = {"value": agent_id}
    if executor_id is not None:
        result["executor_id"] = {"value": executor_id}
    result["timestamp"] = time.time()
    return result


def update_event(of: Json) -> Json:
    """Returns the UPDATE event for a status."""
    return {"type": "UPDATE", "update": {"status": of}}


def failure_event(agent_id: str, executor_id: str | None = None, wait_status: int | None = None) -> Json:
    """Returns the FAILURE event: of an executor, with its raw wait status, or of a whole agent."""
    failure: Json = {"agent_id": {"value": agent_id}}
    if executor_id is not None:
        failure["executor_id"] = {"value": executor_id}
    if wait_status is not None:
        failure["status"] = wait_status
    return {"type": "FAILURE", "failure": failure}


def task_json(task: Task) -> Json:
    """Returns Mesos's ``Task`` message."""
    info = task.info
    result: Json = {"name": info["name"], "task_id": info["task_id"]}
    result["framework_id"] = {"value": task.framework_id}
    if task.executor_id is not None:
        result["executor_id"] = {"value": task.executor_id}
    result["agent_id"] = {"value": task.agent_id}
    result["state"] = task.state
    result["resources"] = res.to_json(task.resources, task.role)
    if task.statuses:
        result["statuses"] = task.statuses
    if task.update_state is not None:
        result["status_update_state"] = task.update_state
        result["status_update_uuid"] = task.update_uuid
    for name in ("labels", "discovery", "container", "kill_policy"):
        if name in info:
            result[name] = info[name]
    return result
