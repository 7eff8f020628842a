"""Hadoop's options, files and rules."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.clusters.model import Group, NodeSpec
from gateway.plugins.exceptions import (
    CannotScale,
    InvalidComponentCount,
    InvalidValue,
    RequiredServiceMissing,
    TooFewNodes,
)
from gateway.plugins.profile import profile_of
from gateway.plugins.vanilla.files import (
    Layout,
    decommissioned,
    env_lines,
    host_files,
    live_datanodes,
    node_files,
    site_xml,
)
from gateway.plugins.vanilla.options import V1, V3
from gateway.plugins.vanilla.plugin import VanillaPlugin
from gateway.plugins.views import ClusterView
from tests.gateway.plugins.world import group, request, view_of

SPEC = NodeSpec(cpus=2, mem_mb=8192)
TRACKERS = {V1: ("jobtracker", "tasktracker"), V3: ("resourcemanager", "nodemanager")}


def view(version: str, *groups: tuple[Group, int], **hdfs: Any) -> ClusterView:
    return view_of(request(("vanilla", version), groups, {"HDFS": hdfs}))


def groups_of(version: str) -> tuple[Group, Group]:
    master, worker = TRACKERS[version]
    return group("m", ["namenode", master], SPEC), group("w", ["datanode", worker], SPEC)


def test_its_words_do_not_contradict_each_other() -> None:
    plugin = VanillaPlugin()
    plugin.name = "vanilla"
    profile_of(plugin)
    assert plugin.get_title() == "Vanilla Apache Hadoop"
    # As Savanna's own documents have it.
    assert plugin.get_node_processes(V1) == {
        "HDFS": ("namenode", "datanode", "secondarynamenode"),
        "MapReduce": ("tasktracker", "jobtracker"),
    }
    assert plugin.get_required_image_tags(V1) == ["vanilla", "1.2.1"]
    options = {config.name: config.to_dict() for config in plugin.get_configs(V1)}
    assert options["hadoop.tmp.dir"] == {
        "name": "hadoop.tmp.dir",
        "default_value": "/tmp/hadoop-${user.name}",
        "priority": 2,
        "config_type": "string",
        "config_values": None,
        "applicable_target": "HDFS",
        "is_optional": True,
        "scope": "node",
        "description": "A base for other temporary directories.",
    }
    assert options["hadoop.native.lib"]["config_type"] == "bool"


# -- files --


def test_a_site_is_escaped_and_in_order() -> None:
    assert site_xml({"b": True, "a": "<&>"}) == (
        '<?xml version="1.0"?>\n'
        "<configuration>\n"
        "  <property><name>a</name><value>&lt;&amp;&gt;</value></property>\n"
        "  <property><name>b</name><value>true</value></property>\n"
        "</configuration>\n"
    )


def test_the_files_of_a_node_of_1_2_1() -> None:
    layout = Layout(
        V1, "/opt/hadoop", "nn", "snn", jobtracker="jt", datanodes=("w-0", "w-1"), workers=("w-0",)
    )
    given = {"HDFS": {"dfs.replication": "2"}, "MapReduce": {"io.sort.mb": 50}, "general": {}}
    assert node_files(layout, given, ["/volumes/disk1", "/volumes/disk2"]) == {
        "/opt/hadoop/conf/core-site.xml": site_xml({"fs.default.name": "hdfs://nn:8020"}),
        "/opt/hadoop/conf/hdfs-site.xml": site_xml(
            {
                "dfs.replication": 2,
                "dfs.name.dir": "/volumes/disk1/hdfs/name,/volumes/disk2/hdfs/name",
                "dfs.data.dir": "/volumes/disk1/hdfs/data,/volumes/disk2/hdfs/data",
                "dfs.hosts": "/opt/hadoop/conf/dn.incl",
                "dfs.hosts.exclude": "/opt/hadoop/conf/dn.excl",
                "dfs.secondary.http.address": "snn:50090",
            }
        ),
        "/opt/hadoop/conf/mapred-site.xml": site_xml(
            {
                "io.sort.mb": 50,
                "mapred.job.tracker": "jt:8021",
                "mapred.system.dir": "/mapred/mapredsystem",
                "mapred.local.dir": "/volumes/disk1/mapred/local,/volumes/disk2/mapred/local",
                "mapred.hosts": "/opt/hadoop/conf/tt.incl",
                "mapred.hosts.exclude": "/opt/hadoop/conf/tt.excl",
            }
        ),
        "/opt/hadoop/conf/dn.incl": "w-0\nw-1\n",
        "/opt/hadoop/conf/dn.excl": "",
        "/opt/hadoop/conf/tt.incl": "w-0\n",
        "/opt/hadoop/conf/tt.excl": "",
    }
    assert env_lines(layout, {"HDFS": {"name_node_heap_size": 300}}) == (
        "export HADOOP_LOG_DIR=/opt/hadoop/logs\n"
        "export HADOOP_PID_DIR=/opt/hadoop/pids\n"
        "export HADOOP_IDENT_STRING=cluster\n"
        'export HADOOP_NAMENODE_OPTS="-Xmx300m $HADOOP_NAMENODE_OPTS"\n'
        'export HADOOP_SECONDARYNAMENODE_OPTS="-Xmx1024m $HADOOP_SECONDARYNAMENODE_OPTS"\n'
        'export HADOOP_DATANODE_OPTS="-Xmx1024m $HADOOP_DATANODE_OPTS"\n'
        'export HADOOP_JOBTRACKER_OPTS="-Xmx1024m $HADOOP_JOBTRACKER_OPTS"\n'
        'export HADOOP_TASKTRACKER_OPTS="-Xmx1024m $HADOOP_TASKTRACKER_OPTS"\n'
    )


def test_the_files_of_a_node_of_3() -> None:
    layout = Layout(
        V3,
        "/opt/hadoop",
        "nn",
        resourcemanager="rm",
        historyserver="hs",
        datanodes=("w-0", "w-1"),
        workers=("w-0",),
    )
    given = {"YARN": {"yarn.nodemanager.vmem-check-enabled": False}}
    files = node_files(layout, given, ["/mnt"])
    home = "HADOOP_MAPRED_HOME=/opt/hadoop"
    assert files == {
        "/opt/hadoop/etc/hadoop/core-site.xml": site_xml({"fs.defaultFS": "hdfs://nn:9000"}),
        "/opt/hadoop/etc/hadoop/hdfs-site.xml": site_xml(
            {
                "dfs.namenode.name.dir": "/mnt/hdfs/namenode",
                "dfs.datanode.data.dir": "/mnt/hdfs/datanode",
                "dfs.hosts": "/opt/hadoop/etc/hadoop/dn-include",
                "dfs.hosts.exclude": "/opt/hadoop/etc/hadoop/dn-exclude",
            }
        ),
        "/opt/hadoop/etc/hadoop/mapred-site.xml": site_xml(
            {
                "mapreduce.framework.name": "yarn",
                "yarn.app.mapreduce.am.env": home,
                "mapreduce.map.env": home,
                "mapreduce.reduce.env": home,
                "mapreduce.jobhistory.address": "hs:10020",
                "mapreduce.jobhistory.webapp.address": "hs:19888",
            }
        ),
        "/opt/hadoop/etc/hadoop/yarn-site.xml": site_xml(
            {
                "yarn.nodemanager.vmem-check-enabled": False,
                "yarn.resourcemanager.hostname": "rm",
                "yarn.resourcemanager.nodes.include-path": "/opt/hadoop/etc/hadoop/nm-include",
                "yarn.resourcemanager.nodes.exclude-path": "/opt/hadoop/etc/hadoop/nm-exclude",
                "yarn.nodemanager.aux-services": "mapreduce_shuffle",
                "yarn.nodemanager.local-dirs": "/mnt/yarn/local",
                "yarn.log.server.url": "http://hs:19888/jobhistory/logs/",
            }
        ),
        "/opt/hadoop/etc/hadoop/dn-include": "w-0\nw-1\n",
        "/opt/hadoop/etc/hadoop/dn-exclude": "",
        "/opt/hadoop/etc/hadoop/nm-include": "w-0\n",
        "/opt/hadoop/etc/hadoop/nm-exclude": "",
    }
    assert host_files(layout, {"w-1"})["/opt/hadoop/etc/hadoop/nm-exclude"] == "w-1\n"
    assert 'export YARN_RESOURCEMANAGER_OPTS="-Xmx1024m ' in env_lines(layout, {})


# What the two versions' ``dfsadmin -report`` look like, in the parts that are read.
REPORT_1 = """Configured Capacity: 100 (100 B)
-------------------------------------------------
Datanodes available: 2 (3 total, 1 dead)

