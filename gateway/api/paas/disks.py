"""The data disks of the agents: which are free, which node has which."""

from __future__ import annotations

from typing import Any

import msgspec

from framework.model.errors import Invalid, NotFound
from framework.model.jobs import check_segment
from gateway.api.documents import read_value
from gateway.api.http import Answer, Call
from gateway.api.paas.routing import check_operator, route
from gateway.clusters.model import NodeStatus
from gateway.clusters.networks import DiskMark, Status

_DISKS = "/resources/disks/v1/{host}/disks"


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a disk is to be."""

    status: Status
    clustername: str = ""
    node: str = ""


async def list_disks(call: Call, host: str) -> Answer:
    check_segment("host", host)
    free, used = call.query.flag("free"), call.query.flag("used")
    if free and used:
        raise Invalid("free and used together are all disks: give one of them, or none")
    status = "free" if free else "used" if used else None
    disks = await call.run(disks_of, call, host)
    return Answer({"disks": [one for one in disks if status in (None, one["status"])]})


async def read_disk(call: Call, host: str, disk: str) -> Answer:
    check_segment("host", host)
    check_segment("disk", disk)
    for one in await call.run(disks_of, call, host):
        if one["name"] == disk:
            return Answer(one)
    raise NotFound(f"nothing is known of a disk {disk} of {host}")


async def mark_disk(call: Call, host: str, disk: str) -> Answer:
    check_operator(call, "disks")
    check_segment("host", host)
    check_segment("disk", disk)
    asked = read_value(call.body, Mark, "the disk")
    used = asked.status == "used"
    mark = DiskMark(
        host, disk, asked.status, asked.clustername if used else "", asked.node if used else ""
    )
    await call.run(call.clusters.store.disks.put, mark)
    return Answer("", status=204)


def disks_of(call: Call, host: str) -> list[dict[str, Any]]:
    """Returns what is known of a host's disks: the operator's marks, and what nodes have. Blocks.

    Who has a disk is told to those who may see that cluster.
    """
    found: dict[str, dict[str, Any]] = {}
    for mark in call.clusters.store.disks.list(host):
        trusted = call.caller.is_trusted
        found[mark.name] = _body(
            mark.name, host, mark.status, mark.cluster if trusted else "", mark.node if trusted else ""
        )
    for cluster in call.clusters.store.clusters.find(include_gone=False):
        known = call.caller.has(cluster.owner, cluster.key)
        for node in cluster.nodes:
            if node.host != host or node.status is NodeStatus.DELETED:
                continue
            for disk in node.disks:
                who = (cluster.key, node.name) if known else ("", "")
                found[disk] = _body(disk, host, "used", *who)
    return [found[name] for name in sorted(found)]


def _body(name: str, host: str, status: str, cluster: str, node: str) -> dict[str, Any]:
    return {"name": name, "host": host, "status": status, "clustername": cluster, "node": node}


ROUTES = (
    route("GET", _DISKS, list_disks, "The data disks of a host", 200, "Disks", query=("free", "used")),
    route("GET", _DISKS + "/{disk}", read_disk, "A data disk", 200, "Disk"),
    route(
        "PUT",
        _DISKS + "/{disk}",
        mark_disk,
        "Marks a disk as free or used",
        204,
        accepts=("DiskMark",),
    ),
)
