"""Nodes and their networks as values."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import networks, node
from executor.disks import prepare_disks, work_dir
from executor.task import Attachment, DiskMount, Node, NodeFile
from tests.executor.harness import payload

ONE = Attachment("front", "10.9.0.5", "10.9.0.0/24", gateway="10.9.0.1")
TWO = Attachment("back", "10.8.0.5", "10.8.0.0/24", driver="macvlan", parent="eth1")


def found(attachment: Attachment, **more: object) -> dict[str, object]:
    """What Docker lists of the network that was made for an attachment."""
    body = networks.creation(attachment, "F-0")
    listed = {"Id": "a1", "Created": "2024-01-01T00:00:00Z", "Name": body["name"], "IPAM": body["ipam"]}
    return {
        **listed,
        "Driver": body["driver"],
        "Options": body["options"],
        "Labels": body["labels"],
        **more,
    }


def test_a_network_is_made_as_the_attachment_says() -> None:
    assert networks.creation(TWO, "F-0") == {
        "name": "mesos-gateway-back",
        "driver": "macvlan",
        "options": {"parent": "eth1"},
        "ipam": {"Driver": "default", "Config": [{"Subnet": "10.8.0.0/24"}]},
        "check_duplicate": True,
        "labels": {"mesos-gateway.network": "1", "mesos-gateway.framework-id": "F-0"},
    }
    parent = Attachment("x", "10.9.0.5", "10.9.0.0/24", parent="br7")
    assert networks.creation(parent, "F")["options"] == {"com.docker.network.bridge.name": "br7"}


@given(
    st.sampled_from(["bridge", "macvlan"]),
    st.sampled_from(["", "br0"]),
    st.sampled_from([None, "10.9.0.1"]),
)
def test_a_network_that_was_made_for_an_attachment_is_the_one(
    driver: str, parent: str, gateway: str | None
) -> None:
    attachment = Attachment("n", "10.9.0.5", "10.9.0.0/24", gateway, driver, parent)  # type: ignore[arg-type]
    assert networks.difference(attachment, found(attachment)) is None


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Attachment("front", "10.7.0.5", "10.7.0.0/24"), "subnet 10.7.0.0/24 instead of 10.9.0.0/24"),
        (Attachment("front", "10.9.0.5", "10.9.0.0/24", driver="macvlan"), "driver macvlan instead of"),
        (Attachment("front", "10.9.0.5", "10.9.0.0/24", gateway="10.9.0.9"), "gateway 10.9.0.9 instead"),
    ],
)
def test_another_network_of_the_name_is_told_apart(other: Attachment, words: str) -> None:
    why = networks.difference(ONE, found(other))
    assert why is not None
    assert "mesos-gateway-front already" in why
    assert words in why


def test_of_networks_with_the_same_name_all_choose_the_oldest() -> None:
    old, new = found(ONE, Id="b"), found(ONE, Id="a", Created="2024-02-02T00:00:00Z")
    longer = found(ONE, Name="mesos-gateway-front2", Created="2020-01-01T00:00:00Z")
    assert networks.choose("mesos-gateway-front", [new, longer, old]) is old
    assert networks.choose("mesos-gateway-other", [new, old]) is None


def test_a_network_is_unused_when_no_container_names_it() -> None:
    stranger = found(ONE, Labels={}, Name="mesos-gateway-strange")
    there = [found(ONE, Id="1"), found(TWO, Id="2"), stranger]
    names = [str(n["Name"]) for n in there]
    used = [{networks.USES_LABEL: "mesos-gateway-back,mesos-gateway-x"}, {"other": "label"}]
    assert networks.unused(names, there, used) == [("1", "mesos-gateway-front")]


@pytest.mark.parametrize(
    ("attachments", "words"),
    [
        ((Attachment("a b", "10.9.0.5", "10.9.0.0/24"),), "no.* name of a network|not a name"),
        ((ONE, ONE), "only once: front"),
        ((Attachment("n", "10.8.0.5", "10.9.0.0/24"),), "10.8.0.5 is not in 10.9.0.0/24"),
        ((Attachment("n", "10.9.0.0", "10.9.0.0/24"),), "can be no node's"),
        ((Attachment("n", "10.9.0.1", "10.9.0.0/24", "10.9.0.1"),), "can be no node's"),
        ((Attachment("n", "10.9.0.300", "10.9.0.0/24"),), "10.9.0.300"),
        ((Attachment("n", "10.9.0.3", "10.9.0.0/99"),), "99"),
    ],
)
def test_attachments_that_cannot_be_are_named(attachments: tuple[Attachment, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        networks.check(attachments)
    networks.check((ONE, TWO))


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Node("-x"), "'-x' is not a name of a host"),
        (Node("n", disks=(DiskMount("/d"),)), "has 1 disks, but was given 0"),
        (Node("n", files=(NodeFile("a", ""),)), "'a' is not an absolute path"),
        (Node("n", files=(NodeFile("/a/../b", ""),)), "not an absolute path"),
        (Node("n", files=(NodeFile("/etc/hosts", ""),)), "/etc/hosts of a node is made from"),
        (Node("n", hosts=(("a", "b c"),)), "'a' with 'b c'"),
        (Node("n", environment=(("a=b", "c"),)), "'a=b' is not a name of a variable"),
    ],
)
def test_nodes_that_cannot_be_are_named(machine: Node, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        node.check(payload("t", node=machine))


def test_a_node_resolves_its_own_name() -> None:
    machine = Node("db0", networks=(ONE, TWO), hosts=(("db1", "10.9.0.6"),))
    assert node.hosts_of(machine) == [("db1", "10.9.0.6"), ("db0", "10.9.0.5")]
    named = Node("db0", networks=(ONE,), hosts=(("db0", "10.9.0.7"),))
    assert node.hosts_of(named) == [("db0", "10.9.0.7")]
    assert node.hosts_file(machine).splitlines()[1:] == ["10.9.0.6\tdb1", "10.9.0.5\tdb0"]


def test_files_are_roots_and_no_directory_is_touched() -> None:
    data = node.archive([NodeFile("/etc/x/y.conf", "text", 0o600), NodeFile("/z", "ü")])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = tar.getmembers()
    assert [(e.name, e.mode, e.uid, e.gid, e.isfile()) for e in entries] == [
        ("etc/x/y.conf", 0o600, 0, 0, True),
        ("z", 0o644, 0, 0, True),
    ]


def test_what_waits_for_interfaces_runs_its_command_as_it_is() -> None:
    argv = node.waiting(0, ["/bin/echo", "a b", "$HOME"])
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"a b $HOME\n"


def test_listening_sockets_are_read_from_the_kernels_tables() -> None:
    head = "  sl  local_address rem_address   st\n"
    v4 = (
        head
        + "   0: 0100007F:0CEA 00000000:0000 0A 0:0\n"
        + "   1: 00000000:1F90 00000000:0000 0A 0:0\n"
        + "   2: 0500090A:0016 0600090A:9999 01 0:0\n"
    )
    v6 = (
        head
        + "   0: 00000000000000000000000000000000:0050 0:0000 0A\n"
        + "   1: 00000000000000000000000001000000:0051 0:0000 0A\n"
    )
    assert node.listening_ports(v4, v6) == {8080, 80}


def test_a_disk_is_made_where_its_parent_is_and_all_of_it_below_the_agents_work_dir(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with pytest.raises(ValueError, match=rf"the agent has no {data} for the data disk disk1: make it"):
        prepare_disks([str(data / "disk1")], "")
    data.mkdir()
    prepare_disks([str(data / "disk1"), str(data / "disk1")], "")
    assert (data / "disk1").stat().st_mode & 0o777 == 0o755
    work = work_dir(f"{tmp_path}/agent/slaves/S0/frameworks/F/executors/e/runs/r")
    assert work == f"{tmp_path}/agent"
    prepare_disks([f"{work}/disks/disk2"], work)
    assert (tmp_path / "agent/disks/disk2").is_dir()
    (data / "file").touch()
    with pytest.raises(ValueError, match="is no directory"):
        prepare_disks([str(data / "file")], "")
    assert work_dir("/somewhere/else") == ""
