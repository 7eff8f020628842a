"""The queue in front of the scheduler's thread, and what can stand in it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from framework.core.messages import Command, Event, StatusReceived

logger = logging.getLogger(__name__)

# Beyond so many, what Mesos will send again anyway is not queued.
_CROWDED = 50_000


class EventItem:
    """What the driver reports. ``since`` (monotonic seconds) is when it was queued."""

    def __init__(self, event: Event, since: float) -> None:
        self.event = event
        self.since = since

    def begin(self) -> bool:
        """Whether the item is to be handled; from here on it can no longer be cancelled."""
        return True


class CommandItem:
    """A request, and the future that its caller waits for."""

    def __init__(self, command: Command, future: Future[Any], since: float) -> None:
        self.event: Event = command
        self.future = future
        self.since = since

    def begin(self) -> bool:
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def fail(self, error: Exception) -> None:
        if not self.future.done() and self.begin():
            self.future.set_exception(error)


class QueryItem:
    """A question to the core."""

    def __init__(self, read: Callable[[Any], Any], future: Future[Any], since: float) -> None:
        self._read = read
        self.future = future
        self.since = since

    def answer(self, core: Any) -> None:
        """Runs the question; whatever it raises is the asker's."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._read(core)
        except Exception as error:  # noqa: BLE001 - not ours: it is raised where the result is asked for
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


Item = EventItem | CommandItem | QueryItem


def queries(items: Sequence[Item]) -> list[QueryItem]:
    """Returns those of ``items`` that only ask."""
    return [item for item in items if isinstance(item, QueryItem)]


class Inbox:
    """Two lanes, each first in, first out: users first, then Mesos. Any thread puts, one takes.

    Ten thousand updates of a storm do not keep a user waiting; users, of whom there are never more
    than the gateway works for at a time, do not keep Mesos waiting.
    """

    def __init__(self) -> None:
        self._users: deque[Item] = deque()
        self._mesos: deque[Item] = deque()
        self._condition = threading.Condition()
        self._closed = False
        # Whether there was a command among the last things taken.
        self._asked = False

    def __len__(self) -> int:
        return len(self._users) + len(self._mesos)

    @property
    def nothing_asked(self) -> bool:
        """No user's request is queued, nor among what was taken since the last :meth:`take`."""
        return not self._users and not self._asked

    @property
    def closed(self) -> bool:
        """Nothing more is taken in."""
        return self._closed

    @property
    def finished(self) -> bool:
        """Closed, and everything taken."""
        return self._closed and not len(self)

    def put(self, item: Item) -> bool:
        """Queues the item; False if it is not taken any more."""
        with self._condition:
            if self._closed or (len(self._mesos) > _CROWDED and _comes_again(item)):
                return False
            self._lane(item).append(item)
            self._condition.notify()
            return True

    def put_back(self, items: Sequence[Item]) -> None:
        """Queues items before all others, in their order."""
        with self._condition:
            for item in reversed(items):
                self._lane(item).appendleft(item)

    def take(self, seconds: float, limit: int | None) -> list[Item]:
        """Returns what is queued, at most ``limit``; waits for something, for ``seconds`` at most."""
        with self._condition:
            self._asked = False
            self._condition.wait_for(lambda: len(self) or self._closed, seconds)
            # Before they leave the lane: whoever asks meanwhile shall find them there or noted here.
            self._asked = bool(self._users)
            taken: list[Item] = []
            for lane in (self._users, self._mesos):
                count = len(lane) if limit is None else min(limit - len(taken), len(lane))
                taken += [lane.popleft() for _ in range(count)]
            self._asked = any(isinstance(item, CommandItem) for item in taken)
            return taken

    def close(self) -> None:
        """Nothing more is taken in."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _lane(self, item: Item) -> deque[Item]:
        return self._mesos if isinstance(item, EventItem) else self._users


def _comes_again(item: Item) -> bool:
    """An update that nobody acknowledges is sent again by its agent, every ten seconds or so."""
    event = item.event if isinstance(item, EventItem) else None
    return isinstance(event, StatusReceived) and event.update.uuid is not None
