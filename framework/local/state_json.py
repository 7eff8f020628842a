"""The master's state as /state, /slaves, /tasks … show it: flat ids, resources summed up.

Pure: a master in, JSON out. The shapes are those of the recordings in ``operator/``.
"""

from __future__ import annotations

from typing import Any

from framework.local import resources as res
from framework.local.build import CAPABILITIES, build_info
from framework.local.cluster import Agent, Framework, Offer, Task
from framework.local.master import Master
from framework.local.settings import VERSION

Json = dict[str, Any]

_STATES = (
    "STAGING",
    "STARTING",
    "RUNNING",
    "KILLING",
    "FINISHED",
    "KILLED",
    "FAILED",
    "LOST",
    "ERROR",
    "UNREACHABLE",
)


# -- /state and its parts --


def task_state(task: Task) -> Json:
    """Returns a task as the endpoints of the first API show it."""
    result: Json = {
        "id": task.id,
        "name": task.info["name"],
        "framework_id": task.framework_id,
        "executor_id": task.executor_id or "",
        "slave_id": task.agent_id,
        "state": task.state,
        "resources": res.summary(task.resources),
        "role": task.role,
        "statuses": [status_state(s) for s in task.statuses],
    }
    return result | describe_info(task.info)


def describe_info(info: Json) -> Json:
    """The labels and the discovery of a task, if it has them."""
    result: Json = {}
    if "labels" in info:
        result["labels"] = info["labels"].get("labels", [])
    if "discovery" in info:
        result["discovery"] = info["discovery"]
    return result


def status_state(status: Json) -> Json:
    """Returns a status of a task as they show it."""
    shown = ("state", "timestamp", "labels", "healthy")
    result: Json = {k: status[k] for k in shown if k in status}
    if "container_status" in status:
        container = status["container_status"]
        result["container_status"] = {k: v for k, v in container.items() if k != "executor_pid"}
    return result


def command_state(command: Json) -> Json:
    """Returns a CommandInfo as they show it."""
    result: Json = {"value": command["value"]} if "value" in command else {}
    result["argv"] = command.get("arguments", [])
    if "environment" in command:
        result["environment"] = command["environment"]
    if "user" in command:
        result["user"] = command["user"]
    uris = command.get("uris", [])
    result["uris"] = [{"executable": False, "extract": True, "cache": False, **u} for u in uris]
    return result


def offer_state(offer: Offer) -> Json:
    """Returns an offer as they show it."""
    return {
        "id": offer.id,
        "framework_id": offer.framework_id,
        "allocation_info": {"role": offer.role},
        "slave_id": offer.agent_id,
        "resources": res.summary(offer.resources),
    }


def framework_summary(master: Master, framework: Framework) -> Json:
    """Returns a framework as the master's ``/state-summary`` shows it."""
    used = res.total(a.used_by(framework.id) for a in master.agents.values())
    offered = res.total(o.resources for o in framework.offers.values())
    shown = framework.id in master.frameworks
    result: Json = {
        "id": framework.id,
        "name": framework.info["name"],
        "used_resources": res.summary(used if shown else res.NOTHING),
        "offered_resources": res.summary(offered),
        "capabilities": sorted(framework.capabilities),
        "hostname": framework.info.get("hostname", ""),
        "webui_url": framework.info.get("webui_url", ""),
        "active": framework.active,
        "connected": framework.connected,
        "recovered": framework.recovered,
    }
    return {k: v for k, v in result.items() if k != "webui_url" or v}


