"""A plugin with the names of Savanna's documents: what their examples are tried with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.plugins.provisioning import Config
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView


class Documented(Plugin):
    """``vanilla`` 1.2.1."""

    def get_title(self) -> str:
        return "Vanilla Apache Hadoop"

    def get_description(self) -> str:
        return (
            "This plugin provides an ability to launch vanilla Apache Hadoop cluster without any "
            "management consoles."
        )

    def get_versions(self) -> Sequence[str]:
        return ["1.2.1"]

    def get_labels(self) -> Mapping[str, Any]:
        yes = {"status": True}
        return {
            "plugin_labels": {"enabled": yes, "stable": yes},
            "version_labels": {"1.2.1": {"enabled": yes, "stable": yes}},
        }

    def get_node_processes(self, version: str) -> Mapping[str, Sequence[str]]:
        return {
            "HDFS": ["namenode", "datanode", "secondarynamenode"],
            "MapReduce": ["tasktracker", "jobtracker"],
        }

    def get_configs(self, version: str) -> Sequence[Config]:
        return [
            Config("hadoop.tmp.dir", "HDFS", "node", default_value="/tmp/hadoop-${user.name}"),
            Config("hadoop.native.lib", "HDFS", "node", "bool", default_value=True),
            Config("dfs.replication", "HDFS", "cluster", "int", default_value=1),
            Config("data_node_heap_size", "HDFS", "node", "int", default_value=1024),
            Config("task_tracker_heap_size", "MapReduce", "node", "int", default_value=1024),
        ]

    def configure_cluster(self, cluster: ClusterView) -> None:
        """Nothing is run here."""

    def start_cluster(self, cluster: ClusterView) -> None:
        """Nothing is run here."""
