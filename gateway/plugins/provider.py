"""From the life of a cluster to the methods of its plugin, in the order that plugins rely on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from executor.task import NodeFile
from framework.model.errors import GatewayError
from gateway.clusters.model import Cluster, NodeRecord
from gateway.clusters.provider import Moment, Step, StepContext, StepFailed
from gateway.plugins.channels import ssh_files
from gateway.plugins.loader import Plugins
from gateway.plugins.remote import Remote
from gateway.plugins.spi import Plugin, offers
from gateway.plugins.views import ClusterView, InstanceView, OpenRemote

log = logging.getLogger(__name__)

# How long one call of a plugin may take, in seconds.
STEP_SECS = 3600.0
Act = Callable[[Plugin, ClusterView], None]


class Opener(Protocol):
    """What is used of :class:`gateway.plugins.channels.Channels`."""

    def __call__(
        self, cluster: Cluster, node: NodeRecord, cancelled: Callable[[], bool] | None = None
    ) -> Remote: ...


class PluginProvider:
    """Implements :class:`gateway.clusters.provider.Provider` for clusters whose provider is a plugin.

    ``secret_of`` returns the secret of a cluster's SSH keys by the cluster's id, None if it has none.
    """

    def __init__(
        self,
        plugins: Plugins,
        open_remote: Opener,
        secret_of: Callable[[str], str | None],
        step_secs: float = STEP_SECS,
    ) -> None:
        self._plugins = plugins
        self._open = open_remote
        self._secret_of = secret_of
        self._step_secs = step_secs

    def files(self, cluster: Cluster, node: NodeRecord) -> Sequence[NodeFile]:
        """Returns what lets the gateway and the cluster's user into the node over SSH."""
        secret = self._secret_of(cluster.cluster_id)
        if secret is None:
            return ()
        extra = next((group.extra for group in cluster.groups if group.name == node.group), {})
        allowed, *others = ssh_files(secret, node, str(extra.get("image_username") or "root"))
        more = str(cluster.extra.get("user_public_key") or "").strip()
        text = f"{allowed.text}{more}\n" if more else allowed.text
        return (msgspec.structs.replace(allowed, text=text), *others)

    def steps(self, cluster: Cluster, moment: Moment) -> Sequence[Step]:
        """Returns the plugin's calls for a moment; the names are what the API shows as steps."""
        plugin = self._plugins.get(cluster.product[0])
        return [self._step(plugin, name, act) for name, act in self._acts(plugin, cluster, moment)]

    def _acts(self, plugin: Plugin, cluster: Cluster, moment: Moment) -> list[tuple[str, Act]]:
        operation = cluster.operation
        if moment == "planned":
            return [("update_infra", lambda p, view: p.update_infra(view))]
        if moment == "placed":
            acts: list[tuple[str, Act]] = []
            if offers(plugin, "validate_images"):
                acts.append(("validate_images", lambda p, view: p.validate_images(view)))
            acts.append(("configure_cluster", lambda p, view: p.configure_cluster(view)))
            acts.append(("start_cluster", lambda p, view: p.start_cluster(view)))
            return acts
        if moment == "resized" and operation is not None and operation.added:
            added = operation.added
            return [("scale_cluster", lambda p, view: p.scale_cluster(view, _named(view, added)))]
        if moment == "shrinking" and operation is not None and operation.removed:
            removed = operation.removed
            return [
                ("decommission_nodes", lambda p, view: p.decommission_nodes(view, _named(view, removed)))
            ]
        if moment == "deleting":
            return [("on_terminate_cluster", lambda p, view: p.on_terminate_cluster(view))]
        return []

    def _step(self, plugin: Plugin, name: str, act: Act) -> Step:
        def run(cluster: Cluster, context: StepContext) -> None:
            def keep(part: Literal["extra", "info"], values: Mapping[str, Any]) -> None:
                context.save(lambda stored: _with(stored, part, values))

            view = ClusterView(cluster, self._told(context), keep)
            try:
                act(plugin, view)
            except GatewayError:
                raise
            except BaseException as error:
                # A plugin is somebody else's code: whatever it raises ends the step, not the engine.
                # Where it was raised only the log says.
                log.error("%s of the plugin %s failed", name, plugin.name, exc_info=error)
                what = f"{type(error).__name__}: {error}"
                raise StepFailed(f"{name} of the plugin {plugin.name} failed: {what}") from error

        return Step(name, run, self._step_secs)

    def _told(self, context: StepContext) -> OpenRemote:
        def open_remote(cluster: Cluster, node: NodeRecord) -> Remote:
            return self._open(cluster, node, context.cancelled)

        return open_remote


def _named(view: ClusterView, names: Sequence[str]) -> list[InstanceView]:
    wanted = set(names)
    return [one for group in view.node_groups for one in group.instances if one.instance_name in wanted]


def _with(cluster: Cluster, part: str, values: Mapping[str, Any]) -> Cluster:
    """Returns the cluster with more of what its plugin has stored, or shows."""
    kept = {**cluster.extra.get(part, {}), **values}
    return msgspec.structs.replace(cluster, extra={**cluster.extra, part: kept})
