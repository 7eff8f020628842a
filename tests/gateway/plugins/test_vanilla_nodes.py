"""Hadoop's files and commands on real nodes.

There is no Hadoop here: scripts with the names of its own write down how they are called, and answer
what the plugin waits for. docs/plugins.md says so.
"""

from __future__ import annotations

import shlex

import pytest

from gateway.clusters.model import NodeSpec, Phase
from gateway.plugins.nodes import on_each
from gateway.plugins.vanilla.options import V1, V3
from gateway.plugins.vanilla.plugin import VanillaPlugin
from gateway.plugins.views import ClusterView, InstanceView
from tests.gateway.plugins.world import World, group, request
from tests.images.build import image

pytestmark = pytest.mark.docker

# Daemons are sleeps with a pid file; the report tells of the hosts that may join, and who is to go.
STAND_IN = r"""#!/bin/sh
home=/opt/hadoop conf=/opt/hadoop/CONF
echo "$(basename "$0") $*" >> /calls
daemon() {
    pid=$home/pids/hadoop-cluster-$2.pid
    case "$1" in
    start) sleep 1000 > /dev/null 2>&1 < /dev/null & echo $! > "$pid" ;;
    stop) kill "$(cat "$pid")" && rm "$pid" ;;
    esac
}
case "$*" in
*-format*) mkdir -p /mnt/hdfs/NAME/current ;;
"--daemon "*) daemon "$2" "$3" ;;
"start "*|"stop "*) daemon "$1" "$2" ;;
*-report)
    count=$(wc -l < $conf/INCLUDE)
    echo "Live datanodes ($count):"
    echo "Datanodes available: $count ($count total, 0 dead)"
    for host in $(cat $conf/INCLUDE); do
        printf '\nName: 10.0.0.1:9866\nHostname: %s\nDecommission Status : ' "$host"
        grep -qx "$host" $conf/EXCLUDE && echo Decommissioned || echo Normal
    done ;;
esac
"""
NAMES = {
    V1: {"CONF": "conf", "NAME": "name", "INCLUDE": "dn.incl", "EXCLUDE": "dn.excl"},
    V3: {"CONF": "etc/hadoop", "NAME": "namenode", "INCLUDE": "dn-include", "EXCLUDE": "dn-exclude"},
}
SCRIPTS = {V1: ("hadoop", "hadoop-daemon.sh"), V3: ("hdfs", "yarn", "mapred")}
MASTERS = {
    V1: ["namenode", "secondarynamenode", "jobtracker"],
    V3: ["namenode", "resourcemanager", "historyserver"],
}
WORKERS = {V1: ["datanode", "tasktracker"], V3: ["datanode", "nodemanager"]}


class WithStandIns(VanillaPlugin):
    """Puts the scripts into the nodes before anything else is done with them."""

    def validate_images(
        self, cluster: ClusterView, test_only: bool = False, image_arguments: object = None
    ) -> None:
        furnish(cluster, [one for some in cluster.node_groups for one in some.instances])
        super().validate_images(cluster, test_only, image_arguments)

    def scale_cluster(self, cluster: ClusterView, instances: object) -> None:
        assert isinstance(instances, list)
        furnish(cluster, instances)
        super().scale_cluster(cluster, instances)


def furnish(cluster: ClusterView, instances: list[InstanceView]) -> None:
    version = str(cluster.hadoop_version)
    script = STAND_IN
    for word, name in NAMES[version].items():
        script = script.replace(word, name)
    files = {f"/opt/hadoop/bin/{name}": script for name in SCRIPTS[version]}

    def put(instance: InstanceView, remote: object) -> None:
        with instance.remote() as own:
            own.write_files_to(dict(files))
            own.write_file_to(
                f"/opt/hadoop/{NAMES[version]['CONF']}/hadoop-env.sh", "export JAVA_HOME=/x\n"
            )
            own.execute_command(f"chmod +x {shlex.join(files)}")

    on_each(instances, put)


def read(made: World, cluster_id: str, node: str, path: str) -> str:
    view = made.view(cluster_id)
    (found,) = [i for g in view.node_groups for i in g.instances if i.instance_name == node]
    with found.remote() as remote:
        return remote.read_file_from(path)


STARTED = {
    V1: [
        "hadoop namenode -format",
        "hadoop-daemon.sh start namenode",
        "hadoop-daemon.sh start secondarynamenode",
        "hadoop-daemon.sh start jobtracker",
    ],
    V3: [
        "hdfs namenode -format -nonInteractive",
        "hdfs --daemon start namenode",
        "yarn --daemon start resourcemanager",
        "mapred --daemon start historyserver",
    ],
}


@pytest.mark.parametrize("version", [V1, V3])
def test_a_cluster_is_configured_started_grown_and_shrunk(made: World, version: str) -> None:
    made.add("vanilla", WithStandIns())
    spec = NodeSpec(cpus=0.1, mem_mb=64, image=image("reference"))
    masters, workers = group("m", MASTERS[version], spec), group("w", WORKERS[version], spec)
    configs = {"HDFS": {"dfs.replication": 1}}
    cluster = made.launch(request(("vanilla", version), [(masters, 1), (workers, 2)], configs))
    assert (cluster.phase, cluster.reason) == (Phase.READY, "")
    own = cluster.cluster_id
    calls = read(made, own, "m-0", "/calls").splitlines()
    assert [call for call in calls if "report" not in call] == STARTED[version]
    conf = f"/opt/hadoop/{NAMES[version]['CONF']}"
    assert read(made, own, "m-0", f"{conf}/{NAMES[version]['INCLUDE']}") == "w-0\nw-1\n"
    assert "hdfs://m-0:" in read(made, own, "w-1", f"{conf}/core-site.xml")
    env = read(made, own, "w-1", f"{conf}/hadoop-env.sh")
    assert env == f"export JAVA_HOME=/x\n\n. {conf}/cluster-env.sh\n"
    (health,) = VanillaPlugin().get_health_checks(made.view(own))
    assert health.check() == "HDFS has all 2 datanodes"
    assert "HDFS" in cluster.extra["info"]
    # Again, as after a crash: nothing is started or formatted twice.
    made.plugins["vanilla"].start_cluster(ClusterView(cluster, made.open, lambda part, values: None))
    calls = read(made, own, "m-0", "/calls").splitlines()
    assert [call for call in calls if "report" not in call] == STARTED[version]

    made.clusters.resize(own, {"w": 1}, (), "ann")
    assert made.settled(own).reason == ""
    assert read(made, own, "m-0", f"{conf}/{NAMES[version]['INCLUDE']}") == "w-0\nw-1\nw-2\n"
    assert len(read(made, own, "w-2", "/calls").splitlines()) == 2
    assert "-refreshNodes" in read(made, own, "m-0", "/calls")

    made.clusters.resize(own, {}, ("w-0",), "ann")
    assert made.settled(own).reason == ""
    assert read(made, own, "m-0", f"{conf}/{NAMES[version]['INCLUDE']}") == "w-1\nw-2\n"
    assert read(made, own, "m-0", f"{conf}/{NAMES[version]['EXCLUDE']}") == ""
    made.delete(own)


def test_an_image_without_hadoop_is_said(made: World) -> None:
    made.add("vanilla", VanillaPlugin())
    spec = NodeSpec(cpus=0.1, mem_mb=64, image=image("reference"))
    launched = made.launch(request(("vanilla", V3), [(group("m", ["namenode"], spec), 1)]))
    assert launched.phase is Phase.FAILED
    assert "the image of m-0 has no Hadoop in /opt/hadoop" in launched.reason
    made.delete(launched.cluster_id)
