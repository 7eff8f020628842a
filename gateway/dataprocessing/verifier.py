"""Verifies the data clusters whose verification is due, as long as this process leads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from framework.model.errors import GatewayError, Invalid
from gateway.clusters.model import Cluster
from gateway.dataprocessing.verification import (
    Check,
    Status,
    check,
    concluded,
    instances,
    is_due,
    verified,
)
from gateway.plugins.calls import PluginCalls
from gateway.plugins.exceptions import RedHealth, YellowHealth
from gateway.plugins.health import HealthCheck
from gateway.plugins.loader import Plugins
from gateway.plugins.views import ClusterView, OpenRemote
from gateway.store import Store
from gateway.store.sessions import Change

logger = logging.getLogger(__name__)

# So many clusters are verified at once: a plugin that hangs keeps the others waiting only if there are
# as many of its.
_MOST = 16
_INSTANCES = "Check of instances accessibility"
# How often it is looked whether this process leads, in seconds.
_GLANCE = 1.0


class Verifier:
    """A thread that finds what is due, and one for each cluster that is being verified.

    ``term`` gives None while this process does not lead; ``clock`` seconds since the epoch.
    """

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
        # Ids of clusters: to be looked at, and being verified.
        self._changed: set[str] = set()
        self._under_way: set[str] = set()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="verification", daemon=True)

    def start(self) -> None:
        self._unsubscribe = self._store.subscribe(self._heard)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Begins no more; what a plugin is being asked is asked again when somebody leads."""
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
                self._turn()
            except GatewayError as error:
                logger.warning("verifications have to wait: %s", error)
                self._led = None
            except Exception:
                logger.exception("verifications failed; they go on")
                self._led = None
                self._stopping.wait(_GLANCE)

    def _turn(self) -> None:
        """Begins with what has changed and is due; of a process that has begun to lead, all that is."""
        term = self._term()
        with self._lock:
            changed, self._changed = self._changed, set()
        if term is None:
            self._led = None
            return
        if term == self._led and not changed:
            return
        live = self._store.live.look()
        if term != self._led:
            changed = set(live)
            self._led = term
        for cluster_id in changed:
            if self._stopping.is_set():
                return
            if cluster_id in live and is_due(live[cluster_id]):
                self._begin(cluster_id)

    def _begin(self, cluster_id: str) -> None:
        with self._lock:
            if cluster_id in self._under_way:
                return  # it is looked at again when that has ended
            if len(self._under_way) >= _MOST:
                self._changed.add(cluster_id)  # for the turn after one has ended
                return
            self._under_way.add(cluster_id)
        threading.Thread(
            target=self._verify, args=(cluster_id,), name="verification of a cluster", daemon=True
        ).start()

    def _verify(self, cluster_id: str) -> None:
        try:
            cluster = self._store.clusters.get(cluster_id)
            began = self._clock()
            checks = self._checks(cluster)
            verification = concluded(cluster, began, self._clock(), checks)
            self._store.clusters.change(cluster_id, lambda current: verified(current, verification))
        except GatewayError as error:
            logger.warning("the verification of cluster %s has to wait: %s", cluster_id, error)
            self._stopping.wait(_GLANCE)
        except Exception:
            logger.exception("the verification of cluster %s failed; it is tried again", cluster_id)
            self._stopping.wait(_GLANCE)
        finally:
            with self._lock:
                self._under_way.discard(cluster_id)
                self._changed.add(cluster_id)
            self._news.set()

    def _checks(self, cluster: Cluster) -> list[Check]:
        began = self._clock()
        checks = [check(_INSTANCES, *instances(cluster), began, self._clock())]
        for health in self._health_checks(cluster):
            began = self._clock()
            found = self._ask(cluster.product[0], health)
            checks.append(check(health.name, *found, began, self._clock()))
        return checks

    def _health_checks(self, cluster: Cluster) -> Sequence[HealthCheck]:
        try:
            plugin = self._plugins.get(cluster.product[0])
            view = ClusterView(cluster, self._open)
            what = f"get_health_checks of the plugin {plugin.name}"
            checks = self._calls.call(plugin.name, what, lambda: list(plugin.get_health_checks(view)))
            for one in checks:
                if not isinstance(getattr(one, "name", None), str) or not callable(
                    getattr(one, "check", None)
                ):
                    raise Invalid(f"{what} has returned {one!r:.100}, which is no HealthCheck")
        except GatewayError as error:
            sentence = str(error)

            def failed() -> str:
                raise RedHealth(sentence)

            return [HealthCheck("Checks of the plugin", failed)]
        return checks

    def _ask(self, plugin: str, health: HealthCheck) -> tuple[Status, str]:
        what = f"the check {health.name!r}"
        try:
            return "GREEN", self._calls.call(plugin, what, lambda: str(health.check()))
        except YellowHealth as error:
            return "YELLOW", str(error)
        except GatewayError as error:
            return "RED", str(error)
