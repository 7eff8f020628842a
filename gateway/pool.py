"""How requests are executed: the four modes of ``--application``, at most ``--parallel`` at a time.

======== ======================================================================================
thread   every request in a thread of a pool
process  the same, and external commands run in worker processes that may crash or be killed
coroutine the requests one after the other, off the event loop
sync     the requests one after the other, on the event loop: nothing else is answered meanwhile
======== ======================================================================================

Job configurations are evaluated in worker processes in every mode (:mod:`gateway.jobs`), except for
small plain JSON, which is read where the request is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
        self._futures: set[Future[Any]] = set()
        self._threads: ThreadPoolExecutor | None = None
        if mode != "sync":
            self._threads = ThreadPoolExecutor(self.parallel, thread_name_prefix="request")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns ``function(*args)``; raises :class:`Unavailable` when too many stand in line."""
        if self._threads is None:
            return function(*args, **kwargs)
        with self._place():
            return await self._in_thread(functools.partial(function, *args, **kwargs))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        assert self._threads is not None
        future = self._threads.submit(work)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return await asyncio.wrap_future(future)

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
            pending = at_once() or await self._in_thread(begin)
            if pending is not None:
                return await pending.arrive()
            return await self._in_thread(whole)

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

    @property
    def abandoned(self) -> int:
        """How many requests were still being worked on when :meth:`close` lost its patience."""
        return 0 if self._threads is None else len(self._futures)

    def close(self, seconds: float = 1.0) -> None:
        """Ends the threads; what still stands in line is cancelled, what runs is waited for a while.

        A thread cannot be ended from outside: what runs on is :attr:`abandoned`.
        """
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            wait(tuple(self._futures), seconds)
