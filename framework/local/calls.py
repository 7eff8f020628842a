"""The calls of a subscribed framework, all but SUBSCRIBE and the launching part of ACCEPT."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from framework.local import launching, validation
from framework.local.cluster import Agent, Framework, Task, status, update_event
from framework.local.http import Answer
from framework.local.master import Master
from framework.local.operator_events import shown_info
from framework.local.updates import TERMINAL_STATES

log = logging.getLogger(__name__)

Json = dict[str, Any]
DEFAULT_REFUSE_SECS = 5.0


def refuse_seconds(call: Json) -> float:
    """How long an offer is refused: 5 s unless the filters say otherwise; negative counts as default."""
    secs = float(call.get("filters", {}).get("refuse_seconds", DEFAULT_REFUSE_SECS))
    return secs if secs >= 0 else DEFAULT_REFUSE_SECS


class SchedulerCalls:
    """Carries calls out. Each is already well formed and from the framework's own stream."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._handlers: dict[str, Callable[[Framework, Json], None]] = {
            "TEARDOWN": self._teardown,
            "ACCEPT": self._accept,
            "DECLINE": self._decline,
            "ACCEPT_INVERSE_OFFERS": self._inverse_offers,
            "DECLINE_INVERSE_OFFERS": self._inverse_offers,
            "REVIVE": self._revive,
            "SUPPRESS": self._suppress,
            "KILL": self._kill,
            "SHUTDOWN": self._shutdown,
            "ACKNOWLEDGE": self._acknowledge,
            "ACKNOWLEDGE_OPERATION_STATUS": self._nothing,
            "RECONCILE": self._reconcile,
            "RECONCILE_OPERATIONS": self._reconcile_operations,
            "MESSAGE": self._message,
            "REQUEST": self._nothing,
            "UPDATE_FRAMEWORK": self._update_framework,
        }

    def __call__(self, framework: Framework, call: Json) -> int:
        """Returns the status of the answer: 202, or 200 for UPDATE_FRAMEWORK (31).

        Raises :class:`Answer` with 501 for the type UNKNOWN, which makes a real 1.11 master abort (25).
        """
        kind = call["type"]
        handler = self._handlers.get(kind)
        if handler is None:
            raise Answer(501, "501 Not Implemented.")
        framework.count(f"calls/{kind.lower()}")
        handler(framework, call)
        return 200 if kind == "UPDATE_FRAMEWORK" else 202

    def _nothing(self, framework: Framework, call: Json) -> None:
        """REQUEST is ignored by Mesos's allocator; operations here end before they need an answer."""

    def _teardown(self, framework: Framework, call: Json) -> None:
        self._master.remove_framework(framework)

    # -- offers --

    def _accept(self, framework: Framework, call: Json) -> None:
        launching.accept(self._master, framework, call["accept"], refuse_seconds(call["accept"]))
        self._master.allocate_soon()

    def _decline(self, framework: Framework, call: Json) -> None:
        secs = refuse_seconds(call["decline"])
        for item in call["decline"].get("offer_ids", []):
            offer = framework.offers.get(item["value"])
            if offer is not None:
                framework.count("offers/declined")
                self._master.take_back(offer)
                self._master.refuse(framework, offer.role, offer.agent_id, offer.resources, secs)
        self._master.allocate_soon()

    def _inverse_offers(self, framework: Framework, call: Json) -> None:
        body = call[call["type"].lower()]
        self._master.answer_inverse_offers(
            framework,
            [i["value"] for i in body.get("inverse_offer_ids", [])],
            refuse_seconds(body),
        )

    def _revive(self, framework: Framework, call: Json) -> None:
        roles = call.get("revive", {}).get("roles") or framework.roles
        framework.suppressed -= set(roles)
        self._master.filters.clear(framework.id, roles)
        self._master.allocate()

    def _suppress(self, framework: Framework, call: Json) -> None:
        framework.suppressed |= set(call.get("suppress", {}).get("roles") or framework.roles)

    def _update_framework(self, framework: Framework, call: Json) -> None:
        body = call["update_framework"]
        info = body["framework_info"]
        if problem := validation.framework_info(info):
            raise Answer(400, f"'UpdateFramework.framework_info' is not valid: {problem}")
        for name in ("user", "checkpoint", "principal"):
            if name in info and info[name] != framework.info.get(name, False):
                raise Answer(
                    400, f"Updating 'FrameworkInfo.{name}' is unsupported; attempted to change it"
                )
        self._master.change_info(framework, info)
        framework.suppressed = set(body.get("suppressed_roles", []))
        self._master.filters.clear(framework.id)
        for offer in list(framework.offers.values()):
            if offer.role not in framework.roles:
                self._master.take_back(offer, rescind=True)
        self._master.registry.keep_framework(framework.id, framework.info, framework.registered_time)
        self._master.watchers.framework(framework, added=False)
        self._master.tell_agents(
            {"type": "framework_updated", "framework": shown_info(framework), "flush": False}
        )
        self._master.allocate_soon()

    # -- tasks --

    def _kill(self, framework: Framework, call: Json) -> None:
        kill = call["kill"]
        task = framework.tasks.get(kill["task_id"]["value"])
        if task is None:
            self._answer(framework, kill["task_id"]["value"], kill.get("agent_id"))
            return
        agent = self._master.agents.get(task.agent_id)
        if agent is not None and agent.link is not None:
            message = {"type": "kill", "framework_id": framework.id, "task_id": task.id}
            agent.link.send({**message, "kill_policy": kill.get("kill_policy")})

    def _shutdown(self, framework: Framework, call: Json) -> None:
        agent = self._agent(call["shutdown"])
        if agent is not None and agent.link is not None:
            executor_id = call["shutdown"]["executor_id"]["value"]
            agent.link.send(
                {"type": "shutdown_executor", "framework_id": framework.id, "executor_id": executor_id}
            )

    def _acknowledge(self, framework: Framework, call: Json) -> None:
        body = call["acknowledge"]
        task_id, uuid = body["task_id"]["value"], body["uuid"]
        agent = self._agent(body)
        if agent is None or agent.link is None:
            return
        self._master.count("valid_status_update_acknowledgements")
        task = framework.tasks.get(task_id)
        if task is not None and task.update_state in TERMINAL_STATES and task.update_uuid == uuid:
            self._complete(framework, agent, task)
        message = {"type": "ack", "framework_id": framework.id, "task_id": task_id, "uuid": uuid}
        agent.link.send(message)

    def _complete(self, framework: Framework, agent: Agent, task: Task) -> None:
        framework.tasks.pop(task.id, None)
        agent.tasks.pop((framework.id, task.id), None)
        framework.completed.append(task)

    def _message(self, framework: Framework, call: Json) -> None:
        agent = self._agent(call["message"])
        if agent is None or agent.link is None:
            self._master.count("invalid_framework_to_executor_messages")
            return
        self._master.count("valid_framework_to_executor_messages")
        body = call["message"]
        agent.link.send(
            {
                "type": "message",
                "framework_id": framework.id,
                "executor_id": body["executor_id"]["value"],
                "data": body["data"],
            }
        )

    def _agent(self, body: Json) -> Agent | None:
        return self._master.agents.get(body["agent_id"]["value"])

    # -- reconciliation (04, 10, 16, 22, 35, 39) --

    def _reconcile(self, framework: Framework, call: Json) -> None:
        tasks = call["reconcile"].get("tasks", [])
        if tasks:
            for item in tasks:
                self._answer(framework, item["task_id"]["value"], item.get("agent_id"))
        else:
            for task in list(framework.tasks.values()):
                framework.send(update_event(self._latest(task)))

    def _answer(self, framework: Framework, task_id: str, agent: Json | None) -> None:
        """Tells a framework the state of one task; nothing while nobody can know it."""
        agent_id = None if agent is None else str(agent["value"])
        task = framework.tasks.get(task_id)
        if task is not None:
            framework.send(update_event(self._latest(task)))
        elif (
            gone := framework.unreachable.get(task_id)
        ) is not None or agent_id in self._master.unreachable:
            framework.send(update_event(self._unreachable(framework, task_id, agent_id, gone)))
        elif agent_id is not None and agent_id in self._master.agents:
            state = framework.lost_state("TASK_GONE")
            framework.send(
                update_event(
                    status(
                        task_id,
                        state,
                        "Reconciliation: Task is unknown to the agent",
                        "REASON_RECONCILIATION",
                        agent_id=agent_id,
                    )
                )
            )
        elif not self._may_come_back(agent_id):
            state = framework.lost_state("TASK_UNKNOWN")
            framework.send(
                update_event(
                    status(
                        task_id,
                        state,
                        "Reconciliation: Task is unknown",
                        "REASON_RECONCILIATION",
                        agent_id=agent_id,
                    )
                )
            )

    def _may_come_back(self, agent_id: str | None) -> bool:
        """Whether an agent from before the master's restart, not yet back, may have the task."""
        recovered = self._master.recovered_agents
        return bool(recovered) if agent_id is None else agent_id in recovered

    def _unreachable(
        self, framework: Framework, task_id: str, agent_id: str | None, task: Task | None
    ) -> Json:
        where = task.agent_id if task is not None else agent_id
        result = status(
            task_id,
            framework.lost_state("TASK_UNREACHABLE"),
            "Reconciliation: Task is unreachable",
            "REASON_RECONCILIATION",
            agent_id=where,
        )
        since = task.unreachable_time if task is not None else self._master.unreachable.get(where or "")
        return {**result, "unreachable_time": since} if since else result

    def _latest(self, task: Task) -> Json:
        result = status(
            task.id,
            task.update_state or task.state,
            "Reconciliation: Latest task state",
            "REASON_RECONCILIATION",
            agent_id=task.agent_id,
            executor_id=task.executor_id,
        )
        newest = task.statuses[-1] if task.statuses else {}
        kept = ("healthy", "check_status", "container_status")
        return {**result, **{k: newest[k] for k in kept if k in newest}}

    def _reconcile_operations(self, framework: Framework, call: Json) -> None:
        for item in call["reconcile_operations"].get("operations", []):
            answer = {"operation_id": item["operation_id"], "state": "OPERATION_UNKNOWN"}
            answer |= {"message": "Reconciliation: Operation is unknown"}
            if "agent_id" in item:
                answer["agent_id"] = item["agent_id"]
            framework.send(
                {"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": answer}}
            )
