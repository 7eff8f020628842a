"""Clusters and what they are made of, for tests of the pure parts."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.clusters.model import Cluster
from gateway.clusters.planning import job_key
from gateway.clusters.requests import new_cluster
from gateway.dataprocessing.catalogue import Flavor, Image
from gateway.dataprocessing.images import RegisteredImage
from gateway.dataprocessing.launching import Found, Wanted, request
from gateway.dataprocessing.objects import NodeGroup

TENANT = "52778b7b79264c1397bd1e4486f41e35"
IMAGE_ID = "aaaaaaaa-0000-0000-0000-000000000001"
PLAIN = RegisteredImage(Image(IMAGE_ID, "plain"), "root", None, ("fake", "0.1"))
CONTAINED = RegisteredImage(Image(IMAGE_ID, "spark", "spark:3"), "spark", None, ("fake", "0.1"))
FOUND = Found(flavors={"1": Flavor("1", "small", 0.5, 512, 3)}, images={IMAGE_ID: PLAIN})


def group(name: str, count: int, *processes: str, **fields: Any) -> NodeGroup:
    return NodeGroup(
        name=name,
        flavor_id="1",
        node_processes=processes or ("datanode",),
        count=count,
        id=f"id-{name}",
        **fields,
    )


def a_wanted(*groups: NodeGroup, **fields: Any) -> Wanted:
    values = {
        "name": "c1",
        "plugin": "fake",
        "version": "0.1",
        "default_image_id": IMAGE_ID,
        "groups": groups or (group("master", 1, "namenode"), group("worker", 2)),
        **fields,
    }
    return Wanted(**values)


def a_cluster(*groups: NodeGroup, found: Found = FOUND, **fields: Any) -> Cluster:
    """A cluster that has just been launched; ``fields`` are the cluster's."""
    asks = request(a_wanted(*groups), found, TENANT, "11111111-1111-4111-8111-111111111111")
    job = job_key("devcluster", asks.owner, asks.environment, asks.job_name)
    numbers = iter(range(100))
    made = new_cluster(asks, job, "ann", 1000.0, lambda: f"id{next(numbers)}")
    return msgspec.structs.replace(made, **fields)
