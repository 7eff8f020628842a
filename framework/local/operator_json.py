"""The master's state as messages of the v1 operator API (``operator/master.v1.*`` of the recordings).

Pure: a master in, JSON out.
"""

from __future__ import annotations

from typing import Any

from framework.local import resources as res
from framework.local import state_json
from framework.local.build import CAPABILITIES
from framework.local.cluster import Agent, Framework, task_json
from framework.local.master import Master
from framework.local.operator_events import framework_json, nanoseconds
from framework.local.settings import VERSION
from framework.local.state_json import by_role, in_full

Json = dict[str, Any]


def agent_json(agent: Agent) -> Json:
    """``Response.GetAgents.Agent``."""
    result: Json = {
        "agent_info": agent.info | {"checkpoint": True},
        "active": agent.link is not None,
        "deactivated": False,
        "version": VERSION,
        "pid": agent.pid,
        "registered_time": nanoseconds(agent.registered_time),
    }
    if agent.reregistered_time:
        result["reregistered_time"] = nanoseconds(agent.reregistered_time)
    result["total_resources"] = res.to_json(agent.total, old_form=True)
    full = in_full(agent)
    for name, key in (("allocated", "used"), ("offered", "offered")):
        if full[f"{key}_resources_full"]:
            result[f"{name}_resources"] = full[f"{key}_resources_full"]
    result["capabilities"] = [{"type": c} for c in CAPABILITIES]
    return result


def get_agents(master: Master) -> Json:
    """Returns the answer to GET_AGENTS."""
    known = master.registry.contents.agents
    return {
        "agents": [agent_json(a) for a in master.agents.values()],
        "recovered_agents": [known[a].info for a in master.recovered_agents if a in known],
    }


def get_frameworks(master: Master) -> Json:
    """Returns the answer to GET_FRAMEWORKS."""
    return {
        "frameworks": [_framework_full(master, f) for f in master.frameworks.values()],
        "completed_frameworks": [_framework_full(master, f) for f in master.completed],
    }


def _framework_full(master: Master, framework: Framework) -> Json:
    result = framework_json(framework)
    if not framework.unregistered_time:
        del result["unregistered_time"]
    offers = []
    for offer in framework.offers.values():
        items = res.to_json(offer.resources, offer.role, offered=True)
        offers.append(offer.json | {"resources": items, "allocation_info": {"role": offer.role}})
    if offers:
        result["offers"] = offers
    used = [
        (h.role, h.resources)
        for a in master.agents.values()
        for h in a.holders()
        if h.framework_id == framework.id and framework.id in master.frameworks
    ]
    if used:
        result["allocated_resources"] = by_role(used)
    if offers:
        held = [(o.role, o.resources) for o in framework.offers.values()]
        result["offered_resources"] = by_role(held, offered=True)
    return result | {"offer_constraints": {}}


def get_tasks(master: Master) -> Json:
    """Returns the answer to GET_TASKS."""
    everyone = [*master.frameworks.values(), *master.completed]
    return {
        "tasks": [task_json(t) for f in master.frameworks.values() for t in f.tasks.values()],
        "unreachable_tasks": [task_json(t) for f in everyone for t in f.unreachable.values()],
        "completed_tasks": [task_json(t) for f in everyone for t in f.completed],
    }


def get_executors(master: Master) -> Json:
    """Returns the answer to GET_EXECUTORS."""
    return {
        "executors": [
            {"executor_info": e.info, "agent_id": {"value": a.id}}
            for a in master.agents.values()
            for e in a.executors.values()
            if e.framework_id in master.frameworks
        ]
    }


def get_roles(master: Master) -> Json:
    """Returns the answer to GET_ROLES."""
    result = []
    amounts = {name for agent in master.agents.values() for name, _ in agent.total.scalars}
    for item in state_json.roles(master)["roles"]:
        scalars = [
            {"name": n, "type": "SCALAR", "scalar": {"value": v}}
            for n, v in item["resources"].items()
            if n in amounts
        ]
        role: Json = {"name": item["name"], "weight": 1.0}
        if item["frameworks"]:
            role["frameworks"] = [{"value": f} for f in item["frameworks"]]
        if scalars:
            role["resources"] = scalars
        result.append(role)
    return {"roles": result}


def get_state(master: Master) -> Json:
    """Returns the answer to GET_STATE."""
    return {
        "get_tasks": get_tasks(master),
        "get_executors": get_executors(master),
        "get_frameworks": get_frameworks(master),
        "get_agents": get_agents(master),
    }
