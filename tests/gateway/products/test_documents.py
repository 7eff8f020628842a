"""Documents of clusters: what is read out of them, and what is said about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from framework.model.errors import Invalid
from gateway.clusters.docker_opts import DockerOptions, WrongOption
from gateway.clusters.docker_opts import parse as parse_docker_opts
from gateway.clusters.documents import group_of, read_document
from gateway.clusters.model import DiskAsk, NetworkAsk

NODE: dict[str, Any] = {"cpu": 1, "mem": 64}


def problems(document: Any) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        read_document(document)
    return caught.value.messages


def node(**fields: Any) -> Any:
    return read_document({"nodes": {"a0": NODE | fields}}).nodes[0].spec


def test_all_of_a_node_is_read() -> None:
    spec = node(
        docker_image="registry:5000/slurm:1",
        docker_opts="--privileged -v /sys/fs/cgroup:/sys/fs/cgroup:ro -e A=b",
        cpu="2",
        mem="2048",
        port="22",
        check_ports=[22, "80"],
        tags="yarn,master",
        required_node="c14-1",
        networks={
            "eth1": {"type": "static", "networkname": "admin", "address": "10.0.0.7"},
            "eth0": {"type": "dynamic", "networkname": "storage"},
        },
        command=["sleep", "a b"],
        environment={"PORT": 80, "DEBUG": True},
        properties={"rack": "r1"},
    )
    assert (spec.cpus, spec.mem_mb, spec.image) == (2.0, 2048, "registry:5000/slurm:1")
    assert spec.parameters == (("privileged", "true"),)
    assert spec.host_paths == (("/sys/fs/cgroup", "/sys/fs/cgroup", "RO"),)
    assert spec.environment == (("A", "b"), ("PORT", "80"), ("DEBUG", "true"))
    assert (spec.check_ports, spec.tags, spec.required_host) == ((22, 80), ("yarn", "master"), "c14-1")
    assert spec.networks == (NetworkAsk("storage", "eth0"), NetworkAsk("admin", "eth1", "10.0.0.7"))
    assert spec.command == "sleep 'a b'"
    assert (spec.properties["port"], spec.properties["rack"]) == (22, "r1")


def test_too_many_nodes_are_all_that_is_told() -> None:
    nodes = {f"a{n}": NODE for n in range(501)}
    said = problems({"nodes": nodes, "services": {"web": {"nodes": list(nodes)}}})
    assert said == ("nodes: there are 501; a cluster has at most 500",)


@pytest.mark.parametrize("image", [{}, {"docker_image": ""}, {"docker_image": None}])
def test_a_node_may_leave_its_image_to_the_server(image: dict[str, Any]) -> None:
    assert node(**image).image is None


def test_a_number_of_disks_is_mounted_below_data() -> None:
    assert node(disks=2).disks == (DiskAsk("disk1", "/data/1"), DiskAsk("disk2", "/data/2"))
    assert node(disks=0).disks == ()


def test_disks_are_any_unless_they_are_asked_for_by_name() -> None:
    disks = {
        "disk4": {"destination": "/var"},
        "b": {"destination": "/b/", "origin": "disk7", "mode": "ro"},
    }
    assert node(disks=disks).disks == (DiskAsk("disk4", "/var"), DiskAsk("b", "/b", "RO"))
    custom = node(disks=disks, use_custom_disks=True).disks
    assert [disk.disk for disk in custom] == ["disk4", "disk7"]


def test_an_origin_that_is_a_path_is_one_of_the_host() -> None:
    spec = node(disks={"d": {"destination": "/d", "origin": "/data/1/x", "mode": "RO"}})
    assert spec.disks == ()
    assert spec.host_paths == (("/data/1/x", "/d", "RO"),)


def test_services_and_nodes_know_of_each_other() -> None:
    document = read_document(
        {
            "dnsname": "clusters--u--p--1__0--1",
            "nodes": {"m0": NODE | {"services": ["admin"]}, "w0": NODE, "w1": NODE},
            "services": {
                "admin": {"heap": 12},
                "worker": {"nodes": ["w0", "w1"], "dfs.blocksize": "1m"},
            },
        }
    )
    assert [(n.name, n.group, n.spec.services) for n in document.nodes] == [
        ("m0", "m", ("admin",)),
        ("w0", "w", ("worker",)),
        ("w1", "w", ("worker",)),
    ]
    assert [(s.name, s.nodes, s.properties) for s in document.services] == [
        ("admin", ("m0",), {"heap": 12}),
        ("worker", ("w0", "w1"), {"dfs.blocksize": "1m"}),
    ]


def test_a_group_is_what_one_more_of_its_nodes_is_made_of() -> None:
    static = {"eth0": {"networkname": "n", "address": "10.0.0.1"}}
    document = read_document(
        {
            "nodes": {
                "w0": NODE | {"required_node": "h1", "networks": static},
                "w1": NODE | {"required_node": "h2"},
                "m": NODE | {"required_node": "h1", "group": "masters"},
            }
        }
    )
    workers, masters = document.groups
    assert (workers.name, workers.spec.required_host) == ("w", None)
    assert workers.spec.networks == (NetworkAsk("n", "eth0"),)
    assert (masters.name, masters.spec.required_host) == ("masters", "h1")


def test_nodes_carry_the_tag_that_they_are_kept_apart_by() -> None:
    document = read_document({"nodes": {"db0": NODE | {"anti_affinity": True}, "db1": NODE}})
    assert [n.spec.tags for n in document.nodes] == [("db",), ("db",)]
    assert document.nodes[0].spec.apart == ("db",)


@pytest.mark.parametrize(
    ("name", "group"), [("slave0", "slave"), ("db-12", "db"), ("mysql_node0", "mysql_node"), ("7", "7")]
)
def test_the_group_of_a_node_is_its_name_without_the_number(name: str, group: str) -> None:
    assert group_of(name) == group


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"cpu": "x"}, "nodes.a0.cpu: expects a number (number of processors), not 'x'"),
        ({"cpu": -1}, "nodes.a0.cpu: -1 is out of bounds"),
        ({"cpu": True}, "nodes.a0.cpu: expects a number"),
        ({"cpu": 1e308}, "nodes.a0.cpu: 1e+308 is out of bounds"),
        ({"mem": None}, "nodes.a0.mem: is missing"),
        ({"mem": 10**400}, "nodes.a0.mem: expects a number"),
        ({"cpus": 3}, "nodes.a0.cpus: there is no such field; did you mean 'cpu'?"),
        ({"docker_image": "--privileged"}, "nodes.a0.docker_image: '--privileged' is not the name"),
        ({"docker_image": 3}, "nodes.a0.docker_image: expects a text, not a number"),
        ({"docker_opts": "--priveleged"}, "nodes.a0.docker_opts: the option 'priveleged'"),
        ({"check_ports": [0]}, "nodes.a0.check_ports[0]: 0 is not a port"),
        ({"tags": [1]}, "nodes.a0.tags: 1 is not a name"),
        ({"disks": 1.5}, "nodes.a0.disks: 1.5 is not a number of disks"),
        ({"disks": {"d": {}}}, "nodes.a0.disks.d.destination: is missing"),
        ({"disks": {"d": {"destination": "/a/../b"}}}, "nodes.a0.disks.d.destination: '/a/../b' is not"),
        ({"disks": {"d": {"destination": "/"}}}, "nodes.a0.disks.d.destination: '/' is not"),
        (
            {"disks": {"d": {"destination": "/a", "mode": "x"}}},
            "nodes.a0.disks.d.mode: expects rw or ro",
        ),
        (
            {"disks": {"d": {"destination": "/a"}, "e": {"destination": "/a"}}},
            "nodes.a0.disks.e.destination: another disk is mounted at /a",
        ),
        ({"networks": {"eth0": {}}}, "nodes.a0.networks.eth0.networkname: expects the name"),
        (
            {"networks": {"eth0": {"networkname": "n", "type": "static"}}},
            "nodes.a0.networks.eth0.address: is missing",
        ),
        (
            {"networks": {"eth0": {"networkname": "n", "address": "10.0.0.300"}}},
            "nodes.a0.networks.eth0.address: '10.0.0.300' is not an IP address",
        ),
        ({"environment": {"A B": "x"}}, "nodes.a0.environment: 'A B' is not the name of a variable"),
        ({"environment": {"A": []}}, "nodes.a0.environment.A: expects a text or a number, not a list"),
        (
            {"anti_affinity": ["nobody"]},
            "nodes.a0.anti_affinity: no node has the tag or the group 'nobody'",
        ),
        ({"services": ["x"]}, "nodes.a0.services: there is no service 'x'"),
        ({"command": 3}, "nodes.a0.command: expects a command line"),
    ],
)
def test_each_problem_of_a_node_has_its_path(fields: dict[str, Any], problem: str) -> None:
    said = problems({"nodes": {"a0": NODE | fields}})
    assert any(sentence.startswith(problem) for sentence in said), said


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "the document: expects an object"),
        (None, "the document: expects an object"),
        ({}, "nodes: a cluster needs at least one node"),
        ({"nodes": [NODE]}, "nodes: expects an object, not a list"),
        (
            {"nodes": {"a0": NODE}, "service": {}},
            "service: there is no such field; did you mean 'services'?",
        ),
        ({"nodes": {"../etc": NODE}}, "nodes.../etc: is not a host name"),
        ({"nodes": {"-a": NODE}}, "nodes.-a: is not a host name"),
        ({"nodes": {"a": NODE, "A": NODE}}, "nodes.A: differs from a only in case"),
        ({"nodes": {f"n{i}": NODE for i in range(501)}}, "nodes: there are 501"),
        (
            {"nodes": {"a0": NODE}, "services": {"s": {"nodes": ["a00"]}}},
            "services.s.nodes: there is no node 'a00'; did you mean 'a0'?",
        ),
        ({"nodes": {"a0": NODE}, "services": {"s/t": {}}}, "services.s/t: is not a name"),
    ],
)
def test_each_problem_of_a_document_has_its_path(document: Any, problem: str) -> None:
    assert any(sentence.startswith(problem) for sentence in problems(document)), problems(document)


def test_all_problems_are_told_at_once() -> None:
    assert len(problems({"nodes": {"a0": {"cpu": 0}, "a1": {"mem": 64}}, "x": 1})) == 4


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (None, DockerOptions()),
        ("_", DockerOptions()),
        ("", DockerOptions()),
        ("-d -ti --cap-add SYS_ADMIN", DockerOptions((("cap-add", "SYS_ADMIN"),))),
        ("--ulimit=nofile=10:20", DockerOptions((("ulimit", "nofile=10:20"),))),
        ("-eA=b -e 'C=d e'", DockerOptions(environment=(("A", "b"), ("C", "d e")))),
        (["--privileged"], DockerOptions((("privileged", "true"),))),
        ({"privileged": True, "cap-add": ["A", "B"]}, DockerOptions(
            (("privileged", "true"), ("cap-add", "A"), ("cap-add", "B")))),
        ({"env": {"A": 1}}, DockerOptions(environment=(("A", "1"),))),
        ("-v /a:/b", DockerOptions(host_paths=(("/a", "/b", "RW"),))),
        ("-v /a:/b:ro,z", DockerOptions(host_paths=(("/a", "/b", "RO"),))),
    ],
)  # fmt: skip
def test_docker_opts_are_read(given: Any, options: DockerOptions) -> None:
    assert parse_docker_opts(given) == options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--nosuch=1", "'nosuch'"),
        ("--name x", "the node's name is its key"),
        ("--net=host", "name networks under networks"),
        ("-m 2g", "use the field mem"),
        ("image", "is not an option"),
        ("--env", "needs a value"),
        ("-e A", "should be NAME=VALUE"),
        ("-v data:/b", "should be /HOST/PATH"),
        ("-v /a:/b:rx", "'rx' is not a mode"),
        ("'", "is not a command line"),
        (3, "expects a text"),
        ({"env": [[]]}, "neither a text nor a number"),
        ({1: 2}, "is not the name of an option"),
    ],
)
def test_docker_opts_that_are_not_understood_are_refused(given: Any, said: str) -> None:
    with pytest.raises(WrongOption, match=said):
        parse_docker_opts(given)
