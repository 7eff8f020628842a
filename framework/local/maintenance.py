"""Maintenance: a schedule of windows, offers that carry it, and inverse offers (recording 33).

The schedule only announces; machines are not taken down, and inverse offers are not persisted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from framework.local.cluster import Agent, Cancellable, Framework, InverseOffer

Json = dict[str, Any]


class Maintenance:
    """The schedule, and who has been asked to leave which agent.

    ``next_offer_id`` gives ids out (they share the numbers of offers), ``later`` is ``call_later``.
    """

    def __init__(self, next_offer_id: Callable[[], str], later: Callable[..., Cancellable]) -> None:
        self.schedule: Json = {}
        self._next_offer_id = next_offer_id
        self._later = later

    def apply(self, agent: Agent) -> bool:
        """Gives an agent its window; returns whether it changed."""
        before = agent.unavailability
        agent.unavailability = next(
            (w["unavailability"] for w in self.schedule.get("windows", []) if _names(w, agent)), None
        )
        return agent.unavailability != before

    def ask(self, agent: Agent, frameworks: Iterable[Framework]) -> None:
        """Sends an inverse offer to each framework that has, or is offered, something of the agent."""
        if agent.unavailability is None or agent.link is None:
            return
        asked = {inverse.framework_id for inverse in agent.inverse_offers.values()}
        concerned = {h.framework_id for h in agent.holders()} | {
            o.framework_id for o in agent.offers.values()
        }
        for framework in frameworks:
            if framework.active and framework.id in concerned - asked:
                self._send(agent, framework)

    def _send(self, agent: Agent, framework: Framework) -> None:
        inverse = InverseOffer(self._next_offer_id(), framework.id, agent.id)
        agent.inverse_offers[inverse.id] = inverse
        offer = {
            "id": {"value": inverse.id},
            "url": agent.url,
            "framework_id": {"value": framework.id},
            "agent_id": {"value": agent.id},
            "unavailability": agent.unavailability,
        }
        framework.send({"type": "INVERSE_OFFERS", "inverse_offers": {"inverse_offers": [offer]}})

    def answered(self, agent: Agent, framework: Framework, offer_id: str, refuse_secs: float) -> None:
        """An inverse offer was accepted or declined: it comes again after the filter, as in 33."""
        if agent.inverse_offers.pop(offer_id, None) is not None:
            self._later(refuse_secs, self.ask, agent, [framework])


def _names(window: Json, agent: Agent) -> bool:
    machines = window.get("machine_ids", [])
    return any(
        m.get("hostname", agent.hostname) == agent.hostname
        and m.get("ip", agent.address) == agent.address
        for m in machines
    )