def framework_state(master: Master, framework: Framework) -> Json:
    """Returns a framework as the master's ``/state`` shows it."""
    summary = framework_summary(master, framework)
    info = framework.info
    shown = framework.id in master.frameworks
    used = res.total(a.used_by(framework.id) for a in master.agents.values()) if shown else res.NOTHING
    whole = used + res.total(o.resources for o in framework.offers.values())
    result = summary | {
        "user": info["user"],
        "failover_timeout": info.get("failover_timeout", 0.0),
        "checkpoint": info.get("checkpoint", False),
        "registered_time": framework.registered_time,
        "unregistered_time": framework.unregistered_time,
        "resources": res.summary(whole),
    }
    if "principal" in info:
        result["principal"] = info["principal"]
    if framework.reregistered_time:
        result["reregistered_time"] = framework.reregistered_time
    if framework.able("MULTI_ROLE"):
        result["roles"] = list(framework.roles)
    else:
        result["role"] = framework.roles[0]
    if "labels" in info:
        result["labels"] = info["labels"].get("labels", [])
    result["tasks"] = [task_state(t) for t in framework.tasks.values()]
    result["unreachable_tasks"] = [task_state(t) for t in framework.unreachable.values()]
    result["completed_tasks"] = [task_state(t) for t in framework.completed]
    result["offers"] = [offer_state(o) for o in framework.offers.values()]
    result["executors"] = _executors_state(master, framework) if shown else []
    result["offer_constraints"] = {}
    return result


def _executors_state(master: Master, framework: Framework) -> list[Json]:
    return [
        {
            "executor_id": executor.info["executor_id"]["value"],
            "name": executor.info.get("name", ""),
            "framework_id": framework.id,
            "command": command_state(executor.info.get("command", {})),
            "resources": res.summary(executor.resources),
            "role": executor.role,
            "slave_id": agent.id,
        }
        for agent in master.agents.values()
        for executor in agent.executors.values()
        if executor.framework_id == framework.id
    ]


def attributes_state(attributes: list[Json]) -> Json:
    """Returns attributes by name, as they show them."""
    result: Json = {}
    for item in attributes:
        if item["type"] == "SCALAR":
            result[item["name"]] = item["scalar"]["value"]
        elif item["type"] == "RANGES":
            parts = [f"{r['begin']}-{r['end']}" for r in item["ranges"]["range"]]
            result[item["name"]] = f"[{', '.join(parts)}]"
        else:
            result[item["name"]] = item["text"]["value"]
    return result


def agent_state(agent: Agent) -> Json:
    """Returns an agent as they show it."""
    result: Json = {
        "id": agent.id,
        "hostname": agent.hostname,
        "port": agent.port,
        "attributes": attributes_state(agent.info.get("attributes", [])),
        "pid": agent.pid,
        "registered_time": agent.registered_time,
    }
    if agent.reregistered_time:
        result["reregistered_time"] = agent.reregistered_time
    return result | {
        "resources": res.summary(agent.total),
        "used_resources": res.summary(agent.used),
        "offered_resources": res.summary(agent.offered),
        "reserved_resources": {r: res.summary(bag) for r, bag in agent.total.reserved().items()},
        "unreserved_resources": res.summary(agent.total.unreserved()),
        "active": agent.link is not None,
        "deactivated": False,
        "version": VERSION,
        "capabilities": list(CAPABILITIES),
    }


def slaves(master: Master, agent_id: str | None = None) -> Json:
    """/slaves: as in /state, with the resources in full."""
    found = [a for a in master.agents.values() if agent_id in {None, a.id}]
    return {
        "slaves": [agent_state(a) | in_full(a) for a in found],
        "recovered_slaves": _recovered(master),
    }


def in_full(agent: Agent) -> Json:
    """An agent's resources as messages."""
    used = [(h.role, h.resources) for h in agent.holders()]
    offered = [(o.role, o.resources) for o in agent.offers.values()]
    reserved = agent.total.reserved().items()
    return {
        "reserved_resources_full": {role: res.to_json(bag, old_form=True) for role, bag in reserved},
        "unreserved_resources_full": res.to_json(agent.total.unreserved(), old_form=True),
        "used_resources_full": by_role(used),
        "offered_resources_full": by_role(offered, offered=True),
    }


def by_role(parts: list[tuple[str, res.Resources]], *, offered: bool = False) -> list[Json]:
    """Sums resources up by the role that they are allocated to."""
    bags: dict[str, res.Resources] = {}
    for role, bag in parts:
        bags[role] = bags.get(role, res.NOTHING) + bag
    return [
        item
        for role, bag in bags.items()
        for item in res.to_json(bag, role, old_form=True, offered=offered)
    ]


def _recovered(master: Master) -> list[Json]:
    known = master.registry.contents.agents
    return [
        {"id": agent_id, "hostname": known[agent_id].info["hostname"], "port": known[agent_id].port}
        for agent_id in master.recovered_agents
        if agent_id in known
    ]


