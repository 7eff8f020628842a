"""What the APIs ask of clusters -> clusters as they are to be. Pure; the engine does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from framework.model.errors import Conflict, Invalid, NotFound
from framework.model.jobs import JobKey
from gateway.clusters.model import (
    Cluster,
    Group,
    LaunchRequest,
    NodeRecord,
    NodeSpec,
    NodeStatus,
    Operation,
    Phase,
    Service,
)
from gateway.clusters.phases import move

MOST_NODES = 500
# Of a node.
MOST_DISKS = 64
# The stage of a deletion in which the provider takes leave.
FAREWELL = "deleting"


def new_cluster(
    request: LaunchRequest, job: JobKey, user: str, at: float, new_id: Callable[[], str]
) -> Cluster:
    """Returns the cluster that ``request`` asks for, to be run as ``job``: all is still to be done."""
    nodes = tuple(
        NodeRecord(new_id(), index, ask.name, ask.group, ask.spec, created_at=at, updated_at=at)
        for index, ask in enumerate(request.nodes)
    )
    return Cluster(
        cluster_id=request.cluster_id or new_id(),
        key=request.key,
        owner=request.owner,
        provider=request.provider,
        product=request.product,
        job=job,
        name=request.name,
        project=request.project,
        operation=Operation("create", new_id(), at, user),
        groups=request.groups,
        nodes=nodes,
        services=request.services,
        dnsname=request.dnsname,
        next_index=len(nodes),
        created_at=at,
        updated_at=at,
        expires_at=None if request.lease_secs is None else at + request.lease_secs,
        shared=request.shared,
        extra=request.extra,
    )


def refused(cluster: Cluster, step: str, reason: str) -> Cluster:
    """Returns a new cluster as one that is not to be made."""
    return msgspec.structs.replace(
        cluster,
        phase=Phase.FAILED,
        operation=None,
        failed_step=step,
        failed_in=Phase.REGISTERED,
        reason=reason,
        nodes=tuple(ended(node, cluster.created_at) for node in cluster.nodes),
    )


def resize_refused(cluster: Cluster, step: str, reason: str) -> Cluster:
    """Returns the cluster with why it will not be resized; one that something is done to, or that is not
    ready, has other things to say, and stays as it is."""
    if cluster.operation is not None or cluster.phase is not Phase.READY:
        return cluster
    return msgspec.structs.replace(cluster, failed_step=step, failed_in=Phase.RESIZING, reason=reason)


def with_resize(
    cluster: Cluster,
    add: Mapping[str, int],
    remove: Sequence[str],
    user: str,
    at: float,
    new_id: Callable[[], str],
    groups: Sequence[Group] = (),
) -> Cluster:
    """Returns the cluster with a resize begun: ``add`` nodes per group, and others to ``remove``.

    ``groups`` are new ones, which ``add`` may name, too. Raises :class:`NotFound` for a group or a node
    that is not there, :class:`Invalid` for a cluster without nodes or with too many, or a new group
    that is there already, :class:`Conflict` if it cannot be resized now.
    """
    ready(cluster, "resized")
    cluster = _with_groups(cluster, groups)
    for name in remove:
        if cluster.node(name) is None:
            raise NotFound(f"cluster {cluster.key} has no node {name[:255]!r}")
    gone = tuple(node.name for node in cluster.nodes if node.name in set(remove))
    added: list[NodeRecord] = []
    for group_name, count in add.items():
        group = _group(cluster, group_name)
        if count < 0 or count > MOST_NODES:
            raise Invalid(f"{count} nodes cannot be added to the group {group_name}: 0 to {MOST_NODES}")
        names = _new_names(cluster, group, count)
        first = cluster.next_index + len(added)
        added += [
            NodeRecord(
                new_id(), first + n, name, group_name, _fresh(group.spec), created_at=at, updated_at=at
            )
            for n, name in enumerate(names)
        ]
    if not added and not gone:
        raise Invalid(
            f"nothing is to be changed of cluster {cluster.key}: name nodes to add or to remove"
        )
    total = len(cluster.nodes) + len(added) - len(gone)
    if total < 1:
        raise Invalid(f"cluster {cluster.key} would have no nodes; delete it instead")
    if total > MOST_NODES:
        raise Invalid(f"cluster {cluster.key} would have {total} nodes; {MOST_NODES} at most")
    new = tuple(node.name for node in added)
    operation = Operation("resize", new_id(), at, user, added=new, removed=gone)
    return msgspec.structs.replace(
        begin(move(cluster, Phase.RESIZING), operation),
        nodes=(*cluster.nodes, *added),
        services=serving(cluster.services, added),
        next_index=cluster.next_index + len(added),
        updated_at=at,
    )


def with_run(cluster: Cluster, verb: str, user: str, at: float, new_id: Callable[[], str]) -> Cluster:
    """Returns the cluster with a verb of its provider begun; raises :class:`Conflict` as a resize."""
    ready(cluster, "worked on")
    return msgspec.structs.replace(
        begin(cluster, Operation("run", new_id(), at, user, verb=verb)), updated_at=at
    )


def with_delete(
    cluster: Cluster, user: str, at: float, new_id: Callable[[], str], force: bool = False
) -> Cluster:
    """Returns the cluster with its end begun, whatever else was; the same if that has happened.

    ``force``: without a farewell of its provider, or without waiting any longer for one under way.
    """
    waived = (FAREWELL,) if force else ()
    done = cluster.operation.done if cluster.operation is not None else ()
    if cluster.is_gone or (cluster.deleting and not set(waived) - set(done)):
        return cluster
    operation = Operation("delete", new_id(), at, user, done=waived)
    changed = begin(move(cluster, Phase.DELETING), operation)
    return msgspec.structs.replace(changed, deleting=True, updated_at=at)


def begin(cluster: Cluster, operation: Operation) -> Cluster:
    """Returns the cluster with the operation begun, and the failure of the one before forgotten."""
    return msgspec.structs.replace(
        cluster, operation=operation, step="", reason="", failed_step="", failed_in=None, progress=0
    )


def ready(cluster: Cluster, what: str) -> None:
    """Raises :class:`Conflict` unless an operation may begin."""
    if cluster.phase is not Phase.READY or cluster.operation is not None:
        doing = f" ({cluster.operation.kind} is under way)" if cluster.operation is not None else ""
        raise Conflict(
            f"cluster {cluster.key} is {cluster.phase.value}{doing}; it can be {what} when it is ready"
        )


def without_nodes(cluster: Cluster, names: Sequence[str]) -> Cluster:
    """Returns the cluster without these nodes, its services neither.

    Of a plugin's cluster a group that has thereby become empty goes, too: it came with its nodes.
    """
    gone = set(names)
    kept = tuple(node for node in cluster.nodes if node.name not in gone)
    left = {node.group for node in cluster.nodes} - {node.group for node in kept}
    if cluster.provider != "plugin":
        left = set()
    return msgspec.structs.replace(
        cluster,
        groups=tuple(group for group in cluster.groups if group.name not in left),
        nodes=kept,
        services=tuple(
            msgspec.structs.replace(service, nodes=tuple(n for n in service.nodes if n not in gone))
            for service in cluster.services
        ),
    )


def serving(services: tuple[Service, ...], nodes: Sequence[NodeRecord]) -> tuple[Service, ...]:
    """Returns the services with the nodes that are to run them."""
    return tuple(
        msgspec.structs.replace(
            service,
            nodes=tuple(
                dict.fromkeys(
                    (*service.nodes, *(n.name for n in nodes if service.name in n.spec.services))
                )
            ),
        )
        for service in services
    )


def ended(node: NodeRecord, at: float) -> NodeRecord:
    """Returns the record of a node that is no more."""
    return msgspec.structs.replace(
        node, status=NodeStatus.DELETED, interfaces=(), disks=(), updated_at=at
    )


def _with_groups(cluster: Cluster, groups: Sequence[Group]) -> Cluster:
    seen = {group.name for group in cluster.groups}
    for group in groups:
        if group.name in seen:
            raise Invalid(f"cluster {cluster.key} has a group {group.name!r} already")
        seen.add(group.name)
    return msgspec.structs.replace(cluster, groups=(*cluster.groups, *groups))


def _group(cluster: Cluster, name: str) -> Group:
    for group in cluster.groups:
        if group.name == name:
            return group
    names = ", ".join(group.name for group in cluster.groups) or "none"
    raise NotFound(f"cluster {cluster.key} has no group {name[:255]!r} (it has: {names})")


def _new_names(cluster: Cluster, group: Group, count: int) -> list[str]:
    """Names of the group's nodes with numbers after the highest; the group's name if it has none."""
    names = [node.name for node in cluster.nodes if node.group == group.name]
    stems = [name.rstrip("0123456789") for name in names]
    parts = [(base, name.removeprefix(base)) for base, name in zip(stems, names, strict=True)]
    stem = group.stem or (parts[0][0] if parts else group.name)
    taken = {node.name for node in cluster.nodes}
    number = max((int(digits) for base, digits in parts if base == stem and digits), default=-1)
    found: list[str] = []
    while len(found) < count:
        number += 1
        if (name := f"{stem}{number}") not in taken:
            found.append(name)
    return found


def _fresh(spec: NodeSpec) -> NodeSpec:
    """What one more node may have: an address or a disk with a name belongs to the one that has it."""
    return msgspec.structs.replace(
        spec,
        networks=tuple(msgspec.structs.replace(ask, address=None) for ask in spec.networks),
        disks=tuple(msgspec.structs.replace(ask, disk=None) for ask in spec.disks),
    )
