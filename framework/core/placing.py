"""Which pending task goes where: the offers held, and the tasks waiting, in one pass.

Tasks wait in groups of equal config. A group and an agent that did not fit are not tried against
each other again until one of them changes, so a config that fits nowhere costs one look per new
offer, and nothing per task. A pass looks at no more agents than it takes to choose well: a task
placed costs a bounded number of looks however many agents there are.

A gang is tried against all that is held, in its place in the order; all of it is placed, or nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from framework.core.arranging import arrange, batches
from framework.core.lifecycle import Lifecycle
from framework.core.matching import Ask, Matcher, Room, Scope, Tally, joins, take
from framework.core.messages import Launch
from framework.core.offers import Held, OfferBook
from framework.core.pending import Gang, Group
from framework.core.state import JobRecord
from framework.core.turns import Turns
from framework.core.wants import CrowdSource, Wants
from framework.model.tasks import Task, TaskState

# An agent without a task of the job is as good a place as the spread can find; so many of them per
# task (and so many more) are enough to choose the freest from.
_CHOICE_PER_TASK = 2
_CHOICE_MORE = 32


class Candidate(NamedTuple):
    """An agent that a group fits, in the order of choice: fewest tasks of the job, most free."""

    crowd: int
    taken: float
    agent_id: str
    room: Room


class Placer:
    """Places tasks. ``looks`` counts how often a config was matched with an agent, ``placed`` tasks."""

    def __init__(self, lifecycle: Lifecycle, book: OfferBook, wants: Wants, turns: Turns) -> None:
        self.looks = 0
        self.placed = 0
        # Where the next scan begins, so that all agents have their turn.
        self._first = 0
        self._lifecycle = lifecycle
        self._state = lifecycle.state
        self._book = book
        self._wants = wants
        self._turns = turns

    def ask(self, waiting: Group | Task) -> Ask:
        return self._wants.ask(waiting)

    def place(self, crowds: CrowdSource) -> None:
        """Assigns what fits to the offers held and emits a Launch per agent used."""
        held = self._book.held
        fresh = [agent_id for agent_id, h in held.items() if h.fresh]
        groups = [g for g in self._state.groups if g.fresh or fresh]
        gangs = [g for g in self._state.gangs.values() if g.fresh or fresh]
        if not held or not (groups or gangs):
            return
        favoured = self._turns.favoured()
        if favoured is not None:
            groups = _ahead(groups, favoured)
            gangs = _ahead(gangs, favoured)
        launches: dict[str, list[Task]] = {}
        least = _least(groups)
        new = _Field(held, fresh, least)
        # Without groups that must look everywhere the two are the same.
        every = _Field(held, list(held), least) if any(g.fresh for g in groups) else new
        queue: list[Group | Gang] = [*groups, *gangs]
        for waiting in sorted(queue, key=lambda w: w.rank):
            everywhere, waiting.fresh = waiting.fresh, False
            if isinstance(waiting, Gang):
                self._place_gang(waiting, crowds, launches)
                continue
            field = every if everywhere else new
            if field.could_hold(waiting.need):
                crowd = (
                    crowds.of(waiting.key, (waiting.config,), waiting.home) if waiting.limited else {}
                )
                self._place_group(waiting, field, crowd, launches)
        for agent_id in fresh:
            held[agent_id].fresh = False
        for agent_id, tasks in launches.items():
            offer_ids = self._book.use(agent_id)
            self._state.changes.act(Launch(offer_ids=offer_ids, agent_id=agent_id, tasks=tuple(tasks)))

    def _place_gang(self, gang: Gang, crowds: CrowdSource, launches: dict[str, list[Task]]) -> None:
        parts = batches(gang.tasks.values(), self.ask)
        crowd = crowds.of(gang.key, [part.ask.config for part in parts]) if gang.limited else {}
        rooms = {agent_id: held.room for agent_id, held in self._book.held.items()}
        running = self._state.jobs[gang.key].crowd
        found = arrange(parts, list(rooms.values()), crowd, running)
        self.looks += found.looks
        if len(found.places) < len(gang.tasks):
            return
        for place in found.places:
            self._assign(place.task, place.ask, rooms[place.agent_id], launches)

    def _place_group(
        self,
        group: Group,
        field: _Field,
        crowd: dict[Scope, Tally],
        launches: dict[str, list[Task]],
    ) -> None:
        ask = self.ask(group)
        matcher = Matcher(ask, crowd)
        record = self._state.jobs[group.key]
        waiting = list(group.tasks.values())
        waiting.reverse()
        scan = self._scan(matcher, field, record)
        choice: list[Candidate] = []
        while waiting:
            if not choice and not self._gather(scan, choice, len(waiting)):
                break
            best = heapq.heappop(choice)
            room = best.room
            self.looks += 1
            if not matcher.fits(room):
                continue
            self._assign(waiting.pop(), ask, room, launches)
            joins(crowd, group.config, room)
            heapq.heappush(choice, self._candidate(record, room))

    def _scan(self, matcher: Matcher, field: _Field, record: JobRecord) -> Iterator[Candidate]:
        """Yields the agents that the group fits, looking at one after the other as they are wanted."""
        rooms = field.rooms
        first = self._first % len(rooms)
        for index in range(first - len(rooms), first):
            room = rooms[index]
            self.looks += 1
            self._first += 1
            if matcher.fits(room):
                yield self._candidate(record, room)
            else:
                field.vain += 1

    def _gather(self, scan: Iterator[Candidate], choice: list[Candidate], tasks: int) -> bool:
        """Fills ``choice``; returns whether there is any."""
        enough = _CHOICE_PER_TASK * tasks + _CHOICE_MORE
        for candidate in scan:
            choice.append(candidate)
            enough -= not candidate.crowd
            if enough <= 0:
                break
        heapq.heapify(choice)
        return bool(choice)

    def _candidate(self, record: JobRecord, room: Room) -> Candidate:
        return Candidate(record.crowd.get(room.agent_id, 0), -room.freedom, room.agent_id, room)

    def _assign(self, task: Task, ask: Ask, room: Room, launches: dict[str, list[Task]]) -> None:
        taken = take(ask, room, self._book.cursors.get(room.agent_id, 0))
        self._book.cursors[room.agent_id] = taken.cursor
        placed = msgspec.structs.replace(
            task,
            agent_id=room.agent_id,
            hostname=room.hostname,
            agent_address=room.address,
            ports=taken.ports,
            disks=taken.disks,
        )
        self._lifecycle.move(placed, TaskState.ASSIGNED, f"on {room.hostname}")
        launches.setdefault(room.agent_id, []).append(self._state.tasks[task.task_id])
        self.placed += 1


Amounts = tuple[float, float, float, float]


W = TypeVar("W", Group, Gang)


def _ahead(waiting: Sequence[W], favoured: Gang) -> list[W]:
    """Returns the favoured gang and what is before it; the rest is tried once its turn is over."""
    ahead: list[W] = []
    rank = favoured.rank
    for one in waiting:
        if one is favoured or one.rank < rank:
            ahead.append(one)
        else:
            one.fresh = True
    return ahead


def _least(groups: Sequence[Group]) -> Amounts:
    """Returns the least of each scalar that any of the groups needs."""
    if not groups:
        return 0.0, 0.0, 0.0, 0.0
    cpus, mem, disk, gpus = map(min, zip(*[group.need for group in groups], strict=True))
    return cpus, mem, disk, gpus


class _Field:
    """The agents of a pass, without those that have become too full for any group that waits.

    So groups that find everything taken cost a comparison each, not a look at every agent.
    """

    def __init__(self, held: Mapping[str, Held], agents: Sequence[str], least: Amounts) -> None:
        self.rooms = [held[agent_id].room for agent_id in agents]
        self._least = least
        self._most: Amounts = (0.0, 0.0, 0.0, 0.0)
        # Looks since the last sifting that found no room.
        self.vain = 0
        self._sift()

    def could_hold(self, need: Amounts) -> bool:
        """Whether some agent may have enough of each scalar (not: one agent of all of them)."""
        if self.vain >= len(self.rooms):
            self._sift()
        return bool(self.rooms) and all(n <= m + 0.001 for n, m in zip(need, self._most, strict=True))

    def _sift(self) -> None:
        self.vain = 0
        cpus, mem, disk, gpus = (amount - 0.001 for amount in self._least)
        self.rooms = rooms = [
            r
            for r in self.rooms
            if r.cpus >= cpus and r.mem >= mem and r.disk >= disk and r.gpus >= gpus
        ]
        if rooms:
            self._most = (
                max([r.cpus for r in rooms]),
                max([r.mem for r in rooms]),
                max([r.disk for r in rooms]),
                max([r.gpus for r in rooms]),
            )
