"""Which data disks of an agent are whose, and which ones a task gets. Pure.

Mesos sees to it that a disk in use is not offered. What it cannot know is kept here: a sticky task
that waits to run again still has its disks, and one whose end has not been heard of yet as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from framework.model.jobs import Resources
from framework.model.tasks import ON_AGENT, Home, Task

_NUMBER = re.compile(r"([0-9]+)")
_NONE: Counter[str] = Counter()


def by_number(name: str) -> tuple[list[str | int], str]:
    """Returns what to sort disks by, numbers in their names as numbers: disk2 before disk10."""
    parts: list[str | int] = list(_NUMBER.split(name))
    # Text and numbers alternate, so that like is compared with like.
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def choose(free: Iterable[str], need: Resources, home: Home | None) -> tuple[str, ...]:
    """Returns the disks that a task gets of ``free``, in the order in which it knows them.

    Enough must be there. Those it had, those it names, otherwise the lowest.
    """
    if home is not None:
        return home.disks
    return need.disk_names or tuple(sorted(free, key=by_number)[: need.data_disks])


class DiskBook:
    """The disks of agents that our active tasks have, and those kept for tasks that had them before.

    ``holders`` are the ids of those tasks. What a task has counts by its agent, for a host may have
    several; what is kept counts by host. So if a host comes back as another agent before the end of the
    old one is known, a disk of a sticky task may be given away: Mesos keeps an agent's id over a reboot.
    """

    def __init__(self) -> None:
        self.holders: dict[str, None] = {}
        self._used: dict[str, Counter[str]] = {}
        self._kept: dict[str, Counter[str]] = {}

    def add(self, task: Task) -> None:
        """Takes an active task in."""
        book, place, disks = self._entry(task)
        if disks:
            self.holders[task.task_id] = None
            book.setdefault(place, Counter()).update(disks)

    def remove(self, task: Task) -> bool:
        """Takes the same task out; returns whether it had any disk."""
        book, place, disks = self._entry(task)
        if not disks:
            return False
        del self.holders[task.task_id]
        there = book[place]
        there.subtract(disks)
        # Without those that nobody has any more.
        book[place] = there = +there
        if not there:
            del book[place]
        return True

    def _entry(self, task: Task) -> tuple[dict[str, Counter[str]], str, tuple[str, ...]]:
        """Returns the book that a task's disks stand in, where, and the disks."""
        if task.state in ON_AGENT:
            return self._used, task.agent_id or "", task.disks
        if task.home is not None:
            return self._kept, task.home.hostname, task.home.disks
        return self._kept, "", ()

    def free(self, agent_id: str, hostname: str, disks: frozenset[str]) -> frozenset[str]:
        """Returns those of an agent's ``disks`` that any task may have."""
        return disks - self._used.get(agent_id, _NONE).keys() - self._kept.get(hostname, _NONE).keys()

    def unused(self, agent_id: str, disks: frozenset[str]) -> frozenset[str]:
        """Returns those of an agent's ``disks`` that a task may have that had them before."""
        return disks - self._used.get(agent_id, _NONE).keys()

    def same(self, other: DiskBook) -> bool:
        """Whether both say the same."""
        mine = (self.holders, self._used, self._kept)
        return mine == (other.holders, other._used, other._kept)
