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


class Inbox:
    """First in, first out. Any thread puts, one takes."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._condition = threading.Condition()
        self._closed = False
        self._handed_out = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_idle(self) -> bool:
        """Nothing is queued, and whoever took the last things has come back for more."""
        return not self._items and not self._handed_out

    @property
    def closed(self) -> bool:
        """Nothing more is taken in."""
        return self._closed

    @property
    def finished(self) -> bool:
        """Closed, and everything taken."""
        return self._closed and not self._items

    def put(self, item: Item) -> bool:
        """Queues the item; False if it is not taken any more."""
        with self._condition:
            if self._closed or (len(self._items) > _CROWDED and _comes_again(item)):
                return False
            self._items.append(item)
            self._condition.notify()
            return True

    def put_back(self, items: Sequence[Item]) -> None:
        """Queues items before all others, in their order."""
        with self._condition:
            self._items.extendleft(reversed(items))

    def take(self, seconds: float, limit: int | None) -> list[Item]:
        """Returns what is queued, at most ``limit``; waits for something, for ``seconds`` at most."""
        with self._condition:
            self._handed_out = False
            self._condition.wait_for(lambda: self._items or self._closed, seconds)
            count = len(self._items) if limit is None else min(limit, len(self._items))
            self._handed_out = count > 0
            return [self._items.popleft() for _ in range(count)]

    def close(self) -> None:
        """Nothing more is taken in."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


def _comes_again(item: Item) -> bool:
    """An update that nobody acknowledges is sent again by its agent, every ten seconds or so."""
    event = item.event if isinstance(item, EventItem) else None
    return isinstance(event, StatusReceived) and event.update.uuid is not None
