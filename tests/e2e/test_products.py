"""The shipped products, each launched over the API in real containers, used for what it is, deleted."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from tests.e2e.harness import Answer, Client, Server, eventually, gateway
from tests.images.build import image as image_of

pytestmark = [pytest.mark.docker, pytest.mark.images, pytest.mark.slow]

API = "/bigdata/api/v1"
NETWORKS = "/resources/networks/v1/networks"
PRODUCTS = Path(__file__).resolve().parent.parent.parent / "products"
AGENTS = [
    "--local-agents=3",
    "--local-resources=cpus:8;mem:8192;disk:8192;ports:[31000-31099];dataDisks:{disk1,disk2}",
]
LAUNCH_SECS = 600.0


class Products(Client):
    """Speaks the PaaS API."""

    def send(self, method: str, path: str, body: Any = None, text: str | None = None) -> Answer:
        data = text.encode() if text is not None else None if body is None else json.dumps(body).encode()
        return self.call(method, path, data, timeout=300)

    def register(self, name: str) -> str:
        """Puts a product's folder into the gateway; returns ``NAME/VERSION``."""
        folder = PRODUCTS / name
        about = json.loads((folder / "product.json").read_text())
        answer = self.send("POST", f"{API}/products", about)
        assert answer.status == 201, answer
        path = f"{about['name']}/{about['version']}"
        for part, file in (
            ("options", "options.json"),
            ("template", "template.json"),
            ("orchestrator", "orchestrator.py"),
        ):
            put = f"{API}/products/{path}/{part}"
            answer = self.send("PUT", put, text=(folder / file).read_text())
            assert answer.status == 204, answer
        return path

    def launch(self, product: str, options: dict[str, Any]) -> str:
        """Returns the path of a cluster that has become ready."""
        answer = self.send("POST", f"{API}/products/{product}", options)
        assert answer.status == 202, answer
        queue = answer.json["url"].removeprefix(self.url)
        # urllib follows the 303 to the cluster.
        found = eventually(lambda: self.send("GET", queue).json, lambda body: "uri" in body, LAUNCH_SECS)
        cluster = f"{API}/{found['uri']}"
        ended = eventually(
            lambda: self.data(cluster),
            lambda data: data["status"] == "ready" or data["status"].startswith("error"),
            LAUNCH_SECS,
        )
        events = self.send("GET", f"{cluster}/events").json["events"]
        assert ended["status"] == "ready", "\n".join(event["text"] for event in events)
        return cluster

    def data(self, cluster: str) -> dict[str, Any]:
        answer = self.send("GET", cluster)
        assert answer.status == 200, answer
        return answer.json["data"]

    def nodes(self, cluster: str) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.send("GET", f"{cluster}/nodes").json["nodes"]}

    def run(self, cluster: str, node: str, *argv: str, stdin: str = "", timeout: float = 60) -> str:
        """Returns what a command in a node has put out; it has to succeed."""
        said = self.try_run(cluster, node, *argv, stdin=stdin, timeout=timeout)
        assert said["code"] == 0, said
        return str(said["stdout"])

    def try_run(
        self, cluster: str, node: str, *argv: str, stdin: str = "", timeout: float = 60
    ) -> dict[str, Any]:
        body = {"argv": list(argv), "stdin": stdin, "timeout": timeout}
        answer = self.send("POST", f"{cluster}/nodes/{node}/exec", body)
        assert answer.status == 200, answer
        return answer.json

    def delete(self, cluster: str) -> None:
        """Returns when the cluster is gone, and nothing of it is left."""
        assert self.send("DELETE", cluster).status == 200
        eventually(lambda: self.data(cluster)["status"], lambda status: status == "destroyed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, docker_daemon: None) -> Iterator[Server]:
    with gateway(tmp_path_factory.mktemp("products"), "--master=local", *AGENTS) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Products:
    return Products(server.address)


@pytest.fixture(scope="module")
def daemon(docker_daemon: None) -> Iterator[docker.DockerClient]:
    made = docker.from_env()
    yield made
    made.close()


@pytest.fixture(scope="module")
def network(client: Products, daemon: docker.DockerClient) -> Iterator[str]:
    """A network of this module's own: name and subnet are nobody else's."""
    # Others, such as that of bin/quickstart, have their addresses in 10.213.
    name, octet = f"net-{uuid.uuid4().hex[:8]}", os.getpid() % 250
    body = {
        "name": name,
        "description": "for tests",
        "network": f"10.214.{octet}.0",
        "netmask": "255.255.255.0",
        "gateway": f"10.214.{octet}.1",
        "addresses": [f"10.214.{octet}.{number}" for number in range(10, 30)],
    }
    answer = client.send("POST", NETWORKS, body)
    assert answer.status == 204, answer
    yield name
    used = client.send("GET", f"{NETWORKS}/{name}/addresses?used").json
    assert used["addresses"] == []
    for made in daemon.networks.list(names=[name]):
        # The executor of the last node removes it, too, a moment after the container.
        with contextlib.suppress(docker.errors.NotFound):
            made.remove()


class Containers:
    """The containers of a cluster's nodes; others on this daemon may have clusters of the same name."""

    def __init__(self, client: Products, daemon: docker.DockerClient, cluster: str) -> None:
        self._client, self._daemon = client, daemon
        owner, product, version, number = cluster.split("/")[-4:]
        self._job = f"devcluster/{owner}/paas/{product}-{version}-{number}"
        self._tasks: set[str] = set()

    def by_host_name(self) -> dict[str, Any]:
        """Of all tasks that there have been when this was asked, and before."""
        self._tasks |= set(self._client.tasks(self._job).values())
        listed = self._daemon.containers.list(
            all=True, filters={"label": "mesos-gateway.task-id"}, ignore_removed=True
        )
        own = [one for one in listed if one.labels["mesos-gateway.task-id"] in self._tasks]
        return {one.attrs["Config"]["Hostname"]: one for one in own}


def check_deleted(client: Products, cluster: str, containers: Containers) -> None:
    containers.by_host_name()
    client.delete(cluster)
    eventually(containers.by_host_name, lambda left: not left)


def test_reference(client: Products, daemon: docker.DockerClient) -> None:
    product = client.register("reference")
    cluster = client.launch(product, {"size": 2})
    boxes = Containers(client, daemon, cluster)
    nodes = client.nodes(cluster)
    assert sorted(nodes) == ["node0", "node1"]
    for name in nodes:
        assert client.run(cluster, name, "cat", "greeting").endswith(f", {name}\n")
    check_deleted(client, cluster, boxes)


def test_mariadb_replicates(client: Products, daemon: docker.DockerClient, network: str) -> None:
    """What is written on the primary is read on the replicas."""
    product = client.register("mariadb")
    options = {"replicas": 2, "network": network, "image": image_of("mariadb"), "cpu": 0.5, "mem": 512}
    cluster = client.launch(product, {**options, "disks": 1})
    boxes = Containers(client, daemon, cluster)
    assert set(boxes.by_host_name()) == {"primary", "replica0", "replica1"}

    def sql(node: str, statement: str) -> dict[str, Any]:
        return client.try_run(cluster, node, "mariadb", "--batch", "-N", stdin=statement)

    made = sql(
        "primary",
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, what TEXT);"
        "INSERT INTO shop.orders VALUES (1, 'tea'), (2, 'milk');",
    )
    assert made["code"] == 0, made
    for node in ("replica0", "replica1"):
        read = eventually(
            lambda n=node: sql(n, "SELECT what FROM shop.orders ORDER BY id"),
            lambda said: said["code"] == 0 and said["stdout"].count("\n") == 2,
        )
        assert read["stdout"] == "tea\nmilk\n"
    disks = [node["disks"] for node in client.nodes(cluster).values()]
    assert all(len(of_node) == 1 for of_node in disks)
    check_deleted(client, cluster, boxes)


