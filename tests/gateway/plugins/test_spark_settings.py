"""Spark's options and files, its rules, and how the master's page is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.clusters.model import Group, NodeSpec
from gateway.plugins.exceptions import (
    CannotScale,
    InvalidComponentCount,
    InvalidValue,
    NodeError,
    RequiredServiceMissing,
)
from gateway.plugins.profile import profile_of
from gateway.plugins.spark.daemons import Worker, workers_of
from gateway.plugins.spark.plugin import SparkPlugin
from gateway.plugins.spark.settings import settings, spark_defaults, spark_env
from gateway.plugins.views import ClusterView
from tests.gateway.plugins.world import group, request, view_of

SPEC = NodeSpec(cpus=2.5, mem_mb=2048)
MASTER, SLAVE = group("front", ["master"], SPEC), group("back", ["slave"], SPEC)


def view(*groups: tuple[Group, int], **options: Any) -> ClusterView:
    return view_of(request(("spark", "3.5"), groups, {"Spark": options}))


def test_its_words_do_not_contradict_each_other() -> None:
    plugin = SparkPlugin()
    plugin.name = "spark"
    profile_of(plugin)
    assert plugin.get_title() == "Apache Spark"
    assert plugin.get_node_processes("3.5") == {"Spark": ["master", "slave"]}
    assert plugin.get_required_image_tags("3.5") == ["spark", "3.5"]


def test_the_files_of_a_node() -> None:
    node = settings({"Spark": {"Worker memory": "700", "Worker cores": 2, "Executor memory": 600}})
    assert spark_env(node, "back-0", "front-0", ["/volumes/disk1", "/volumes/disk2"]) == (
        "# Written by the gateway's Spark plugin.\n"
        "export SPARK_LOCAL_HOSTNAME=back-0\n"
        "export SPARK_MASTER_HOST=front-0\n"
        "export SPARK_MASTER_PORT=7077\n"
        "export SPARK_MASTER_WEBUI_PORT=8080\n"
        "export SPARK_WORKER_PORT=7078\n"
        "export SPARK_WORKER_WEBUI_PORT=8081\n"
        "export SPARK_LOG_DIR=/opt/spark/logs\n"
        "export SPARK_PID_DIR=/opt/spark/pids\n"
        "export SPARK_IDENT_STRING=cluster\n"
        "export SPARK_WORKER_DIR=/volumes/disk1/spark/work\n"
        "export SPARK_WORKER_MEMORY=700m\n"
        "export SPARK_WORKER_CORES=2\n"
        "export SPARK_LOCAL_DIRS=/volumes/disk1/spark,/volumes/disk2/spark\n"
    )
    own = settings({"Spark": {"Properties": "# mine\n spark.ui.enabled false\n\n"}})
    assert spark_defaults(own, "front-0") == (
        "# Written by the gateway's Spark plugin.\n"
        "spark.master spark://front-0:7077\n"
        "spark.decommission.enabled true\n"
        "spark.storage.decommission.enabled true\n"
        "spark.ui.enabled false\n"
    )
    assert "spark.executor.memory 600m\n" in spark_defaults(node, "front-0")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"Worker memory": 0}, "'Worker memory' of Spark is 0, and should be 1 or more"),
        ({"Master port": 70000}, "70000, which is no port"),
        ({"Worker cores": "many"}, "a whole number"),
        ({"Spark home": "opt"}, "an absolute path"),
        ({"Properties": "spark.ui.enabled"}, "a line is a name, a blank, and a value"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        SparkPlugin().validate(view((MASTER, 1), (SLAVE, 1), **options))


def test_there_is_one_master_and_a_worker() -> None:
    plugin = SparkPlugin()
    plugin.validate(view((MASTER, 1), (SLAVE, 2)))
    plugin.validate(view((group("all", ["master", "slave"]), 1)))
    with pytest.raises(RequiredServiceMissing) as missing:
        plugin.validate(view((SLAVE, 2)))
    assert (missing.value.code, str(missing.value)) == (
        "MISSING_SERVICE",
        "Cluster is missing a service: Spark master",
    )
    with pytest.raises(InvalidComponentCount, match="should contain 1 Spark master"):
        plugin.validate(view((MASTER, 2), (SLAVE, 1)))
    with pytest.raises(InvalidComponentCount, match=r"contain 1 or more Spark slave.*count is 0"):
        plugin.validate(view((MASTER, 1)))


def test_only_workers_come_and_go_and_one_stays() -> None:
    plugin, cluster = SparkPlugin(), view((MASTER, 1), (SLAVE, 2))
    plugin.validate_scaling(cluster, {"id-of-back": 5}, {})
    plugin.validate_scaling(cluster, {"id-of-back": 1}, {})
    plugin.validate_scaling(cluster, {"id-of-front": 1, "id-of-back": 3}, {})
    with pytest.raises(InvalidComponentCount, match="Actual Spark slave count is 0"):
        plugin.validate_scaling(cluster, {"id-of-back": 0}, {})
    with pytest.raises(CannotScale, match=r"group front cannot be scaled : .*: master"):
        plugin.validate_scaling(cluster, {"id-of-front": 2}, {})
    more = group("more", ["slave"], SPEC)
    grown = view((MASTER, 1), (SLAVE, 1), (more, 2))
    plugin.validate_scaling(grown, {"id-of-back": 0}, {"id-of-more": 2})
    second = view((MASTER, 1), (SLAVE, 1), (group("second", ["master"]), 1))
    with pytest.raises(CannotScale):
        plugin.validate_scaling(second, {}, {"id-of-second": 1})


def test_workers_are_advised_to_use_what_their_nodes_have() -> None:
    plugin = SparkPlugin()
    both = group("both", ["master", "slave"], NodeSpec(cpus=0.5, mem_mb=1024))
    advice = plugin.recommend_configs(view((both, 1), (SLAVE, 2)))
    assert advice == {
        "cluster_configs": {"Spark": {"Executor memory": 512}},
        "node_configs": {
            "both": {"Spark": {"Worker cores": 1, "Worker memory": 512}},
            "back": {"Spark": {"Worker cores": 2, "Worker memory": 1280}},
        },
    }
    assert "cluster_configs" not in plugin.recommend_configs(view((MASTER, 1), (SLAVE, 2)))


def test_ports_are_those_of_the_processes() -> None:
    plugin, cluster = SparkPlugin(), view((MASTER, 1), (SLAVE, 1), **{"Master webui port": 9090})
    assert [plugin.get_open_ports(one) for one in cluster.node_groups] == [[7077, 9090], [7078, 8081]]


def test_a_worker_that_was_started_again_is_there_once() -> None:
    rows = [
        {"id": "1", "host": "a", "state": "ALIVE", "cores": 2, "memory": 512},
        {"id": "2", "host": "a", "state": "DEAD", "cores": 2, "memory": 512},
        {"id": "3", "host": "b", "state": "DECOMMISSIONED", "cores": 2, "memory": 512},
    ]
    assert workers_of(json.dumps({"workers": rows, "status": "ALIVE"})) == (
        Worker("a", "ALIVE", 2, 512),
        Worker("b", "DECOMMISSIONED", 2, 512),
    )
    for page in ("<html>", "{}", '{"workers": [{"host": 1}]}', "[]"):
        with pytest.raises(NodeError, match="page cannot be read"):
            workers_of(page)
