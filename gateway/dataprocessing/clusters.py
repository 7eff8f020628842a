"""Data clusters that there are: looked at, scaled, changed, deleted, on behalf of tenants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from framework.model.errors import GatewayError
from gateway.clusters.model import Cluster, Group, NodeStatus
from gateway.dataprocessing import advice, verification
from gateway.dataprocessing.errors import (
    DeletionFailed,
    DuplicateEntry,
    InvalidReference,
    NameExists,
    NoSuchObject,
    UpdateFailed,
)
from gateway.dataprocessing.launching import Wanted, cluster_group
from gateway.dataprocessing.means import Means
from gateway.dataprocessing.objects import NodeGroup
from gateway.dataprocessing.progress import Progress, progress
from gateway.dataprocessing.remembered import Remembered
from gateway.dataprocessing.scaling import Scaling, check_active, check_same, group_id, scaling
from gateway.dataprocessing.status import VALIDATION, waiting_of
from gateway.plugins.calls import PluginFailed
from gateway.plugins.exceptions import PluginError
from gateway.plugins.profile import VersionProfile
from gateway.plugins.spi import offers

Given = Mapping[str, Any]
# The events of so many clusters are read at once.
_EVENTS_OF = 100
# So many tenants' lists are remembered.
_MOST_LISTS = 1000
_ROW = "ClusterResource"


class DataClusters:
    """Methods block for as long as the store and the plugins take; call them in the pool.

    Requests (``given``) have passed their schemas. What they raise is of
    :mod:`gateway.dataprocessing.errors`, of the plugins, or means that something is not there now.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._steps: Remembered[tuple[Progress, ...]] = Remembered()
        # By tenant: of which look at the clusters, and what it sees of them.
        self._lists: dict[str, tuple[Mapping[str, Cluster], Sequence[Cluster]]] = {}

    # -- what there is ------------------------------------------------------------------------------

    def find(self, tenant: str) -> Sequence[Cluster]:
        """Returns the tenant's clusters and those that others show to everybody, by id."""
        live = self._means.store.live.look()
        of, found = self._lists.get(tenant, (None, ()))
        if of is not live:
            found = [one for one in live.values() if _is_seen(one, tenant)]
            if len(self._lists) >= _MOST_LISTS:
                self._lists.clear()
            self._lists[tenant] = (live, found)
        return found

    def get(self, tenant: str, cluster_id: str) -> Cluster:
        """Raises :class:`NoSuchObject`."""
        cluster = self._means.store.live.look().get(cluster_id)
        if cluster is None or not _is_seen(cluster, tenant):
            raise NoSuchObject(id=cluster_id[:255])
        return cluster

    def progress(self, cluster: Cluster) -> tuple[Progress, ...]:
        """Returns the steps of what has been done to a cluster."""
        return self.progress_of([cluster])[cluster.cluster_id]

    def progress_of(self, clusters: Sequence[Cluster]) -> Mapping[str, tuple[Progress, ...]]:
        """Returns the same of several clusters by their ids."""
        return self._steps.of(clusters, self._read_progress)

    def _read_progress(self, clusters: Sequence[Cluster]) -> Iterator[tuple[Progress, ...]]:
        for first in range(0, len(clusters), _EVENTS_OF):
            some = clusters[first : first + _EVENTS_OF]
            events = self._means.store.events.of([cluster.cluster_id for cluster in some])
            for cluster in some:
                yield progress(cluster, events[cluster.cluster_id])

    def waits(self, cluster: Cluster) -> str:
        """See :func:`gateway.dataprocessing.status.waiting_of`."""
        if not any(node.status is NodeStatus.QUEUED for node in cluster.nodes):
            return ""
        return waiting_of(cluster, self._means.clusters.pending_reasons(cluster.cluster_id))

    # -- changes ------------------------------------------------------------------------------------

    def scale(self, tenant: str, cluster_id: str, given: Given, user: str = "") -> Cluster:
        """Begins to give groups the sizes that are asked for; new groups come, too."""
        cluster = self._own(tenant, cluster_id, given)
        chosen = self._means.checks.plugin(tenant, *cluster.product)
        plugin = chosen.plugin
        if not offers(plugin, "scale_cluster"):
            raise InvalidReference(
                f"Requested plugin '{plugin.name}' doesn't support cluster scaling feature"
            )
        check_active(cluster)
        added = given.get("add_node_groups") or ()
        new = self._means.templates.groups(tenant, added, self._means.clock())
        plan = scaling(cluster, given.get("resize_node_groups") or (), new)
        groups = self._new_groups(tenant, chosen.profile, cluster, new)
        # New groups are empty as yet: how many of them are asked for, validate_scaling is told.
        grown = msgspec.structs.replace(cluster, groups=(*cluster.groups, *groups))
        sizes = {group_id(mine): asked.count for mine, asked in zip(groups, new, strict=True)}
        try:
            advised = self._means.consultant.advice(plugin, grown, scaling=True)
            grown = advice.for_cluster(grown, advised)
            self._means.consultant.validate_scaling(plugin, grown, plan.counts, sizes)
        except (PluginError, PluginFailed) as error:
            self._means.clusters.refuse_resize(cluster_id, VALIDATION, str(error))
            raise
        if plan.is_nothing:
            return cluster
        groups = list(grown.groups[len(cluster.groups) :])
        with self._means.store.transaction():
            check_same(cluster, self._means.clusters.get(cluster_id))
            self._means.store.clusters.change(
                cluster_id, lambda c: verification.due(advice.for_cluster(c, advised))
            )
            begun = self._resize(cluster_id, plan, user, groups)
        # Within the transaction there was nothing to be seen of it yet.
        self._means.clusters.wake(cluster_id)
        return begun

    def _new_groups(
        self, tenant: str, profile: VersionProfile, cluster: Cluster, new: Sequence[NodeGroup]
    ) -> list[Group]:
        if not new:
            return []
        self._means.parts.check(tenant, profile, cluster.name, new)
        asked = Wanted(
            name=cluster.name,
            plugin=cluster.product[0],
            version=cluster.product[1],
            default_image_id=cluster.extra.get("default_image_id"),
            anti_affinity=tuple(cluster.extra.get("anti_affinity") or ()),
            network=cluster.extra.get("neutron_management_network"),
        )
        found = self._means.parts.find(tenant, asked, new)
        return [cluster_group(group, asked, found) for group in new]

    def _resize(self, cluster_id: str, plan: Scaling, user: str, groups: Sequence[Group]) -> Cluster:
        kept = [group for group in groups if plan.add.get(group.name)]
        try:
            return self._means.clusters.resize(cluster_id, plan.add, plan.remove, user, kept)
        except GatewayError:
            # Somebody else was faster, perhaps: that is what is to be said then.
            check_active(self._means.clusters.get(cluster_id))
            raise

    def change(self, tenant: str, cluster_id: str, given: Given) -> Cluster:
        """Changes what a cluster is called and who sees it, or begins its verification."""
        self._own(tenant, cluster_id, given)
        if given.get("verification"):
            if len(given) > 1:
                raise verification.CannotVerify("Can't update verification with other updates")
            return self._means.store.clusters.change(
                cluster_id, lambda c: verification.demanded(c, self._means.clock())
            )
        if given.get("name") is not None:
            with self._means.store.transaction():
                if any(c.cluster_id != cluster_id for c in self._named(tenant, given["name"])):
                    raise DuplicateEntry("Cluster")
                return self._means.store.clusters.change(cluster_id, lambda c: self._changed(c, given))
        return self._means.store.clusters.change(cluster_id, lambda c: self._changed(c, given))

    def _changed(self, cluster: Cluster, given: Given) -> Cluster:
        extra = dict(cluster.extra)
        for name in ("description", "shares"):
            if name in given:
                extra[name] = given[name]
        if "is_protected" in given:
            extra["is_protected"] = bool(given["is_protected"])
        return msgspec.structs.replace(
            cluster,
            name=given["name"] if given.get("name") is not None else cluster.name,
            shared=bool(given["is_public"]) if "is_public" in given else cluster.shared,
            updated_at=self._means.clock(),
            extra=extra,
        )

    def delete(self, tenant: str, cluster_id: str, user: str = "", force: bool = False) -> None:
        """Begins a cluster's end; ``force``: whatever its plugin says, or does not say, to that."""
        cluster = self.get(tenant, cluster_id)
        failed = f"{_ROW} with id '{cluster_id}' could not be deleted because it"
        if cluster.project != tenant:
            raise DeletionFailed(f"{failed} wasn't created in this tenant")
        if cluster.extra.get("is_protected"):
            raise DeletionFailed(f"{failed}'s marked as protected")
        self._means.clusters.delete(cluster_id, user, force)

    # -- within -------------------------------------------------------------------------------------

    def _own(self, tenant: str, cluster_id: str, given: Given) -> Cluster:
        """Returns a cluster that the tenant may change in this way; raises :class:`UpdateFailed`."""
        cluster = self.get(tenant, cluster_id)
        failed = f"{_ROW} with id '{cluster_id}' could not be updated because it"
        if cluster.project != tenant:
            raise UpdateFailed(f"{failed} wasn't created in this tenant")
        protected = bool(cluster.extra.get("is_protected"))
        if protected and given.get("is_protected") is not False and set(given) - {"is_public"}:
            raise UpdateFailed(f"{failed}'s marked as protected")
        return cluster

    def _named(self, tenant: str, name: str) -> list[Cluster]:
        found = self._means.store.clusters.named(tenant, name)
        return [cluster for cluster in found if cluster.provider == "plugin"]

    def check_name(self, tenant: str, name: str) -> None:
        """Raises :class:`NameExists` for a name that a cluster has which the tenant sees."""
        if self._named(tenant, name):
            raise NameExists("Cluster", name)


def _is_seen(cluster: Cluster, tenant: str) -> bool:
    return cluster.provider == "plugin" and (cluster.project == tenant or cluster.shared)
