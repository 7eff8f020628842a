"""What waiting tasks ask of an agent, and what the limits among them count."""

from __future__ import annotations

from collections.abc import Iterable

from framework.core.lifecycle import Lifecycle
from framework.core.matching import HOST, Ask, Scope, Tally, scope
from framework.core.offers import OfferBook
from framework.core.pending import Group
from framework.model.jobs import JobKey, TaskConfig
from framework.model.tasks import Home, Task


class Wants:
    """Makes the :class:`Ask` of a task, or of a group of equal ones."""

    def __init__(self, lifecycle: Lifecycle, book: OfferBook) -> None:
        self._settings = lifecycle.settings
        self._disks = lifecycle.state.disks
        self._book = book

    def ask(self, waiting: Group | Task) -> Ask:
        """Returns what it needs now, of what is not in use."""
        home = waiting.home
        agent_id = ""
        if home is not None and home.agent_id in self._book.agents:
            agent_id = home.agent_id
        return Ask(
            waiting.config,
            self._settings.executor_cpus,
            self._settings.executor_mem_mb,
            home,
            agent_id,
            self._disks,
        )

    def ever(self, task: Task) -> Ask:
        """Returns what it needs of an agent on which nothing else runs."""
        return Ask(task.config, self._settings.executor_cpus, self._settings.executor_mem_mb)


class CrowdSource:
    """Counts a job's tasks by the values of attributes, for limit constraints.

    The attributes of agents are known from offers only. A task on an agent that has made none since
    the start counts against every value for ``strict`` (a while after registration), then not at all:
    an agent that is full would otherwise hold the job back for ever. A task that is to come back to
    where it ran counts there already, for all but itself.
    """

    def __init__(self, lifecycle: Lifecycle, book: OfferBook, strict: bool) -> None:
        self._state = lifecycle.state
        self._book = book
        self._strict = strict

    def of(
        self, key: JobKey, configs: Iterable[TaskConfig], home: Home | None = None
    ) -> dict[Scope, Tally]:
        """Returns what the limits of tasks of the job with these configs, and this home, count."""
        limits = [c for config in configs for c in config.constraints if c.kind == "limit"]
        crowd = {scope(limit): Tally() for limit in limits}
        record = self._state.jobs[key]
        for (attribute, among), tally in crowd.items():
            there = record.tagged.get(among, {}) if among else record.crowd
            for agent_id, tasks in there.items():
                values = self._values(agent_id, attribute)
                if values is not None:
                    tally.add(values, tasks)
                elif self._strict:
                    tally.anywhere += tasks
            for task in record.homes.values():
                if (
                    task.home is not None
                    and task.home != home
                    and (not among or among in task.config.tags)
                ):
                    tally.add(self._values_at(task.home, attribute))
        return crowd

    def _values_at(self, home: Home, attribute: str) -> tuple[str, ...]:
        if attribute == HOST:
            return (home.hostname,)
        agent = self._book.agents.get(home.agent_id)
        return agent.room.values(attribute) if agent is not None else ()

    def _values(self, agent_id: str, attribute: str) -> tuple[str, ...] | None:
        agent = self._book.agents.get(agent_id)
        if agent is not None:
            return agent.room.values(attribute)
        if attribute == HOST:
            task = self._state.tasks[next(iter(self._state.by_agent[agent_id]))]
            return (task.hostname or "",)
        return None
