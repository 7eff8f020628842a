"""Steps that take their time: each in a thread, a bounded number of them, with a limit and an end.

A thread cannot be killed. One that does not end when it is told to is left alone: nothing that it says
or stores counts any more, and its place is given to another.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from framework.model.errors import GatewayError, Unavailable
from gateway.clusters.model import Cluster, ClusterEvent, NodeRecord, storable
from gateway.clusters.provider import StepFailed
from gateway.store import Store

logger = logging.getLogger(__name__)

# What is told is stored so many seconds later at most, or when there are so many lines of it.
_TELL_SECS = 0.3
_TELL_LINES = 200


class Run:
    """A step of a cluster's operation, and what :class:`StepContext` says of it.

    ``ended`` is set once the step has returned, or been given up; ``error`` is what it has raised.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        cluster: Cluster,
        step: str,
        timeout: float,
        function: Callable[[Cluster, Run], None],
    ) -> None:
        self.cluster = cluster
        self.step = step
        self.timeout = timeout
        self.started: float | None = None
        self.error: Exception | None = None
        self.ended = threading.Event()
        self.gone = threading.Event()
        self._store = store
        self._clock = clock
        self._function = function
        self._cancelled = threading.Event()
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._untold: list[ClusterEvent] = []
        self._told_at = 0.0

    @property
    def operation_id(self) -> str:
        return self.cluster.operation.operation_id if self.cluster.operation is not None else ""

    # -- what a step sees ----------------------------------------------------------------------------

    def tell(self, text: str, *, stream: str = "", node: str = "", ok: bool | None = None) -> None:
        event = ClusterEvent(
            self.cluster.cluster_id,
            self._clock(),
            "output" if stream else "node" if node else "step",
            storable(text),
            step=self.step,
            node=node,
            stream=stream,
            ok=ok,
            operation_id=self.operation_id,
        )
        with self._lock:
            if self._given_up.is_set():
                return
            self._untold.append(event)
        # The engine tries again if this cannot be stored now.
        with contextlib.suppress(Unavailable):
            self.flush(_TELL_SECS)

    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits, for that long at most, until the step is cancelled; returns whether it is."""
        return self._cancelled.wait(seconds)

    def reload(self) -> Cluster:
        return self._store.clusters.get(self.cluster.cluster_id)

    def save(self, change: Callable[[Cluster], Cluster]) -> Cluster:
        def only(cluster: Cluster) -> Cluster:
            operation = cluster.operation.operation_id if cluster.operation is not None else ""
            if self._given_up.is_set() or operation != self.operation_id:
                raise StepFailed(f"nobody waits for {self.step} any more")
            return _allowed(cluster, change(cluster))

        return self._store.clusters.change(self.cluster.cluster_id, only)

    # -- what the engine does ------------------------------------------------------------------------

    def cancel(self) -> None:
        """Tells the step that nobody wants its result."""
        self._cancelled.set()

    def give_up(self, error: Exception | None) -> None:
        """Counts the step as ended with ``error``, whatever it does now."""
        with self._lock:
            if self.ended.is_set():
                return
            self.cancel()
            self._given_up.set()
            self.error = error
            self.ended.set()

    def is_late(self) -> bool:
        return self.started is not None and time.monotonic() > self.started + self.timeout

    def flush(self, patience: float = 0.0) -> None:
        """Stores what has been told, unless that was done less than ``patience`` seconds ago."""
        with self._lock:
            now = time.monotonic()
            if not self._untold or (now < self._told_at + patience and len(self._untold) < _TELL_LINES):
                return
            self._told_at = now
            self._store.events.append(self._untold)
            self._untold = []

    def execute(self) -> None:
        """Runs the step, on this thread."""
        error: Exception | None = None
        try:
            self._function(self.cluster, self)
        except GatewayError as caught:
            error = caught
        # Also what wants to exit: the step has ended, and somebody waits for that.
        except BaseException as caught:
            logger.exception("step %s of cluster %s failed", self.step, self.cluster.key)
            error = StepFailed(f"{self.step} has failed by a defect: {type(caught).__name__}")
        with self._lock:
            if not self.ended.is_set():
                self.error = error
                self.ended.set()


class Runs:
    """The steps under way, one of a cluster at a time; ``limit`` threads at once. The engine's thread's.

    ``news`` is called from any thread with the id of a cluster whose step has ended.
    """

    def __init__(self, limit: int, news: Callable[[str], None]) -> None:
        self._limit = limit
        self._news = news
        self._runs: dict[str, Run] = {}
        self._waiting: deque[Run] = deque()
        self._active: set[Run] = set()

    def get(self, cluster_id: str) -> Run | None:
        return self._runs.get(cluster_id)

    def start(self, run: Run) -> None:
        """Starts the step as soon as there is a thread for it."""
        self._runs[run.cluster.cluster_id] = run
        self._waiting.append(run)
        self.look_after()

    def drop(self, cluster_id: str) -> None:
        """Forgets a step that has ended."""
        run = self._runs.pop(cluster_id, None)
        if run is not None:
            self._active.discard(run)
        self.look_after()

    def look_after(self) -> None:
        """Starts what waits, gives up what is late, stores what has been told; raises as the store."""
        for run in list(self._active):
            if run.ended.is_set():
                self._active.discard(run)
            elif run.is_late():
                run.give_up(StepFailed(f"{run.step} has not ended within {run.timeout:g} s"))
                self._active.discard(run)
                self._news(run.cluster.cluster_id)
        while self._waiting and len(self._active) < self._limit:
            run = self._waiting.popleft()
            if not run.ended.is_set():
                self._active.add(run)
                run.started = time.monotonic()
                threading.Thread(target=self._execute, args=(run,), name="step", daemon=True).start()
        for run in self._active:
            run.flush(_TELL_SECS)

    @property
    def busy(self) -> bool:
        """Whether somebody has to look after them now and then."""
        return bool(self._active or self._waiting)

    def stop(self, patience: float) -> None:
        """Cancels all of them, and waits for them for ``patience`` seconds; then gives them up."""
        for run in self._runs.values():
            run.cancel()
        deadline = time.monotonic() + patience
        for run in self._active:
            run.gone.wait(max(0.0, deadline - time.monotonic()))
        for run in self._runs.values():
            run.give_up(None)
        self._runs.clear()
        self._waiting.clear()
        self._active.clear()

    def _execute(self, run: Run) -> None:
        try:
            run.execute()
        finally:
            run.gone.set()
            self._news(run.cluster.cluster_id)


def _allowed(cluster: Cluster, changed: Cluster) -> Cluster:
    """Takes over of a step's change what is a step's to change."""
    nodes = {node.name: node for node in changed.nodes}

    def merge(node: NodeRecord) -> NodeRecord:
        new = nodes.get(node.name, node)
        return msgspec.structs.replace(node, said=new.said, extra=new.extra)

    return msgspec.structs.replace(
        cluster,
        extra=changed.extra,
        services=changed.services,
        said=changed.said,
        nodes=tuple(merge(node) for node in cluster.nodes),
    )
