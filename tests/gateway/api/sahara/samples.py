"""A plugin with the names of Savanna's documents: what their examples are tried with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.plugins.provisioning import Config
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView

_TMP = "A base for other temporary directories."
_NATIVE = "Should native hadoop libraries, if present, be used."


def _config(
    name: str, target: str = "HDFS", *, kind: Any = "string", value: Any = None, about: str = ""
) -> Config:
    return Config(name, target, "node", kind, None, value, is_optional=True, description=about)


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
            _config("hadoop.tmp.dir", value="/tmp/hadoop-${user.name}", about=_TMP),
            _config("hadoop.native.lib", kind="bool", value=True, about=_NATIVE),
            _config("dfs.replication", kind="int", value=1),
            _config("data_node_heap_size", kind="int", value=1024),
            _config("task_tracker_heap_size", "MapReduce", kind="int", value=1024),
        ]

    def configure_cluster(self, cluster: ClusterView) -> None:
        """Nothing is run here."""

    def start_cluster(self, cluster: ClusterView) -> None:
        """Nothing is run here."""
