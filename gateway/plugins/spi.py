"""The interface of a provisioning plugin.

A plugin is a class derived from :class:`Plugin` (or one of the same shape), named by an entry point in
the group ``mesos_gateway.plugins``; the entry point's name is the plugin's. Methods are *required*, have
a *default*, or are *optional*: one that is left out means that the plugin cannot do it.

Calls and their order, per cluster (contract: Sahara's ``service/ops.py``):

- create: ``recommend_configs``, ``validate`` (before anything is stored); then ``update_infra``, the
  instances are made, ``validate_images``, ``configure_cluster``, ``start_cluster``;
- scale: ``recommend_configs(scaling=True)``, ``validate_scaling``; then ``decommission_nodes``, the
  instances are made, ``scale_cluster``;
- delete: ``on_terminate_cluster``, then the instances go.

They run in threads, each with a time limit; one that is interrupted by a crash is called again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from framework.model.errors import NotSupported
from gateway.plugins.provisioning import Config

if TYPE_CHECKING:
    from gateway.plugins.health import HealthCheck
    from gateway.plugins.views import ClusterView, InstanceView, NodeGroupView

Need = Literal["required", "default", "optional"]
F = TypeVar("F", bound=Callable[..., Any])
_NEED = "__plugin_need__"


def _marked(need: Need) -> Callable[[F], F]:
    def mark(method: F) -> F:
        setattr(method, _NEED, need)
        return method

    return mark


required = _marked("required")
default = _marked("default")
optional = _marked("optional")


class Plugin:
    """``version`` is one of :meth:`get_versions`; instances and clusters are read-only views."""

    # -- required --

    @required
    def get_title(self) -> str:
        """Returns its name for people."""
        raise _absent(self, "get_title")

    @required
    def get_versions(self) -> Sequence[str]:
        """Returns what of it can be had: ``["1.2.1", "3.3"]``."""
        raise _absent(self, "get_versions")

    @required
    def get_configs(self, version: str) -> Sequence[Config]:
        """Returns the options of a version."""
        raise _absent(self, "get_configs")

    @required
    def get_node_processes(self, version: str) -> Mapping[str, Sequence[str]]:
        """Returns the processes of each service: ``{"HDFS": ["namenode", "datanode"]}``."""
        raise _absent(self, "get_node_processes")

    @required
    def configure_cluster(self, cluster: ClusterView) -> None:
        """Makes the nodes ready to be started: files, packages, users."""
        raise _absent(self, "configure_cluster")

    @required
    def start_cluster(self, cluster: ClusterView) -> None:
        """Starts the processes of a configured cluster; returns when they work."""
        raise _absent(self, "start_cluster")

    # -- with a default --

    @default
    def get_description(self) -> str:
        return ""

    @default
    def get_labels(self) -> Mapping[str, Any]:
        """Returns the initial labels, ``{"plugin_labels": {LABEL: {"status": bool}}, "version_labels":
        {VERSION: {LABEL: …}}}`` with the labels enabled, hidden, stable and deprecated."""
        enabled = {"enabled": {"status": True}}
        return {
            "plugin_labels": enabled,
            "version_labels": {version: dict(enabled) for version in self.get_versions()},
        }

    @default
    def get_required_image_tags(self, version: str) -> Sequence[str]:
        """Returns the tags that an image must have to be used with a version."""
        return [self.name, version]

    @default
    def validate(self, cluster: ClusterView) -> None:
        """Raises a :class:`gateway.plugins.exceptions.PluginError` for a cluster that cannot work."""

    @default
    def validate_scaling(
        self, cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
    ) -> None:
        """The same for new sizes of node groups (by id) that exist, and of ones to be added."""

    @default
    def update_infra(self, cluster: ClusterView) -> None:
        """Called before the instances are made."""

    @default
    def decommission_nodes(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        """Takes the instances out of service; they are about to go."""

    @default
    def get_open_ports(self, node_group: NodeGroupView) -> Sequence[int]:
        """Returns the ports that others reach the node group's processes at."""
        return []

    @default
    def on_terminate_cluster(self, cluster: ClusterView) -> None:
        """Called before the instances of a deleted cluster go."""

    @default
    def get_health_checks(self, cluster: ClusterView) -> Sequence[HealthCheck]:
        """Returns what a verification of the cluster looks at, besides its instances."""
        return []

    # -- optional --

    @optional
    def scale_cluster(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        """Configures and starts instances that have been added."""
        raise _absent(self, "scale_cluster")

    @optional
    def recommend_configs(self, cluster: ClusterView, scaling: bool = False) -> Mapping[str, Any] | None:
        """Returns options for what the user has left open, from sizes and counts.

        ``{"cluster_configs": {TARGET: {NAME: value}}, "node_configs": {GROUP: {TARGET: {NAME: …}}}}``.
        """
        raise _absent(self, "recommend_configs")

    @optional
    def validate_images(
        self, cluster: ClusterView, test_only: bool = False, image_arguments: Any = None
    ) -> None:
        """Raises for instances whose image lacks something."""
        raise _absent(self, "validate_images")

    @optional
    def get_image_arguments(self, version: str) -> Any:
        raise _absent(self, "get_image_arguments")

    @optional
    def pack_image(self, version: str, remote: Any, test_only: bool = False, **arguments: Any) -> None:
        raise _absent(self, "pack_image")

    @optional
    def get_edp_engine(self, cluster: ClusterView, job_type: str) -> Any:
        raise _absent(self, "get_edp_engine")

    @optional
    def get_edp_job_types(self, versions: Sequence[str] = ()) -> Mapping[str, Sequence[str]]:
        raise _absent(self, "get_edp_job_types")

    @optional
    def get_edp_config_hints(self, job_type: str, version: str) -> Mapping[str, Any]:
        raise _absent(self, "get_edp_config_hints")

    # The entry point's name; set when the plugin is loaded.
    name: str = ""


def _absent(plugin: Plugin, method: str) -> NotSupported:
    return NotSupported(f"the plugin {plugin.name or type(plugin).__name__} does not offer {method}")


def needs() -> dict[str, Need]:
    """Returns every method of the interface, and whether a plugin must have it."""
    return {
        name: getattr(member, _NEED) for name, member in vars(Plugin).items() if hasattr(member, _NEED)
    }


def offers(plugin: object, method: str) -> bool:
    """Whether the plugin has a method of its own.

    An inherited stub does not count, nor does one that is marked as Sahara's interface marks what a
    plugin does not implement.
    """
    own = getattr(plugin, method, None)
    if not callable(own):
        return False
    function = getattr(own, "__func__", own)
    stub = getattr(function, "__not_implemented__", False)
    return not stub and function is not getattr(Plugin, method, None)


def missing(plugin: object) -> tuple[str, ...]:
    """Returns the required methods that a plugin lacks."""
    return tuple(
        name for name, need in needs().items() if need == "required" and not offers(plugin, name)
    )
