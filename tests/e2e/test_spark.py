"""Spark in real containers: launched, computed with, grown, shrunk, deleted."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from gateway.clusters.model import Cluster, NetworkAsk, NodeSpec, Phase
from gateway.clusters.networks import Network
from gateway.plugins.loader import check
from gateway.plugins.spark.daemons import alive
from gateway.plugins.spark.plugin import SparkPlugin
from tests.framework.mesos.peer import eventually
from tests.gateway.plugins.world import World, group, request, world
from tests.images.build import image as image_of

pytestmark = [pytest.mark.docker, pytest.mark.slow]

JOB = """
import socket
from operator import add
from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("squares").getOrCreate()
numbers = spark.sparkContext.parallelize(range(1000), 16)
total = numbers.map(lambda n: n * n).reduce(add)
hosts = numbers.mapPartitions(lambda part: [socket.gethostname()]).distinct().collect()
print("total", total, "on", *sorted(hosts))
spark.stop()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, docker_daemon: None) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("spark")) as made:
        plugin = SparkPlugin()
        made.add("spark", plugin)
        check(plugin)
        yield made


@pytest.fixture(scope="module")
def network(made: World) -> Iterator[str]:
    """A network of this module's own: name and subnet are nobody else's."""
    name, octet = f"net-{uuid.uuid4().hex[:8]}", os.getpid() % 250
    pool = tuple(f"10.215.{octet}.{number}" for number in range(10, 30))
    made.store.networks.define(Network(name, f"10.215.{octet}.0/24", pool, f"10.215.{octet}.1"))
    yield name
    used = [a for a in made.store.networks.addresses(name) if a.status == "used"]
    client = docker.from_env()
    for one in client.networks.list(names=[name]):
        one.remove()
    client.close()
    assert used == []


def workers(made: World, cluster: Cluster) -> set[str]:
    """The workers that the master can use."""
    (master,) = made.view(cluster.cluster_id).instances_with("master")
    with master.remote() as remote:
        return set(alive(remote, 8080))


def compute(made: World, cluster: Cluster) -> list[str]:
    """Runs a job from the master's container; returns the hosts that have computed it."""
    (master,) = made.view(cluster.cluster_id).instances_with("master")
    with master.remote() as remote:
        remote.write_file_to("/tmp/job.py", JOB)
        said = remote.execute_command("/opt/spark/bin/spark-submit /tmp/job.py", timeout=170)[1]
    words = said.split()
    assert words[:3] == ["total", str(sum(n * n for n in range(1000))), "on"]
    return words[3:]


def containers(cluster: Cluster) -> list[Any]:
    client = docker.from_env()
    try:
        listed = client.containers.list(
            all=True, filters={"label": "mesos-gateway.task-id"}, ignore_removed=True
        )
        return [one for one in listed if cluster.name in one.labels["mesos-gateway.task-id"]]
    finally:
        client.close()


def test_spark_computes_grows_and_shrinks(made: World, network: str) -> None:
    spec = NodeSpec(cpus=1, mem_mb=1536, image=image_of("spark"), networks=(NetworkAsk(network),))
    small = {"Worker memory": 512, "Master heap size": 256, "Worker heap size": 256}
    asked = request(
        ("spark", "3.5"),
        [(group("front", ["master"], spec), 1), (group("back", ["slave"], spec), 2)],
        {"Spark": {**small, "Executor memory": 512}},
    )
    cluster = made.launch(asked)
    assert (cluster.phase, cluster.reason) == (Phase.READY, "")
    assert workers(made, cluster) == {"back-0", "back-1"}
    (checked,) = made.plugins["spark"].get_health_checks(made.view(cluster.cluster_id))
    assert checked.check() == "the master of Spark has all 2 workers"
    shown = cluster.extra["info"]["Apache Spark"]
    assert shown["Master"] == "spark://front-0:7077"
    assert compute(made, cluster) == ["back-0", "back-1"]

    made.clusters.resize(cluster.cluster_id, {"back": 1}, (), "ann")
    grown = made.settled(cluster.cluster_id)
    assert (grown.phase, grown.reason) == (Phase.READY, "")
    assert workers(made, grown) == {"back-0", "back-1", "back-2"}
    assert compute(made, grown) == ["back-0", "back-1", "back-2"]

    made.clusters.resize(cluster.cluster_id, {}, ("back-0",), "ann")
    shrunk = made.settled(cluster.cluster_id)
    assert (shrunk.phase, shrunk.reason) == (Phase.READY, "")
    assert workers(made, shrunk) == {"back-1", "back-2"}
    with made.view(cluster.cluster_id).instances_with("master")[0].remote() as remote:
        assert remote.read_file_from("/opt/spark/conf/workers") == "back-1\nback-2\n"

    made.delete(cluster.cluster_id)
    eventually(lambda: not containers(cluster), 60)
