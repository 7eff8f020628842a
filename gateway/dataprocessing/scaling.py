"""From what a user asks for to how a cluster changes its size. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.clusters.model import Cluster, Group, NodeRecord
from gateway.dataprocessing.errors import InvalidData, InvalidReference
from gateway.dataprocessing.formats import is_uuid
from gateway.dataprocessing.objects import NodeGroup
from gateway.dataprocessing.status import ACTIVE, status_of
from gateway.dataprocessing.validation import check_group_names, duplicates


class Scaling(msgspec.Struct, frozen=True):
    """``add``: so many nodes, by group; ``remove``: these nodes, by name; ``counts``: what is asked for,
    by the id of the group (those that are there)."""

    add: Mapping[str, int] = {}
    remove: tuple[str, ...] = ()
    counts: Mapping[str, int] = {}

    @property
    def is_nothing(self) -> bool:
        return not any(self.add.values()) and not self.remove


def check_active(cluster: Cluster) -> None:
    """Raises :class:`InvalidReference` for a cluster that cannot be scaled now."""
    status = status_of(cluster)
    if status != ACTIVE:
        raise InvalidReference(
            f"Cluster cannot be scaled not in 'Active' status. Cluster status: {status}"
        )


def check_same(asked: Cluster, now: Cluster) -> None:
    """Raises :class:`InvalidReference` for a cluster that has been scaled since the plugin was
    ``asked``: what was planned, and found to be right, was so of other nodes."""
    if [node.name for node in asked.nodes] != [node.name for node in now.nodes]:
        check_active(now)
        raise InvalidReference(
            "Cluster cannot be scaled: another request has scaled it meanwhile. Look at it and ask again"
        )


def scaling(cluster: Cluster, resizes: Sequence[Mapping[str, Any]], new: Sequence[NodeGroup]) -> Scaling:
    """Returns what is to be done so that groups have the sizes that are asked for.

    ``resizes`` (name, count, and which ``instances`` go, by name or by id) have passed their schema;
    ``new`` groups are not in the cluster yet. Raises :class:`InvalidReference`, :class:`InvalidData`.
    """
    groups = {group.name: group for group in cluster.groups}
    check_group_names(one["name"] for one in resizes)
    check_group_names(group.name for group in new)
    for one in resizes:
        if one["name"] not in groups:
            raise InvalidReference(f"Cluster doesn't contain node group with name '{one['name'][:255]}'")
    for group in new:
        if group.name in groups:
            raise InvalidReference(
                f"Can't add new nodegroup. Cluster already has nodegroup with name '{group.name}'"
            )
    add: dict[str, int] = {}
    remove: list[str] = []
    for one in resizes:
        nodes = [node for node in cluster.nodes if node.group == one["name"]]
        more = one["count"] - len(nodes)
        chosen = _chosen(nodes, one.get("instances") or (), -more)
        if more > 0:
            add[one["name"]] = more
        else:
            remove += chosen
    add.update({group.name: group.count for group in new if group.count})
    counts = {group_id(groups[one["name"]]): int(one["count"]) for one in resizes}
    return Scaling(add, tuple(remove), counts)


def group_id(group: Group) -> str:
    """Returns the id by which the API knows a cluster's group."""
    return str(group.extra.get("id", ""))


def _chosen(nodes: Sequence[NodeRecord], named: Sequence[str], count: int) -> list[str]:
    """Returns the names of the nodes that go: those that are named, then the newest."""
    if not named:
        return [node.name for node in sorted(nodes, key=lambda n: -n.index)[: max(0, count)]]
    if len(named) > count:
        raise InvalidData(
            f"Number of specific instances ({len(named)}) to delete can not be greater than the count "
            f"difference ({max(0, count)}) during scaling"
        )
    if twice := duplicates(named):
        raise InvalidData(f"Duplicate entry for instances to delete: {twice}")
    by_name = not is_uuid(named[0])
    if any(is_uuid(one) is by_name for one in named):
        raise InvalidReference(
            "You can only reference instances by Name or UUID, not both on the same request"
        )
    known = {key: node.name for node in nodes for key in _keys(node)}
    chosen: list[str] = []
    for one in named:
        if one not in known:
            raise InvalidReference(f"The node group doesn't contain an instance '{one[:255]}'")
        chosen.append(known[one])
    if twice := duplicates(chosen):
        raise InvalidData(f"Duplicate entry for instances to delete: {twice}")
    others = [node for node in nodes if node.name not in chosen]
    return chosen + _chosen(others, (), count - len(chosen))


def _keys(node: NodeRecord) -> tuple[str, ...]:
    return tuple(key for key in (node.name, node.node_id, node.task_id) if key)
