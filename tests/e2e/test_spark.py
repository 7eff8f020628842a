"""Spark in real containers: launched, computed with, grown, shrunk, deleted."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest

from gateway.clusters.model import Cluster, NetworkAsk, NodeSpec, Phase
from gateway.clusters.networks import Network
from gateway.plugins.loader import check
from gateway.plugins.spark.daemons import alive
from gateway.plugins.spark.plugin import SparkPlugin
from tests.e2e.harness import eventually
from tests.gateway.plugins.world import World, group, request, world
from tests.images.build import image as image_of

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# What is quick to start, rather than quick later.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
OPTIONS = {
    "Worker memory": 512,
    "Worker cores": 1,
    "Master heap size": 256,
    "Worker heap size": 256,
    "Executor memory": 512,
    "Daemon Java options": QUICK,
    "Properties": f"""
        spark.ui.enabled false
        spark.driver.extraJavaOptions {QUICK}
        spark.executor.extraJavaOptions {QUICK}
        spark.scheduler.minRegisteredResourcesRatio 1.0
        spark.scheduler.maxRegisteredResourcesWaitingTime 120s
        """,
    "Start timeout": 600,
}
JOB = """
import socket
from operator import add
from pyspark import SparkContext

context = SparkContext(appName="squares")
numbers = context.parallelize(range(1000), 12)
total = numbers.map(lambda n: n * n).reduce(add)
hosts = numbers.mapPartitions(lambda part: [socket.gethostname()]).distinct().collect()
print("total", total, "on", *sorted(hosts))
context.stop()
"""
# JVMs start slowly where many others want the CPUs.
PATIENCE = 600.0


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
    left = client.networks.list(names=[name])
    for one in left:
        with contextlib.suppress(docker.errors.APIError):  # after a failure it is still in use
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
        said = remote.execute_command("/opt/spark/bin/spark-submit /tmp/job.py", timeout=PATIENCE)[1]
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
    asked = request(
        ("spark", "3.5"),
        [(group("front", ["master"], spec), 1), (group("back", ["slave"], spec), 2)],
        {"Spark": OPTIONS},
    )
    cluster = made.launch(asked, PATIENCE)
    assert (cluster.phase, cluster.reason) == (Phase.READY, "")
    assert workers(made, cluster) == {"back-0", "back-1"}
    (checked,) = made.plugins["spark"].get_health_checks(made.view(cluster.cluster_id))
    assert checked.check() == "the master of Spark has all 2 workers"
    shown = cluster.extra["info"]["Apache Spark"]
    assert shown["Master"] == "spark://front-0:7077"
    assert compute(made, cluster) == ["back-0", "back-1"]

    made.clusters.resize(cluster.cluster_id, {"back": 1}, (), "ann")
    grown = made.settled(cluster.cluster_id, PATIENCE)
    assert (grown.phase, grown.reason) == (Phase.READY, "")
    assert workers(made, grown) == {"back-0", "back-1", "back-2"}
    assert compute(made, grown) == ["back-0", "back-1", "back-2"]

    made.clusters.resize(cluster.cluster_id, {}, ("back-0",), "ann")
    shrunk = made.settled(cluster.cluster_id, PATIENCE)
    assert (shrunk.phase, shrunk.reason) == (Phase.READY, "")
    assert workers(made, shrunk) == {"back-1", "back-2"}
    with made.view(cluster.cluster_id).instances_with("master")[0].remote() as remote:
        assert remote.read_file_from("/opt/spark/conf/workers") == "back-1\nback-2\n"

    made.delete(cluster.cluster_id)
    eventually(lambda: containers(cluster), lambda left: not left)
