"""What users of data clusters keep: templates of node groups and of clusters. Immutable values.

Times in seconds since the epoch; ``updated_at`` None: never changed.
"""

from __future__ import annotations

from typing import Any

import msgspec

Configs = dict[str, dict[str, Any]]
MOUNT_PREFIX = "/volumes/disk"


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that are alike, in a template, a cluster template or a cluster that is asked for.

    ``volumes_size`` in GiB. ``node_configs``: options by target and name. What a data cluster here has
    no use for (floating IPs, security groups, kinds of volumes) is kept and shown, and has no effect.
    """

    name: str
    flavor_id: str
    node_processes: tuple[str, ...]
    count: int = 1
    id: str = ""
    node_group_template_id: str | None = None
    image_id: str | None = None
    node_configs: Configs | None = {}
    volumes_per_node: int | None = 0
    volumes_size: int | None = 0
    volumes_availability_zone: str | None = None
    volume_mount_prefix: str | None = MOUNT_PREFIX
    volume_type: str | None = None
    volume_local_to_instance: bool | None = False
    boot_from_volume: bool | None = False
    boot_volume_type: str | None = None
    boot_volume_availability_zone: str | None = None
    boot_volume_local_to_instance: bool | None = False
    floating_ip_pool: str | None = None
    security_groups: list[str] | None = None
    auto_security_group: bool | None = False
    availability_zone: str | None = None
    is_proxy_gateway: bool | None = False
    use_autoconfig: bool | None = True
    shares: list[dict[str, Any]] | None = None
    created_at: float = 0.0
    updated_at: float | None = None


# What a group takes from its template: everything but who it is, and how many.
INHERITED = frozenset(NodeGroup.__struct_fields__) - {
    "name",
    "count",
    "id",
    "node_group_template_id",
    "created_at",
    "updated_at",
}


class NodeGroupTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """``plugin`` and ``version`` say whose processes and options the group's are."""

    id: str
    tenant: str
    plugin: str
    version: str
    group: NodeGroup
    description: str | None = None
    is_public: bool = False
    is_protected: bool = False
    created_at: float = 0.0
    updated_at: float | None = None

    @property
    def name(self) -> str:
        return self.group.name


class ClusterTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """``network`` is the UUID of the network that the nodes are attached to. Groups stand in it as
    they are with their templates' values filled in."""

    id: str
    tenant: str
    name: str
    plugin: str
    version: str
    description: str | None = None
    cluster_configs: Configs | None = {}
    default_image_id: str | None = None
    anti_affinity: list[str] | None = []
    network: str | None = None
    use_autoconfig: bool | None = True
    shares: list[dict[str, Any]] | None = None
    domain_name: str | None = None
    node_groups: tuple[NodeGroup, ...] = ()
    is_public: bool = False
    is_protected: bool = False
    created_at: float = 0.0
    updated_at: float | None = None
