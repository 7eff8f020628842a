"""Clusters: list, show, scale, stop and start, delete; their services."""

from __future__ import annotations

from typing import Any

import msgspec

from framework.model.errors import Invalid
from framework.model.jobs import check_segment
from gateway.api.documents import read_value
from gateway.api.http import Answer, Call
from gateway.api.paas import bodies
from gateway.api.paas.routing import CLUSTER, own_cluster, route, visible_owner
from gateway.clusters.model import Cluster, NodeStatus

VERBS = ("stop", "start", "restart", "status")


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PATCH: how many nodes groups are to have, and which nodes are to go."""

    groups: dict[str, int] = {}
    remove: tuple[str, ...] = ()


# -- lists -----------------------------------------------------------------------------------------


async def list_clusters(call: Call) -> Answer:
    return await _listed(call)


async def list_user_clusters(call: Call, user: str) -> Answer:
    return await _listed(call, user)


async def list_product_clusters(call: Call, user: str, product: str) -> Answer:
    return await _listed(call, user, product)


async def list_version_clusters(call: Call, user: str, product: str, version: str) -> Answer:
    return await _listed(call, user, product, version)


async def _listed(
    call: Call, user: str | None = None, product: str | None = None, version: str | None = None
) -> Answer:
    for what, part in (("user", user), ("product", product), ("version", version)):
        if part is not None:
            check_segment(what, part)
    owner = visible_owner(call, user)
    active = call.query.flag("active")
    find = call.clusters.store.clusters.find
    found = await call.run(find, owner, product, version, include_gone=not active)
    return Answer(bodies.clusters(one for one in found if one.provider == "product"))


# -- one cluster -----------------------------------------------------------------------------------


async def read_cluster(call: Call, *segments: str) -> Answer:
    def look() -> dict[str, Any]:
        cluster = own_cluster(call, *segments)
        waits = any(node.status is NodeStatus.QUEUED for node in cluster.nodes)
        pending = call.clusters.service.pending_reasons(cluster.cluster_id) if waits else {}
        return bodies.cluster(cluster, pending)

    return Answer(await call.run(look))


async def read_services(call: Call, *segments: str) -> Answer:
    cluster = await call.run(own_cluster, call, *segments)
    return Answer({"services": [bodies.service(one, cluster.key) for one in cluster.services]})


async def delete_cluster(call: Call, *segments: str) -> Answer:
    def delete() -> None:
        cluster = own_cluster(call, *segments)
        call.clusters.service.delete(cluster.cluster_id, call.identity(cluster.owner))

    await call.run(delete)
    return Answer({"message": "success"})


async def scale_cluster(call: Call, *segments: str) -> Answer:
    asked = read_value(call.body, Scaling, "the scaling")

    def scale() -> Cluster:
        cluster = own_cluster(call, *segments)
        add, remove = plan_scaling(cluster, asked)
        user = call.identity(cluster.owner)
        return call.clusters.service.resize(cluster.cluster_id, add, remove, user)

    return _accepted(call, await call.run(scale))


def plan_scaling(cluster: Cluster, asked: Scaling) -> tuple[dict[str, int], tuple[str, ...]]:
    """Returns how many nodes to add to which group, and the names of those to remove. Pure.

    ``groups`` counts what is to be there afterwards; of a group that shrinks the newest nodes go,
    unless ``remove`` names others. Raises :class:`Invalid`.
    """
    if not asked.groups and not asked.remove:
        raise Invalid('the scaling: give "groups" (how many nodes), "remove" (names of nodes) or both')
    present = [node for node in cluster.nodes if node.status is not NodeStatus.DELETED]
    names = {node.name for node in present}
    groups = {group.name for group in cluster.groups}
    problems = [f"remove: there is no node {name[:60]!r}" for name in asked.remove if name not in names]
    problems += [
        f"groups: there is no group {name[:60]!r}" for name in asked.groups if name not in groups
    ]
    problems += [
        f"groups.{name[:60]}: {count} is not a number of nodes, 0 to 1000"
        for name, count in asked.groups.items()
        if not 0 <= count <= 1000
    ]
    if problems:
        raise Invalid(*problems)
    remove = list(dict.fromkeys(asked.remove))
    add: dict[str, int] = {}
    for name, wanted in asked.groups.items():
        left = [node for node in present if node.group == name and node.name not in remove]
        if wanted > len(left):
            add[name] = wanted - len(left)
        else:
            newest = sorted(left, key=lambda node: node.index)[wanted:]
            remove += [node.name for node in newest]
    if not add and not remove:
        raise Invalid("the scaling: the cluster has these nodes already")
    return add, tuple(remove)


async def run_action(call: Call, *segments: str) -> Answer:
    verb = segments[4]
    if verb not in VERBS:
        raise Invalid(f"{verb[:60]!r} is not one of {', '.join(VERBS)}")

    def run() -> Cluster:
        cluster = own_cluster(call, *segments)
        return call.clusters.service.run(cluster.cluster_id, verb, call.identity(cluster.owner))

    return _accepted(call, await call.run(run))


def _accepted(call: Call, cluster: Cluster) -> Answer:
    url = f"{call.base}{bodies.PREFIX}/{cluster.key}"
    return Answer(bodies.cluster(cluster), status=202, headers=(("Location", url),))


_LIST = bodies.PREFIX + "/clusters"

ROUTES = (
    route(
        "GET", _LIST, list_clusters, "The clusters that you may see", 200, "Clusters", query=("active",)
    ),
    route(
        "GET",
        _LIST + "/{user}",
        list_user_clusters,
        "The clusters of a user",
        200,
        "Clusters",
        query=("active",),
    ),
    route(
        "GET",
        _LIST + "/{user}/{product}",
        list_product_clusters,
        "A user's clusters of a product",
        200,
        "Clusters",
        query=("active",),
    ),
    route(
        "GET",
        _LIST + "/{user}/{product}/{version}",
        list_version_clusters,
        "A user's clusters of a version of a product",
        200,
        "Clusters",
        query=("active",),
    ),
    route(
        "GET",
        CLUSTER,
        read_cluster,
        "A cluster: its status, and why it waits",
        200,
        "Cluster",
        scripts=True,
    ),
    route("DELETE", CLUSTER, delete_cluster, "Deletes a cluster; its record stays", 200, "Message"),
    route(
        "PATCH",
        CLUSTER,
        scale_cluster,
        "Scales a cluster: how many nodes its groups are to have, which nodes go",
        202,
        "Cluster",
        accepts=("Scaling",),
    ),
    route("GET", CLUSTER + "/services", read_services, "Its services", 200, "Services", scripts=True),
    route(
        "POST",
        CLUSTER + "/actions/{verb}",
        run_action,
        "Has the product's script stop, start or restart it, or tell its status",
        202,
        "Cluster",
    ),
)
