"""Whether data clusters work: verified when they become active, and when somebody asks for it.

A cluster carries its last verification, and whether another one is due; so none is forgotten when the
process ends. :mod:`gateway.dataprocessing.verifier` does what is due.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Literal

import msgspec

from framework.model.errors import Invalid
from gateway.clusters.model import Cluster, NodeStatus, storable
from gateway.dataprocessing.status import ACTIVE, status_of

Status = Literal["CHECKING", "GREEN", "YELLOW", "RED"]
# Where a cluster's ``extra`` has its last verification, and whether one is due.
KEPT, DUE = "verification", "verification_due"
_WORST: tuple[Status, ...] = ("RED", "YELLOW", "GREEN")
_MOST_TEXT = 4000


class CannotVerify(Invalid):
    """The cluster is not in a state in which it can be verified."""

    code = "CANNOT_VERIFY"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Cannot verify cluster. Reason: {reason}")


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at, and what was found. Times in seconds since the epoch."""

    id: str
    name: str
    status: Status
    description: str
    created_at: float
    updated_at: float


class Verification(msgspec.Struct, frozen=True):
    """What was found out about the health of a cluster; without ``updated_at`` it is under way."""

    id: str
    status: Status
    created_at: float
    updated_at: float | None = None
    checks: tuple[Check, ...] = ()


def verification_of(cluster: Cluster) -> Verification | None:
    """Returns the last verification of a cluster, None if there was none yet."""
    kept = cluster.extra.get(KEPT)
    return None if kept is None else msgspec.convert(kept, Verification)


def due(cluster: Cluster) -> Cluster:
    """Returns the cluster with a verification to be done as soon as it is active."""
    return msgspec.structs.replace(cluster, extra={**cluster.extra, DUE: True})


def demanded(cluster: Cluster, now: float) -> Cluster:
    """Returns the cluster with a verification begun; raises :class:`CannotVerify`."""
    if status_of(cluster) != ACTIVE:
        raise CannotVerify("Cluster is not active or doesn't exists")
    last = verification_of(cluster)
    if last is not None and last.status == "CHECKING":
        raise CannotVerify("Cluster verification in state CHECKING")
    return due(_with(cluster, Verification(_new_id(), "CHECKING", now)))


def is_due(cluster: Cluster) -> bool:
    """Whether the cluster is to be verified, and can be."""
    return bool(cluster.extra.get(DUE)) and status_of(cluster) == ACTIVE


def concluded(cluster: Cluster, began: float, ended: float, checks: Iterable[Check]) -> Verification:
    """Returns the verification that is under way, or one that nobody asked for, with what was found."""
    last = verification_of(cluster)
    under_way = last is not None and last.status == "CHECKING"
    verification = last if last is not None and under_way else Verification(_new_id(), "CHECKING", began)
    checks = tuple(checks)
    return msgspec.structs.replace(
        verification,
        status=worst(check.status for check in checks),
        updated_at=ended,
        checks=checks,
    )


def verified(cluster: Cluster, verification: Verification) -> Cluster:
    """Returns the cluster with what was due done; one that is not active any more stays due."""
    if not is_due(cluster):
        return cluster
    changed = _with(cluster, verification)
    extra = {name: value for name, value in changed.extra.items() if name != DUE}
    return msgspec.structs.replace(changed, extra=extra)


def check(name: str, status: Status, text: str, began: float, ended: float) -> Check:
    """Returns what was found; texts are cut to what can be stored and shown."""
    shown, name = storable(text, _MOST_TEXT), storable(name, _MOST_TEXT)
    return Check(_new_id(), name, status, shown, began, ended)


def instances(cluster: Cluster) -> tuple[Status, str]:
    """Returns how it is with the nodes: whether all of them run."""
    down = [node.name for node in cluster.nodes if node.status is not NodeStatus.RUNNING]
    if not down:
        return "GREEN", "All instances are available"
    return "RED", f"Instances ({', '.join(down)[:_MOST_TEXT]}) are not available in the cluster."


def worst(statuses: Iterable[Status]) -> Status:
    """Returns the worst of the colours; GREEN for none."""
    found = set(statuses)
    return next((status for status in _WORST if status in found), "GREEN")


def _with(cluster: Cluster, verification: Verification) -> Cluster:
    extra = {**cluster.extra, KEPT: msgspec.to_builtins(verification)}
    return msgspec.structs.replace(cluster, extra=extra)


def _new_id() -> str:
    return str(uuid.uuid4())
