"""Agents and frameworks as the allocator sees them, and offers as frameworks see them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from framework.local import resources as res
from framework.local.allocator import Client, Supply
from framework.local.cluster import Agent, Framework, Offer

Json = dict[str, Any]


def supplies(agents: Iterable[Agent]) -> list[Supply]:
    """Returns what is free on the agents that are connected."""
    return [
        Supply(agent.id, agent.free, agent.total.scalar("gpus") > 0)
        for agent in agents
        if agent.link is not None
    ]


def clients(frameworks: Iterable[Framework], agents: Collection[Agent]) -> list[Client]:
    """Returns those who want offers: each active framework in each role that it has not suppressed."""
    found: list[Client] = []
    for framework in frameworks:
        if not framework.active:
            continue
        held: dict[str, res.Resources] = {}
        for agent in agents:
            for holder in (*agent.holders(), *agent.offers.values()):
                if holder.framework_id == framework.id:
                    held[holder.role] = held.get(holder.role, res.NOTHING) + holder.resources
        found += [
            Client(framework.id, role, framework.able("GPU_RESOURCES"), held.get(role, res.NOTHING))
            for role in framework.roles
            if role not in framework.suppressed
        ]
    return found


def offer_json(offer: Offer, framework: Framework, agent: Agent) -> Json:
    """Returns an ``Offer`` as the framework's capabilities want it (01, 31)."""
    multi = framework.able("MULTI_ROLE")
    old_form = not framework.able("RESERVATION_REFINEMENT")
    executors = [{"value": e} for f, e in agent.executors if f == framework.id]
    result: Json = {
        "id": {"value": offer.id},
        "framework_id": {"value": framework.id},
        "agent_id": {"value": agent.id},
        "hostname": agent.hostname,
        "url": agent.url,
        "resources": res.to_json(
            offer.resources, offer.role if multi else None, old_form=old_form, offered=True
        ),
        "attributes": agent.info.get("attributes", []),
    }
    if executors:
        result["executor_ids"] = executors
    if multi:
        result["allocation_info"] = {"role": offer.role}
    if agent.unavailability is not None:
        result["unavailability"] = agent.unavailability
    return result
