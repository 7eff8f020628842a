"""How requests are executed: the four modes of ``--application``, at most ``--parallel`` at a time.

======== ======================================================================================
thread   every request in a thread of a pool
process  the same, and external commands run in worker processes that may crash or be killed
coroutine the requests one after the other, off the event loop
sync     the requests one after the other, on the event loop: nothing else is answered meanwhile
======== ======================================================================================

Job configurations are evaluated in worker processes in every mode (:mod:`gateway.jobs`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from framework.model.errors import Unavailable
from gateway.pending import Pending

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Mode = Literal["thread", "process", "coroutine", "sync"]
MODES: tuple[Mode, ...] = ("process", "thread", "coroutine", "sync")


class Workers(Protocol):
    """Worker processes, as :class:`gateway.workers.WorkerProcesses` are."""

    def run(self, function: Callable[..., Any], *args: Any, timeout: float) -> Any:
        """Returns ``function(*args)`` from a worker; raises WorkerDied if the worker died."""


class Pool:
    """Runs blocking functions for the event loop."""

    def __init__(self, mode: Mode, parallel: int, workers: Workers, waiting: int | None = None) -> None:
        """``waiting`` requests may stand in line (default: 4 x parallel, at least 64)."""
        self.mode: Mode = mode
        self.parallel = 1 if mode in ("coroutine", "sync") else parallel
        self._capacity = self.parallel + (max(64, 4 * parallel) if waiting is None else waiting)
        self._workers = workers
        self._taken = 0
        self._threads: ThreadPoolExecutor | None = None
        if mode != "sync":
            self._threads = ThreadPoolExecutor(self.parallel, thread_name_prefix="request")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns ``function(*args)``; raises :class:`Unavailable` when too many stand in line."""
        if self._threads is None:
            return function(*args, **kwargs)
        with self._place():
            work = functools.partial(function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def settle(
        self,
        at_once: Callable[[], Pending[T] | None],
        begin: Callable[[], Pending[T] | None],
        whole: Callable[[], T],
    ) -> T:
        """Returns what the first of three ways gives that is not None, as :meth:`run` does.

        ``at_once`` begins without blocking, on the event loop; ``begin`` may block until it has
        begun; ``whole`` blocks to the end. What has begun is waited for without a thread. A mode
        that takes one request after the other has ``whole`` only.
        """
        if self._threads is None or self.mode == "coroutine":
            return await self.run(whole)
        with self._place():
            loop = asyncio.get_running_loop()
            pending = at_once() or await loop.run_in_executor(self._threads, begin)
            if pending is not None:
                return await pending.arrive()
            return await loop.run_in_executor(self._threads, whole)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """Counts a request; raises :class:`Unavailable` when too many stand in line."""
        if self._taken >= self._capacity:
            raise Unavailable(
                f"too many requests: {self.parallel} are being worked on and "
                f"{self._capacity - self.parallel} wait; try again",
                retry_after=1,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def isolated(self, function: Callable[..., T], *args: Any, timeout: float) -> T:
        """Runs ``function`` where its crash does no harm, as far as the mode provides for that.

        To be called from a function that :meth:`run` runs. ``function`` must be importable, and
        its arguments and result picklable; it is expected to end within ``timeout`` seconds itself.
        """
        if self.mode != "process":
            return function(*args)
        result: T = self._workers.run(function, *args, timeout=timeout)
        return result

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return min(self._taken, self.parallel)

    @property
    def waiting(self) -> int:
        """How many requests stand in line."""
        return max(0, self._taken - self.parallel)

    def close(self) -> None:
        """Ends the threads; what still stands in line is cancelled."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
