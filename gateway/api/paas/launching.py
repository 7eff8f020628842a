"""Launching a cluster of a product, and the queue that says what has become of it."""

from __future__ import annotations

from framework.model.errors import NotFound
from framework.model.jobs import check_segment
from gateway.api.documents import read_object
from gateway.api.http import Answer, Call
from gateway.api.paas import bodies
from gateway.api.paas.routing import route
from gateway.clusters.model import Cluster, Phase

# For callers that prove nothing (--auth none) and give no name.
SOMEBODY = "anonymous"
_LONGEST_LEASE = 10 * 366 * 86_400


async def launch_cluster(call: Call, name: str, version: str) -> Answer:
    """202 once the launch is stored: whatever happens then, the queue and the cluster tell it."""
    check_segment("product", name)
    check_segment("version", version)
    given = read_object(call.body, "options", optional=True)
    lease = call.query.integer("lease", 0, 1, _LONGEST_LEASE)
    user = call.identity(SOMEBODY)
    launch = call.clusters.launcher.launch
    cluster = await call.run(launch, name, version, given, user, float(lease) or None)
    url = f"{call.base}{bodies.PREFIX}/queue/{cluster.cluster_id}"
    return Answer({"url": url}, status=202, headers=(("Location", url),))


async def read_queue(call: Call, id: str) -> Answer:
    cluster = await call.run(_own, call, id)
    if cluster.phase is Phase.REGISTERED and not cluster.deleting:
        return Answer({"status": "pending"})
    url = f"{call.base}{bodies.PREFIX}/{cluster.key}"
    status = "error" if cluster.phase is Phase.FAILED else "registered"
    return Answer({"status": status, "url": url}, status=303, headers=(("Location", url),))


def _own(call: Call, cluster_id: str) -> Cluster:
    check_segment("the id of a launch", cluster_id)
    try:
        cluster = call.clusters.store.clusters.get(cluster_id)
    except NotFound:
        cluster = None
    if cluster is None or not call.caller.has(cluster.owner, cluster.key):
        raise NotFound(f"there is no launch {cluster_id}")
    return cluster


ROUTES = (
    route(
        "POST",
        bodies.PREFIX + "/products/{product}/{version}",
        launch_cluster,
        "Launches a cluster of a product with these options",
        202,
        "Launched",
        accepts=("Given",),
        query=("lease",),
    ),
    route(
        "GET",
        bodies.PREFIX + "/queue/{id}",
        read_queue,
        "What has become of a launch",
        200,
        "Pending",
        also=((303, "Registered"),),
    ),
)
