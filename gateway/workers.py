"""A pool of worker processes that can be killed: for evaluating what users send, and for CPU-bound work.

A *nursery* process is started once, with the modules that the work needs already imported; it forks the
workers, so that a new one costs milliseconds. It has one thread and none of our sockets but its own,
which makes forking it safe and keeps listening sockets out of the workers. If this process dies, even by
``kill -9``, the nursery reads the end of its socket and exits, and the kernel kills its children
(``PR_SET_PDEATHSIG``). What runs in those processes is :mod:`gateway.nursery`.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from framework.model.errors import GatewayError, Unavailable
from gateway.frames import receive_frame, send_frame

log = logging.getLogger(__name__)
T = TypeVar("T")

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from gateway.nursery import main; main(int(sys.argv[2]), json.loads(sys.argv[3]))"
)
_START_SECONDS = 60.0


class WorkerTimedOut(GatewayError):
    """The function ran longer than its time, and its worker was killed."""

    code = "timeout"


class WorkerMemory(GatewayError):
    """The function needed more memory than a worker may have."""

    code = "memory"


class WorkerDied(Unavailable):
    """The worker ended while it worked; the pool has replaced it, so the request may be repeated."""

    code = "worker_died"


class _Worker:
    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.connection = connection
        self.runs = 0


class _Nursery:
    """The process that forks workers; commands go through one socket, one at a time."""

    def __init__(self, preload: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _START,
                    json.dumps(sys.path),
                    str(theirs.fileno()),
                    json.dumps(list(preload)),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        ours.settimeout(_START_SECONDS)
        self._socket = ours
        self._lock = threading.Lock()

    def fork(self, memory_bytes: int | None) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                pid = self._command("fork", memory_bytes, give=theirs)
            if pid == 0:
                raise Unavailable("the system has no room for another worker process now")
        except BaseException:
            ours.close()
            raise
        return _Worker(pid, ours)

    def kill(self, pid: int) -> int:
        """Kills a worker if it still runs; returns its wait status."""
        return self._command("kill", pid)

    def _command(self, name: str, argument: Any, give: socket.socket | None = None) -> int:
        with self._lock:
            try:
                send_frame(self._socket, json.dumps([name, argument]).encode())
                if give is not None:
                    socket.send_fds(self._socket, [b"."], [give.fileno()])
                answer: int = json.loads(receive_frame(self._socket))
            except (OSError, EOFError) as error:
                raise WorkerDied(
                    f"worker processes cannot be started now: {error or 'the nursery ended'}"
                ) from error
        return answer

    def close(self) -> None:
        self._socket.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class WorkerProcesses:
    """At most ``most`` worker processes, started as they are needed, each replaced after ``runs`` runs.

    ``memory_bytes`` is what a worker may allocate beyond what it has when it starts (None: no limit);
    ``patience`` is how many seconds a run waits for a worker while all are busy; ``preload`` names
    modules that workers find imported. All methods may be called from several threads. Functions,
    arguments, results and exceptions travel by pickle: a function must be importable by name.
    """

    def __init__(
        self,
        most: int,
        *,
        memory_bytes: int | None = None,
        runs: int = 1000,
        patience: float = 30.0,
        preload: Sequence[str] = (),
    ) -> None:
        if most < 1 or runs < 1:
            raise ValueError("a pool needs at least one worker and one run")
        self._most = most
        self._memory_bytes = memory_bytes
        self._runs = runs
        self._patience = patience
        self._preload = tuple(preload)
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._starting = 0
        self._nursery: _Nursery | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, function: Callable[..., T], *args: Any, timeout: float) -> T:
        """Returns ``function(*args)``, computed in a worker; blocks until then.

        ``timeout`` in seconds counts from the moment the worker begins. Raises what the function
        raises; :class:`WorkerTimedOut` and :class:`WorkerMemory` if it needs too much;
        :class:`WorkerDied` if the worker ends by itself; :class:`Unavailable` if no worker becomes free.
        """
        request = pickle.dumps((function, args, timeout), pickle.HIGHEST_PROTOCOL)
        worker = self._take()
        healthy = False
        try:
            outcome, value = self._ask(worker, request, timeout)
            healthy = outcome in ("result", "error")
        finally:
            self._give_back(worker, healthy)
        if outcome == "memory":
            raise WorkerMemory(
                f"more than {(self._memory_bytes or 0) // 2**20} MiB of memory were needed"
            )
        if outcome == "error":
            raise value
        result: T = value
        return result

    def warm(self) -> None:
        """Starts the first worker now, so that the first run does not wait for it."""
        worker = self._take()
        self._give_back(worker, healthy=True)

    def close(self) -> None:
        """Ends all workers; runs that are under way raise :class:`WorkerDied`."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            nursery, self._nursery = self._nursery, None
            self._changed.notify_all()
        for worker in idle:
            worker.connection.close()
        if nursery is not None:
            nursery.close()

    def _ask(self, worker: _Worker, request: bytes, timeout: float) -> tuple[str, Any]:
        deadline = time.monotonic() + timeout
        try:
            worker.connection.settimeout(timeout)
            send_frame(worker.connection, request)
            answer = receive_frame(worker.connection, deadline)
        except TimeoutError:
            raise WorkerTimedOut(f"it took longer than {timeout:g} seconds") from None
        except (OSError, EOFError):
            raise self._obituary(worker, timeout) from None
        worker.runs += 1
        outcome: tuple[str, Any] = pickle.loads(answer)  # noqa: S301 - from our own child, by a pipe
        return outcome

    def _obituary(self, worker: _Worker, timeout: float) -> GatewayError:
        """Returns the error for a worker that ended: out of time if the kernel stopped it for that."""
        nursery = self._nursery
        if nursery is None:
            return WorkerDied("the gateway is stopping")
        try:
            status = nursery.kill(worker.pid)
        except WorkerDied as error:
            return error
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return WorkerTimedOut(f"it took longer than {timeout:g} seconds of processor time")
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status >> 8}"
        log.warning("worker %d ended with %s while it worked", worker.pid, how)
        return WorkerDied(f"the worker process ended ({how}); please repeat the request", retry_after=1)

    def _take(self) -> _Worker:
        deadline = time.monotonic() + self._patience
        with self._changed:
            while True:
                if self._closed:
                    raise WorkerDied("the gateway is stopping")
                while self._idle:
                    worker = self._idle.pop()
                    if _is_alive(worker):
                        self._busy.add(worker)
                        return worker
                    self._discard(worker)
                if len(self._busy) + self._starting < self._most:
                    self._starting += 1
                    break
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise Unavailable("all worker processes are busy; please repeat the request")
        try:
            worker = self._fork()
        except BaseException:
            with self._changed:
                self._starting -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._starting -= 1
            self._busy.add(worker)
        return worker

    def _fork(self) -> _Worker:
        """Forks a worker; a nursery that has died is replaced once."""
        with self._changed:
            nursery = self._nursery
            if nursery is None:
                nursery = self._nursery = _Nursery(self._preload)
        try:
            return nursery.fork(self._memory_bytes)
        except WorkerDied:
            if self._closed:
                raise
            log.warning("the nursery of worker processes died; starting another")
        nursery.close()
        with self._changed:
            if self._nursery is nursery:
                self._nursery = _Nursery(self._preload)
            nursery = self._nursery
        if nursery is None:
            raise WorkerDied("the gateway is stopping")
        return nursery.fork(self._memory_bytes)

    def _give_back(self, worker: _Worker, healthy: bool) -> None:
        keep = healthy and worker.runs < self._runs
        if not keep:
            self._discard(worker)
        with self._changed:
            self._busy.discard(worker)
            if keep and not self._closed:
                self._idle.append(worker)
            elif keep:
                worker.connection.close()
            self._changed.notify()

    def _discard(self, worker: _Worker) -> None:
        """Ends a worker for good. That of a nursery which has died is dead already."""
        worker.connection.close()
        nursery = self._nursery
        if nursery is not None:
            try:
                nursery.kill(worker.pid)
            except WorkerDied:
                log.debug("worker %d is gone with its nursery", worker.pid)


def _is_alive(worker: _Worker) -> bool:
    """An idle worker says nothing; one whose socket can be read has ended."""
    worker.connection.settimeout(0)
    try:
        worker.connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
