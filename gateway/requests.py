"""The requests that are being answered: counted, and waited for at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

from framework.model.errors import Unavailable


class Running(Protocol):
    """A request that is being answered."""

    def give_up(self) -> None:
        """Answers at once that there will be no answer."""


class Requests:
    """The requests that run and the streams that are open: what a drain waits for, and ends."""

    def __init__(self, max_streams: int = 1000) -> None:
        self._running: set[Running] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._max_streams = max_streams
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return len(self._running)

    @property
    def streams(self) -> int:
        """How many answers are open-ended."""
        return len(self._streams)

    def unfinished(self) -> tuple[Running, ...]:
        """Returns the handlers whose answers are not complete."""
        return tuple(self._running)

    def enter(self, request: Running) -> None:
        """Counts a request; raises :class:`Unavailable` when the gateway is stopping."""
        if self._stopping:
            raise Unavailable("the gateway is stopping", retry_after=5)
        self._running.add(request)
        self._idle.clear()

    def leave(self, request: Running) -> None:
        """The request is over."""
        self._running.discard(request)
        if not self._running:
            self._idle.set()

    def admit_stream(self) -> None:
        """Raises :class:`Unavailable` when there are as many streams as there may be."""
        if len(self._streams) >= self._max_streams:
            raise Unavailable(f"{self._max_streams} streams are open already", retry_after=30)

    @contextlib.contextmanager
    def streaming(self, pump: asyncio.Task[Any]) -> Iterator[None]:
        """Counts an open-ended answer, whose ``pump`` is cancelled when the gateway stops."""
        if self._stopping:
            pump.cancel()
        self._streams.add(pump)
        try:
            yield
        finally:
            self._streams.discard(pump)

    def end_streams(self) -> None:
        """Ends what streams at this moment; whoever reads may come back."""
        for pump in tuple(self._streams):
            pump.cancel()

    async def drain(self, seconds: float) -> bool:
        """Ends the streams and waits for the requests; returns whether all ended in time."""
        self._stopping = True
        self.end_streams()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
