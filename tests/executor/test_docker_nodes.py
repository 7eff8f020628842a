"""Nodes as real containers: machines with names, addresses, disks and files."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from executor import networks
from executor.runtimes.base import CannotRun, Options
from executor.runtimes.choice import Runtimes
from executor.runtimes.docker import DockerService
from executor.runtimes.docker_api import Down, NoSuchThing, Refused
from executor.runtimes.docker_networks import NodeNetworks, remove_unused
from executor.runtimes.zygote import Zygote
from executor.task import Attachment, Container, DiskMount, Node, NodeFile, Parameter
from tests.executor.docker_proxy import DOCKER
from tests.executor.harness import UP, Bench, containers, eventually, payload, process, run
from tests.ports import free_port

pytestmark = pytest.mark.docker

# Processes that run tests beside each other have addresses that do not overlap.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_lans = itertools.count(random.SystemRandom().randrange(1024))


@pytest.fixture(scope="module")
def client(docker_daemon: None) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(f"unix://{DOCKER}")
    yield made
    made.close()


class Lan:
    """Names and addresses that no other test on this machine has."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self.id = uuid.uuid4().hex[:8]
        self._base = next(_lans) % 1024

    def attachment(self, network: int, host: int, **more: object) -> Attachment:
        """Interface of node ``host`` in network number ``network``, of which there are four."""
        second, third = 64 + 16 * WORKER + self._base // 64, self._base % 64 * 4 + network
        net = f"10.{second}.{third}"
        fields = {"gateway": f"{net}.1", **more}
        return Attachment(f"t{self.id}-{network}", f"{net}.{host}", f"{net}.0/24", **fields)  # type: ignore[arg-type]

    def there(self) -> list[docker.models.networks.Network]:
        return [n for n in self._client.networks.list() if self.id in n.name]


@pytest.fixture
def lan(client: docker.DockerClient) -> Iterator[Lan]:
    made = Lan(client)
    yield made
    for network in made.there():
        # Any executor of this machine that sweeps removes it, too.
        with contextlib.suppress(docker.errors.NotFound):
            network.remove()


@pytest.fixture
def bench(lan: Lan, tmp_path: Path, runtimes: Runtimes) -> Iterator[Bench]:
    made = Bench(tmp_path, runtimes)
    yield made
    made.close()


