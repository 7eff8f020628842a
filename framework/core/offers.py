"""The offers at hand, by agent, and what is known of agents from the offers they have made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from framework.core.matching import Room, count_ports
from framework.core.messages import AgentTrouble
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
    """What offers have told of an agent: what it last had free, and the most it ever had.

    ``disks`` are all that it has offered so far.
    """

    __slots__ = ("disks", "peak", "room")

    def __init__(self, room: Room) -> None:
        self.room = room
        self.peak = room
        self.disks: frozenset[str] = frozenset()

    def saw(self, room: Room) -> None:
        """Takes in what the agent has offered now, and at the most."""
        self.room = room
        peak = msgspec.structs.replace(self.peak, attributes=room.attributes, hostname=room.hostname)
        for what in ("cpus", "mem", "disk", "gpus"):
            setattr(peak, what, max(getattr(peak, what), getattr(room, what)))
        if count_ports(room.ports) > count_ports(peak.ports):
            peak.ports = room.ports
        self.peak = peak


class OfferBook:
    """Holds offers until somebody asks which of them are stale.

    ``alive``: agents heard of since the last registration, so that the master knows them.
    ``troubles``: what tasks have last said of their agents.
    ``cursors``: where on each agent the search for free ports goes on.
    ``withheld``: by hostname, the data disks that nobody is to be given.
    """

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.agents: dict[str, Agent] = {}
        self.alive: set[str] = set()
        self.troubles: dict[str, AgentTrouble] = {}
        self.cursors: dict[str, int] = {}
        self.withheld: dict[str, frozenset[str]] = {}
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
            self.alive.add(agent_id)
            self._saw(held)
            self.held[agent_id] = held

    def _saw(self, held: Held) -> None:
        offered = held.room.disks
        if offered:
            held.room.disks = self.given(held.room.hostname, offered)
        room = msgspec.structs.replace(held.room)
        agent = self.agents.get(room.agent_id)
        if agent is None:
            agent = self.agents[room.agent_id] = Agent(room)
        else:
            agent.saw(room)
        if not offered <= agent.disks:
            agent.disks |= offered

    def given(self, hostname: str, disks: frozenset[str]) -> frozenset[str]:
        """Returns those of a host's disks that are not withheld."""
        return disks - self.withheld.get(hostname, frozenset())

    def withhold(self, disks: Mapping[str, Iterable[str]]) -> None:
        """Says by hostname which disks nobody is to be given; what was held counts as new."""
        before = self.withheld
        self.withheld = {host: frozenset(names) for host, names in disks.items() if names}
        for agent_id, held in list(self.held.items()):
            host = held.room.hostname
            if before.get(host) != self.withheld.get(host):
                self.held[agent_id] = anew = Held(held.offers, held.since)
                self._saw(anew)
        for agent_id, agent in self.agents.items():
            if agent_id not in self.held:
                # A disk that is no longer withheld comes with the agent's next offer.
                agent.room.disks = self.given(agent.room.hostname, agent.room.disks)

    def rescind(self, offer_id: str) -> None:
        """Takes one offer back; what is left of the agent's counts as new."""
        agent_id = self._agent_of.pop(offer_id, None)
        if agent_id is None:
            return
        held = self.held[agent_id]
        left = [offer for offer in held.offers if offer.offer_id != offer_id]
        if not left:
            del self.held[agent_id]
            return
        self.held[agent_id] = anew = Held(left, held.since)
        anew.room.disks = self.given(anew.room.hostname, anew.room.disks)

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

    def stale(self, now: float, hold_secs: float) -> list[str]:
        """Returns the agents whose offers have been held for so long."""
        names: list[str] = []
        # In the order of ``since``: whatever is new goes to the end, and stays in its place.
        for agent_id, held in self.held.items():
            if held.since + hold_secs > now:
                break
            names.append(agent_id)
        return names

    def next_stale(self, hold_secs: float) -> float | None:
        """Returns when the oldest offer has been held for so long, None without offers."""
        for held in self.held.values():
            return held.since + hold_secs
        return None

    def offers(self) -> tuple[Offer, ...]:
        """Returns all offers that are held."""
        return tuple(offer for held in self.held.values() for offer in held.offers)

    def _release(self, held: Held) -> tuple[str, ...]:
        ids = tuple(offer.offer_id for offer in held.offers)
        for offer_id in ids:
            del self._agent_of[offer_id]
        return ids
