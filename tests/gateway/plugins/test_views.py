"""What plugins see: read-only values with Sahara's names, by attribute and by key."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from gateway.clusters.model import Cluster, Interface, NodeSpec
from gateway.plugins.provider import PluginProvider
from gateway.plugins.views import ClusterView, Frozen
from tests.gateway.plugins.world import group, request, view_of

CONFIGS = {"HDFS": {"dfs.replication": 2, "paths": ["/a", {"b": 1}]}, "general": {}}


def a_view(keep: Any = None) -> ClusterView:
    spec = NodeSpec(cpus=2, mem_mb=4096, disk_mb=20480)
    nodes = group(
        "work_ers",
        ["datanode"],
        spec,
        {"HDFS": {"dfs.replication": 1}},
        volumes_per_node=2,
        image_id="an-image",
    )
    return view_of(
        request(("fake", "0.1"), [(nodes, 2), (group("m", ["namenode"]), 1)], CONFIGS), keep=keep
    )


def test_values_are_read_by_attribute_by_key_and_with_get() -> None:
    view = a_view()
    assert view.hadoop_version == view["hadoop_version"] == view.get("hadoop_version") == "0.1"
    assert view.cluster_configs["HDFS"]["dfs.replication"] == 2
    assert view.cluster_configs.get("Spark", {}) == {}
    assert view.cluster_configs.HDFS.paths[1].b == 1
    assert view.get("no such") is None
    assert "plugin_name" in view
    with pytest.raises(AttributeError, match="ClusterView has no 'flavour'"):
        view.flavour  # noqa: B018
    with pytest.raises(KeyError):
        view["flavour"]


def test_nothing_of_it_can_be_changed_and_copies_can() -> None:
    view = a_view()
    with pytest.raises(AttributeError, match="read-only"):
        view.name = "other"
    with pytest.raises(AttributeError, match="read-only"):
        del view.name
    with pytest.raises(TypeError):
        view.cluster_configs["HDFS"]["dfs.replication"] = 7
    plain = view.cluster_configs.to_dict()
    assert plain == CONFIGS
    plain["HDFS"]["paths"][1]["b"] = 9
    assert view.cluster_configs.to_dict() == CONFIGS


def test_values_are_equal_hashable_and_can_be_copied() -> None:
    one, other = Frozen({"a": [{"b": 1}]}), Frozen({"a": [{"b": 1}]})
    assert one == other == {"a": ({"b": 1},)}
    assert hash(one) == hash(other)
    assert copy.copy(one) == one
    instances = a_view().node_groups[0].instances
    assert len({*instances, *instances}) == 2


def test_groups_know_their_cluster_and_what_is_configured_for_them() -> None:
    view = a_view()
    workers, masters = view.node_groups
    assert workers.cluster is view
    assert (workers.name, workers["count"], workers.id) == ("work_ers", 2, "id-of-work_ers")
    assert workers.configuration()["HDFS"] == {"dfs.replication": 1, "paths": ["/a", {"b": 1}]}
    assert masters.configuration()["HDFS"]["dfs.replication"] == 2
    assert workers.storage_paths() == ["/volumes/disk1", "/volumes/disk2"]
    assert masters.storage_paths() == ["/mnt"]
    assert (workers.get_image_id(), masters.get_image_id()) == ("an-image", None)
    assert workers.username == "root"
    assert workers.flavor == {"vcpus": 2, "ram": 4096, "disk": 20}
    assert view.count_of("datanode") == 2
    assert [one.instance_name for one in view.instances_with("namenode")] == ["m-0"]


def test_what_a_request_has_left_open_with_null_is_as_usual() -> None:
    null = dict.fromkeys(("node_configs", "volume_mount_prefix", "volumes_size", "availability_zone"))
    nodes = group("w", ["datanode"], volumes_per_node=1)
    nodes = msgspec.structs.replace(nodes, extra={**nodes.extra, **null})
    (seen,) = view_of(request(("fake", "0.1"), [(nodes, 1)], CONFIGS)).node_groups
    assert seen.configuration() == CONFIGS
    assert seen.storage_paths() == ["/volumes/disk1"]
    assert (seen.volumes_size, seen.availability_zone) == (0, None)


def test_instances_have_their_names_and_addresses() -> None:
    view = a_view()
    node = msgspec.structs.replace(
        view.record.nodes[0],
        task_id="a-task",
        interfaces=(
            Interface("eth0", "inner", "10.0.0.5", "10.0.0.0/24"),
            Interface("eth1", "outer", "10.9.0.5", "10.9.0.0/24"),
        ),
    )
    record = msgspec.structs.replace(view.record, nodes=(node,))
    (instance,) = ClusterView(record, view.node_groups[0].instances[0]._open).node_groups[0].instances
    assert (instance.internal_ip, instance.management_ip) == ("10.0.0.5", "10.9.0.5")
    assert (instance.instance_id, instance.instance_name) == ("a-task", "work_ers-0")
    # The name that the nodes' /etc/hosts have.
    assert instance.hostname() == instance.fqdn() == "work_ers-0"
    assert instance.node_group.cluster.record is record


class Context:
    """Stores what a step saves, as the engine does."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def save(self, change: Any) -> Cluster:
        self.cluster = change(self.cluster)
        return self.cluster


def test_what_a_plugin_keeps_and_shows_is_there_at_its_next_call() -> None:
    from gateway.plugins.fake.plugin import FakePlugin
    from gateway.plugins.loader import Plugins

    class Keeper(FakePlugin):
        def configure_cluster(self, cluster: ClusterView) -> None:
            cluster.keep({"round": cluster.extra.get("round", 0) + 1, "paths": cluster.cluster_configs})
            cluster.show({"HDFS": {"Web UI": "http://here"}})

        def start_cluster(self, cluster: ClusterView) -> None:
            assert cluster.extra["round"] == 1
            cluster.keep({"second": True})

    provider = PluginProvider(Plugins({"fake": Keeper()}), None, lambda cluster_id: None)  # type: ignore[arg-type]
    context = Context(a_view().record)
    for step in provider.steps(context.cluster, "placed"):
        step.run(context.cluster, context)  # type: ignore[arg-type]
    assert context.cluster.extra["extra"] == {"round": 1, "paths": CONFIGS, "second": True}
    assert ClusterView(context.cluster, lambda c, n: None).info.HDFS["Web UI"] == "http://here"  # type: ignore[arg-type,return-value]


def test_a_cluster_that_is_being_validated_keeps_nothing() -> None:
    with pytest.raises(ValueError, match="has no record yet"):
        a_view().keep({"a": 1})
