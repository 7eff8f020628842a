"""From a request and its templates to the nodes of a cluster."""

from __future__ import annotations

import msgspec
import pytest

from gateway.clusters.model import DiskAsk, NetworkAsk
from gateway.clusters.planning import IDLE, Rules, check_request
from gateway.dataprocessing.errors import InvalidData
from gateway.dataprocessing.launching import (
    check_host_names,
    cluster_group,
    node_spec,
    request,
    wanted,
)
from gateway.dataprocessing.objects import ClusterTemplate
from tests.gateway.dataprocessing.samples import (
    CONTAINED,
    FOUND,
    IMAGE_ID,
    PLAIN,
    TENANT,
    a_wanted,
    group,
)

GIVEN = {"name": "c1", "plugin_name": "fake", "hadoop_version": "0.1"}
FLAVOR = FOUND.flavors["1"]


def template(**fields: object) -> ClusterTemplate:
    values = {
        "id": "t1",
        "tenant": TENANT,
        "name": "ct",
        "plugin": "fake",
        "version": "0.1",
        "description": "from the template",
        "cluster_configs": {"general": {"Delay": 1, "Fail at": ""}},
        "default_image_id": IMAGE_ID,
        "anti_affinity": ["datanode"],
        "network": "net1",
        "node_groups": (group("worker", 2),),
        **fields,
    }
    return ClusterTemplate(**values)  # type: ignore[arg-type]  # given by name, as they are


def test_what_a_request_leaves_open_is_its_templates() -> None:
    asked = wanted({**GIVEN, "cluster_template_id": "t1"}, template(), None)
    assert (asked.description, asked.default_image_id, asked.network) == (
        "from the template",
        IMAGE_ID,
        "net1",
    )
    assert (asked.anti_affinity, asked.template_id) == (("datanode",), "t1")
    assert [one.name for one in asked.groups] == ["worker"]


def test_what_a_request_says_goes_before_its_template() -> None:
    given = {
        **GIVEN,
        "description": "mine",
        "anti_affinity": [],
        "use_autoconfig": False,
        "neutron_management_network": "net2",
        "cluster_configs": {"general": {"Delay": 9}},
    }
    asked = wanted(given, template(), (group("other", 1),))
    assert (asked.description, asked.network, asked.anti_affinity) == ("mine", "net2", ())
    assert asked.use_autoconfig is False
    assert asked.cluster_configs == {"general": {"Delay": 9, "Fail at": ""}}
    assert [one.name for one in asked.groups] == ["other"]


def test_without_a_template_nothing_is_made_up() -> None:
    asked = wanted(GIVEN, None, None)
    assert (asked.default_image_id, asked.network, asked.groups) == (None, None, ())


def test_nodes_are_numbered_within_their_groups() -> None:
    asks = request(a_wanted(), FOUND, TENANT, "0b0e5b3c-1")
    assert [(node.name, node.group) for node in asks.nodes] == [
        ("c1-master-0", "master"),
        ("c1-worker-0", "worker"),
        ("c1-worker-1", "worker"),
    ]
    assert (asks.key, asks.environment, asks.job_name, asks.owner) == (
        f"sahara/{TENANT}/0b0e5b3c-1",
        "sahara",
        "c1-0b0e5b3c",
        TENANT,
    )
    check_request(asks, {}, Rules())


def test_a_node_is_made_of_its_flavor_and_its_image() -> None:
    spec = node_spec(group("w", 1), FLAVOR, CONTAINED, None, ())
    assert (spec.cpus, spec.mem_mb, spec.disk_mb) == (0.5, 512, 3072)
    assert (spec.image, spec.command, spec.networks, spec.disks) == ("spark:3", IDLE, (), ())


def test_an_image_may_keep_its_entry_point() -> None:
    image = msgspec.structs.replace(
        CONTAINED, image=msgspec.structs.replace(CONTAINED.image, keep_entrypoint=True)
    )
    assert node_spec(group("w", 1), FLAVOR, image, None, ()).command is None
    bare = msgspec.structs.replace(
        PLAIN, image=msgspec.structs.replace(PLAIN.image, keep_entrypoint=True)
    )
    assert node_spec(group("w", 1), FLAVOR, bare, None, ()).command == IDLE


