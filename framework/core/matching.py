"""Does a task fit what an agent offers, with which ports, and if not, why not. Pure.

Rules of constraints as in Aurora's ConstraintMatcher: a value constraint holds if one of the
attribute's values is among those given (negated: if none is, or the agent has no such attribute); a
limit needs the attribute and counts the job's tasks on agents that share a value of it; ``host`` is
the hostname; ``dedicated`` agents take only tasks that ask for them, and those go nowhere else.
A limit ``among`` a tag counts only the job's tasks that have the tag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from framework.core.disks import DiskBook, choose
from framework.model.cluster import Offer, PortRange
from framework.model.jobs import Constraint, TaskConfig
from framework.model.tasks import Home

# Mesos keeps scalars to three decimals: what is compared, and what is taken, is counted as it counts.
_DECIMALS = 3
_TOLERANCE = 0.0005
HOST = "host"
DEDICATED = "dedicated"
SCALARS = ("cpus", "mem", "disk", "gpus")


class Room(msgspec.Struct):
    """What is left of an agent's offers while tasks are being placed. Memory and disk in MiB.

    ``disks``: the names of the data disks.
    """

    agent_id: str
    hostname: str
    address: str
    attributes: Mapping[str, tuple[str, ...]]
    cpus: float
    mem: float
    disk: float
    gpus: float
    ports: tuple[PortRange, ...]
    has_executor: bool
    disks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, offers: Sequence[Offer]) -> Room:
        """Returns what one agent's offers are together; the latest names it."""
        last = offers[-1]
        return cls(
            agent_id=last.agent_id,
            hostname=last.hostname,
            address=last.agent_address,
            attributes=last.attributes,
            cpus=sum(o.cpus for o in offers),
            mem=sum(o.mem_mb for o in offers),
            disk=sum(o.disk_mb for o in offers),
            gpus=sum(o.gpus for o in offers),
            ports=tuple(sorted(r for o in offers for r in o.ports)),
            has_executor=any(o.has_executor for o in offers),
            disks=frozenset(name for o in offers for name in o.disks),
        )

    @property
    def freedom(self) -> float:
        """How much is free, for comparing agents: a cpu weighs as much as 4 GiB."""
        return self.cpus + self.mem / 4096.0

    def values(self, attribute: str) -> tuple[str, ...]:
        """Returns the agent's values of an attribute; its name is one of them."""
        if attribute == HOST:
            return (self.hostname,)
        return self.attributes.get(attribute, ())


class Ask(msgspec.Struct, frozen=True):
    """What a task needs of an agent. The executor's overhead counts where it does not run yet.

    ``home``: the only host it may run on; ``agent_id`` the agent there, if it is known. ``book`` says
    which disks of agents belong to tasks; without it all that are offered are free.
    """

    config: TaskConfig
    executor_cpus: float = 0.0
    executor_mem: float = 0.0
    home: Home | None = None
    agent_id: str = ""
    book: DiskBook | None = None

    def is_home(self, room: Room) -> bool:
        """Whether the task, as far as its home goes, may run there."""
        if self.home is None:
            return True
        return room.hostname == self.home.hostname and self.agent_id in ("", room.agent_id)

    def disks(self, room: Room) -> frozenset[str]:
        """Returns which of the disks in ``room`` the task may have."""
        if self.book is None:
            return room.disks
        if self.home is not None:
            return self.book.unused(room.agent_id, room.disks)
        return self.book.free(room.agent_id, room.hostname, room.disks)

    def amounts(self, room: Room) -> tuple[float, float, float, float]:
        """Returns cpus, mem, disk, gpus that the task would take of ``room``."""
        need = self.config.resources
        cpus = round(need.cpus, _DECIMALS)
        if room.has_executor:
            return cpus, need.mem_mb, need.disk_mb, need.gpus
        cpus += round(self.executor_cpus, _DECIMALS)
        return cpus, need.mem_mb + self.executor_mem, need.disk_mb, need.gpus


class Veto(msgspec.Struct, frozen=True):
    """Why a task does not fit an agent.

    ``what`` is a scalar's name, ``ports``, ``data disks``, or the constraint; ``needs`` and ``has``
    are amounts, or 0 and the text ``because`` says it (all of it, if ``what`` is "").
    """

    what: str
    needs: float = 0.0
    has: float = 0.0
    because: str = ""


