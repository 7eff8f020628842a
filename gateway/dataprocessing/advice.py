"""What a plugin advises for what the user of a cluster has left open, taken into the cluster. Pure.

What is said for the whole cluster is not advised against for one group either: a plugin's options for
a group would hide it (:meth:`gateway.plugins.views.NodeGroupView.configuration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from framework.model.errors import Invalid
from gateway.clusters.model import Cluster, Group
from gateway.dataprocessing.launching import Wanted
from gateway.dataprocessing.objects import Configs
from gateway.plugins.provisioning import merged
from gateway.plugins.views import freeze, thaw

_CONFIGS, _NODE_CONFIGS, _AUTO = "cluster_configs", "node_configs", "use_autoconfig"


class Advice(msgspec.Struct, frozen=True):
    """Options of the cluster, and of its groups by their names."""

    cluster_configs: dict[str, dict[str, Any]] = {}
    node_configs: dict[str, dict[str, dict[str, Any]]] = {}


def read(plugin: str, returned: object) -> Advice:
    """Returns what ``recommend_configs`` of a plugin has returned; nothing advises nothing.

    Raises :class:`Invalid` for anything of another shape: a plugin is somebody else's code.
    """
    if returned is None:
        return Advice()
    try:
        return msgspec.convert(thaw(freeze(returned)), Advice)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"recommend_configs of the plugin {plugin} has returned what is no advice: {error}; "
            "it should be {'cluster_configs': {TARGET: {NAME: VALUE}}, "
            "'node_configs': {GROUP: {TARGET: {NAME: VALUE}}}}"
        ) from None


def for_request(asked: Wanted, advice: Advice) -> Wanted:
    """Returns a cluster that is asked for, with the advice for what is open in it."""
    if not asked.use_autoconfig:
        return asked
    groups = tuple(
        msgspec.structs.replace(
            group,
            node_configs=_of_group(group.name, group.node_configs, asked.cluster_configs, advice),
        )
        if group.use_autoconfig is not False
        else group
        for group in asked.groups
    )
    configs = merged(advice.cluster_configs, asked.cluster_configs)
    return msgspec.structs.replace(asked, cluster_configs=configs, groups=groups)


def for_cluster(cluster: Cluster, advice: Advice) -> Cluster:
    """Returns a cluster that there is, with the advice for what is open in it and in its groups."""
    if cluster.extra.get(_AUTO) is False:
        return cluster
    given = cluster.extra.get(_CONFIGS) or {}

    def advised(group: Group) -> Group:
        if group.extra.get(_AUTO) is False:
            return group
        configs = _of_group(group.name, group.extra.get(_NODE_CONFIGS), given, advice)
        return msgspec.structs.replace(group, extra={**group.extra, _NODE_CONFIGS: configs})

    return msgspec.structs.replace(
        cluster,
        groups=tuple(advised(group) for group in cluster.groups),
        extra={**cluster.extra, _CONFIGS: merged(advice.cluster_configs, given)},
    )


def _of_group(
    name: str, own: Configs | None, of_cluster: Mapping[str, Mapping[str, Any]], advice: Advice
) -> dict[str, dict[str, Any]]:
    """Returns a group's options: its own, and what is advised for those that nobody has set."""
    open_ones = {}
    for target, options in advice.node_configs.get(name, {}).items():
        said = of_cluster.get(target) or {}
        left = {option: value for option, value in options.items() if option not in said}
        if left:
            open_ones[target] = left
    return merged(open_ones, own or {})
