"""ACCEPT: what a framework makes of its offers. Tasks and task groups are launched, resources reserved.

Every task gets an answer: it goes to the agent, or an update says why not (recordings 13, 23, 32).
"""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from typing import Any

from framework.local import resources as res
from framework.local import validation
from framework.local.cluster import (
    Agent,
    Executor,
    Framework,
    Task,
    status,
    update_event,
)
from framework.local.master import Master
from framework.local.operator_events import shown_info
from framework.local.resources import Resources

Json = dict[str, Any]


@dataclass
class _Deal:
    """One ACCEPT under way: what is still left of its offers."""

    master: Master
    framework: Framework
    agent: Agent
    role: str
    left: Resources


def accept(master: Master, framework: Framework, body: Json, refuse_secs: float) -> None:
    """Carries the operations out; what they leave goes back, refused for ``refuse_secs``."""
    ids = [item["value"] for item in body.get("offer_ids", [])]
    operations = body.get("operations", [])
    problem = _offers_problem(framework, ids)
    offers = [framework.offers[i] for i in dict.fromkeys(ids) if i in framework.offers]
    for offer in offers:
        master.take_back(offer)
    if problem is not None:
        _drop(framework, operations, problem)
        return
    framework.count("offers/accepted", len(offers))
    agent = master.agents[offers[0].agent_id]
    deal = _Deal(master, framework, agent, offers[0].role, res.total(o.resources for o in offers))
    for operation in operations:
        framework.count("operations/" + operation.get("type", "UNKNOWN").lower())
        _OPERATIONS.get(operation.get("type", ""), _unsupported)(deal, operation)
    if allocated := deal.left:
        master.refuse(framework, deal.role, agent.id, allocated, refuse_secs)


def _offers_problem(framework: Framework, ids: list[str]) -> str | None:
    if not ids:
        return "No offers specified"
    if len(set(ids)) != len(ids):
        return "Duplicate offer in offer list"
    for offer_id in ids:
        if offer_id not in framework.offers:
            return f"Offer {offer_id} is no longer valid"
    offers = [framework.offers[i] for i in ids]
    if len({o.agent_id for o in offers}) > 1:
        return "Aggregated offers must belong to one single agent"
    if len({o.role for o in offers}) > 1:
        return "Aggregated offers must be allocated to the same role"
    return None


def _drop(framework: Framework, operations: list[Json], problem: str) -> None:
    """Answers the tasks of operations on offers that are not there."""
    for operation in operations:
        for info in _tasks_of(operation):
            state = framework.lost_state("TASK_DROPPED")
            message = f"Task launched with invalid offers: {problem}"
            _refuse_task(framework, info, state, message, "REASON_INVALID_OFFERS")
        _operation_status(
            framework,
            operation,
            None,
            "OPERATION_DROPPED",
            f"Operation attempted with invalid offers: {problem}",
        )


def _tasks_of(operation: Json) -> list[Json]:
    if operation.get("type") == "LAUNCH":
        return list(operation.get("launch", {}).get("task_infos", []))
    if operation.get("type") == "LAUNCH_GROUP" and "launch_group" in operation:
        return list(operation["launch_group"]["task_group"].get("tasks", []))
    return []


def _refuse_task(framework: Framework, info: Json, state: str, message: str, reason: str) -> None:
    framework.count("tasks/" + state.lower())
    framework.send(
        update_event(
            status(info["task_id"]["value"], state, message, reason, agent_id=info["agent_id"]["value"])
        )
    )


def _allocated(infos: Json, role: str) -> Json:
    """A TaskInfo or ExecutorInfo whose resources say to which role they are allocated."""
    bag = res.from_json(infos.get("resources", []))
    return {**infos, "resources": res.to_json(bag, role)}


def _launch(deal: _Deal, operation: Json) -> None:
    for info in operation.get("launch", {}).get("task_infos", []):
        problem = validation.task(info, **_context(deal))
        if problem is None:
            problem = _shortage(deal, [info], info.get("executor"))
        if problem is not None:
            _refuse_task(deal.framework, info, "TASK_ERROR", problem, "REASON_TASK_INVALID")
        else:
            _start(deal, [info], info.get("executor"), group=False)


def _launch_group(deal: _Deal, operation: Json) -> None:
    group = operation.get("launch_group")
    if group is None:
        return
    tasks = group["task_group"].get("tasks", [])
    problem = validation.task_group(group, **_context(deal))
    if problem is None:
        problem = _shortage(deal, tasks, group["executor"])
    if problem is not None:
        for info in tasks:
            _refuse_task(deal.framework, info, "TASK_ERROR", problem, "REASON_TASK_GROUP_INVALID")
    else:
        _start(deal, tasks, group["executor"], group=True)


def _context(deal: _Deal) -> Json:
    executors = {e: x.info for (f, e), x in deal.agent.executors.items() if f == deal.framework.id}
    return {
        "agent_id": deal.agent.id,
        "known_ids": deal.framework.tasks.keys() | deal.framework.unreachable.keys(),
        "executors": executors,
        "framework_id": deal.framework.id,
    }


