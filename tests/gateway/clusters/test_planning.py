"""From nodes to tasks: what can be, what may be, and what then runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from executor.task import (
    Attachment,
    Container,
    DiskMount,
    NodeFile,
    Parameter,
    TaskPayload,
    Volume,
    bind,
    decode_task,
    run_time_bindings,
)
from framework.model.errors import Forbidden, GatewayError, Invalid
from framework.model.jobs import Constraint, JobKey
from gateway.clusters import planning
from gateway.clusters.model import DiskAsk, Group, NetworkAsk, NodeAsk, NodeSpec, Service
from gateway.clusters.networks import Network
from gateway.clusters.planning import Rules, check_request
from gateway.clusters.requests import new_cluster
from gateway.policy import DockerRules, Policy, VolumeRules
from gateway.store import Store
from tests.gateway.clusters.doubles import a_request

SPEC = NodeSpec(cpus=0.5, mem_mb=64, image="debian:12")
NETWORKS = {
    name: Network(name, f"10.{number}.0.0/24", (f"10.{number}.0.5", f"10.{number}.0.6"))
    for number, name in enumerate(("n", "other"))
}


def check(spec: NodeSpec, policy: Policy | None = None, **fields: Any) -> None:
    nodes = fields.pop("nodes", (NodeAsk("db0", "db", spec),))
    check_request(a_request(nodes=nodes, **fields), NETWORKS, Rules(policy or Policy()))


def asked(**fields: Any) -> NodeSpec:
    return msgspec.structs.replace(SPEC, **fields)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (asked(cpus=0.0), "have to be more than 0"),
        (asked(cpus=float("nan")), "have to be more than 0"),
        (asked(cpus=float("inf")), "have to be more than 0"),
        (asked(mem_mb=0), "have to be more than 0"),
        (asked(disk_mb=-1), "have to be more than 0"),
        (asked(check_ports=(0,)), "0 is not a port"),
        (asked(check_ports=(65536,)), "65536 is not a port"),
        (asked(environment=(("A B", "x"),)), "'A B' is not the name of a variable"),
        (asked(environment=(("A", "\0"),)), "holds a NUL"),
        (asked(networks=(NetworkAsk("nowhere"),)), r"no network 'nowhere' \(there are: n, other\)"),
        (asked(networks=(NetworkAsk("n"), NetworkAsk("other"))), "the interface eth0 twice"),
        (asked(networks=(NetworkAsk("n"), NetworkAsk("n", "eth1"))), "the network n twice"),
        (asked(networks=(NetworkAsk("n", "a/b"),)), "not the name of an interface"),
        (asked(networks=(NetworkAsk("n", address="10.9.0.5"),)), "not in its subnet"),
        (asked(networks=(NetworkAsk("n", address="10.0.0.9"),)), "not in the pool"),
        (asked(disks=(DiskAsk("a", "data"),)), "no absolute path"),
        (asked(disks=(DiskAsk("a", "/a/../b"),)), "no absolute path"),
        (asked(disks=(DiskAsk("a", "/a"), DiskAsk("b", "/a"))), "two disks at the same path"),
        (asked(disks=(DiskAsk("a", "/a", disk="d"), DiskAsk("b", "/b"))), "name all of them"),
        (
            asked(disks=(DiskAsk("a", "/a", disk="d"), DiskAsk("b", "/b", disk="d"))),
            "names a disk twice",
        ),
        (asked(image=None, parameters=(("env", "A=1"),)), "no image that they could be for"),
        (asked(image="--privileged"), "is an option, not a name"),
        (asked(attributes=(("rack", ""),)), "has no value"),
    ],
)
def test_what_cannot_be_is_refused(spec: NodeSpec, words: str) -> None:
    with pytest.raises(Invalid, match=f"node db0: .*{words}"):
        check(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (asked(parameters=(("privileged", "true"),)), r"docker\.privileged"),
        (asked(parameters=(("cap-add", "SYS_ADMIN"),)), r"docker\.parameters"),
        (asked(parameters=(("volume", "/:/host"),)), "name host paths under volumes"),
        (asked(host_paths=(("/etc", "/host", "RO"),)), r"volumes\.read_only"),
        (asked(host_paths=(("/data", "/data", "RW"),)), r"volumes\.read_write"),
        (asked(host_paths=(("/var/run/docker.sock", "/s", "RW"),)), r"volumes\.read_write"),
    ],
)
def test_what_may_not_be_is_refused_by_its_rule(spec: NodeSpec, words: str) -> None:
    with pytest.raises(Forbidden, match=f"node db0: .*{words}"):
        check(spec)


def test_the_policy_allows() -> None:
    policy = Policy(DockerRules(("cap-add",)), VolumeRules(read_write=("/data",)))
    check(asked(parameters=(("cap-add", "X"),), host_paths=(("/data/x", "/x", "RW"),)), policy)
    images = Policy(DockerRules(images=("debian:*",)))
    check(SPEC, images)
    with pytest.raises(Forbidden, match=r"docker\.images"):
        check(asked(image="evil"), images)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "at least one node"),
        (["a"] * 501, "501 nodes; 500 at most"),
        (["a", "A"], "two nodes have the same name: a and A"),
        (["-a"], "'-a' is not a name for a node"),
        (["a\n"], "is not a name for a node"),
        (["a" * 64], "is not a name for a node"),
        (["a..b"], "is not a name for a node"),
        (["a;reboot"], "is not a name for a node"),
        ([""], "is not a name for a node"),
    ],
)
def test_names_of_nodes_are_names_of_hosts(names: list[str], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check(SPEC, nodes=tuple(NodeAsk(name, "g", SPEC) for name in names))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lease_secs": 0.0}, "a lease of 0.0"),
        ({"lease_secs": float("nan")}, "a lease of nan"),
        ({"owner": ""}, "its owner 1 to 200"),
        ({"key": "x" * 1001}, "1 to 1000"),
        ({"environment": "a/b"}, "not a valid name"),
        ({"services": (Service("s", ("db1",)),)}, "service s: there is no node 'db1'"),
    ],
)
def test_requests_are_checked(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check(SPEC, **fields)


def test_two_nodes_cannot_want_the_same_address() -> None:
    spec = asked(networks=(NetworkAsk("n", address="10.0.0.5"),))
    with pytest.raises(GatewayError, match=r"node b: .*10\.0\.0\.5, which node a wants, too"):
        check(SPEC, nodes=(NodeAsk("a", "g", spec), NodeAsk("b", "g", spec)))


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


def test_nodes_become_tasks(store: Store) -> None:
    spec = NodeSpec(
        cpus=1.5,
        mem_mb=100,
        disk_mb=20,
        image="debian:12",
        command="echo {{x}} {{&y}}; exec sleep 5",
        required_host="agent1",
        tags=("big",),
        apart=("db",),
        attributes=(("rack", "a,b"),),
        networks=(NetworkAsk("n"), NetworkAsk("other", "eth1")),
        disks=(DiskAsk("data", "/data", "RW", "disk1"), DiskAsk("log", "/log", "RO", "disk2")),
        check_ports=(22,),
        environment=(("A", "1"),),
        parameters=(("cap-add", "NET_ADMIN"),),
        host_paths=(("/data", "/outside", "RO"),),
    )
    plain = NodeSpec(cpus=0.1, mem_mb=16, networks=(NetworkAsk("other"),))
    nodes = (NodeAsk("db_0", "db", spec), NodeAsk("web", "web", plain))
    request = a_request(nodes=nodes, groups=(Group("db", spec),))
    cluster = new_cluster(request, JobKey("c", "ann", "paas", "j"), "ann", 1.0, lambda: "id")
    for network in NETWORKS.values():
        store.networks.define(network)
    asks = planning.address_asks(cluster.nodes)
    assert [(a.node, a.network, a.interface) for a in asks] == [
        ("db_0", "n", "eth0"),
        ("db_0", "other", "eth1"),
        ("web", "other", "eth0"),
    ]
    taken = store.networks.take("id", asks)
    records = (
        msgspec.structs.replace(cluster.nodes[0], interfaces=taken[:2]),
        msgspec.structs.replace(cluster.nodes[1], interfaces=taken[2:]),
    )
    cluster = msgspec.structs.replace(cluster, nodes=records)
    found = planning.configs(cluster, records, Rules(), lambda n: [NodeFile("/f", n.name, 0o600)])
    config = found[0]
    assert planning.job_spec(cluster, found).instances == 2
    need = config.resources
    assert (need.cpus, need.mem_mb, need.disk_mb) == (1.5, 100, 20)
    assert (need.data_disks, need.disk_names) == (2, ("disk1", "disk2"))
    assert (config.service, config.sticky, config.max_task_failures) == (True, True, -1)
    assert config.tags == ("big", "db")
    assert set(config.constraints) == {
        Constraint("rack", "value", ("a", "b")),
        Constraint("host", "value", ("agent1",)),
        Constraint("host", "limit", limit=1, among="db"),
    }
    assert config.container == Container(
        "debian:12",
        parameters=(Parameter("cap-add", "NET_ADMIN"),),
        volumes=(Volume("/outside", "/data", "RO"),),
    )
    node = config.node
    assert node is not None
    assert node.hostname == "db_0"
    assert node.networks == (
        Attachment("n", "10.0.0.5", "10.0.0.0/24"),
        Attachment("other", "10.1.0.5", "10.1.0.0/24"),
    )
    # Both are in "other": by that they reach each other.
    assert node.hosts == (("db_0", "10.1.0.5"), ("web", "10.1.0.6"))
    assert node.disks == (DiskMount("/data", "RW"), DiskMount("/log", "RO"))
    assert node.files == (NodeFile("/f", "db_0", 0o600),)
    assert (node.check_ports, node.environment) == ((22,), (("A", "1"),))
    process = decode_task(config.executor_data).task.processes[0]
    payload = TaskPayload("t", "c", "ann", "paas", "j", 0, config.executor_data, 1.0, 1, 1)
    assert bind(process.cmdline, run_time_bindings(payload)) == spec.command
    assert (found[1].sticky, found[1].container) == (False, None)
    assert "sleep" in decode_task(found[1].executor_data).task.processes[0].cmdline


def test_an_image_without_a_command_runs_its_entry_point() -> None:
    cluster = new_cluster(
        a_request(nodes=(NodeAsk("a", "g", SPEC),)), JobKey("c", "a", "p", "j"), "", 1.0, lambda: "x"
    )
    config = planning.configs(cluster, cluster.nodes, Rules(), lambda node: [])[0]
    assert decode_task(config.executor_data).task.processes == ()


def test_the_servers_default_image_is_that_of_nodes_that_name_none() -> None:
    nodes = (NodeAsk("a", "g", asked(image=None, parameters=(("init", "true"),))),)
    rules = Rules(Policy(DockerRules(("init",))), default_image="debian:13")
    request = a_request(nodes=nodes)
    check_request(request, NETWORKS, rules)
    cluster = new_cluster(request, JobKey("c", "a", "p", "j"), "", 1.0, lambda: "x")
    config = planning.configs(cluster, cluster.nodes, rules, lambda node: [])[0]
    assert config.container == Container("debian:13", parameters=(Parameter("init", "true"),))
    # Whatever that image starts by itself, a node stays.
    (process,) = decode_task(config.executor_data).task.processes
    assert "sleep" in process.cmdline


def test_the_text_of_hosts_and_its_mark_go_together() -> None:
    cluster = new_cluster(a_request(2), JobKey("c", "a", "p", "j"), "", 1.0, lambda: "x")
    assert planning.hosts_text(cluster) == "127.0.0.1\tlocalhost\n"
    other = msgspec.structs.replace(cluster, nodes=cluster.nodes[:1])
    assert planning.hosts_mark(cluster) == planning.hosts_mark(other)  # no addresses, no difference


def test_jobs_have_names_though_owners_have_strange_ones() -> None:
    key = planning.job_key("c", "ann", "paas", "hello-1.0-1")
    assert str(key) == "c/ann/paas/hello-1.0-1"
    strange = ["ann@example.org", "ann example.org", "ä" * 300, "..", ".", "-x", "", "a/b", "\ud800"]
    found = [planning.segment(text) for text in strange]
    assert len(set(found)) == len(strange)
    for text in found:
        JobKey.of("c", text, "paas", "j")
