"""Whose turn it is when a gang has waited long: how neither the gang nor the others starve.

Small tasks take every bit of room as it comes free, so that a gang that needs much at the same time
could wait for ever. Time is cut into stretches of ``gang_patience_secs``. In every second stretch,
the first gang in the order of placement that has waited so long, and could ever fit, has what is
offered before all that comes after it; in the others everything is tried as usual.
"""

from __future__ import annotations

import math

import msgspec

from framework.core.arranging import arrange, batches
from framework.core.lifecycle import Lifecycle
from framework.core.matching import Room
from framework.core.offers import Agent, OfferBook
from framework.core.pending import Gang
from framework.core.wants import CrowdSource, Wants


class Turns:
    """Answers by the time of the event at hand, and by what waits, nothing else."""

    def __init__(self, lifecycle: Lifecycle, book: OfferBook, wants: Wants) -> None:
        self._lifecycle = lifecycle
        self._state = lifecycle.state
        self._patience = lifecycle.settings.gang_patience_secs
        self._book = book
        self._wants = wants
        # What was found in this stretch: by the gang, its tasks, and the agents known.
        self._stretch = 0
        self._found: dict[tuple[str, int, int], bool] = {}

    def favoured(self) -> Gang | None:
        """Returns the gang that has the offers to itself now."""
        if not self._state.gangs:
            return None
        stretch = self._at(self._state.now)
        if stretch % 2 == 0:
            return None
        if stretch != self._stretch:
            self._stretch = stretch
            self._found.clear()
        since = self._state.now - self._patience
        patient = [gang for gang in self._state.gangs.values() if gang.since <= since]
        return next((g for g in sorted(patient, key=lambda g: g.rank) if self._could_fit(g)), None)

    def ends(self) -> float:
        """Returns when the present stretch is over."""
        return (self._at(self._state.now) + 1) * self._patience

    def next(self) -> float | None:
        """Returns when :meth:`favoured` may have another answer by time alone."""
        if not self._state.gangs:
            return None
        now = self._state.now
        moments = [gang.since + self._patience for gang in self._state.gangs.values()]
        return min([self.ends(), *(moment for moment in moments if moment > now)])

    def _at(self, now: float) -> int:
        stretch = math.floor(now / self._patience)
        # A moment that was announced is past the end of its stretch, whatever the rounding.
        return stretch + 1 if (stretch + 1) * self._patience <= now else stretch

    def _could_fit(self, gang: Gang) -> bool:
        known = (gang.gang, len(gang.tasks), len(self._book.agents))
        if known not in self._found:
            parts = batches(gang.tasks.values(), self._wants.ever)
            rooms = [self._most(agent_id, agent) for agent_id, agent in self._book.agents.items()]
            source = CrowdSource(self._lifecycle, self._book, strict=False)
            crowd = source.of(gang.key, [task.config for task in gang.tasks.values()])
            found = arrange(parts, rooms, crowd, {})
            self._found[known] = len(found.places) == len(gang.tasks)
        return self._found[known]

    def _most(self, agent_id: str, agent: Agent) -> Room:
        """Returns what an agent would have free without our tasks, as far as is known."""
        peak, last = agent.peak, agent.room
        cpus, mem, disk, gpus = last.cpus, last.mem, last.disk, last.gpus
        disks = agent.disks
        for task_id in self._state.by_agent.get(agent_id, ()):
            task = self._state.tasks[task_id]
            disks = disks.union(task.disks)
            need = task.config.resources
            cpus, mem = cpus + need.cpus, mem + need.mem_mb
            disk, gpus = disk + need.disk_mb, gpus + need.gpus
        return msgspec.structs.replace(
            peak,
            cpus=max(peak.cpus, cpus),
            mem=max(peak.mem, mem),
            disk=max(peak.disk, disk),
            gpus=max(peak.gpus, gpus),
            disks=self._book.given(peak.hostname, disks),
        )
