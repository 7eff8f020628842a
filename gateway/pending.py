"""An answer of the scheduler that is on its way: waited for by a thread, or by the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Generic, TypeVar

from framework.model.errors import Unavailable

T = TypeVar("T")


class Pending(Generic[T]):
    """``future`` is the scheduler's; past ``timeout`` seconds an error says what may yet happen."""

    def __init__(self, future: Future[T], timeout: float) -> None:
        self._future = future
        self._timeout = timeout

    def wait(self) -> T:
        """Returns the result; blocks this thread until then."""
        try:
            return self._future.result(self._timeout)
        except TimeoutError:
            return self._late()

    async def arrive(self) -> T:
        """Returns the result; blocks nobody."""
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()

        def note() -> None:
            if not arrived.done():
                arrived.set_result(None)

        self._future.add_done_callback(lambda _: loop.call_soon_threadsafe(note))
        try:
            async with asyncio.timeout(self._timeout):
                await arrived
        except TimeoutError:
            return self._late()
        return self._future.result()

    def _late(self) -> T:
        if self._future.cancel():
            fate = "nothing has been done"
        elif self._future.done():
            return self._future.result()
        else:
            fate = "it may still be carried out: look before you repeat it"
        raise Unavailable(f"the scheduler has not answered for {self._timeout:g} s; {fate}")