Name: 10.0.0.3:50010
Decommission Status : Decommissioned
Configured Capacity: 100 (100 B)

Name: 10.0.0.4:50010
Decommission Status : Normal
"""
REPORT_3 = """Configured Capacity: 100 (100 B)
-------------------------------------------------
Live datanodes (3):

Name: 10.0.0.3:9866 (w-0)
Hostname: w-0
Decommission Status : Decommissioned

Name: 10.0.0.4:9866 (w-1)
Hostname: w-1
Decommission Status : Decommission in progress
"""


def test_reports_are_read() -> None:
    assert (live_datanodes(REPORT_1), live_datanodes(REPORT_3), live_datanodes("")) == (2, 3, 0)
    assert decommissioned(REPORT_1) == {"10.0.0.3"}
    assert decommissioned(REPORT_3) == {"10.0.0.3", "w-0"}


# -- rules --


@pytest.mark.parametrize("version", [V1, V3])
def test_components_are_counted_as_sahara_does(version: str) -> None:
    plugin = VanillaPlugin()
    masters, workers = groups_of(version)
    plugin.validate(view(version, (masters, 1), (workers, 3)))
    with pytest.raises(InvalidComponentCount) as none:
        plugin.validate(view(version, (workers, 3)))
    assert (none.value.code, str(none.value)) == (
        "INVALID_COMPONENT_COUNT",
        "Hadoop cluster should contain 1 namenode component(s). Actual namenode count is 0",
    )
    with pytest.raises(InvalidComponentCount, match="Actual namenode count is 2"):
        plugin.validate(view(version, (masters, 2), (workers, 3)))
    two = group("s", ["secondarynamenode"])
    with pytest.raises(InvalidComponentCount, match="contain 0 or 1 secondarynamenode"):
        plugin.validate(view(version, (masters, 1), (workers, 3), (two, 2)))
    master, worker = TRACKERS[version]
    with pytest.raises(RequiredServiceMissing) as missing:
        plugin.validate(view(version, (group("m", ["namenode"]), 1), (workers, 3)))
    assert missing.value.code == "MISSING_SERVICE"
    assert f"missing a service: {master}, required by service: {worker}" in str(missing.value)
    with pytest.raises(InvalidComponentCount, match=r"3 or more datanode.*count is 2\. Number of"):
        plugin.validate(view(version, (masters, 1), (workers, 2)))
    plugin.validate(view(version, (masters, 1), (workers, 2), **{"dfs.replication": 2}))


@pytest.mark.parametrize(
    "hdfs", [{"dfs.replication": 0}, {"dfs.replication": "x"}, {"name_node_heap_size": -5}]
)
def test_options_that_cannot_work_are_refused(hdfs: dict[str, Any]) -> None:
    masters, workers = groups_of(V1)
    with pytest.raises(InvalidValue):
        VanillaPlugin().validate(view(V1, (masters, 1), (workers, 3), **hdfs))


@pytest.mark.parametrize("version", [V1, V3])
def test_only_workers_come_and_go_and_copies_have_room(version: str) -> None:
    plugin = VanillaPlugin()
    masters, workers = groups_of(version)
    cluster = view(version, (masters, 1), (workers, 4), **{"dfs.replication": 2})
    plugin.validate_scaling(cluster, {"id-of-w": 2}, {})
    with pytest.raises(TooFewNodes, match="replication factor is 2"):
        plugin.validate_scaling(cluster, {"id-of-w": 1}, {})
    with pytest.raises(CannotScale, match=r"group m cannot be scaled : .*: namenode "):
        plugin.validate_scaling(cluster, {"id-of-m": 2}, {})


def test_advice_follows_from_sizes_and_counts() -> None:
    plugin = VanillaPlugin()
    masters, workers = groups_of(V3)
    assert plugin.recommend_configs(view(V3, (masters, 1), (workers, 2))) == {
        "cluster_configs": {
            "HDFS": {"dfs.replication": 2},
            "YARN": {
                "yarn.scheduler.maximum-allocation-mb": 5888,
                "yarn.scheduler.minimum-allocation-mb": 1024,
            },
        },
        "node_configs": {
            "w": {
                "YARN": {
                    "yarn.nodemanager.resource.memory-mb": 5888,
                    "yarn.nodemanager.resource.cpu-vcores": 2,
                }
            }
        },
    }
    old_masters, old_workers = groups_of(V1)
    assert plugin.recommend_configs(view(V1, (old_masters, 1), (old_workers, 9))) == {
        "cluster_configs": {"HDFS": {"dfs.replication": 3}},
        "node_configs": {},
    }
    assert plugin.recommend_configs(view(V1, (old_masters, 1), (old_workers, 9)), scaling=True) == {
        "cluster_configs": {},
        "node_configs": {},
    }


def test_ports_are_those_of_the_processes() -> None:
    masters, workers = groups_of(V1)
    cluster = view(V1, (masters, 1), (workers, 1))
    ports = [VanillaPlugin().get_open_ports(one) for one in cluster.node_groups]
    assert ports == [[8020, 50070, 8021, 50030], [50010, 50020, 50075, 50060]]
