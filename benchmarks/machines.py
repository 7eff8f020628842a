"""Agents that run what they are given, for the fake master: what is left of an offer is offered again.

As Mesos does it: what a task takes is gone, what was declined comes back after the time that was asked
for, or with the next REVIVE, and nothing is offered while offers are suppressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from benchmarks.mesos_json import Agents, agent_id, offer

# Mesos offers what has become free so many seconds later (its --allocation_interval).
_ALLOCATION_SECS = 1.0
_SCALARS = ("cpus", "mem", "disk")


class Machines:
    """``agents`` alike, all of them free. Times are anybody's seconds, as long as they are the same."""

    def __init__(self, agents: Agents, now: float) -> None:
        self._free = [agents] * agents.count
        self._number_of = {agent_id(number): number for number in range(agents.count)}
        self._executors: set[int] = set()
        # When those are offered that nobody has an offer of.
        self._due = dict.fromkeys(range(agents.count), now)
        self._offers: dict[str, int] = {}
        self._serial = 0
        self._suppressed = False

    def take_offers(self, now: float) -> list[dict[str, Any]]:
        """Returns the offers that are due, which are the framework's from now on."""
        if self._suppressed:
            return []
        due = [number for number, at in self._due.items() if at <= now]
        found = []
        for number in due:
            del self._due[number]
            self._serial += 1
            made = offer(self._free[number], number, self._serial)
            self._offers[made["id"]["value"]] = number
            found.append(made)
        return found

    def next(self) -> float | None:
        """Returns when the next offer is due; None: not before something else happens."""
        return None if self._suppressed or not self._due else min(self._due.values())

    def launch(
        self,
        offers: Iterable[str],
        agent: str,
        tasks: Iterable[Mapping[str, float]],
        executor: Mapping[str, float],
        now: float,
    ) -> None:
        """Takes what ``tasks`` take, and once what their executor does, from an agent; the rest of its
        offers is offered again."""
        number = self._number_of[agent]
        for resources in tasks:
            self._take(number, resources)
        if number not in self._executors:
            self._executors.add(number)
            self._take(number, executor)
        self.decline(offers, now, _ALLOCATION_SECS)

    def decline(self, offers: Iterable[str], now: float, seconds: float) -> None:
        for offer_id in offers:
            number = self._offers.pop(offer_id, None)
            if number is not None:
                self._due[number] = now + seconds

    def suppress(self) -> None:
        self._suppressed = True

    def revive(self, now: float) -> None:
        self._suppressed = False
        self._due = dict.fromkeys(self._due, now)

    def _take(self, number: int, resources: Mapping[str, float]) -> None:
        free = self._free[number]
        left = {name: getattr(free, name) - resources.get(name, 0.0) for name in _SCALARS}
        if min(left.values()) < -0.001:
            raise ValueError(f"{agent_id(number)} has {free}, and is to give {dict(resources)}")
        self._free[number] = msgspec.structs.replace(free, **left)
