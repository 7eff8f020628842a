"""The data disks of the agents: which are free, which node has which."""

from __future__ import annotations

from typing import Any

import msgspec

from framework.model.errors import Invalid, NotFound
from framework.model.jobs import check_segment
from gateway.api.documents import read_value
from gateway.api.http import Answer, Call
from gateway.api.paas.routing import check_operator, route
from gateway.clusters.disks import DiskRecord
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
    await call.run(call.clusters.disks.mark, mark)
    return Answer("", status=204)


def disks_of(call: Call, host: str) -> list[dict[str, Any]]:
    """Returns the bodies of a host's disks. Blocks.

    Who has a disk is told to those who may see that cluster.
    """
    return [_body(call, disk) for disk in call.clusters.disks.of(host)]


def _body(call: Call, disk: DiskRecord) -> dict[str, Any]:
    caller = call.caller
    told = caller.is_trusted if disk.owner is None else caller.has(disk.owner, disk.cluster)
    return {
        "name": disk.name,
        "host": disk.host,
        "status": disk.status,
        "clustername": disk.cluster if told else "",
        "node": disk.node if told else "",
    }


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