class Tally:
    """How many of a job's tasks are on agents with each value of one attribute.

    ``anywhere`` are those on agents whose values are not known: they count for every value.
    """

    __slots__ = ("_at", "anywhere")

    def __init__(self) -> None:
        self._at: Counter[str] = Counter()
        self.anywhere = 0

    def add(self, values: Iterable[str], tasks: int = 1) -> None:
        """Counts tasks on an agent with these values."""
        for value in values:
            self._at[value] += tasks

    def at(self, value: str) -> int:
        """Returns how many tasks there are, or may be, where the value is."""
        return self._at[value] + self.anywhere

    def copy(self) -> Tally:
        """Returns one that can be counted on without changing this."""
        other = Tally()
        other._at = self._at.copy()
        other.anywhere = self.anywhere
        return other


# What a limit constraint counts: the attribute, and the tag ("": all of the job's tasks).
Scope = tuple[str, str]
Crowd = Mapping[Scope, Tally]


def scope(constraint: Constraint) -> Scope:
    """Returns which tasks a constraint counts together."""
    return constraint.attribute, constraint.among


def joins(crowd: Crowd, config: TaskConfig, room: Room) -> None:
    """Counts one more task of this config on the agent."""
    for (attribute, among), tally in crowd.items():
        if not among or among in config.tags:
            tally.add(room.values(attribute))


def vetoes(ask: Ask, room: Room, crowd: Crowd) -> tuple[Veto, ...]:
    """Returns why a task does not fit what is left in ``room``; empty if it does."""
    if not ask.is_home(room):
        return disk_vetoes(ask, room)
    found: list[Veto] = []
    have = (room.cpus, room.mem, room.disk, room.gpus)
    for what, needs, has in zip(SCALARS, ask.amounts(room), have, strict=True):
        if needs > has + _TOLERANCE:
            found.append(Veto(what, needs, has))
    ports = len(ask.config.resources.ports)
    if ports and ports > (has_ports := count_ports(room.ports)):
        found.append(Veto("ports", ports, has_ports))
    found += disk_vetoes(ask, room)
    wants_dedicated = False
    for constraint in ask.config.constraints:
        wants_dedicated = wants_dedicated or constraint.attribute == DEDICATED
        if because := objection(constraint, room, crowd):
            found.append(Veto(f"constraint {constraint}", because=because))
    if DEDICATED in room.attributes and not wants_dedicated:
        reserved = ",".join(room.attributes[DEDICATED])
        found.append(Veto(DEDICATED, because=f"the agent is dedicated to {reserved}"))
    return tuple(found)


class Matcher:
    """Answers for many agents what :func:`vetoes` answers for one, only whether there is any."""

    __slots__ = (
        "_ask",
        "_crowd",
        "_dedicated",
        "_disks",
        "_limits",
        "_more",
        "_need",
        "_others",
        "_ports",
    )

    def __init__(self, ask: Ask, crowd: Crowd) -> None:
        self._ask = ask
        need = ask.config.resources
        self._disks = ask.home is not None or bool(need.data_disks)
        cpus = round(need.cpus, _DECIMALS)
        self._need = (cpus, float(need.mem_mb), float(need.disk_mb), float(need.gpus))
        self._more = (round(ask.executor_cpus, _DECIMALS), ask.executor_mem)
        self._ports = len(need.ports)
        constraints = ask.config.constraints
        limits = [c for c in constraints if c.kind == "limit"]
        self._limits = [(c.attribute, c.limit, crowd.get(scope(c))) for c in limits]
        self._others = [c for c in constraints if c.kind != "limit"]
        self._dedicated = any(c.attribute == DEDICATED for c in constraints)
        self._crowd = crowd

    def fits(self, room: Room) -> bool:
        """Whether ``vetoes(ask, room, crowd)`` is empty."""
        cpus, mem, disk, gpus = self._need
        if not room.has_executor:
            cpus, mem = cpus + self._more[0], mem + self._more[1]
        if (
            cpus > room.cpus + _TOLERANCE
            or mem > room.mem + _TOLERANCE
            or disk > room.disk + _TOLERANCE
            or gpus > room.gpus + _TOLERANCE
        ):
            return False
        if self._ports and self._ports > count_ports(room.ports):
            return False
        if self._disks and disk_vetoes(self._ask, room):
            return False
        for attribute, limit, tally in self._limits:
            values = room.values(attribute)
            if not values:
                return False
            for value in values:
                if (tally.at(value) if tally is not None else 0) >= limit:
                    return False
        for constraint in self._others:
            if objection(constraint, room, self._crowd):
                return False
        return self._dedicated or DEDICATED not in room.attributes


