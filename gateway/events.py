"""The public event stream: one subscription to the scheduler, any number of readers.

Every reader goes at its own pace from a position of its own. What is recent comes from memory, what
is older from the storage; nothing is ever queued for a reader, so a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from framework.core.messages import Publish
from framework.model.errors import NotSupported
from framework.model.jobs import JobKey
from framework.storage import StoredEvent

_RECENT = 2048
_PAGE = 500


class Source(Protocol):
    """Where events come from: what is used of :class:`framework.service.SchedulerService`."""

    def subscribe(self, listener: Callable[[StoredEvent], None]) -> Callable[[], None]:
        """Has ``listener`` called with each event; returns the undo."""

    def events_after(
        self,
        sequence: int,
        limit: int = 1000,
        *,
        cluster: str | None = None,
        role: str | None = None,
        key: JobKey | None = None,
    ) -> list[StoredEvent]:
        """See :meth:`framework.storage.Storage.events_after`."""


class Filter(msgspec.Struct, frozen=True):
    """Which events a reader wants, and of which ``roles`` there may be any; None: all."""

    cluster: str | None = None
    role: str | None = None
    key: JobKey | None = None
    roles: frozenset[str] | None = None

    def accepts(self, event: Publish) -> bool:
        """Whether a reader wants, and may see, the event."""
        return (
            self.cluster in (None, event.key.cluster)
            and self.role in (None, event.key.role)
            and self.key in (None, event.key)
            and (self.roles is None or event.key.role in self.roles)
        )


class EventHub:
    """Hands events to the readers on the event loop. ``source`` None: there are none to hand."""

    def __init__(self, source: Source | None) -> None:
        self._source = source
        self._recent: deque[StoredEvent] = deque(maxlen=_RECENT)
        # Everything after the floor is in memory; None until the first event.
        self._floor: int | None = None
        # How often the numbers have gone back, because the state was restored while we ran.
        self._restored = 0
        # From the scheduler's thread to the loop: many events, one call.
        self._heard: deque[StoredEvent] = deque()
        self._called = False
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="events")

    def start(self) -> None:
        """Subscribes; to be called on the event loop."""
        self._loop = asyncio.get_running_loop()
        if self._source is not None:
            self._unsubscribe = self._source.subscribe(self._hear)

    def stop(self) -> None:
        """Reads no more; waits for reads that are under way."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _hear(self, event: StoredEvent) -> None:
        """Called on the scheduler's thread."""
        self._heard.append(event)
        if not self._called and self._loop is not None and not self._loop.is_closed():
            self._called = True
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        # Before the taking: whoever appends from here on calls again.
        self._called = False
        while self._heard:
            event = self._heard.popleft()
            if self._recent and event.sequence != self._recent[-1].sequence + 1:
                self._restored += event.sequence <= self._recent[-1].sequence
                self.reset()  # another replica has led meanwhile
            if self._floor is None:
                self._floor = event.sequence - 1
            elif len(self._recent) == _RECENT:
                self._floor = self._recent[0].sequence
            self._recent.append(event)
        self._news.set()
        self._news = asyncio.Event()

    def reset(self) -> None:
        """Forgets what is recent: it may not be, any more. The storage has it all."""
        self._recent.clear()
        self._floor = None

    def check(self) -> None:
        """Raises :class:`NotSupported` if there can be no events."""
        if self._source is None:
            raise NotSupported("there are no events: they come from the gateway's own scheduler")

    async def read(
        self, after: int | None, wanted: Filter, pause: float
    ) -> AsyncIterator[Sequence[StoredEvent]]:
        """Yields the wanted events after number ``after`` (None: from now on), in order, for ever.

        From now on, too, where no event has a number so high: a state that was restored from a backup
        counts on from there, and its reader would otherwise hear nothing until the count has caught up.
        An empty list after ``pause`` seconds without any, however many others there are.
        """
        self.check()
        position = after
        if after is None or await self._is_beyond(after):
            position = self._last()
        restored = self._restored
        clock = asyncio.get_running_loop().time
        silent = clock()
        while True:
            if restored != self._restored and position is not None and self._floor is not None:
                restored, position = self._restored, min(position, self._floor)
            news, before = self._news, position
            position, events = await self._next(position, wanted)
            if events or clock() - silent >= pause:
                yield events
                silent = clock()
            elif news is self._news and position == before:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(silent + pause):
                        await news.wait()

    def _last(self) -> int | None:
        return self._recent[-1].sequence if self._recent else None

    async def _is_beyond(self, position: int) -> bool:
        """Whether no event has that number, or a higher one; the last one is never forgotten."""
        last = self._last()
        if position == 0 or (last is not None and position <= last):
            return False
        # What was told is stored: whatever number somebody has been given is there.
        return not await self._stored(position - 1, Filter(), 1)

    async def _next(
        self, position: int | None, wanted: Filter
    ) -> tuple[int | None, Sequence[StoredEvent]]:
        """Returns the next events after ``position``, and the position after those."""
        last = self._last()
        if position is None:
            # From now on, and "now" has no number before the first event.
            position = self._floor
        if position is None:
            return None, ()
        if self._floor is None or position < self._floor:
            found = await self._stored(position, wanted)
            seen = [event for event in found if wanted.accepts(event.event)]
            if len(found) == _PAGE:
                return found[-1].sequence, seen
            # All that was there is read, so what was last before the reading is passed, too.
            passed = [position, last or 0, *(event.sequence for event in found[-1:])]
            return max(passed), seen
        if last is None or last <= position:
            return position, ()
        newer = [e for e in self._recent if e.sequence > position and wanted.accepts(e.event)]
        return last, newer

    async def _stored(self, position: int, wanted: Filter, limit: int = _PAGE) -> list[StoredEvent]:
        assert self._source is not None
        source, loop = self._source, asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads,
            lambda: source.events_after(
                position, limit, cluster=wanted.cluster, role=wanted.role, key=wanted.key
            ),
        )