@pytest.fixture
def other(lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A second executor on the same daemon."""
    runtimes = Runtimes(Zygote.start())
    made = Bench(tmp_path_factory.mktemp("other"), runtimes)
    yield made
    made.close()
    runtimes.close()


def test_a_node_is_a_machine_of_its_own(
    bench: Bench, image: str, client: docker.DockerClient, lan: Lan, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    paths = tuple(str(tmp_path / "data" / name) for name in ("disk1", "disk2"))
    front = lan.attachment(1, 5)
    node = Node(
        "db0.c1.example",
        networks=(front,),
        hosts=(("db1", "10.1.2.3"), ("db2", "10.1.2.4")),
        disks=(DiskMount("/var/lib/db"), DiskMount("/backup", "RO")),
        files=(
            NodeFile("/root/.ssh/authorized_keys", "ssh-rsa AAAA", 0o600),
            NodeFile("/bin/x", "", 0o755),
        ),
        environment=(("ROLE", "primary"),),
    )
    more = {"disk_paths": paths, "ports": {"http": free_port()}, "container": Container(image)}
    task = payload("m1", process(UP), node=node, **more)
    bench.launch(task)
    bench.wait("m1", "TASK_RUNNING")
    assert run(bench, "m1", "hostname; echo $ROLE $NODE_HOSTNAME $MESOS_TASK_ID") == (
        0,
        "db0.c1.example\nprimary db0.c1.example m1\n",
    )
    hosts = run(bench, "m1", "cat /etc/hosts")[1].split("\n")
    assert "10.1.2.3\tdb1" in hosts
    assert f"{front.address}\tdb0.c1.example" in hosts
    assert run(
        bench, "m1", "cat /root/.ssh/authorized_keys; stat -c '%a %u' /root/.ssh/authorized_keys"
    ) == (
        0,
        "ssh-rsa AAAA600 0\n",
    )
    assert run(bench, "m1", "stat -c %a /bin /tmp /root/.ssh")[1].split() == ["755", "1777", "755"]
    assert run(bench, "m1", "echo kept > /var/lib/db/file; touch /backup/x")[1] == (
        "touch: /backup/x: Read-only file system\n"
    )
    assert (tmp_path / "data/disk1/file").read_text() == "kept\n"
    assert not (tmp_path / "data/disk2/x").exists()
    about = containers(client, "m1")[0].attrs
    assert about["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]
    assert about["HostConfig"]["PidsLimit"] == 4096
    (network,) = lan.there()
    assert network.attrs["Labels"] == {
        "mesos-gateway.network": "1",
        "mesos-gateway.framework-id": "F-0000",
    }
    # The hosts of a running node can be written anew.
    rewrite = "cat > /etc/hosts; cat /etc/hosts"
    assert run(bench, "m1", rewrite, stdin=b"10.1.2.9\tdb9\n") == (0, "10.1.2.9\tdb9\n")
    bench.executor.kill("m1")
    bench.wait("m1", "TASK_KILLED")
    assert containers(client, "m1") == []
    assert lan.there() == []


def test_nodes_of_two_executors_on_one_network_reach_each_other_by_name(
    bench: Bench, other: Bench, image: str, client: docker.DockerClient, lan: Lan
) -> None:
    names = (("db0", lan.attachment(1, 5).address), ("db1", lan.attachment(1, 6).address))
    serve = "while :; do echo hello from $(hostname) | nc -l -p 4000 >/dev/null; done & " + UP
    for number, one in enumerate((bench, other)):
        node = Node(f"db{number}", (lan.attachment(1, 5 + number),), names, check_ports=(4000,))
        one.launch(payload(f"n{number}", process(serve), node=node, container=Container(image)))
    bench.wait("n0", "TASK_RUNNING")
    other.wait("n1", "TASK_RUNNING")
    assert len(lan.there()) == 1
    # nc serves one connection at a time, and that may be the check of its port.
    ask = "until nc -w 3 %s 4000 </dev/null | grep hello; do sleep 0.1; done"
    assert run(bench, "n0", ask % "db1") == (0, "hello from db1\n")
    assert run(other, "n1", ask % "db0") == (0, "hello from db0\n")
    bench.executor.kill("n0")
    bench.wait("n0", "TASK_KILLED")
    assert len(lan.there()) == 1, "it is in use"
    other.executor.kill("n1")
    other.wait("n1", "TASK_KILLED")
    assert lan.there() == []


def test_interfaces_come_in_their_order_and_the_command_waits_for_all(
    bench: Bench, image: str, client: docker.DockerClient, lan: Lan
) -> None:
    attachments = tuple(lan.attachment(n, 7) for n in (3, 1, 2))
    show = "for i in 0 1 2; do cat /sys/class/net/eth$i/address; done"
    # The image's own entry point, as a parameter gives it.
    entry = Container(image, parameters=(Parameter("entrypoint", "/bin/show"),))
    node = Node("db0", attachments, files=(NodeFile("/bin/show", f"#!/bin/sh\n{show}\n", 0o755),))
    end = bench.run(payload("i1", node=node, container=entry))
    assert end["state"] == "TASK_FINISHED", end["message"]
    # Docker makes a bridge's hardware addresses from the addresses.
    wanted = ["02:42:" + ":".join(f"{int(p):02x}" for p in a.address.split(".")) for a in attachments]
    assert bench.log("i1", "main").split() == wanted
    # A run that fails and is started again finds them the same.
    again = process(show + "; test -e again && exit 0; touch again; exit 1", max_failures=2)
    end = bench.run(payload("i2", again, node=Node("db0", attachments), container=Container(image)))
    assert end["state"] == "TASK_FINISHED", end["message"]
    assert bench.log("i2", run=0).split() == wanted
    assert bench.log("i2", run=1).split() == wanted
    # Several processes share the container.
    both = (process(show, name="one"), process(show, name="two"))
    end = bench.run(payload("i3", *both, node=Node("db0", attachments), container=Container(image)))
    assert end["state"] == "TASK_FINISHED", end["message"]
    assert bench.log("i3", "two").split() == wanted
    assert lan.there() == []


def test_no_output_is_missed_when_the_start_takes_a_second_try(
    bench: Bench,
    image: str,
    runtimes: Runtimes,
    client: docker.DockerClient,
    lan: Lan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, network = runtimes.docker(), lan.attachment(1, 7)
    tries = []

    def start(container: str) -> None:
        # As an executor that sweeps does it, which looked before this container was made; and such a
        # one, of a test beside this, may have come first.
        if not tries:
            with contextlib.suppress(docker.errors.NotFound):
                client.networks.get(networks.network_name(network)).remove()
        tries.append(container)
        DockerService.start(service, container)

    monkeypatch.setattr(service, "start", start)
    task = payload("g1", process("echo hello"), node=Node("db0", (network,)), container=Container(image))
    end = bench.run(task)
    assert end["state"] == "TASK_FINISHED", end["message"]
    assert len(tries) == 2
    assert bench.log("g1") == "hello\n"


def test_a_network_that_is_another_one_is_not_used(
    bench: Bench, image: str, client: docker.DockerClient, lan: Lan
) -> None:
    wanted, wrong = lan.attachment(1, 5), lan.attachment(2, 5)
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=wrong.subnet)])
    client.networks.create(networks.network_name(wanted), driver="bridge", ipam=pool)
    task = payload("w1", process("true"), node=Node("db0", (wanted,)), container=Container(image))
    end = bench.run(task)
    assert end["state"] == "TASK_FAILED"
    assert f"with subnet {wrong.subnet} instead of {wanted.subnet}" in end["message"]
    # Nor does one with these addresses, under another name, pass.
    same = Attachment(f"t{lan.id}-9", wrong.address, wrong.subnet)
    end = bench.run(
        payload("w2", process("true"), node=Node("db0", (same,)), container=Container(image))
    )
    assert f"another network of this agent has addresses of {wrong.subnet}" in end["message"]
    # It was not ours, so it stays.
    assert [n.name for n in lan.there()] == [networks.network_name(wanted)]


def test_what_cannot_be_made_leaves_no_network(bench: Bench, docker_daemon: None, lan: Lan) -> None:
    node = Node("db0", (lan.attachment(1, 5), lan.attachment(2, 5)))
    absent = Container("mesos-gateway-test-absent:1")
    end = bench.run(payload("l1", node=node, container=absent, pull_policy="never"))
    assert "no such image mesos-gateway-test-absent:1 on this agent" in end["message"]
    assert lan.there() == []
    end = bench.run(payload("l2", node=Node("db0", disks=(DiskMount("/d"),)), container=absent))
    assert (end["reason"], end["message"]) == (
        "REASON_TASK_INVALID",
        "node db0 has 1 disks, but was given 0",
    )


@pytest.mark.parametrize("interface", [0, 1])
def test_an_address_in_use_is_said_after_some_patience(
    tmp_path: Path, runtimes: Runtimes, image: str, lan: Lan, interface: int
) -> None:
    bench = Bench(tmp_path, runtimes, Options(address_patience=1.0))
    shared = lan.attachment(1, 5)
    first = Node("db0", (shared,))
    bench.launch(payload("a1", process(UP), node=first, container=Container(image)))
    bench.wait("a1", "TASK_RUNNING")
    mine = (shared,) if interface == 0 else (lan.attachment(2, 5), shared)
    end = bench.run(payload("a2", process("true"), node=Node("db1", mine), container=Container(image)))
    assert end["message"] == (
        f"the address {shared.address} of network {shared.network} is in use by another container on "
        "this agent"
    )
    # With patience, it is had when the other has left.
    patient = Bench(tmp_path, runtimes, Options(address_patience=60.0))
    bench.executor.kill("a1")
    end = patient.run(payload("a3", process("true"), node=Node("db1", mine), container=Container(image)))
    assert end["state"] == "TASK_FINISHED", end["message"]
    patient.close()
    bench.close()


def test_executors_that_make_and_remove_a_network_at_once_all_succeed(
    bench: Bench, other: Bench, image: str, client: docker.DockerClient, lan: Lan
) -> None:
    count = 8
    for number in range(count):
        one = (bench, other)[number % 2]
        node = Node(f"n{number}", (lan.attachment(1, 10 + number), lan.attachment(2, 10 + number)))
        task = payload(f"r{number}", process("true"), node=node, container=Container(image))
        one.launch(task)
    for number in range(count):
        end = (bench, other)[number % 2].wait(
            f"r{number}", {"TASK_FINISHED", "TASK_FAILED"}, timeout=120
        )
        assert end["state"] == "TASK_FINISHED", end["message"]
    assert lan.there() == []


def test_networks_are_made_once_and_come_again_while_another_removes_them(
    client: docker.DockerClient, lan: Lan
) -> None:
    attachment = lan.attachment(1, 5)
    troubles: list[Exception] = []
    stop = threading.Event()

    def often(step: Callable[[DockerService], None]) -> None:
        service = DockerService()
        try:
            while not stop.is_set():
                step(service)
        except (CannotRun, Down, NoSuchThing, Refused) as error:
            troubles.append(error)
        finally:
            service.close()

    def make(service: DockerService) -> None:
        NodeNetworks(service, (attachment,), "F", 1.0).ensure()

    names = [networks.network_name(attachment)]
    steps = (make, make, lambda service: remove_unused(service, names))
    threads = [threading.Thread(target=often, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    stop.wait(4)
    stop.set()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert len(lan.there()) <= 1


def test_the_sweep_removes_networks_that_nobody_uses(
    bench: Bench, runtimes: Runtimes, image: str, client: docker.DockerClient, lan: Lan
) -> None:
    used, left = lan.attachment(1, 5), lan.attachment(2, 5)
    bench.launch(payload("s1", process(UP), node=Node("db0", (used,)), container=Container(image)))
    bench.wait("s1", "TASK_RUNNING")
    NodeNetworks(runtimes.docker(), (left,), "F", 1.0).ensure()
    runtimes.docker().sweep(bench.executor._environment)
    assert [n.name for n in lan.there()] == [networks.network_name(used)]


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make an interface")


@pytest.fixture
def parent() -> Iterator[str]:
    """An interface that macvlan interfaces can be made of."""
    name = f"mg{uuid.uuid4().hex[:8]}"
    make = ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"]
    subprocess.run(make, check=True)
    for one in (name, f"{name}p"):
        subprocess.run(["ip", "link", "set", one, "up"], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True)


@as_root
def test_a_macvlan_network_and_a_port_that_the_agent_cannot_reach(
    bench: Bench, other: Bench, image: str, lan: Lan, parent: str
) -> None:
    lines = [lan.attachment(1, 5 + n, driver="macvlan", parent=parent) for n in range(2)]
    names = tuple((f"db{n}", lines[n].address) for n in range(2))
    serve = "while :; do echo hello from $(hostname) | nc -l -p 4000 >/dev/null; done & " + UP
    for number, one in enumerate((bench, other)):
        node = Node(f"db{number}", (lines[number],), names, check_ports=(4000,))
        one.launch(payload(f"v{number}", process(serve), node=node, container=Container(image)))
    bench.wait("v0", "TASK_RUNNING")
    other.wait("v1", "TASK_RUNNING")
    ask = "until nc -w 3 db1 4000 </dev/null | grep hello; do sleep 0.1; done"
    assert run(bench, "v0", ask) == (0, "hello from db1\n")
    (network,) = lan.there()
    assert network.attrs["Driver"] == "macvlan"
    assert network.attrs["Options"] == {"parent": parent}
    for number, one in enumerate((bench, other)):
        one.executor.kill(f"v{number}")
        one.wait(f"v{number}", "TASK_KILLED")
    assert lan.there() == []


@as_root
def test_a_bridge_of_the_agent_is_used_and_stays(bench: Bench, image: str, lan: Lan) -> None:
    name = f"br{lan.id}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        node = Node("db0", (lan.attachment(1, 5, parent=name),))
        bench.launch(payload("b1", process(UP), node=node, container=Container(image)))
        bench.wait("b1", "TASK_RUNNING")
        ports = eventually(lambda: os.listdir(f"/sys/class/net/{name}/brif"))
        assert len(ports) == 1
        bench.executor.kill("b1")
        bench.wait("b1", "TASK_KILLED")
        assert lan.there() == []
        assert os.path.isdir(f"/sys/class/net/{name}")
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


def test_a_port_of_a_node_is_waited_for(
    bench: Bench, tmp_path: Path, runtimes: Runtimes, image: str, lan: Lan
) -> None:
    hasty = Bench(tmp_path, runtimes, Options(ports_patience=3.0))
    late = "until [ -e go ]; do sleep 0.1; done; while :; do nc -l -p 3306; done"
    node = Node("db0", (lan.attachment(1, 5),), check_ports=(3306,))
    bench.launch(payload("late", process(late), node=node, container=Container(image)))
    bare = Node("db1", check_ports=(3306,))
    bench.launch(payload("bare", process(late), node=bare, container=Container(image)))
    never = Node("db2", (lan.attachment(1, 6),), check_ports=(3306,))
    hasty.launch(payload("never", process(late), node=never, container=Container(image)))
    for task in ("late", "bare"):
        bench.wait(task, "TASK_STARTING")
        (bench.sandbox(task) / "go").touch()
    for task in ("late", "bare"):
        bench.wait(task, "TASK_RUNNING")
    end = hasty.wait("never", "TASK_FAILED")
    assert end["message"] == "port 3306 of node db2 is not listened on after 3 s"
    hasty.close()
