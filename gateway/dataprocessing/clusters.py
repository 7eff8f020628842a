"""Data clusters: launched, scaled, changed, deleted, looked at, on behalf of tenants."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from framework.model.errors import GatewayError, Invalid, NotFound
from gateway.clusters import keys
from gateway.clusters.model import Cluster, Group, LaunchRequest
from gateway.clusters.planning import job_key
from gateway.clusters.requests import new_cluster
from gateway.clusters.service import Clusters
from gateway.dataprocessing import verification
from gateway.dataprocessing.calls import PluginCalls
from gateway.dataprocessing.catalogue import Catalogue, flavor_of, network_of
from gateway.dataprocessing.errors import (
    DeletionFailed,
    DuplicateEntry,
    InvalidData,
    InvalidReference,
    NameExists,
    NoSuchObject,
    NotThere,
    UpdateFailed,
)
from gateway.dataprocessing.images import ImageRegistry
from gateway.dataprocessing.launching import (
    Found,
    Wanted,
    check_host_names,
    check_size,
    cluster_group,
    fresh,
    recommended,
    request,
    wanted,
)
from gateway.dataprocessing.objects import ClusterTemplate, NodeGroup
from gateway.dataprocessing.progress import Progress, progress
from gateway.dataprocessing.scaling import Scaling, check_active, group_id, scaling
from gateway.dataprocessing.status import VALIDATION
from gateway.dataprocessing.templates import ClusterTemplates
from gateway.dataprocessing.validation import (
    Checks,
    check_configs,
    check_group_names,
    check_known_processes,
)
from gateway.plugins.exceptions import PluginError
from gateway.plugins.spi import Plugin, offers
from gateway.plugins.views import ClusterView
from gateway.store import Store

Given = Mapping[str, Any]
# So many clusters are created by one request.
MOST_CLUSTERS = 100
# So many events of one cluster are read for its progress.
_MOST_EVENTS = 22_000
_ROW = "ClusterResource"


class DataClusters:
    """Methods block for as long as the store and the plugins take; call them in the pool.

    Requests (``given``) have passed their schemas. What they raise is of
    :mod:`gateway.dataprocessing.errors`, of the plugins, or means that something is not there now.
    ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        clusters: Clusters,
        templates: ClusterTemplates,
        checks: Checks,
        images: ImageRegistry,
        catalogue: Catalogue,
        calls: PluginCalls,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._templates = templates
        self._checks = checks
        self._images = images
        self._catalogue = catalogue
        self._calls = calls
        self._clock = clock
        # What has been made of events, by the cluster's revision; bounded.
        self._steps: dict[str, tuple[int, tuple[Progress, ...]]] = {}

    # -- what there is ------------------------------------------------------------------------------

    def find(self, tenant: str) -> list[Cluster]:
        """Returns the tenant's clusters and those that others show to everybody, by age."""
        found = self._clusters.find(project=tenant, include_gone=False, shared=True)
        return [cluster for cluster in found if cluster.provider == "plugin"]

    def get(self, tenant: str, cluster_id: str) -> Cluster:
        """Raises :class:`NoSuchObject`."""
        try:
            cluster = self._clusters.get(cluster_id)
        except NotFound:
            raise NoSuchObject(id=cluster_id[:255]) from None
        ours = cluster.provider == "plugin" and not cluster.is_gone
        if not ours or not (cluster.project == tenant or cluster.shared):
            raise NoSuchObject(id=cluster_id[:255])
        return cluster

    def progress(self, cluster: Cluster) -> tuple[Progress, ...]:
        """Returns the steps of what has been done to a cluster."""
        known = self._steps.get(cluster.cluster_id)
        if known is not None and known[0] == cluster.revision:
            return known[1]
        events = self._clusters.events(cluster.cluster_id, limit=_MOST_EVENTS)
        steps = progress(cluster, events)
        if len(self._steps) > 5000:
            self._steps.clear()
        self._steps[cluster.cluster_id] = (cluster.revision, steps)
        return steps

    # -- creation -----------------------------------------------------------------------------------

    def create(self, tenant: str, given: Given, user: str = "") -> Cluster:
        """Launches a cluster; one that its plugin does not accept stays, with its error."""
        return self._create(tenant, given, [given["name"]], user)[0]

    def create_many(self, tenant: str, given: Given, user: str = "") -> list[Cluster]:
        """Launches ``count`` clusters, all or none: NAME-1, NAME-2 …, as wide as the last."""
        count = given["count"]
        if count > MOST_CLUSTERS:
            raise InvalidData(f"{count} clusters are too many for one request; {MOST_CLUSTERS} at most")
        width = len(str(count))
        names = [f"{given['name']}-{number:0{width}d}" for number in range(1, count + 1)]
        return self._create(tenant, given, names, user)

    def _create(self, tenant: str, given: Given, names: Sequence[str], user: str) -> list[Cluster]:
        for name in names:
            self._check_name(tenant, name)
        plugin = self._checks.plugin(tenant, given["plugin_name"], given["hadoop_version"])
        template = self._template(tenant, given)
        asked, found = self._wanted(tenant, plugin, given, template, names[-1])
        launched = []
        asked = self._advised(plugin, asked, found, tenant)
        try:
            self._validate(plugin, _provisional(asked, found, tenant, self._clock()))
        except PluginError as error:
            self._keep_refused(asked, found, tenant, names[0], str(error))
            raise
        with self._store.transaction():
            for name in names:
                launched.append(self._launch(asked, found, tenant, name, user))
        for cluster in launched:
            self._clusters.wake(cluster.cluster_id)
        return launched

    def _launch(self, asked: Wanted, found: Found, tenant: str, name: str, user: str) -> Cluster:
        """Within a transaction: stores a cluster together with the secret of its keys."""
        self._check_name(tenant, name)
        own = msgspec.structs.replace(
            asked, name=name, groups=fresh(asked.groups, self._clock(), _new_id)
        )
        secret = keys.new_secret()
        found = msgspec.structs.replace(found, management_key=keys.user_key(secret).public)
        asks = _due(request(own, found, tenant, _new_id()))
        cluster = self._clusters.launch(asks, user)
        self._store.secrets.put(cluster.cluster_id, keys.SECRET, secret)
        return cluster

    def _keep_refused(self, asked: Wanted, found: Found, tenant: str, name: str, why: str) -> None:
        """Stores a cluster that its plugin has refused, so that its user can look at what was asked."""
        now = self._clock()
        own = msgspec.structs.replace(asked, name=name, groups=fresh(asked.groups, now, _new_id))
        with self._store.transaction():
            self._check_name(tenant, name)
            self._clusters.refuse(request(own, found, tenant, _new_id()), VALIDATION, why)

    def _template(self, tenant: str, given: Given) -> ClusterTemplate | None:
        template_id = given.get("cluster_template_id")
        if template_id is None:
            return None
        template = self._templates.look(tenant, template_id)
        if template is None:
            raise NotThere(f"Cluster template with id '{template_id[:255]}' not found")
        return template

    def _wanted(
        self,
        tenant: str,
        plugin: Plugin,
        given: Given,
        template: ClusterTemplate | None,
        name: str,
    ) -> tuple[Wanted, Found]:
        """Returns what is asked for, checked, and what it is made of."""
        version, now = given["hadoop_version"], self._clock()
        groups: Sequence[NodeGroup] | None = None
        if given.get("user_keypair_id"):
            self._checks.keypair(tenant, given["user_keypair_id"])
        if given.get("node_groups"):
            check_group_names(group["name"] for group in given["node_groups"])
            groups = self._templates.groups(tenant, given["node_groups"], now)
        asked = wanted({**given, "name": name}, template, groups)
        if asked.default_image_id is None:
            raise NotThere("'default_image_id' field is not found")
        self._checks.image(tenant, asked.default_image_id, plugin, version)
        check_configs(plugin, version, asked.cluster_configs)
        self._check_groups(tenant, plugin, version, asked.groups)
        if asked.anti_affinity:
            check_known_processes(plugin, version, asked.anti_affinity)
        check_size(asked.groups)
        check_host_names(asked.name, asked.groups)
        if asked.network is None:
            raise NotThere("'neutron_management_network' field is not found")
        self._checks.network(asked.network)
        found = self._found(tenant, asked, asked.groups)
        keypair = next(
            (key for key in self._catalogue.keypairs(tenant) if key.name == asked.keypair), None
        )
        return asked, msgspec.structs.replace(found, user_key=keypair.public_key if keypair else "")

    def _check_groups(
        self, tenant: str, plugin: Plugin, version: str, groups: Sequence[NodeGroup]
    ) -> None:
        check_group_names(group.name for group in groups)
        for group in groups:
            self._checks.node_group(tenant, plugin, version, msgspec.structs.asdict(group))

    def _found(self, tenant: str, asked: Wanted, groups: Sequence[NodeGroup]) -> Found:
        flavors = {}
        images = {}
        for group in groups:
            flavor = flavor_of(self._catalogue, group.flavor_id)
            if flavor is None:
                raise NotThere(f"Requested flavor '{group.flavor_id[:255]}' not found")
            flavors[group.flavor_id] = flavor
            image_id = group.image_id or asked.default_image_id or ""
            image = self._images.look(tenant, image_id)
            if image is None:
                raise InvalidReference(f"Requested image '{image_id[:255]}' is not registered")
            images[image_id] = image
        return Found(flavors=flavors, images=images, network=self._network(asked.network))

    def _network(self, network_id: str | None) -> str | None:
        """Returns which of the gateway's networks it is; None if nodes have their agents' addresses."""
        network = network_of(self._catalogue, network_id) if network_id is not None else None
        if network is None or not network.attached:
            return None
        names = {known.name for known in self._store.networks.list()}
        return network.name if network.name in names else None

    def _advised(self, plugin: Plugin, asked: Wanted, found: Found, tenant: str) -> Wanted:
        if not asked.use_autoconfig or not offers(plugin, "recommend_configs"):
            return asked
        view = _provisional(asked, found, tenant, self._clock())
        advice = self._calls.call(
            f"recommend_configs of the plugin {plugin.name}",
            lambda: plugin.recommend_configs(view),
        )
        return recommended(asked, advice) if advice else asked

    def _validate(self, plugin: Plugin, view: ClusterView) -> None:
        self._calls.call(f"validate of the plugin {plugin.name}", lambda: plugin.validate(view))

    # -- changes ------------------------------------------------------------------------------------

    def scale(self, tenant: str, cluster_id: str, given: Given, user: str = "") -> Cluster:
        """Begins to give groups the sizes that are asked for; new groups come, too."""
        cluster = self._own(tenant, cluster_id, given)
        plugin = self._checks.plugin(tenant, *cluster.product)
        if not offers(plugin, "scale_cluster"):
            raise InvalidReference(
                f"Requested plugin '{plugin.name}' doesn't support cluster scaling feature"
            )
        check_active(cluster)
        added = given.get("add_node_groups") or ()
        new = self._templates.groups(tenant, added, self._clock())
        plan = scaling(cluster, given.get("resize_node_groups") or (), new)
        groups = self._new_groups(tenant, plugin, cluster, new)
        self._validate_scaling(plugin, cluster, plan, groups, new)
        if plan.is_nothing:
            return cluster
        with self._store.transaction():
            self._store.clusters.change(cluster_id, verification.due)
            return self._resize(cluster_id, plan, user, groups)

    def _resize(self, cluster_id: str, plan: Scaling, user: str, groups: Sequence[Group]) -> Cluster:
        kept = [group for group in groups if plan.add.get(group.name)]
        try:
            return self._clusters.resize(cluster_id, plan.add, plan.remove, user, kept)
        except GatewayError:
            # Somebody else was faster, perhaps: that is what is to be said then.
            check_active(self._clusters.get(cluster_id))
            raise

    def _new_groups(
        self, tenant: str, plugin: Plugin, cluster: Cluster, new: Sequence[NodeGroup]
    ) -> list[Group]:
        if not new:
            return []
        self._check_groups(tenant, plugin, cluster.product[1], new)
        check_size(new)
        check_host_names(cluster.name, new)
        asked = Wanted(
            name=cluster.name,
            plugin=cluster.product[0],
            version=cluster.product[1],
            default_image_id=cluster.extra.get("default_image_id"),
            anti_affinity=tuple(cluster.extra.get("anti_affinity") or ()),
            network=cluster.extra.get("neutron_management_network"),
        )
        found = self._found(tenant, asked, new)
        return [cluster_group(group, asked, found) for group in new]

    def _validate_scaling(
        self,
        plugin: Plugin,
        cluster: Cluster,
        plan: Scaling,
        groups: Sequence[Group],
        new: Sequence[NodeGroup],
    ) -> None:
        grown = msgspec.structs.replace(cluster, groups=(*cluster.groups, *groups))
        view = ClusterView(grown, _nothing_runs)
        counts = {group.name: group.count for group in new}
        additional = {group_id(group): counts[group.name] for group in groups}
        self._calls.call(
            f"validate_scaling of the plugin {plugin.name}",
            lambda: plugin.validate_scaling(view, plan.counts, additional),
        )

    def change(self, tenant: str, cluster_id: str, given: Given) -> Cluster:
        """Changes what a cluster is called and who sees it, or begins its verification."""
        self._own(tenant, cluster_id, given)
        if given.get("verification"):
            if len(given) > 1:
                raise verification.CannotVerify("Can't update verification with other updates")
            return self._store.clusters.change(
                cluster_id, lambda c: verification.demanded(c, self._clock())
            )
        if given.get("name") is not None:
            with self._store.transaction():
                if any(c.cluster_id != cluster_id for c in self._named(tenant, given["name"])):
                    raise DuplicateEntry("Cluster")
                return self._store.clusters.change(cluster_id, lambda c: self._changed(c, given))
        return self._store.clusters.change(cluster_id, lambda c: self._changed(c, given))

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
            updated_at=self._clock(),
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
        self._clusters.delete(cluster_id, user, force)

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
        found = self._store.clusters.find(project=tenant, include_gone=False, shared=True, name=name)
        return [cluster for cluster in found if cluster.provider == "plugin"]

    def _check_name(self, tenant: str, name: str) -> None:
        if self._named(tenant, name):
            raise NameExists("Cluster", name)


def _provisional(asked: Wanted, found: Found, tenant: str, now: float) -> ClusterView:
    """Returns the cluster as its plugin sees it before anything of it is there."""
    own = msgspec.structs.replace(asked, groups=fresh(asked.groups, now, _new_id))
    asks = request(own, found, tenant, _new_id())
    job = job_key("provisional", asks.owner, asks.environment, asks.job_name)
    return ClusterView(new_cluster(asks, job, tenant, now, _new_id), _nothing_runs)


def _nothing_runs(*_: object) -> Any:
    raise Invalid("no instance of the cluster runs while it is being validated")


def _due(asks: LaunchRequest) -> LaunchRequest:
    return msgspec.structs.replace(asks, extra={**asks.extra, verification.DUE: True})


def _new_id() -> str:
    return str(uuid.uuid4())
