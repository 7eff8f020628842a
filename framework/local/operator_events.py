"""The operator's event stream: who watches the cluster, and what they are told (recording 24)."""

from __future__ import annotations

from typing import Any, Protocol

from framework.local.cluster import Agent, Framework, Task, task_json

Json = dict[str, Any]


class Watcher(Protocol):
    """Somebody who has subscribed to the events of the operator API."""

    def send(self, event: Json) -> None: ...


class Watchers:
    """The subscribers of the operator API."""

    def __init__(self) -> None:
        self._all: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, watcher: Watcher) -> None:
        self._all.add(watcher)

    def discard(self, watcher: Watcher) -> None:
        self._all.discard(watcher)

    def _tell(self, kind: str, body: Json) -> None:
        event = {"type": kind, kind.lower(): body}
        for watcher in list(self._all):
            watcher.send(event)

    def framework(self, framework: Framework, *, added: bool) -> None:
        if self._all:
            body = {"framework": framework_json(framework)}
            self._tell("FRAMEWORK_ADDED" if added else "FRAMEWORK_UPDATED", body)

    def framework_removed(self, framework: Framework) -> None:
        if self._all:
            self._tell("FRAMEWORK_REMOVED", {"framework_info": shown_info(framework)})

    def agent_added(self, agent_json: Json) -> None:
        self._tell("AGENT_ADDED", {"agent": agent_json})

    def agent_removed(self, agent: Agent) -> None:
        self._tell("AGENT_REMOVED", {"agent_id": {"value": agent.id}})

    def task_added(self, task: Task) -> None:
        if self._all:
            self._tell("TASK_ADDED", {"task": task_json(task)})

    def task_updated(self, framework_id: str, status: Json) -> None:
        body = {"framework_id": {"value": framework_id}, "status": status, "state": status["state"]}
        self._tell("TASK_UPDATED", body)


def nanoseconds(seconds: float) -> Json:
    """Returns a duration, or a time, as Mesos's JSON has it."""
    return {"nanoseconds": round(seconds * 1e9)}


def shown_info(framework: Framework) -> Json:
    """A FrameworkInfo as the operator API shows it, with the defaults that Mesos fills in."""
    info = framework.info
    result = {"checkpoint": False, "failover_timeout": 0.0, **info, "id": {"value": framework.id}}
    if not framework.able("MULTI_ROLE"):
        result.setdefault("role", "*")
    return result


def framework_json(framework: Framework) -> Json:
    """``Response.GetFrameworks.Framework`` without resources and offers."""
    return {
        "framework_info": shown_info(framework),
        "active": framework.active,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": nanoseconds(framework.registered_time),
        "reregistered_time": nanoseconds(framework.reregistered_time or framework.registered_time),
        "unregistered_time": nanoseconds(framework.unregistered_time),
    }