def test_a_node_that_is_reached_over_ssh_runs_once_its_own_server_listens() -> None:
    image = msgspec.structs.replace(
        CONTAINED, image=msgspec.structs.replace(CONTAINED.image, transport="ssh")
    )
    spec = node_spec(group("w", 1), FLAVOR, image, "lan", ())
    assert (spec.command, spec.check_ports) == (None, (22,))
    assert node_spec(group("w", 1), FLAVOR, CONTAINED, "lan", ()).check_ports == ()
    found = msgspec.structs.replace(FOUND, images={IMAGE_ID: image})
    with pytest.raises(InvalidData, match="'spark' are reached over SSH: they need a network"):
        cluster_group(group("w", 1), a_wanted(), found)
    made = cluster_group(group("w", 1), a_wanted(), msgspec.structs.replace(found, network="lan"))
    assert made.extra["transport"] == "ssh"


def test_an_image_without_a_reference_means_processes() -> None:
    spec = node_spec(group("w", 1), FLAVOR, PLAIN, None, ())
    assert (spec.image, spec.command) == (None, IDLE)


def test_volumes_are_disks_under_their_prefix() -> None:
    asked = group("w", 1, volumes_per_node=2, volumes_size=10, volume_mount_prefix="/data/d")
    assert node_spec(asked, FLAVOR, PLAIN, "n", ()).disks == (
        DiskAsk("volume1", "/data/d1"),
        DiskAsk("volume2", "/data/d2"),
    )
    usual = group("w", 1, volumes_per_node=1, volume_mount_prefix=None)
    assert node_spec(usual, FLAVOR, PLAIN, None, ()).disks[0].destination == "/volumes/disk1"


def test_nodes_have_an_address_in_their_network() -> None:
    assert node_spec(group("w", 1), FLAVOR, PLAIN, "n", ()).networks == (NetworkAsk("n"),)


@pytest.mark.parametrize(
    ("zone", "attributes"), [(None, ()), ("", ()), ("nova", ()), ("r1", (("zone", "r1"),))]
)
def test_a_zone_is_an_attribute_of_agents(
    zone: str | None, attributes: tuple[tuple[str, str], ...]
) -> None:
    asked = group("w", 1, availability_zone=zone)
    assert node_spec(asked, FLAVOR, PLAIN, None, ()).attributes == attributes


def test_processes_are_kept_apart_across_groups() -> None:
    first = node_spec(group("a", 1, "datanode", "namenode"), FLAVOR, PLAIN, None, ("datanode",))
    second = node_spec(group("b", 1, "datanode"), FLAVOR, PLAIN, None, ("datanode",))
    other = node_spec(group("c", 1, "namenode"), FLAVOR, PLAIN, None, ("datanode",))
    assert first.apart == second.apart == first.tags == second.tags == ("process:datanode",)
    assert (other.apart, other.tags) == ((), ())


def test_a_group_keeps_what_was_asked_for() -> None:
    kept = cluster_group(group("w", 3, node_group_template_id="ngt"), a_wanted(), FOUND)
    assert (kept.stem, kept.extra["node_group_template_id"], kept.extra["flavor_id"]) == (
        "c1-w-",
        "ngt",
        "1",
    )
    # How many there are is known from the nodes alone.
    assert "count" not in kept.extra
    assert kept.extra["image_username"] == "root"


def test_names_of_hosts_are_not_too_long() -> None:
    check_host_names("c" * 40, [group("master", 1)])
    with pytest.raises(InvalidData) as caught:
        check_host_names("c" * 49, [group("master", 1)])
    assert str(caught.value) == (
        f"Composite hostname {'c' * 49}-master-001.novalocal in provisioned cluster exceeds maximum "
        "limit 64 characters"
    )
