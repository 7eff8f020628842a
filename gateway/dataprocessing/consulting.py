"""What plugins are asked before anything is done with a cluster: their advice, and whether it may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.model.errors import Invalid
from gateway.clusters.model import Cluster
from gateway.dataprocessing import advice
from gateway.dataprocessing.advice import Advice
from gateway.plugins.calls import PluginCalls
from gateway.plugins.spi import Plugin, offers
from gateway.plugins.views import ClusterView


class Consultant:
    """Clusters are as they would be; nothing of them can be reached. Methods block, and raise what the
    plugins raise and what :meth:`PluginCalls.call` does.
    """

    def __init__(self, calls: PluginCalls) -> None:
        self._calls = calls

    def advice(self, plugin: Plugin, cluster: Cluster, scaling: bool = False) -> Advice:
        """Returns a plugin's advice; nothing of it for a cluster whose user does not want any."""
        if cluster.extra.get("use_autoconfig") is False or not offers(plugin, "recommend_configs"):
            return Advice()
        view = ClusterView(cluster, _nothing_runs)
        returned = self._calls.call(
            plugin.name,
            f"recommend_configs of the plugin {plugin.name}",
            lambda: plugin.recommend_configs(view, scaling=scaling),
        )
        return advice.read(plugin.name, returned)

    def validate(self, plugin: Plugin, cluster: Cluster) -> None:
        view = ClusterView(cluster, _nothing_runs)
        what = f"validate of the plugin {plugin.name}"
        self._calls.call(plugin.name, what, lambda: plugin.validate(view))

    def validate_scaling(
        self,
        plugin: Plugin,
        cluster: Cluster,
        existing: Mapping[str, int],
        additional: Mapping[str, int],
    ) -> None:
        """``existing`` and ``additional`` are the sizes that are asked for, by the groups' ids."""
        view = ClusterView(cluster, _nothing_runs)
        self._calls.call(
            plugin.name,
            f"validate_scaling of the plugin {plugin.name}",
            lambda: plugin.validate_scaling(view, existing, additional),
        )


def _nothing_runs(*_: object) -> Any:
    raise Invalid("no instance of the cluster runs while it is being validated")
