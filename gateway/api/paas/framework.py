"""The framework's own surface: what waits to be placed, and the end of a cluster by its id."""

from __future__ import annotations

from framework.model.errors import Invalid
from gateway.api.documents import read_object
from gateway.api.http import Answer, Call
from gateway.api.paas import bodies
from gateway.api.paas.routing import member, own_cluster, route, visible_owner
from gateway.clusters.model import Cluster, NodeStatus
from gateway.clusters.projection import phase_words

_CLUSTERS = "/bigdata/mesos_framework/v1/clusters"


async def submit_cluster(call: Call) -> Answer:
    """A cluster that has been registered is scheduled by itself: this only says where it is."""
    document = read_object(call.body, "the cluster")
    dn = member(document, "clusterdn", str, "the cluster")
    cluster = await call.run(own_cluster, call, *parts_of(dn))
    return Answer(
        {
            "message": f"{cluster.key} is {phase_words(cluster)}",
            "url": f"{call.base}{bodies.PREFIX}/{cluster.key}",
        }
    )


async def list_queue(call: Call) -> Answer:
    owner = visible_owner(call, None)
    found = await call.run(call.clusters.service.find, owner, include_gone=False)
    return Answer({"queued_tasks": [task for one in found for task in _queued(one)]})


def _queued(cluster: Cluster) -> list[dict[str, object]]:
    return [
        {
            "name": node.name,
            "dn": f"{cluster.key}/nodes/{node.name}",
            "clusterid": id_of(cluster.key),
            "cpu": node.spec.cpus,
            "mem": node.spec.mem_mb,
        }
        for node in cluster.nodes
        if node.status is NodeStatus.QUEUED and not cluster.deleting
    ]


async def kill_cluster(call: Call, id: str) -> Answer:
    segments = parts_of(dn_of(id))

    def delete() -> None:
        cluster = own_cluster(call, *segments)
        call.clusters.service.delete(cluster.cluster_id, call.identity(cluster.owner))

    await call.run(delete)
    return Answer("", status=204)


def id_of(dn: str) -> str:
    """``clusters/u/p/1.0/3`` -> ``clusters--u--p--1__0--3``."""
    return dn.replace("/", "--").replace(".", "__")


def dn_of(cluster_id: str) -> str:
    return cluster_id.replace("--", "/").replace("__", ".")


def parts_of(dn: str) -> tuple[str, str, str, str]:
    """Returns user, product, version and number of a distinguished name.

    Raises :class:`Invalid` for what is none; older scripts begin it with ``instances/``.
    """
    parts = dn.strip("/").split("/")
    if len(parts) != 5 or parts[0] not in ("clusters", "instances"):
        raise Invalid(f"{dn[:100]!r} is not the name of a cluster: clusters/USER/PRODUCT/VERSION/ID")
    _, user, product, version, number = parts
    return user, product, version, number


ROUTES = (
    route(
        "POST",
        _CLUSTERS,
        submit_cluster,
        "Where a registered cluster is: it is scheduled by itself",
        200,
        "Submitted",
        accepts=("ClusterDn",),
    ),
    route("GET", _CLUSTERS, list_queue, "The nodes that wait to be placed", 200, "QueuedTasks"),
    route("DELETE", _CLUSTERS + "/{clusterid}", kill_cluster, "Kills a cluster", 204),
)
