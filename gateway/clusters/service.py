"""Clusters as the APIs see them: launched, looked at, resized, deleted. What is promised is durable."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from framework.core.messages import PendingReason
from framework.model.errors import NotFound
from gateway.clusters.fleet import Fleet
from gateway.clusters.model import Cluster, ClusterEvent, Group, LaunchRequest, storable
from gateway.clusters.planning import Rules, check_request, check_specs, job_key
from gateway.clusters.requests import (
    new_cluster,
    ready,
    refused,
    resize_refused,
    with_delete,
    with_resize,
    with_run,
)
from gateway.store import Store


class Mover(Protocol):
    """What is used of :class:`gateway.clusters.engine.Engine`."""

    def wake(self, cluster_id: str) -> None: ...


class Clusters:
    """Methods block for as long as the store takes; call them in the pool. Who may do what is the APIs'.

    ``clock`` gives seconds since the epoch, ``cluster_name`` is the scheduler's. Every method raises
    :class:`NotFound` for a cluster that is not there, and StorageUnavailable.
    """

    def __init__(
        self,
        store: Store,
        engine: Mover,
        fleet: Fleet,
        rules: Rules,
        cluster_name: str,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._engine = engine
        self._fleet = fleet
        self._rules = rules
        self._cluster_name = cluster_name
        self._clock = clock

    # -- what is asked for --------------------------------------------------------------------------

    def launch(self, request: LaunchRequest, user: str = "") -> Cluster:
        """Returns the new cluster, which is durable; the engine does the rest.

        Raises :class:`Invalid` and :class:`Forbidden` for what cannot or may not be, :class:`Conflict`
        if there is a cluster with this key.
        """
        check_request(request, {n.name: n for n in self._store.networks.list()}, self._rules)
        job = job_key(self._cluster_name, request.owner, request.environment, request.job_name)
        cluster = new_cluster(request, job, user or request.owner, self._clock(), _new_id)
        with self._store.transaction():
            created = self._store.clusters.create(cluster)
            self._tell(created, f"launched by {user or request.owner}: {len(cluster.nodes)} nodes")
        self._engine.wake(created.cluster_id)
        return created

    def refuse(self, request: LaunchRequest, step: str, reason: str, user: str = "") -> Cluster:
        """Keeps a cluster that will not be made, so that its user sees what was asked for, and why not:
        nothing of it is in use. ``step`` is what did not succeed.
        """
        job = job_key(self._cluster_name, request.owner, request.environment, request.job_name)
        now, reason = self._clock(), storable(reason)
        cluster = refused(new_cluster(request, job, user or request.owner, now, _new_id), step, reason)
        with self._store.transaction():
            created = self._store.clusters.create(cluster)
            self._tell(created, f"refused: {reason}")
        return created

    def resize(
        self,
        cluster_id: str,
        add: Mapping[str, int],
        remove: Sequence[str] = (),
        user: str = "",
        groups: Sequence[Group] = (),
    ) -> Cluster:
        """Begins to add nodes, by group, and to remove others, by name. See :func:`with_resize`.

        New nodes have their group's spec, and names with the next free numbers.
        """

        def change(cluster: Cluster) -> Cluster:
            changed = with_resize(cluster, add, remove, user, self._clock(), _new_id, groups)
            check_specs(changed, {n.name: n for n in self._store.networks.list()}, self._rules)
            return changed

        return self._begin(cluster_id, change)

    def refuse_resize(self, cluster_id: str, step: str, reason: str) -> None:
        """Has a cluster say why it was not resized, until something else is done to it; ``step`` is what
        did not succeed."""
        reason = storable(reason)
        with self._store.transaction():
            before = self._store.clusters.get(cluster_id)
            after = self._store.clusters.change(cluster_id, lambda c: resize_refused(c, step, reason))
            if after.failed_step != before.failed_step or after.reason != before.reason:
                self._tell(after, f"resize refused: {reason}")

    def run(self, cluster_id: str, verb: str, user: str = "") -> Cluster:
        """Begins to have the provider do ``verb``; raises :class:`Conflict` if it is not ready."""
        return self._begin(cluster_id, lambda c: with_run(c, verb, user, self._clock(), _new_id))

    def delete(self, cluster_id: str, user: str = "", force: bool = False) -> Cluster:
        """Begins the cluster's end, whatever is being done to it; does nothing if it has begun.

        ``force``: its provider is not asked, and not waited for, either.
        """
        return self._begin(cluster_id, lambda c: with_delete(c, user, self._clock(), _new_id, force))

    def restart_node(self, cluster_id: str, node_name: str, user: str = "") -> None:
        """Has a node run anew, with its addresses and its disks, whether or not it runs.

        Raises :class:`NotFound` for a node that is not there, :class:`Conflict` if the cluster is not
        ready.
        """
        cluster = self._store.clusters.get(cluster_id)
        node = cluster.node(node_name)
        if node is None:
            raise NotFound(f"cluster {cluster.key} has no node {node_name[:255]!r}")
        ready(cluster, "changed")
        self._fleet.restart(cluster.job, node.index, user or cluster.owner)
        self._tell(cluster, f"restarted by {user or cluster.owner}", node=node_name)

    def wake(self, cluster_id: str) -> None:
        """Has the engine look at a cluster that was launched or resized in a transaction, now over."""
        self._engine.wake(cluster_id)

    # -- what there is ------------------------------------------------------------------------------

    def get(self, cluster_id: str) -> Cluster:
        return self._store.clusters.get(cluster_id)

    def by_key(self, key: str) -> Cluster:
        return self._store.clusters.by_key(key)

    def find(
        self,
        owner: str | None = None,
        product: str | None = None,
        version: str | None = None,
        project: str | None = None,
        include_gone: bool = True,
        shared: bool = False,
    ) -> list[Cluster]:
        """See :meth:`gateway.store.clusters.ClusterStore.find`."""
        return self._store.clusters.find(owner, product, version, project, include_gone, shared)

    def events(self, cluster_id: str, after: int = 0, limit: int = 1000) -> list[ClusterEvent]:
        """Returns what has happened, oldest first, from the number ``after`` on."""
        return self._store.events.read(cluster_id, after, limit)

    def pending_reasons(self, cluster_id: str) -> dict[str, tuple[PendingReason, ...]]:
        """Returns why nodes do not run yet, by their names; nothing of those that do."""
        cluster = self._store.clusters.get(cluster_id)
        view = self._fleet.look(cluster.job)
        if view is None:
            return {}
        reasons = {state.task.instance: state.pending for state in view.instances}
        return {n.name: reasons[n.index] for n in cluster.nodes if reasons.get(n.index)}

    # -- within -------------------------------------------------------------------------------------

    def _begin(self, cluster_id: str, change: Callable[[Cluster], Cluster]) -> Cluster:
        with self._store.transaction():
            before = self._store.clusters.get(cluster_id)
            after = self._store.clusters.change(cluster_id, change)
            operation = after.operation
            if operation is not None and operation != before.operation:
                what = operation.verb or operation.kind
                by = f" by {operation.user}" if operation.user else ""
                self._tell(after, f"{what} begun{by}")
        self._engine.wake(cluster_id)
        return after

    def _tell(self, cluster: Cluster, text: str, node: str = "") -> None:
        operation = cluster.operation.operation_id if cluster.operation is not None else ""
        event = ClusterEvent(
            cluster.cluster_id,
            self._clock(),
            "node" if node else "phase",
            text,
            node=node,
            operation_id=operation,
        )
        self._store.events.append([event])


def _new_id() -> str:
    return str(uuid.uuid4())
