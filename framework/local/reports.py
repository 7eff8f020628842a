"""The agent's reports: what executors, and the agent itself, say of tasks, on its way to the master."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from framework.local.runs import AgentFramework, Run, TaskRecord
from framework.local.updates import UpdateManager

if TYPE_CHECKING:
    from framework.local.agent import Agent

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Reports:
    """The part of an agent that sends status updates until they are acknowledged."""

    def __init__(self, agent: Agent, retry: float) -> None:
        self.pending = UpdateManager(retry)
        self._agent = agent
        self._timer: asyncio.TimerHandle | None = None

    def update(self, run: Run, given: Json) -> None:
        """Takes an update of an executor in; the executor is told once it is written down (02).

        One that was seen before, or that comes after the task's end, is acknowledged and dropped. One
        of a task that the agent does not know goes on, but the executor is told nothing (18).
        """
        acknowledged = {"task_id": given["task_id"], "uuid": given["uuid"]}
        task = run.tasks.get(given["task_id"]["value"])
        if given["uuid"] not in run.seen and (task is None or not task.terminal):
            self._agent.count("valid_status_updates")
            self._take(run, self._complete(run, task, given))
        if run.stream is not None and (task is not None or given["task_id"]["value"] in run.past):
            run.stream.send({"type": "ACKNOWLEDGED", "acknowledged": acknowledged})

    def _complete(self, run: Run, task: TaskRecord | None, given: Json) -> Json:
        """Adds what the agent knows, in the order in which Mesos writes it (02, 14, 18)."""
        status: Json = {"task_id": given["task_id"], "state": given["state"]}
        status |= {k: given[k] for k in ("message", "source", "reason", "data") if k in given}
        status["agent_id"] = {"value": self._agent.id}
        if run.command_task:
            status["executor_id"] = run.info["executor_id"]
        status["timestamp"] = float(given.get("timestamp", time.time()))
        status["uuid"] = given["uuid"]
        status |= {k: given[k] for k in ("healthy", "check_status", "labels") if k in given}
        if task is not None:
            address = {"protocol": "IPv4", "ip_address": self._agent.config.address}
            container: Json = {
                "container_id": {"value": run.container_id},
                "network_infos": [{"ip_addresses": [address]}],
            }
            if run.who is not None:
                container["executor_pid"] = run.who.pid
            status["container_status"] = {**container, **given.get("container_status", {})}
        return status

    def own(self, run: Run, task_id: str, state: str, message: str, reason: str) -> None:
        """Reports on behalf of an executor that cannot."""
        self._take(run, self._own_status(task_id, state, message, reason, run.executor_id))

    def turn_away(self, framework: AgentFramework, info: Json, tasks: list[Json], why: str) -> None:
        """Reports tasks that never got to an executor."""
        for task in tasks:
            task_id = task["task_id"]["value"]
            state = framework.lost_state("TASK_DROPPED")
            executor_id = info["executor_id"]["value"]
            update = self._own_status(task_id, state, why, "REASON_EXECUTOR_TERMINATED", executor_id)
            self._queue((framework.id, task_id), update)

    def _own_status(self, task_id: str, state: str, message: str, reason: str, executor_id: str) -> Json:
        return {
            "task_id": {"value": task_id},
            "state": state,
            "message": message,
            "source": "SOURCE_AGENT",
            "reason": reason,
            "agent_id": {"value": self._agent.id},
            "executor_id": {"value": executor_id},
            "timestamp": time.time(),
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
        }

    def _take(self, run: Run, status: Json) -> None:
        """Writes an update down and sends it when its turn comes."""
        self._agent.journal.write(run, {"update": status})
        run.seen.add(status["uuid"])
        task = run.tasks.get(status["task_id"]["value"])
        if task is not None:
            task.record(status)
            self._agent.count("tasks_" + status["state"].removeprefix("TASK_").lower())
        self._queue((run.framework_id, status["task_id"]["value"]), status)

    def _queue(self, key: tuple[str, str], status: Json) -> None:
        if self.pending.add(key, status, self._agent.loop.time()) is not None:
            self._forward(key[0], status)
            self._arm()

    def _forward(self, framework_id: str, status: Json) -> None:
        run = self._agent.run_of(framework_id, status["task_id"]["value"])
        latest = None
        if run is not None:
            task = run.tasks[status["task_id"]["value"]]
            task.update_state, task.update_uuid = status["state"], status["uuid"]
            latest = task.state
        self._agent.send(
            {"type": "update", "framework_id": framework_id, "status": status, "latest_state": latest}
        )

    def acknowledge(self, framework_id: str, task_id: str, update_uuid: str) -> None:
        """The framework has acknowledged an update: the next one of the task goes out (15)."""
        key = (framework_id, task_id)
        done, following = self.pending.acknowledge(key, update_uuid, self._agent.loop.time())
        run = self._agent.run_of(framework_id, task_id)
        if done is not None and run is not None:
            self._agent.journal.write(run, {"ack": {"task_id": task_id, "uuid": update_uuid}})
            if run.tasks[task_id].terminal and not self.pending.has(key):
                run.completed.append(run.tasks.pop(task_id))
                self._agent.endings.forget_if_done(run)
        if following is not None:
            self._forward(framework_id, following)
            self._arm()

    def flush(self, framework_id: str | None = None) -> None:
        """Sends all that waits, at once: there is a new master, or the framework is back (08, 37)."""
        for key, status in list(self.pending.heads(self._agent.loop.time(), framework_id)):
            self._forward(key[0], status)
        self._arm()

    def _arm(self) -> None:
        """Sets the one timer to when the next unacknowledged update is due again."""
        due = self.pending.next_due()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return  # wakes up in time, and looks again then
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._agent.loop.call_at(due, self._resend)

    def _resend(self) -> None:
        self._timer = None
        for key, status in self.pending.due(self._agent.loop.time()):
            self._forward(key[0], status)
        self._arm()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
