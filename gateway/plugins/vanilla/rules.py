"""Which clusters of Hadoop can be, how they may change, and what is advised for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.plugins.exceptions import (
    CannotScale,
    InvalidComponentCount,
    RequiredServiceMissing,
    TooFewNodes,
)
from gateway.plugins.vanilla.files import values
from gateway.plugins.vanilla.options import HDFS, OPTIONS, V1, YARN
from gateway.plugins.views import ClusterView, NodeGroupView

# process -> without which it has nobody to work for.
_NEEDS = {V1: {"tasktracker": "jobtracker"}}
_NEEDS_3 = {"nodemanager": "resourcemanager"}
# What may come and go.
_ELASTIC = {V1: {"datanode", "tasktracker"}}
_ELASTIC_3 = {"datanode", "nodemanager"}
# What the system and files need beside the heaps, and the least that containers are given, in MiB.
_OVERHEAD_MB = 256
_LEAST_MB = 512
_COPIES = 3


def validate(cluster: ClusterView) -> None:
    """Raises :class:`InvalidComponentCount`, :class:`RequiredServiceMissing`, or InvalidValue."""
    version = str(cluster.hadoop_version)
    count = cluster.count_of
    for group in cluster.node_groups:
        values(version, group.configuration())
    if count("namenode") != 1:
        raise InvalidComponentCount("namenode", 1, count("namenode"))
    single = ["secondarynamenode", *dict.fromkeys(_needs(version).values())]
    if version != V1:
        single.append("historyserver")
    for process in single:
        if count(process) > 1:
            raise InvalidComponentCount(process, "0 or 1", count(process))
    for process, needed in _needs(version).items():
        if count(process) and not count(needed):
            raise RequiredServiceMissing(needed, required_by=process)
    copies = replication(cluster)
    if count("datanode") < copies:
        raise InvalidComponentCount(
            "datanode",
            f"{copies} or more",
            count("datanode"),
            "Number of datanodes must be not less than dfs.replication.",
        )


def replication(cluster: ClusterView) -> int:
    """Returns in how many places the cluster keeps each block."""
    known = values(str(cluster.hadoop_version), cluster.cluster_configs.to_dict())
    return int(known[HDFS]["dfs.replication"])


def validate_scaling(
    cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
) -> None:
    """Raises :class:`CannotScale` for what is one of a kind, :class:`TooFewNodes` for its copies."""
    elastic = _ELASTIC.get(str(cluster.hadoop_version), _ELASTIC_3)
    counts = {**existing, **additional}
    datanodes = 0
    for group in cluster.node_groups:
        count = counts.get(str(group.id), int(group["count"]))
        if str(group.id) in counts and not elastic.issuperset(group.node_processes):
            processes = " ".join(group.node_processes)
            raise CannotScale(
                str(group.name), f"Vanilla plugin cannot scale nodegroup with processes: {processes}"
            )
        if "datanode" in group.node_processes:
            datanodes += count
    copies = replication(cluster)
    if datanodes < copies:
        raise TooFewNodes(
            str(cluster.name),
            "Vanilla plugin cannot shrink cluster because it would be not enough nodes for replicas "
            f"(replication factor is {copies})",
        )


def recommended(cluster: ClusterView, scaling: bool) -> dict[str, Any]:
    """Returns what is advised: no more copies than nodes, and containers that fit into their nodes."""
    version = str(cluster.hadoop_version)
    found: dict[str, Any] = {"cluster_configs": {}, "node_configs": {}}
    if not scaling:
        copies = max(1, min(_COPIES, cluster.count_of("datanode")))
        found["cluster_configs"] = {HDFS: {"dfs.replication": copies}}
    if version == V1:
        return found
    memory = {}
    for group in cluster.groups_with("nodemanager"):
        mine = container_mb(group)
        memory[str(group.name)] = mine
        found["node_configs"][str(group.name)] = {
            YARN: {
                "yarn.nodemanager.resource.memory-mb": mine,
                "yarn.nodemanager.resource.cpu-vcores": max(1, int(group.flavor.vcpus)),
            }
        }
    if memory and not scaling:
        most = max(memory.values())
        found["cluster_configs"][YARN] = {
            "yarn.scheduler.maximum-allocation-mb": most,
            "yarn.scheduler.minimum-allocation-mb": min(1024, most),
        }
    return found


def container_mb(group: NodeGroupView) -> int:
    """Returns the memory of a node that its processes leave to containers, in MiB."""
    known = values(str(group.cluster.hadoop_version), group.configuration())
    heaps = sum(
        int(known[option.config.applicable_target][option.config.name])
        for option in OPTIONS[str(group.cluster.hadoop_version)]
        if option.process in group.node_processes
    )
    return int(max(_LEAST_MB, group.flavor.ram - heaps - _OVERHEAD_MB))


def _needs(version: str) -> Mapping[str, str]:
    return _NEEDS.get(version, _NEEDS_3)
