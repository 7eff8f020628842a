"""The nodes of a cluster: list, restart one, run a command in one."""

from __future__ import annotations

from typing import Any

import msgspec

from framework.model.errors import Conflict, Invalid, NotFound
from framework.model.jobs import check_segment
from framework.remote import CommandFailed
from gateway.api.documents import read_value
from gateway.api.http import Answer, Call
from gateway.api.paas import bodies
from gateway.api.paas.routing import CLUSTER, own_cluster, route
from gateway.clusters.model import Cluster, NodeStatus

_MOST_SECS = 600.0
_MOST_ARGUMENTS = 1000
_NODES = CLUSTER + "/nodes"


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of exec: words, never a line for a shell. ``timeout`` in seconds."""

    argv: tuple[str, ...]
    stdin: str = ""
    timeout: float = 60.0


async def read_nodes(call: Call, *segments: str) -> Answer:
    cluster = await call.run(own_cluster, call, *segments)
    return Answer({"nodes": [bodies.node(one, cluster.key) for one in cluster.nodes]})


async def restart_node(call: Call, *segments: str) -> Answer:
    check_segment("node", segments[4])

    def restart() -> Cluster:
        cluster = own_cluster(call, *segments)
        user = call.identity(cluster.owner)
        call.clusters.service.restart_node(cluster.cluster_id, segments[4], user)
        return call.clusters.service.get(cluster.cluster_id)

    return Answer(bodies.cluster(await call.run(restart)), status=202)


async def exec_command(call: Call, *segments: str) -> Answer:
    """200 once the command has ended: its exit code is in the body, or why it has none."""
    check_segment("node", segments[4])
    asked = read_value(call.body, Command, "the command")
    if not asked.argv or not asked.argv[0] or len(asked.argv) > _MOST_ARGUMENTS:
        raise Invalid(f"argv: expects a program and its arguments, at most {_MOST_ARGUMENTS}")
    if not 0 < asked.timeout <= _MOST_SECS:
        raise Invalid(f"timeout: {asked.timeout} is not a number of seconds up to {_MOST_SECS:g}")

    def run() -> dict[str, Any]:
        task_id = running_task(own_cluster(call, *segments), segments[4])
        try:
            done = call.clusters.remote.run(task_id, asked.argv, asked.stdin.encode(), asked.timeout)
        except CommandFailed as error:
            return {"code": None, "stdout": "", "stderr": "", "problem": str(error)}
        return {
            "code": done.code,
            "stdout": done.stdout.decode(errors="replace"),
            "stderr": done.stderr.decode(errors="replace"),
            "problem": done.problem,
        }

    return Answer(await call.run(run))


def running_task(cluster: Cluster, name: str) -> str:
    """Returns the id of a node's task.

    Raises :class:`NotFound` for a node that is not there, :class:`Conflict` if it does not run.
    """
    node = cluster.node(name)
    if node is None:
        raise NotFound(f"cluster {cluster.key} has no node {name[:255]!r}")
    if node.status is not NodeStatus.RUNNING or node.task_id is None:
        raise Conflict(f"node {name} of {cluster.key} is {node.status.value}: nothing can run in it")
    return node.task_id


ROUTES = (
    route("GET", _NODES, read_nodes, "Its nodes", 200, "Nodes", scripts=True),
    route(
        "POST",
        _NODES + "/{node}/restart",
        restart_node,
        "Has a node run anew, with its addresses and its disks",
        202,
        "Cluster",
    ),
    route(
        "POST",
        _NODES + "/{node}/exec",
        exec_command,
        "Runs a command in a node and answers what it puts out",
        200,
        "CommandResult",
        accepts=("Command",),
        scripts=True,
    ),
)