def test_slurm_runs_across_nodes(client: Products, daemon: docker.DockerClient, network: str) -> None:
    product = client.register("slurm")
    options = {"nodes.number": 2, "network": network, "image": image_of("slurm")}
    cluster = client.launch(product, options)
    boxes = Containers(client, daemon, cluster)
    assert set(boxes.by_host_name()) == {"controller", "compute0", "compute1"}
    ran = client.run(cluster, "controller", "srun", "-N2", "hostname", timeout=90)
    assert sorted(ran.split()) == ["compute0", "compute1"]
    # The key is one, nobody but munge reads it, and it has not been in the image.
    keys = {
        client.run(
            cluster, node, "sh", "-c", "sha256sum </etc/munge/munge.key; stat -c %a%U /etc/munge/*"
        )
        for node in client.nodes(cluster)
    }
    assert len(keys) == 1
    assert "400munge" in keys.pop()
    check_deleted(client, cluster, boxes)


def test_zookeeper_survives_the_loss_of_a_node(
    client: Products, daemon: docker.DockerClient, network: str
) -> None:
    from kazoo.client import KazooClient

    product = client.register("zookeeper")
    options = {"size": 3, "network": network, "image": image_of("zookeeper"), "tick": 500}
    cluster = client.launch(product, {**options, "cpu": 0.3})
    boxes = Containers(client, daemon, cluster)
    nodes = client.nodes(cluster)
    addresses = {name: node["networks"][0]["address"] for name, node in nodes.items()}
    mode = "exec 3<>/dev/tcp/127.0.0.1/2181; printf srvr >&3; grep Mode: <&3"
    modes = {name: client.run(cluster, name, "bash", "-c", mode).split()[-1] for name in nodes}
    assert sorted(modes.values()) == ["follower", "follower", "leader"]
    # This host is the bridge's own, and reaches what is attached to it.
    zookeeper = KazooClient(hosts=",".join(f"{a}:2181" for a in addresses.values()), timeout=10)
    zookeeper.start(timeout=120)
    try:
        zookeeper.create("/before", b"1")
        leader = next(name for name, word in modes.items() if word == "leader")
        killed = boxes.by_host_name()[leader]
        killed.kill()
        zookeeper.retry(zookeeper.create, "/after", b"2")
        assert zookeeper.retry(zookeeper.get, "/before")[0] == b"1"
        assert zookeeper.retry(zookeeper.get, "/after")[0] == b"2"
    finally:
        zookeeper.stop()
        zookeeper.close()
    # The node comes back, under its name and address.
    eventually(lambda: boxes.by_host_name().get(leader, killed).id, lambda found: found != killed.id)
    eventually(
        lambda: client.nodes(cluster)[leader],
        lambda node: node["status"] == "running" and node["networks"][0]["address"] == addresses[leader],
    )
    # The script makes a member of it, and the ensemble is whole again.
    assert client.send("POST", f"{cluster}/actions/start").status == 202
    joined = eventually(
        lambda: client.try_run(cluster, leader, "bash", "-c", mode), lambda said: said["code"] == 0
    )
    assert joined["stdout"].split()[-1] == "follower"
    check_deleted(client, cluster, boxes)
