"""Where the tasks of a gang could go, all at the same time. Pure: what is offered is not touched.

To fit things into bins is hard, so this tries a few ways that are quick: spread out first, as single
tasks are placed; then packed, each task where it leaves least; then each into the first agent that
takes it. Whatever has the fewest places to choose from comes first, and the largest among equals; in
the last way just the largest, which is first-fit decreasing.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from framework.core.matching import HOST, Ask, Crowd, Matcher, Room, joins, take
from framework.core.pending import shape
from framework.model.tasks import Task


class Batch(NamedTuple):
    """Tasks of a gang that need the same: what fits one fits all."""

    ask: Ask
    tasks: tuple[Task, ...]


class Place(NamedTuple):
    """A task, what it asks for, and the agent that is to have it."""

    task: Task
    ask: Ask
    agent_id: str


class Arrangement(NamedTuple):
    """The places found, in the order in which they were taken; ``looks`` is what it cost."""

    places: tuple[Place, ...]
    looks: int


def batches(tasks: Iterable[Task], ask: Callable[[Task], Ask]) -> list[Batch]:
    """Returns the tasks by what they need; ``ask`` returns that of one."""
    shaped: dict[object, list[Task]] = {}
    for task in tasks:
        shaped.setdefault(shape(task), []).append(task)
    return [Batch(ask(alike[0]), tuple(alike)) for alike in shaped.values()]


def arrange(
    parts: Sequence[Batch],
    rooms: Sequence[Room],
    crowd: Crowd,
    running: Mapping[str, int],
    *,
    whole: bool = True,
) -> Arrangement:
    """Returns places for all tasks of the gang, or for as many as could be found.

    ``whole``: nobody wants to know of the latter, so that it ends where that is clear. ``running`` is
    how many tasks of the job each agent has, ``crowd`` what its limits count.
    """
    looks = len(parts) * len(rooms)
    fitting: list[tuple[Batch, list[Room]]] = []
    for part in parts:
        matcher = Matcher(part.ask, crowd)
        fitting.append((part, [room for room in rooms if matcher.fits(room)]))
    if whole and not all(there for _, there in fitting):
        return Arrangement((), looks)
    fitting.sort(key=lambda pair: _size(pair[0].ask))
    by_choice = sorted(fitting, key=lambda pair: _order(pair[0].ask, len(pair[1])))
    wanted = sum(len(part.tasks) for part in parts)
    best: list[Place] = []
    for order, way in ((by_choice, _spread), (by_choice, _pack), (by_choice, _first), (fitting, _first)):
        attempt = _Attempt(crowd, running, way)
        for part, there in order:
            if not attempt.put(part, there) and whole:
                break
        looks += attempt.looks
        if len(attempt.places) > len(best):
            best = attempt.places
        if len(best) == wanted:
            break
    return Arrangement(tuple(best), looks)


def _order(ask: Ask, choices: int) -> tuple[float, ...]:
    """Those that name what they need, those with fewest places to choose from; size breaks ties."""
    need = ask.config.resources
    named = bool(need.disk_names) or any(
        c.attribute == HOST and c.kind == "value" and not c.negated for c in ask.config.constraints
    )
    return not named, choices, -need.data_disks, -need.gpus


def _size(ask: Ask) -> float:
    """The larger, the lower."""
    need = ask.config.resources
    return -(need.cpus + need.mem_mb / 4096.0)


# The better place is the lower one. The number of the job's tasks there, and what is free there.
_Way = Callable[[int, Room], tuple[float, ...]]


def _spread(running: int, room: Room) -> tuple[float, ...]:
    return running, -room.freedom


def _pack(running: int, room: Room) -> tuple[float, ...]:
    return len(room.disks), room.freedom


def _first(running: int, room: Room) -> tuple[float, ...]:
    return ()


class _Attempt:
    """One way gone through. ``places`` are those found so far."""

    def __init__(self, crowd: Crowd, running: Mapping[str, int], way: _Way) -> None:
        self.places: list[Place] = []
        self.looks = 0
        self._way = way
        self._crowd = {scope: tally.copy() for scope, tally in crowd.items()}
        self._running = Counter(running)
        # Copies of the rooms in which something has been put.
        self._left: dict[str, Room] = {}

    def put(self, part: Batch, there: Sequence[Room]) -> bool:
        """Finds places among ``there`` (as they were at the beginning); returns whether for all."""
        matcher = Matcher(part.ask, self._crowd)
        choice = [self._entry(number, room) for number, room in enumerate(there)]
        heapq.heapify(choice)
        waiting = list(reversed(part.tasks))
        while waiting and choice:
            _, number, room = choice[0]
            self.looks += 1
            # What is full for one of equal tasks is full for all of them.
            if not matcher.fits(room):
                heapq.heappop(choice)
                continue
            if room.agent_id not in self._left:
                room = self._left[room.agent_id] = msgspec.structs.replace(room)
            take(part.ask, room, 0)
            joins(self._crowd, part.ask.config, room)
            self._running[room.agent_id] += 1
            self.places.append(Place(waiting.pop(), part.ask, room.agent_id))
            heapq.heapreplace(choice, self._entry(number, room))
        return not waiting

    def _entry(self, number: int, room: Room) -> tuple[tuple[float, ...], int, Room]:
        room = self._left.get(room.agent_id, room)
        return self._way(self._running[room.agent_id], room), number, room