def _needs(deal: _Deal, tasks: list[Json], executor: Json | None) -> tuple[Resources, Resources]:
    """What the tasks take, and what their executor takes unless it runs already."""
    own = res.total(res.from_json(info.get("resources", [])) for info in tasks)
    if executor is None or (deal.framework.id, executor["executor_id"]["value"]) in deal.agent.executors:
        return own, res.NOTHING
    return own, res.from_json(executor.get("resources", []))


def _shortage(deal: _Deal, tasks: list[Json], executor: Json | None) -> str | None:
    own, extra = _needs(deal, tasks, executor)
    if deal.left.contains(own + extra):
        return None
    what = "task and its executor" if len(tasks) == 1 else "task group and its executor"
    return (
        f"Total resources {res.describe(own + extra, deal.role)} required by {what} is more than "
        f"available {res.describe(deal.left, deal.role)}"
    )


def _start(deal: _Deal, tasks: list[Json], executor: Json | None, *, group: bool) -> None:
    master, framework, agent = deal.master, deal.framework, deal.agent
    own, extra = _needs(deal, tasks, executor)
    deal.left = deal.left - own - extra
    framework_id = {"value": framework.id}
    launch_executor = True
    if executor is not None:
        executor = {**_allocated(executor, deal.role), "framework_id": framework_id}
        key = (framework.id, executor["executor_id"]["value"])
        launch_executor = key not in agent.executors
        if launch_executor:
            agent.executors[key] = Executor(executor, framework.id, agent.id, deal.role, extra)
    sent: list[Json] = []
    for given in tasks:
        info = _allocated(given, deal.role)
        if executor is not None:
            info["executor"] = executor
        bag = res.from_json(given.get("resources", []))
        executor_id = executor["executor_id"]["value"] if executor is not None else None
        task = Task(info, framework.id, agent.id, executor_id, deal.role, bag)
        framework.tasks[task.id] = task
        agent.tasks[(framework.id, task.id)] = task
        master.watchers.task_added(task)
        sent.append(info)
    if agent.link is not None:
        agent.link.send(
            {
                "type": "run",
                "framework": shown_info(framework),
                "role": deal.role,
                "tasks": sent,
                "executor": executor,
                "launch_executor": launch_executor,
                "group": group,
            }
        )


# -- reservations --


def _reserve(deal: _Deal, operation: Json) -> None:
    given = operation.get("reserve", {}).get("resources", [])
    try:
        wanted = res.from_json(given)
        source = res.from_json([_popped(item) for item in given])
    except ValueError as error:
        _operation_error(deal, operation, f"Invalid RESERVE operation: {error}")
        return
    if not wanted.reserved() or wanted.unreserved() or set(wanted.reserved()) != {deal.role}:
        _operation_error(
            deal,
            operation,
            f"Invalid RESERVE operation: every resource must be reserved for '{deal.role}'",
        )
    else:
        _exchange(deal, operation, source, wanted)


def _unreserve(deal: _Deal, operation: Json) -> None:
    given = operation.get("unreserve", {}).get("resources", [])
    try:
        wanted = res.from_json(given)
        after = res.from_json([_popped(item) for item in given])
    except ValueError as error:
        _operation_error(deal, operation, f"Invalid UNRESERVE operation: {error}")
        return
    if wanted.unreserved():
        _operation_error(deal, operation, "Invalid UNRESERVE operation: a resource is not reserved")
    else:
        _exchange(deal, operation, wanted, after)


def _popped(item: Json) -> Json:
    """The resource without its innermost reservation."""
    result = {k: v for k, v in item.items() if k not in {"role", "reservation", "reservations"}}
    stack = item.get("reservations", [])[:-1]
    return {**result, "reservations": stack} if stack else result


def _exchange(deal: _Deal, operation: Json, before: Resources, after: Resources) -> None:
    if not before or not deal.left.contains(before):
        message = f"Invalid operation: {res.describe(deal.left)} does not contain {res.describe(before)}"
        _operation_error(deal, operation, message)
        return
    deal.left = deal.left - before + after
    deal.agent.total = deal.agent.total - before + after
    _operation_status(deal.framework, operation, deal.agent, "OPERATION_FINISHED")


def _unsupported(deal: _Deal, operation: Json) -> None:
    kind = operation.get("type", "UNKNOWN")
    _operation_error(deal, operation, f"The local Mesos does not support {kind} operations")


def _operation_error(deal: _Deal, operation: Json, message: str) -> None:
    _operation_status(deal.framework, operation, deal.agent, "OPERATION_ERROR", message)


def _operation_status(
    framework: Framework, operation: Json, agent: Agent | None, state: str, message: str = ""
) -> None:
    """Sends the outcome of an operation, if it has an id by which the framework wants to hear of it."""
    if "id" not in operation or operation.get("type") in {"LAUNCH", "LAUNCH_GROUP"}:
        return
    answer: Json = {"operation_id": operation["id"], "state": state}
    if message:
        answer["message"] = message
    if state == "OPERATION_FINISHED":
        answer["uuid"] = {"value": base64.b64encode(uuid.uuid4().bytes).decode()}
    if agent is not None:
        answer["agent_id"] = {"value": agent.id}
    framework.send({"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": answer}})


_OPERATIONS = {
    "LAUNCH": _launch,
    "LAUNCH_GROUP": _launch_group,
    "RESERVE": _reserve,
    "UNRESERVE": _unreserve,
}
