"""The plugin ``fake``: Hadoop's words, machines of any image, and failures on request.

The version, processes, options and texts are those of Sahara's fake plugin (recorded from 19.0.0). Where
the cluster option ``Fail at`` names a method, that method fails: ``configure_cluster``,
``start_cluster``, ``scale_cluster`` …; ``Delay`` (seconds) makes each of them take a while.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.plugins.exceptions import InvalidComponentCount, PluginError
from gateway.plugins.health import HealthCheck
from gateway.plugins.provisioning import Config
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView, InstanceView, NodeGroupView

VERSION = "0.1"
_TARBALLS = "https://tarballs.openstack.org/sahara-extra/dist/common-artifacts/"


def _kerberos(name: str, kind: Any = "string", value: Any = "", text: str | None = None) -> Config:
    return Config(
        name, "Kerberos", "cluster", kind, None, value, is_optional=True, description=text, priority=1
    )


KERBEROS = (
    _kerberos("Enable Kerberos Security", "bool", False),
    _kerberos("Existing KDC", "bool", False),
    _kerberos(
        "Server IP of KDC", value="192.168.0.1", text="Server IP of KDC server when using existing KDC"
    ),
    _kerberos("Realm Name", value="SAHARA-KDC", text="The name of realm to be used"),
    _kerberos("Admin principal", value="sahara/admin", text="Admin principal for existing KDC server"),
    _kerberos("Admin password"),
    _kerberos(
        "JCE libraries",
        value=_TARBALLS,
        text="Java Cryptography Extension (JCE) Unlimited Strength Jurisdiction Policy Files location",
    ),
)
# Ours: what makes it fail.
FAULTS = (
    Config(
        "Fail at",
        "general",
        "cluster",
        default_value="",
        is_optional=True,
        description="A method of the plugin that is to fail: configure_cluster, start_cluster, "
        "validate, validate_scaling, scale_cluster, decommission_nodes, on_terminate_cluster",
    ),
    Config(
        "Delay",
        "general",
        "cluster",
        "int",
        default_value=0,
        is_optional=True,
        description="How long each method of the plugin takes, in seconds",
    ),
)


class FakePlugin(Plugin):
    """Installs nothing: for trying out the API, and whatever uses it."""

    def get_title(self) -> str:
        return "Fake Plugin"

    def get_description(self) -> str:
        return (
            "It's a fake plugin that aimed to work on the CirrOS images. It doesn't install Hadoop. "
            "It's needed to be able to test provisioning part of Sahara codebase itself."
        )

    def get_versions(self) -> Sequence[str]:
        return [VERSION]

    def get_labels(self) -> Mapping[str, Any]:
        return {
            "plugin_labels": {"enabled": {"status": True}, "hidden": {"status": True}},
            "version_labels": {VERSION: {"enabled": {"status": True}}},
        }

    def get_configs(self, version: str) -> Sequence[Config]:
        return [*KERBEROS, *FAULTS]

    def get_node_processes(self, version: str) -> Mapping[str, Sequence[str]]:
        return {
            "HDFS": ["namenode", "datanode"],
            "MapReduce": ["tasktracker", "jobtracker"],
            "Kerberos": [],
        }

    def get_open_ports(self, node_group: NodeGroupView) -> Sequence[int]:
        return []

    # -- what is done with a cluster --

    def validate(self, cluster: ClusterView) -> None:
        self._do("validate", cluster)

    def configure_cluster(self, cluster: ClusterView) -> None:
        self._do("configure_cluster", cluster)

    def start_cluster(self, cluster: ClusterView) -> None:
        self._do("start_cluster", cluster)

    def scale_cluster(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        self._do("scale_cluster", cluster)

    def decommission_nodes(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        self._do("decommission_nodes", cluster)

    def on_terminate_cluster(self, cluster: ClusterView) -> None:
        self._do("on_terminate_cluster", cluster)

    def validate_scaling(
        self, cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
    ) -> None:
        self._do("validate_scaling", cluster)
        groups = {str(group.id): group for group in cluster.node_groups}
        for group_id, count in {**existing, **additional}.items():
            if count < 0:
                raise InvalidComponentCount(groups[group_id].name, "0 or more", count)

    def get_health_checks(self, cluster: ClusterView) -> Sequence[HealthCheck]:
        return []

    def _do(self, method: str, cluster: ClusterView) -> None:
        general = cluster.cluster_configs.get("general", {})
        delay = float(general.get("Delay", 0) or 0)
        if delay > 0:
            time.sleep(min(delay, 60.0))
        if general.get("Fail at") == method:
            raise PluginError(f"{method} fails, as the option 'Fail at' of {cluster.name} asks for")
