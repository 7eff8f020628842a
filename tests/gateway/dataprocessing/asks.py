"""Requests for clusters of the fake plugin, as they come when they have passed their schemas."""

from __future__ import annotations

import itertools
from typing import Any

from gateway.clusters.model import Cluster
from tests.gateway.dataprocessing.world import IMAGE_ID, NETWORK

_numbers = itertools.count(1)


def given(**fields: Any) -> dict[str, Any]:
    """A request for a cluster of a master and two workers, with a name of its own."""
    return {
        "name": f"c{next(_numbers)}",
        "plugin_name": "fake",
        "hadoop_version": "0.1",
        "default_image_id": IMAGE_ID,
        "neutron_management_network": NETWORK,
        "node_groups": [group("master", 1, "namenode"), group("worker", 2, "datanode")],
        **fields,
    }


def group(name: str, count: int, *processes: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "count": count,
        "flavor_id": "42",
        "node_processes": list(processes or ("datanode",)),
        **fields,
    }


def failing(method: str) -> dict[str, Any]:
    return {"general": {"Fail at": method}}


def sizes(cluster: Cluster) -> dict[str, int]:
    return {g.name: sum(n.group == g.name for n in cluster.nodes) for g in cluster.groups}