def objection(constraint: Constraint, room: Room, crowd: Crowd) -> str:
    """Returns why an agent does not meet ``constraint``, "" if it does."""
    name = constraint.attribute
    values = room.values(name)
    if constraint.kind == "limit":
        if not values:
            return f"the agent has no attribute {name}"
        tally = crowd.get(scope(constraint))
        most = max(tally.at(value) for value in values) if tally is not None else 0
        if most >= constraint.limit:
            tagged = f" tagged {constraint.among}" if constraint.among else ""
            return f"{most} of the job's tasks{tagged} are already on {name}={','.join(values)}"
        return ""
    met = any(value in constraint.values for value in values)
    if met is not constraint.negated:
        return ""
    return f"the agent has {name}={','.join(values)}" if values else f"the agent has no attribute {name}"


def disk_vetoes(ask: Ask, room: Room) -> tuple[Veto, ...]:
    """Returns what is wrong with an agent's disks, and with the agent if the disks are elsewhere."""
    need = ask.config.resources
    home = ask.home
    if home is not None and not ask.is_home(room):
        where = "where its disks are" if home.disks else "where it ran before"
        return (Veto("", because=f"it can only run on {home.hostname}, {where}"),)
    named = home.disks if home is not None else need.disk_names
    if not named and not need.data_disks:
        return ()
    free = ask.disks(room)
    if named:
        lacking = [name for name in named if name not in free]
        said = "of the agent is in use or does not exist"
        return tuple(Veto("", because=f"disk {name} {said}") for name in lacking)
    return (Veto("data disks", need.data_disks, len(free)),) if need.data_disks > len(free) else ()


class Taken(NamedTuple):
    """What a task has been given: ports by name, where the search for ports goes on, disks in order."""

    ports: dict[str, int]
    cursor: int
    disks: tuple[str, ...] = ()


def take(ask: Ask, room: Room, cursor: int) -> Taken:
    """Takes a task that fits out of ``room``; returns what it gets.

    Ports are the first free ones from ``cursor`` on, then from the lowest again, so that one just
    freed is not the next to be used.
    """
    cpus, mem, disk, gpus = ask.amounts(room)
    room.cpus = round(room.cpus - cpus, _DECIMALS)
    room.mem = round(room.mem - mem, _DECIMALS)
    if disk:
        room.disk = round(room.disk - disk, _DECIMALS)
    if gpus:
        room.gpus = round(room.gpus - gpus, _DECIMALS)
    room.has_executor = True
    disks: tuple[str, ...] = ()
    need = ask.config.resources
    if need.data_disks or ask.home is not None:
        disks = choose(ask.disks(room), need, ask.home)
        room.disks = room.disks.difference(disks)
    names = need.ports
    if not names:
        return Taken({}, cursor, disks)
    numbers = choose_ports(room.ports, len(names), cursor)
    room.ports = without(room.ports, numbers)
    return Taken(dict(zip(names, numbers, strict=True)), numbers[-1] + 1, disks)


def count_ports(ranges: Iterable[PortRange]) -> int:
    """Returns how many ports the ranges have."""
    count = 0
    for span in ranges:
        count += span.end - span.begin + 1
    return count


def choose_ports(ranges: Sequence[PortRange], count: int, cursor: int) -> list[int]:
    """Returns ``count`` distinct numbers of ``ranges`` (enough must be there), from ``cursor`` on."""
    above = [(max(r.begin, cursor), r.end) for r in ranges if r.end >= cursor]
    below = [(r.begin, min(r.end, cursor - 1)) for r in ranges if r.begin < cursor]
    chosen: list[int] = []
    for begin, end in above + below:
        chosen.extend(range(begin, min(end + 1, begin + count - len(chosen))))
        if len(chosen) == count:
            break
    return chosen


def without(ranges: Iterable[PortRange], numbers: Sequence[int]) -> tuple[PortRange, ...]:
    """Returns ``ranges`` less ``numbers``; those that follow each other are taken out together."""
    left = list(ranges)
    start = 0
    while start < len(numbers):
        end = start
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        left = _cut(left, numbers[start], numbers[end])
        start = end + 1
    return tuple(left)


def _cut(ranges: list[PortRange], first: int, last: int) -> list[PortRange]:
    """Returns ``ranges`` less the numbers from ``first`` to ``last``."""
    cut: list[PortRange] = []
    for span in ranges:
        if last < span.begin or first > span.end:
            cut.append(span)
            continue
        if span.begin < first:
            cut.append(PortRange(span.begin, first - 1))
        if last < span.end:
            cut.append(PortRange(last + 1, span.end))
    return cut
