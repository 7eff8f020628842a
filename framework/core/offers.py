"""The offers at hand, by agent, and what is known of agents from the offers they have made."""

from __future__ import annotations

import msgspec

from framework.core.matching import Room, count_ports
from framework.core.messages import AgentTrouble
from framework.core.settings import Settings
from framework.model.cluster import Offer


class Held:
    """One agent's offers, together. ``fresh``: no group of tasks has been tried against them yet."""

    __slots__ = ("fresh", "offers", "room", "since")

    def __init__(self, offers: list[Offer], since: float) -> None:
        self.offers = offers
        self.since = since
        self.fresh = True
        self.room = Room.of(offers)


class Agent:
    """What offers have told of an agent: what it last had free, and the most it ever had."""

    __slots__ = ("peak", "room")

    def __init__(self, room: Room) -> None:
        self.room = room
        self.peak = room

    def saw(self, room: Room) -> None:
        self.room = room
        peak = msgspec.structs.replace(self.peak, attributes=room.attributes, hostname=room.hostname)
        for what in ("cpus", "mem", "disk", "gpus"):
            setattr(peak, what, max(getattr(peak, what), getattr(room, what)))
        if count_ports(room.ports) > count_ports(peak.ports):
            peak.ports = room.ports
        self.peak = peak


class OfferBook:
    """Holds offers, each for at most ``offer_hold_secs``.

    ``alive``: agents heard of since the last registration, so that the master knows them.
    ``troubles``: what tasks have last said of their agents.
    ``cursors``: where on each agent the search for free ports goes on.
    """

    def __init__(self, settings: Settings) -> None:
        self.held: dict[str, Held] = {}
        self.agents: dict[str, Agent] = {}
        self.alive: set[str] = set()
        self.troubles: dict[str, AgentTrouble] = {}
        self.cursors: dict[str, int] = {}
        self._settings = settings
        self._agent_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._agent_of)

    def hold(self, offers: tuple[Offer, ...], now: float) -> None:
        """Takes offers in; several of one agent count together. One already held changes nothing."""
        by_agent: dict[str, list[Offer]] = {}
        for offer in offers:
            if offer.offer_id not in self._agent_of:
                self._agent_of[offer.offer_id] = offer.agent_id
                by_agent.setdefault(offer.agent_id, []).append(offer)
        for agent_id, new in by_agent.items():
            before = self.held.get(agent_id)
            held = Held([*before.offers, *new] if before else new, before.since if before else now)
            self.held[agent_id] = held
            self.alive.add(agent_id)
            self._saw(held.room)

    def _saw(self, room: Room) -> None:
        room = msgspec.structs.replace(room)
        agent = self.agents.get(room.agent_id)
        if agent is None:
            self.agents[room.agent_id] = Agent(room)
        else:
            agent.saw(room)

    def rescind(self, offer_id: str, now: float) -> None:
        """Takes one offer back; what is left of the agent's counts as new."""
        agent_id = self._agent_of.pop(offer_id, None)
        if agent_id is None:
            return
        held = self.held.pop(agent_id)
        left = [offer for offer in held.offers if offer.offer_id != offer_id]
        if left:
            self.held[agent_id] = Held(left, now)

    def use(self, agent_id: str) -> tuple[str, ...]:
        """Gives an agent's offers away, whole; returns their ids. What is left of them is remembered."""
        held = self.held.pop(agent_id)
        self.agents[agent_id].room = held.room
        return self._release(held)

    def forget(self, agent_id: str) -> None:
        """The agent is gone, and its offers with it."""
        held = self.held.pop(agent_id, None)
        if held is not None:
            self._release(held)
        self.agents.pop(agent_id, None)
        self.cursors.pop(agent_id, None)
        self.alive.discard(agent_id)
        self.troubles.pop(agent_id, None)

    def void(self) -> None:
        """The connection has changed: no offer is valid, no agent is known to be there."""
        self.held.clear()
        self._agent_of.clear()
        self.alive.clear()

    def drop(self, agents: list[str]) -> tuple[str, ...]:
        """Lets the offers of these agents go; returns their ids, to be declined."""
        return tuple(i for agent_id in agents for i in self._release(self.held.pop(agent_id)))

    def stale(self, now: float) -> list[str]:
        """Returns the agents whose offers have been held long enough."""
        names: list[str] = []
        # In the order of ``since``: whatever is new or renewed goes to the end.
        for agent_id, held in self.held.items():
            if held.since + self._settings.offer_hold_secs > now:
                break
            names.append(agent_id)
        return names

    def next_stale(self) -> float | None:
        for held in self.held.values():
            return held.since + self._settings.offer_hold_secs
        return None

    def offers(self) -> tuple[Offer, ...]:
        return tuple(offer for held in self.held.values() for offer in held.offers)

    def _release(self, held: Held) -> tuple[str, ...]:
        ids = tuple(offer.offer_id for offer in held.offers)
        for offer_id in ids:
            del self._agent_of[offer_id]
        return ids