def frameworks(master: Master, framework_id: str | None = None) -> Json:
    """/frameworks."""
    live = [f for f in master.frameworks.values() if framework_id in {None, f.id}]
    gone = [f for f in master.completed if framework_id in {None, f.id}]
    return {
        "frameworks": [framework_state(master, f) for f in live],
        "completed_frameworks": [framework_state(master, f) for f in gone],
        "unregistered_frameworks": [],
    }


def state(master: Master, flags: Json) -> Json:
    """/state."""
    pid = master.info["pid"]
    connected = sum(a.link is not None for a in master.agents.values())
    leader = {"id": master.id, "pid": pid, "port": master.port, "hostname": master.config.address}
    return build_info() | {
        "start_time": master.start_time,
        "elected_time": master.start_time,
        "id": master.id,
        "pid": pid,
        "hostname": master.config.address,
        "capabilities": ["AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"],
        "activated_slaves": float(connected),
        "deactivated_slaves": float(len(master.agents) - connected),
        "unreachable_slaves": float(len(master.unreachable)),
        "leader": pid,
        "leader_info": leader,
        "flags": flags,
        "slaves": [agent_state(a) for a in master.agents.values()],
        "recovered_slaves": _recovered(master),
        "frameworks": [framework_state(master, f) for f in master.frameworks.values()],
        "completed_frameworks": [framework_state(master, f) for f in master.completed],
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    }


def state_summary(master: Master) -> Json:
    """/state-summary."""
    everyone = [*master.frameworks.values(), *master.completed]
    tasks = [t for f in everyone for t in (*f.tasks.values(), *f.unreachable.values(), *f.completed)]
    agents = []
    for agent in master.agents.values():
        own = [t for t in tasks if t.agent_id == agent.id]
        ids = list(dict.fromkeys(t.framework_id for t in own if t.framework_id in master.frameworks))
        agents.append(agent_state(agent) | _counts(own) | {"framework_ids": ids})
    shown = []
    for framework in master.frameworks.values():
        own = [t for t in tasks if t.framework_id == framework.id]
        ids = list(dict.fromkeys(t.agent_id for t in own))
        shown.append(framework_summary(master, framework) | _counts(own) | {"slave_ids": ids})
    return {"hostname": master.config.address, "slaves": agents, "frameworks": shown}


def _counts(tasks: list[Task]) -> Json:
    return {f"TASK_{name}": sum(t.state == f"TASK_{name}" for t in tasks) for name in _STATES}


def tasks(master: Master, query: dict[str, str]) -> Json:
    """/tasks?limit=&offset=&order=asc|desc&framework_id=&task_id=; newest first by default."""
    everyone = [*master.frameworks.values(), *master.completed]
    found = [
        t
        for f in everyone
        if query.get("framework_id", f.id) == f.id
        for t in (*f.tasks.values(), *f.unreachable.values(), *f.completed)
        if query.get("task_id", t.id) == t.id
    ]

    def started(task: Task) -> float:
        return task.statuses[0]["timestamp"] if task.statuses else float("inf")

    found.sort(key=started, reverse=query.get("order", "desc") != "asc")
    offset = int(query.get("offset", "0"))
    return {"tasks": [task_state(t) for t in found[offset : offset + int(query.get("limit", "100"))]]}


def roles(master: Master) -> Json:
    """/roles: the roles of the frameworks, and ``*``."""
    names = dict.fromkeys(["*", *(r for f in master.frameworks.values() for r in f.roles)])
    return {"roles": [_role(master, name) for name in sorted(names)]}


def _role(master: Master, name: str) -> Json:
    agents = master.agents.values()
    used = [h.resources for a in agents for h in a.holders() if h.role == name]
    offered = [o.resources for a in agents for o in a.offers.values() if o.role == name]
    held = res.quantities(*used)
    return {
        "name": name,
        "weight": 1.0,
        "quota": {"role": name, "guarantee": {}, "limit": {}, "consumed": held},
        "resources": res.quantities(*used, *offered),
        "allocated": held,
        "offered": res.quantities(*offered),
        "reserved": {},
        "frameworks": [f.id for f in master.frameworks.values() if name in f.roles],
    }
