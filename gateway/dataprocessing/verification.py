"""Whether data clusters work: verified when they become active, and when somebody asks for it.

A cluster carries its last verification, and whether another one is due; so none is forgotten when the
process ends. What is due is done by whoever leads.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from framework.model.errors import GatewayError, Invalid, NotFound
from framework.model.shapes import known
from gateway.clusters.model import Cluster, NodeStatus
from gateway.dataprocessing.calls import PluginCalls
from gateway.dataprocessing.status import ACTIVE, status_of
from gateway.plugins.exceptions import RedHealth, YellowHealth
from gateway.plugins.health import HealthCheck
from gateway.plugins.loader import Plugins
from gateway.plugins.views import ClusterView, OpenRemote
from gateway.store import Store
from gateway.store.sessions import Change

logger = logging.getLogger(__name__)

Status = Literal["CHECKING", "GREEN", "YELLOW", "RED"]
# Where a cluster's ``extra`` has its last verification, and whether one is due.
KEPT, DUE = "verification", "verification_due"
_WORST: tuple[Status, ...] = ("RED", "YELLOW", "GREEN")
_INSTANCES = "Check of instances accessibility"
_MOST_TEXT = 4000
# How often it is looked whether this process leads, in seconds.
_GLANCE = 1.0


class CannotVerify(Invalid):
    code = "CANNOT_VERIFY"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Cannot verify cluster. Reason: {reason}")


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at, and what was found. Times in seconds since the epoch."""

    id: str
    name: str
    status: Status
    description: str
    created_at: float
    updated_at: float


class Verification(msgspec.Struct, frozen=True):
    id: str
    status: Status
    created_at: float
    updated_at: float | None = None
    checks: tuple[Check, ...] = ()


known(Verification)


# -- the values ------------------------------------------------------------------------------------


def verification_of(cluster: Cluster) -> Verification | None:
    """Returns the last verification of a cluster, None if there was none yet."""
    kept = cluster.extra.get(KEPT)
    return None if kept is None else msgspec.convert(kept, Verification)


def due(cluster: Cluster) -> Cluster:
    """Returns the cluster with a verification to be done as soon as it is active."""
    return msgspec.structs.replace(cluster, extra={**cluster.extra, DUE: True})


def demanded(cluster: Cluster, now: float) -> Cluster:
    """Returns the cluster with a verification begun; raises :class:`CannotVerify`."""
    if status_of(cluster) != ACTIVE:
        raise CannotVerify("Cluster is not active or doesn't exists")
    last = verification_of(cluster)
    if last is not None and last.status == "CHECKING":
        raise CannotVerify("Cluster verification in state CHECKING")
    return due(_with(cluster, Verification(_new_id(), "CHECKING", now)))


def is_due(cluster: Cluster) -> bool:
    return bool(cluster.extra.get(DUE)) and status_of(cluster) == ACTIVE


def instances(cluster: Cluster) -> tuple[Status, str]:
    """Returns how it is with the nodes: whether all of them run."""
    down = [node.name for node in cluster.nodes if node.status is not NodeStatus.RUNNING]
    if not down:
        return "GREEN", "All instances are available"
    return "RED", f"Instances ({', '.join(down)[:_MOST_TEXT]}) are not available in the cluster."


def worst(statuses: Iterable[Status]) -> Status:
    found = set(statuses)
    return next((status for status in _WORST if status in found), "GREEN")


def _with(cluster: Cluster, verification: Verification) -> Cluster:
    extra = {**cluster.extra, KEPT: msgspec.to_builtins(verification)}
    return msgspec.structs.replace(cluster, extra=extra)


# -- what does it ----------------------------------------------------------------------------------


class Verifier:
    """A thread that verifies what is due. ``term`` gives None while this process does not lead;
    ``clock`` seconds since the epoch."""

    def __init__(
        self,
        store: Store,
        plugins: Plugins,
        open_remote: OpenRemote,
        calls: PluginCalls,
        term: Callable[[], int | None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._plugins = plugins
        self._open = open_remote
        self._calls = calls
        self._term = term
        self._clock = clock
        self._led: int | None = None
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="verification", daemon=True)

    def start(self) -> None:
        self._unsubscribe = self._store.subscribe(self._heard)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        self._unsubscribe()
        self._stopping.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _heard(self, change: Change) -> None:
        if change.kind == "cluster" and change.key.startswith("sahara/"):
            with self._lock:
                self._changed.add(change.id)
            self._news.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait(_GLANCE)
            self._news.clear()
            try:
                self.turn()
            except GatewayError as error:
                logger.warning("verifications have to wait: %s", error)
                self._led = None
            except Exception:
                logger.exception("verifications failed; they go on")
                self._led = None
                self._stopping.wait(_GLANCE)

    def turn(self) -> None:
        """Verifies what has changed and is due; of a process that has begun to lead, all that is."""
        term = self._term()
        with self._lock:
            changed, self._changed = self._changed, set()
        if term is None:
            self._led = None
            return
        if term != self._led:
            found = self._store.clusters.find(include_gone=False)
            changed |= {cluster.cluster_id for cluster in found if is_due(cluster)}
            self._led = term
        for cluster_id in changed:
            if self._stopping.is_set():
                return
            try:
                cluster = self._store.clusters.get(cluster_id)
            except NotFound:
                continue
            if is_due(cluster):
                self._verify(cluster)

    def _verify(self, cluster: Cluster) -> None:
        began = self._clock()
        last = verification_of(cluster)
        verification = last if last is not None and last.status == "CHECKING" else None
        if verification is None:
            verification = Verification(_new_id(), "CHECKING", began)
        checks = [_check(_INSTANCES, began, self._clock, lambda: instances(cluster))]
        for health in self._health_checks(cluster):
            checks.append(_check(health.name, self._clock(), self._clock, self._asking(health)))
        ended = msgspec.structs.replace(
            verification,
            status=worst(check.status for check in checks),
            updated_at=self._clock(),
            checks=tuple(checks),
        )

        def note(current: Cluster) -> Cluster:
            if not is_due(current):
                return current  # it is verified when it is active again
            changed = _with(current, ended)
            extra = {name: value for name, value in changed.extra.items() if name != DUE}
            return msgspec.structs.replace(changed, extra=extra)

        self._store.clusters.change(cluster.cluster_id, note)

    def _health_checks(self, cluster: Cluster) -> Sequence[HealthCheck]:
        try:
            plugin = self._plugins.get(cluster.product[0])
            view = ClusterView(cluster, self._open)
            checks = self._calls.call(
                f"get_health_checks of the plugin {plugin.name}",
                lambda: list(plugin.get_health_checks(view)),
            )
        except GatewayError as error:
            sentence = str(error)

            def failed() -> str:
                raise RedHealth(sentence)

            return [HealthCheck("Checks of the plugin", failed)]
        return checks

    def _asking(self, health: HealthCheck) -> Callable[[], tuple[Status, str]]:
        def ask() -> tuple[Status, str]:
            try:
                return "GREEN", str(self._calls.call(f"the check {health.name!r}", health.check))
            except YellowHealth as error:
                return "YELLOW", str(error)
            except GatewayError as error:
                return "RED", str(error)

        return ask


def _check(
    name: str, began: float, clock: Callable[[], float], look: Callable[[], tuple[Status, Any]]
) -> Check:
    status, text = look()
    return Check(_new_id(), name, status, str(text)[:_MOST_TEXT], began, clock())


def _new_id() -> str:
    return str(uuid.uuid4())
