"""The master's side of its agents: registration, loss, return, and what they report.

Recordings: 10, 22 (an agent leaves), 19, 20 (is lost), 11, 39 (restarts), 16, 37 (the master restarts).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from framework.local import resources as res
from framework.local.cluster import (
    Agent,
    AgentLink,
    Executor,
    Framework,
    Task,
    failure_event,
    status,
    update_event,
)
from framework.local.master import Master
from framework.local.operator_json import agent_json
from framework.local.registry import KnownAgent

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Agents:
    """Handles what comes from agents. ``registered`` is called with an agent's name each time one is."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._by_link: dict[int, Agent] = {}
        self.names: dict[str, str] = {}

    def message(self, link: AgentLink, message: Json) -> None:
        """One message of an agent; dropped unless the agent is registered."""
        kind = message["type"]
        if kind == "register":
            self._register(link, message)
            return
        agent = self._by_link.get(id(link))
        if agent is None:
            return
        agent.missed_pings = 0
        if kind == "update":
            self._update(agent, message)
        elif kind == "message":
            self._executor_message(agent, message)
        elif kind == "exited":
            self._exited(agent, message)
        elif kind == "unregister":
            log.info("agent %s unregistered", agent.id)
            self._by_link.pop(id(link), None)
            self._remove(
                agent, f"Agent {agent.hostname} removed: the agent unregistered", unreachable=False
            )

    # -- coming and going --

    def _register(self, link: AgentLink, message: Json) -> None:
        master = self._master
        agent_id = message["agent_id"] or master.next_id("agent", "S{}")
        info = {**message["info"], "id": {"value": agent_id}}
        known = master.agents.get(agent_id)
        came_from = self._origin(agent_id, known)
        agent = self._admit(agent_id, info, message, known)
        agent.link = link
        self._by_link[id(link)] = agent
        self.names[message["name"]] = agent_id
        link.send({"type": "registered", "agent_id": agent_id})
        log.info("agent %s registered (%s)", agent_id, came_from or "new")
        self._adopt_frameworks(agent, message["frameworks"])
        self._adopt_executors(agent, message["executors"])
        self._adopt_tasks(agent, message["tasks"], came_from)
        master.count("slave_reregistrations" if message["agent_id"] else "slave_registrations")
        if known is None:
            master.watchers.agent_added(agent_json(agent))
        master.allocate()

    def _origin(self, agent_id: str, known: Agent | None) -> str:
        """How this agent was known: "", or connected, recovered, unreachable, unknown."""
        master = self._master
        timer = master.recovered_agents.pop(agent_id, None)
        if timer is not None:
            timer.cancel()
            return "recovered"
        if known is not None:
            return "connected"
        if master.unreachable.pop(agent_id, None) is not None:
            return "unreachable"
        return "" if agent_id.startswith(master.id) else "unknown"

    def _admit(self, agent_id: str, info: Json, message: Json, known: Agent | None) -> Agent:
        total = res.from_json(info["resources"])
        registered_time = time.time()
        if known is None:
            agent = Agent(agent_id, info, message["address"], message["port"], total)
        else:
            agent = known
            self._detach(agent)
            if res.from_json(agent.info["resources"]) != total:
                agent.total = total  # else what was reserved stays reserved
            agent.info, agent.address, agent.port = info, message["address"], message["port"]
            agent.reregistered_time = registered_time
        self._master.agents[agent_id] = agent
        self._master.registry.keep_agent(
            agent_id, KnownAgent(info, agent.address, agent.port, agent.registered_time)
        )
        self._master.maintenance.apply(agent)
        return agent

    def _detach(self, agent: Agent) -> None:
        """Forgets an agent's old link and the offers made on it."""
        if agent.removal is not None:
            agent.removal.cancel()
            agent.removal = None
        old, agent.link = agent.link, None
        if old is not None:
            self._by_link.pop(id(old), None)
            old.close()
        for offer in list(agent.offers.values()):
            self._master.take_back(offer, rescind=True)

    def _adopt_frameworks(self, agent: Agent, infos: list[Json]) -> None:
        """Learns of frameworks that a new master does not know; sends the removed ones away."""
        master = self._master
        for info in infos:
            framework_id = info["id"]["value"]
            if master.registry.is_removed(framework_id):
                if agent.link is not None:
                    agent.link.send({"type": "shutdown_framework", "framework_id": framework_id})
            elif framework_id not in master.frameworks:
                framework = Framework(framework_id, info, recovered=True)
                master.frameworks[framework_id] = framework
                master.await_failover(framework)

    def _adopt_executors(self, agent: Agent, executors: list[Json]) -> None:
        """The agent knows best which executors it has, and what they hold."""
        agent.executors = {}
        for item in executors:
            framework_id, info = item["framework_id"], item["info"]
            removed = framework_id not in self._master.frameworks
            if item["command"] and not removed:
                continue  # a command task's resources are those of the task
            bag = res.from_json(item["held"] if removed else info.get("resources", []))
            executor = Executor(info, framework_id, agent.id, item["role"], bag)
            agent.executors[(framework_id, info["executor_id"]["value"])] = executor

    def _adopt_tasks(self, agent: Agent, tasks: list[Json], came_from: str) -> None:
        reported = {(t["framework_id"], t["info"]["task_id"]["value"]): t for t in tasks}
        for key, task in list(agent.tasks.items()):
            if key not in reported:
                self._lose(
                    agent, task, "Reconciliation: Task is unknown to the agent", "REASON_RECONCILIATION"
                )
        for key, item in reported.items():
            framework = self._master.frameworks.get(key[0])
            if framework is None or key in agent.tasks:
                continue
            task = Task(
                item["info"],
                framework.id,
                agent.id,
                item["executor_id"],
                item["role"],
                res.from_json(item["info"].get("resources", [])),
                state=item["state"],
                statuses=item["statuses"],
                update_state=item["update_state"],
                update_uuid=item["update_uuid"],
            )
            framework.unreachable.pop(task.id, None)
            framework.tasks[task.id] = task
            agent.tasks[key] = task
            if came_from in {"unknown", "unreachable"}:
                self._tell_returned(framework, task, came_from)

    def _tell_returned(self, framework: Framework, task: Task, came_from: str) -> None:
        update = status(
            task.id,
            task.state,
            f"{came_from.capitalize()} agent reregistered",
            "REASON_AGENT_REREGISTERED",
            agent_id=task.agent_id,
            executor_id=task.executor_id,
        )
        newest = task.statuses[-1] if task.statuses else {}
        if "container_status" in newest:
            update["container_status"] = newest["container_status"]
        framework.send(update_event(update))

    def disconnected(self, link: AgentLink) -> None:
        """A link broke: the agent may come back in time (19); who does not checkpoint loses (20)."""
        agent = self._by_link.pop(id(link), None)
        if agent is None or agent.link is not link:
            return
        log.info("agent %s disconnected", agent.id)
        agent.link = None
        for offer in list(agent.offers.values()):
            self._master.take_back(offer, rescind=True)
        for key, task in list(agent.tasks.items()):
            framework = self._master.frameworks.get(key[0])
            if framework is None or not framework.info.get("checkpoint", False):
                message = f"Agent {agent.hostname} disconnected"
                self._lose(agent, task, message, "REASON_AGENT_DISCONNECTED")
                agent.executors.pop((key[0], task.executor_id or task.id), None)
        agent.removal = self._master.timers.call_later(
            self._master.config.times.agent_timeout, self.lost, agent
        )

    def ping(self) -> None:
        """Asks every agent for a sign of life; those that missed too many are lost."""
        for agent in list(self._master.agents.values()):
            if agent.link is None:
                continue
            if agent.missed_pings >= self._master.config.times.max_agent_ping_timeouts:
                self.lost(agent)
            else:
                agent.missed_pings += 1
                agent.link.send({"type": "ping"})

    def lost(self, agent: Agent) -> None:
        """An agent was silent for too long: it counts as unreachable."""
        log.warning("agent %s is lost", agent.id)
        self._remove(agent, "health check timed out", unreachable=True)

    def _remove(self, agent: Agent, message: str, *, unreachable: bool) -> None:
        master = self._master
        if master.agents.pop(agent.id, None) is None:
            return
        since: Json | None = {"nanoseconds": time.time_ns()} if unreachable else None
        if since is not None:
            master.unreachable[agent.id] = since
        else:
            master.registry.remove_agent(agent.id)
        for task in list(agent.tasks.values()):
            self._lose(agent, task, message, "REASON_AGENT_REMOVED", since)
        self._detach(agent)
        for inverse in list(agent.inverse_offers.values()):
            master.rescind_inverse(inverse)
        for framework in master.frameworks.values():
            framework.send(failure_event(agent.id))
            framework.count("events/failure")
        master.count("slave_removals")
        master.count("slave_removals/reason_" + ("unhealthy" if unreachable else "unregistered"))
        master.watchers.agent_removed(agent)
        master.allocate_soon()

    def _lose(
        self, agent: Agent, task: Task, message: str, reason: str, unreachable_since: Json | None = None
    ) -> None:
        """Takes a task off its agent; tells its framework unless the task was over."""
        agent.tasks.pop((task.framework_id, task.id), None)
        framework = self._master.frameworks.get(task.framework_id)
        if framework is None:
            return
        framework.tasks.pop(task.id, None)
        if task.terminal:
            framework.completed.append(task)
            return
        state = framework.lost_state("TASK_UNREACHABLE") if unreachable_since else "TASK_LOST"
        update = status(task.id, state, message, reason, agent_id=agent.id, executor_id=task.executor_id)
        if unreachable_since is not None:
            update["unreachable_time"] = task.unreachable_time = unreachable_since
            framework.unreachable[task.id] = task
        task.record(update)
        if unreachable_since is None:
            framework.completed.append(task)
        framework.send(update_event(update))
        self._master.watchers.task_updated(framework.id, update)

    # -- what they report --

    def _update(self, agent: Agent, message: Json) -> None:
        master = self._master
        framework = master.frameworks.get(message["framework_id"])
        update: Json = message["status"]
        if framework is None:
            return
        master.count("valid_status_updates")
        task = framework.tasks.get(update["task_id"]["value"])
        if task is not None:
            was_over = task.terminal
            task.update_state, task.update_uuid = update["state"], update.get("uuid")
            task.record(update)
            latest = message["latest_state"]
            if not task.terminal and latest is not None:
                task.state = latest  # frees its resources at once; the framework hears of it in order
            master.count("tasks_" + update["state"].removeprefix("TASK_").lower())
            if task.terminal and not was_over:
                framework.count("tasks/" + task.state.lower())
                master.allocate_soon()
        framework.send(update_event(update))
        master.watchers.task_updated(framework.id, update)

    def _executor_message(self, agent: Agent, message: Json) -> None:
        framework = self._master.frameworks.get(message["framework_id"])
        if framework is None:
            return
        self._master.count("valid_executor_to_framework_messages")
        body = {
            "agent_id": {"value": agent.id},
            "executor_id": {"value": message["executor_id"]},
            "data": message["data"],
        }
        framework.send({"type": "MESSAGE", "message": body})

    def _exited(self, agent: Agent, message: Json) -> None:
        framework_id, executor_id = message["framework_id"], message["executor_id"]
        agent.executors.pop((framework_id, executor_id), None)
        framework = self._master.frameworks.get(framework_id)
        if framework is not None and not message["command"]:
            framework.send(failure_event(agent.id, executor_id, message["status"]))
        self._master.allocate_soon()
