"""Clusters: launched, scaled, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from framework.model.errors import Invalid
from gateway.api.http import Answer, json_text
from gateway.api.sahara import cluster_bodies
from gateway.api.sahara.routing import GONE, PAGING, Asked, accepted, listed_texts, route
from gateway.clusters.model import Cluster
from gateway.dataprocessing import schemas
from gateway.dataprocessing.errors import InvalidData
from gateway.dataprocessing.listing import Columns, Query, page
from gateway.dataprocessing.progress import Progress
from gateway.dataprocessing.status import status_of

_OF_EXTRA = (
    "description",
    "default_image_id",
    "cluster_template_id",
    "user_keypair_id",
    "neutron_management_network",
    "is_protected",
    "is_transient",
)
_FIELDS: dict[str, Callable[[Cluster], Any]] = {
    "id": lambda cluster: cluster.cluster_id,
    "name": lambda cluster: cluster.name,
    "plugin_name": lambda cluster: cluster.product[0],
    "hadoop_version": lambda cluster: cluster.product[1],
    "status": status_of,
    "tenant_id": lambda cluster: cluster.project,
    "is_public": lambda cluster: cluster.shared,
}
COLUMNS = Columns(
    frozenset({"id", "name", "plugin_name", "hadoop_version", "status"}),
    frozenset({*_FIELDS, *_OF_EXTRA}),
)
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})


def _field(cluster: Cluster, name: str) -> Any:
    read = _FIELDS.get(name)
    return cluster.extra.get(name) if read is None else read(cluster)


async def list_data_clusters(asked: Asked) -> Answer:
    query = asked.page(COLUMNS)
    return await asked.call.run(_list, asked, query)


def _list(asked: Asked, query: Query) -> Answer:
    """The answer for a list: each cluster's text is made once, and stays until the cluster changes."""
    data = asked.data.clusters
    shown = page(data.find(asked.tenant), query, _field)

    def write(clusters: Sequence[Cluster]) -> Iterator[bytes]:
        steps = {} if asked.old else data.progress_of(clusters)
        for one in clusters:
            body = cluster_bodies.cluster(one, steps.get(one.cluster_id, ()), old=asked.old)
            yield json_text(body)

    gateway = asked.call.gateway
    written = gateway.old_cluster_texts if asked.old else gateway.cluster_texts
    texts = written.of(shown.items, write)
    return listed_texts("clusters", shown, [texts[one.cluster_id] for one in shown.items])


async def create_data_cluster(asked: Asked) -> Answer:
    given = _as_savanna(asked, asked.body(schemas.CLUSTER))
    user = asked.call.identity(asked.tenant)
    create = asked.data.launches.create
    cluster = await asked.call.run(create, asked.tenant, given, user, not asked.old)
    return accepted(_shown(asked, cluster))


async def create_data_clusters(asked: Asked) -> Answer:
    given = _as_savanna(asked, asked.body(schemas.CLUSTERS))
    user = asked.call.identity(asked.tenant)
    create = asked.data.launches.create_many
    found = await asked.call.run(create, asked.tenant, given, user, not asked.old)
    return accepted({"clusters": [cluster.cluster_id for cluster in found]})


async def read_data_cluster(asked: Asked, cluster: str) -> Answer:
    events = _is_true(asked, "show_progress")
    progress = _progress(asked)

    def read() -> tuple[Cluster, tuple[Progress, ...], str]:
        found = asked.data.clusters.get(asked.tenant, cluster)
        return found, progress(found), asked.data.clusters.waits(found)

    found, steps, waits = await asked.call.run(read)
    return Answer(_shown(asked, found, steps, events, waits))


async def scale_data_cluster(asked: Asked, cluster: str) -> Answer:
    given = asked.with_sizes(asked.body(schemas.SCALING), "add_node_groups")
    user = asked.call.identity(asked.tenant)
    progress = _progress(asked)

    def scale() -> tuple[Cluster, tuple[Progress, ...]]:
        found = asked.data.clusters.scale(asked.tenant, cluster, given, user)
        return found, progress(found)

    return accepted(_shown(asked, *await asked.call.run(scale)))


async def change_data_cluster(asked: Asked, cluster: str) -> Answer:
    given = asked.body(schemas.CLUSTER_CHANGE)
    progress = _progress(asked)

    def change() -> tuple[Cluster, tuple[Progress, ...]]:
        found = asked.data.clusters.change(asked.tenant, cluster, given)
        return found, progress(found)

    return accepted(_shown(asked, *await asked.call.run(change)))


async def delete_data_cluster(asked: Asked, cluster: str) -> Answer:
    force = _is_true(asked, "force")
    user = asked.call.identity(asked.tenant)
    await asked.call.run(asked.data.clusters.delete, asked.tenant, cluster, user, force)
    return GONE


def _progress(asked: Asked) -> Callable[[Cluster], tuple[Progress, ...]]:
    """v1.0 shows no steps: they need not be read."""
    return (lambda cluster: ()) if asked.old else asked.data.clusters.progress


def _shown(
    asked: Asked,
    cluster: Cluster,
    steps: tuple[Progress, ...] = (),
    events: bool = False,
    waits: str = "",
) -> dict[str, Any]:
    body = cluster_bodies.cluster(cluster, steps, events=events, old=asked.old)
    if waits and not body.get("status_description"):
        body["status_description"] = waits
    return {"cluster": body}


def _as_savanna(asked: Asked, given: dict[str, Any]) -> dict[str, Any]:
    """Returns a request with what v1.0 meant where it says nothing: it knew no advice of plugins, and so
    shows the options that were given."""
    if asked.old:
        given.setdefault("use_autoconfig", False)
    return asked.with_sizes(given)


def _is_true(asked: Asked, name: str) -> bool:
    try:
        given = asked.call.query.one(name)
    except Invalid as error:
        raise InvalidData(str(error)) from None
    return given is not None and given.strip().lower() in _TRUE


_CLUSTERS = "/clusters"
_CLUSTER = _CLUSTERS + "/{cluster}"

ROUTES = (
    route(
        "GET",
        _CLUSTERS,
        list_data_clusters,
        "The tenant's clusters, and those that others show",
        "SaharaClusters",
        query=(*PAGING, *sorted(COLUMNS.filterable)),
    ),
    route(
        "POST",
        _CLUSTERS,
        create_data_cluster,
        "Launches a cluster",
        "SaharaCluster",
        accepts=("SaharaClusterDefinition",),
    ),
    route(
        "POST",
        _CLUSTERS + "/multiple",
        create_data_clusters,
        "Launches several clusters, all or none",
        "SaharaNewClusters",
        accepts=("SaharaClustersDefinition",),
    ),
    route("GET", _CLUSTER, read_data_cluster, "A cluster", "SaharaCluster", query=("show_progress",)),
    route(
        "PUT",
        _CLUSTER,
        scale_data_cluster,
        "Changes the sizes of node groups, and adds others",
        "SaharaCluster",
        accepts=("SaharaScaling",),
    ),
    route(
        "PATCH",
        _CLUSTER,
        change_data_cluster,
        "Changes what a cluster is called and who sees it, or verifies it",
        "SaharaCluster",
        accepts=("SaharaClusterChange",),
    ),
    route(
        "DELETE",
        _CLUSTER,
        delete_data_cluster,
        "Deletes a cluster; with force, whatever its plugin says to that",
        query=("force",),
    ),
)
