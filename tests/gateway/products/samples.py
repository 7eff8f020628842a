"""A cluster as the engine would have it, and a store that holds it."""

from __future__ import annotations

from framework.model.jobs import JobKey
from gateway.clusters.model import (
    Cluster,
    DiskAsk,
    Group,
    Interface,
    NetworkAsk,
    NodeRecord,
    NodeSpec,
    NodeStatus,
    Phase,
    Service,
)

SPEC = NodeSpec(
    cpus=0.5,
    mem_mb=64,
    image="slurm:1",
    tags=("yarn", "worker"),
    check_ports=(22, 80),
    networks=(NetworkAsk("storage", "eth0"), NetworkAsk("admin", "eth1")),
    disks=(DiskAsk("disk1", "/data/1"), DiskAsk("disk2", "/data/2", "RO")),
    host_paths=(("/sys/fs/cgroup", "/sys/fs/cgroup", "RO"),),
    services=("slurm",),
    properties={"port": 22, "rack": "r1"},
)


def node(number: int, index: int | None = None) -> NodeRecord:
    return NodeRecord(
        node_id=f"node-id-{number}",
        index=number if index is None else index,
        name=f"slave{number}",
        group="slave",
        spec=SPEC,
        status=NodeStatus.RUNNING,
        interfaces=(
            Interface(
                "eth0", "storage", f"10.1.0.{number + 1}", "10.1.0.0/16", "10.1.255.1", parent="br0"
            ),
            Interface("eth1", "admin", f"10.2.0.{number + 1}", "10.2.0.0/24"),
        ),
        disks=("disk7", "disk9"),
        host=f"agent{number}",
        container_id=f"c{number}",
    )


def cluster(number: int = 1, owner: str = "joe", **fields: object) -> Cluster:
    values: dict[str, object] = {
        "cluster_id": f"id-{owner}-{number}",
        "key": f"clusters/{owner}/reference/1.0.0/{number}",
        "owner": owner,
        "provider": "product",
        "product": ("reference", "1.0.0"),
        "job": JobKey.of("local", owner, "paas", f"reference-1.0.0-{number}"),
        "name": str(number),
        "phase": Phase.READY,
        "groups": (Group("slave", SPEC),),
        "nodes": (node(0), node(1), node(10, 2)),
        "services": (
            Service("slurm", ("slave0", "slave1"), properties={"heap": 512, "dfs.size": "1m"}),
        ),
        "dnsname": f"clusters--{owner}",
    }
    return Cluster(**(values | fields))  # type: ignore[arg-type]
