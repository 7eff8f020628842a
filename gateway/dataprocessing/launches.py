"""Data clusters launched on behalf of tenants: one, or several at once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec

from gateway.clusters import keys
from gateway.clusters.model import Cluster
from gateway.clusters.planning import job_key
from gateway.clusters.requests import new_cluster
from gateway.dataprocessing import advice, verification
from gateway.dataprocessing.clusters import DataClusters, Given
from gateway.dataprocessing.errors import InvalidData, NotThere
from gateway.dataprocessing.launching import Found, Wanted, fresh, request, wanted
from gateway.dataprocessing.means import Means
from gateway.dataprocessing.objects import ClusterTemplate, NodeGroup
from gateway.dataprocessing.status import VALIDATION
from gateway.dataprocessing.validation import (
    check_configs,
    check_group_names,
    check_known_processes,
)
from gateway.plugins.calls import PluginFailed
from gateway.plugins.exceptions import PluginError
from gateway.plugins.profile import VersionProfile

# So many clusters are created by one request.
MOST_CLUSTERS = 100


class Launches:
    """Methods block for as long as the store and the plugins take; call them in the pool. See
    :class:`DataClusters` for requests and errors."""

    def __init__(self, means: Means, data_clusters: DataClusters) -> None:
        self._means = means
        self._data_clusters = data_clusters

    def create(self, tenant: str, given: Given, user: str = "", needs_network: bool = True) -> Cluster:
        """Launches a cluster; one that its plugin does not accept stays, with its error.

        ``needs_network``: one must be named; otherwise nodes without one have their agents' addresses,
        as those of Savanna had on a cloud without Neutron.
        """
        return self._create(tenant, given, [given["name"]], user, needs_network)[0]

    def create_many(
        self, tenant: str, given: Given, user: str = "", needs_network: bool = True
    ) -> list[Cluster]:
        """Launches ``count`` clusters, all or none: NAME-1, NAME-2 …, as wide as the last."""
        count = given["count"]
        if count > MOST_CLUSTERS:
            raise InvalidData(f"{count} clusters are too many for one request; {MOST_CLUSTERS} at most")
        width = len(str(count))
        names = [f"{given['name']}-{number:0{width}d}" for number in range(1, count + 1)]
        return self._create(tenant, given, names, user, needs_network)

    def _create(
        self, tenant: str, given: Given, names: Sequence[str], user: str, needs_network: bool
    ) -> list[Cluster]:
        with self._means.store.reading():
            for name in names:
                self._data_clusters.check_name(tenant, name)
            chosen = self._means.checks.plugin(tenant, given["plugin_name"], given["hadoop_version"])
            template = self._template(tenant, given)
            asked = self._wanted(tenant, chosen.profile, given, template, names[-1])
            if asked.network is not None:
                self._means.checks.network(asked.network)
            elif needs_network:
                raise NotThere("'neutron_management_network' field is not found")
            found = self._means.parts.find(tenant, asked, asked.groups)
        try:
            provisional = self._provisional(asked, found, tenant)
            advised = self._means.consultant.advice(chosen.plugin, provisional)
            asked = advice.for_request(asked, advised)
            self._means.consultant.validate(chosen.plugin, self._provisional(asked, found, tenant))
        except (PluginError, PluginFailed) as error:
            self._keep_refused(asked, found, tenant, names[0], str(error))
            raise
        with self._means.store.transaction():
            launched = [self._launch(asked, found, tenant, name, user) for name in names]
        for cluster in launched:
            self._means.clusters.wake(cluster.cluster_id)
        return launched

    def _template(self, tenant: str, given: Given) -> ClusterTemplate | None:
        template_id = given.get("cluster_template_id")
        if template_id is None:
            return None
        template = self._means.templates.look(tenant, template_id)
        if template is None:
            raise NotThere(f"Cluster template with id '{template_id[:255]}' not found")
        return template

    def _wanted(
        self,
        tenant: str,
        profile: VersionProfile,
        given: Given,
        template: ClusterTemplate | None,
        name: str,
    ) -> Wanted:
        """Returns what is asked for, checked."""
        now = self._means.clock()
        groups: Sequence[NodeGroup] | None = None
        if given.get("user_keypair_id"):
            self._means.checks.keypair(tenant, given["user_keypair_id"])
        if given.get("node_groups"):
            check_group_names(group["name"] for group in given["node_groups"])
            groups = self._means.templates.groups(tenant, given["node_groups"], now)
        asked = wanted({**given, "name": name}, template, groups)
        if asked.default_image_id is None:
            raise NotThere("'default_image_id' field is not found")
        self._means.checks.image(tenant, asked.default_image_id, profile)
        check_configs(profile, asked.cluster_configs)
        self._means.parts.check(tenant, profile, asked.name, asked.groups)
        if asked.anti_affinity:
            check_known_processes(profile, asked.anti_affinity)
        return asked

    def _provisional(self, asked: Wanted, found: Found, tenant: str) -> Cluster:
        """Returns the cluster as its plugin sees it before anything of it is there."""
        now = self._means.clock()
        own = msgspec.structs.replace(asked, groups=fresh(asked.groups, now, _new_id))
        asks = request(own, found, tenant, _new_id())
        job = job_key("provisional", asks.owner, asks.environment, asks.job_name)
        return new_cluster(asks, job, tenant, now, _new_id)

    def _launch(self, asked: Wanted, found: Found, tenant: str, name: str, user: str) -> Cluster:
        """Within a transaction: stores a cluster together with the secret of its keys."""
        self._data_clusters.check_name(tenant, name)
        own = msgspec.structs.replace(
            asked, name=name, groups=fresh(asked.groups, self._means.clock(), _new_id)
        )
        secret = keys.new_secret()
        found = msgspec.structs.replace(found, management_key=keys.user_key(secret).public)
        asks = request(own, found, tenant, _new_id())
        asks = msgspec.structs.replace(asks, extra={**asks.extra, verification.DUE: True})
        cluster = self._means.clusters.launch(asks, user)
        self._means.store.secrets.put(cluster.cluster_id, keys.SECRET, secret)
        return cluster

    def _keep_refused(self, asked: Wanted, found: Found, tenant: str, name: str, why: str) -> None:
        """Stores a cluster that its plugin has refused, so that its user can look at what was asked."""
        now = self._means.clock()
        own = msgspec.structs.replace(asked, name=name, groups=fresh(asked.groups, now, _new_id))
        with self._means.store.transaction():
            self._data_clusters.check_name(tenant, name)
            self._means.clusters.refuse(request(own, found, tenant, _new_id()), VALIDATION, why)


def _new_id() -> str:
    return str(uuid.uuid4())
