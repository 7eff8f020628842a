"""Clusters, node groups and instances as plugins see them: read-only, by attribute and by key.

Fields have Sahara's names, since plugins are written against these (contract: ``sahara-spi``). What the
cluster model knows stands in the model; what only this API knows stands in ``extra`` of the cluster and
of its groups, in the shape that :mod:`gateway.dataprocessing.launching` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Self

from gateway.clusters.model import Cluster, Group, NodeRecord
from gateway.plugins.provisioning import merged
from gateway.plugins.remote import Remote

OpenRemote = Callable[[Cluster, NodeRecord], Remote]
# Adds values to a part of the cluster's ``extra``: what its plugin has stored, what it shows.
Keep = Callable[[Literal["extra", "info"], Mapping[str, Any]], None]
# Where volumes are mounted if nothing else is said.
MOUNT_PREFIX = "/volumes/disk"


class Frozen(Mapping[str, Any]):
    """A mapping whose keys are attributes, too; nested mappings and lists come out frozen."""

    __slots__ = ("_fields",)
    _fields: dict[str, Any]

    def __init__(self, fields: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_fields", {name: freeze(value) for name, value in fields.items()})

    def __getattr__(self, name: str) -> Any:
        # One that is being copied has no fields yet.
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return self._fields[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: {name!r} cannot be deleted")

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __hash__(self) -> int:
        return hash(frozenset(self._fields.items()))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()!r})"

    def to_dict(self) -> dict[str, Any]:
        """Returns a copy that may be changed, nested values included."""
        return {name: thaw(value) for name, value in self._fields.items()}


def freeze(value: Any) -> Any:
    """Returns the value with its mappings and lists made unchangeable, all the way down."""
    if isinstance(value, Frozen):
        return value
    if isinstance(value, Mapping):
        return Frozen(value)
    if isinstance(value, (list, tuple)):
        return tuple(freeze(one) for one in value)
    return value


def thaw(value: Any) -> Any:
    """Returns a frozen value as plain dicts and lists."""
    if isinstance(value, Frozen):
        return value.to_dict()
    if isinstance(value, tuple):
        return [thaw(one) for one in value]
    return value


class InstanceView(Frozen):
    """A node. ``management_ip`` is where the gateway, ``internal_ip`` where other nodes reach it."""

    __slots__ = ("_node", "_open", "node_group")
    _node: NodeRecord
    _open: OpenRemote
    node_group: NodeGroupView

    def __init__(self, node: NodeRecord, node_group: NodeGroupView, open_remote: OpenRemote) -> None:
        object.__setattr__(self, "_node", node)
        object.__setattr__(self, "_open", open_remote)
        object.__setattr__(self, "node_group", node_group)
        addresses = [one.address for one in node.interfaces]
        volumes = [disk.destination for disk in node.spec.disks]
        super().__init__(
            {
                "id": node.node_id,
                "instance_id": node.task_id or node.node_id,
                "instance_name": node.name,
                "internal_ip": addresses[0] if addresses else None,
                "management_ip": addresses[-1] if addresses else None,
                "volumes": volumes,
                "storage_devices_number": len(volumes),
                "dns_hostname": None,
                "node_group_id": node_group.id,
            }
        )

    @property
    def record(self) -> NodeRecord:
        return self._node

    def hostname(self) -> str:
        """Returns the name that every node of the cluster resolves."""
        return str(self._node.name)

    def fqdn(self) -> str:
        domain = self.node_group.cluster.domain_name
        return f"{self.hostname()}.{domain}" if domain else self.hostname()

    def get_ip_or_dns_name(self) -> str:
        return str(self.management_ip or self.instance_name)

    def storage_paths(self) -> list[str]:
        """Returns where its data goes: its volumes, or its own file system."""
        return list(self.volumes) or ["/mnt"]

    def remote(self) -> Remote:
        """Returns what runs commands on it; to be used in a ``with`` statement."""
        return self._open(self.node_group.cluster.record, self._node)


_USUAL: Mapping[str, Any] = {
    "volume_mount_prefix": MOUNT_PREFIX,
    "volumes_per_node": 0,
    "volumes_size": 0,
    "node_configs": {},
    "node_processes": [],
    "image_id": None,
    "floating_ip_pool": None,
    "image_username": "root",
}


class NodeGroupView(Frozen):
    """Nodes that are alike. ``flavor``: what each of them has, as ``vcpus``, ``ram`` (MiB), ``disk``
    (GiB)."""

    __slots__ = ("cluster", "flavor", "instances")
    cluster: ClusterView
    flavor: Frozen
    instances: tuple[InstanceView, ...]

    def __init__(
        self, group: Group, nodes: list[NodeRecord], cluster: ClusterView, open_remote: OpenRemote
    ) -> None:
        object.__setattr__(self, "cluster", cluster)
        spec = group.spec
        flavor = {"vcpus": spec.cpus, "ram": spec.mem_mb, "disk": spec.disk_mb / 1024}
        object.__setattr__(self, "flavor", Frozen(flavor))
        fields = {
            **_USUAL,
            # null in a request is what it leaves open.
            **{n: v for n, v in group.extra.items() if v is not None or n not in _USUAL},
            "name": group.name,
            "count": group.extra.get("count", len(nodes)),
        }
        super().__init__(fields)
        views = tuple(InstanceView(node, self, open_remote) for node in nodes)
        object.__setattr__(self, "instances", views)

    @property
    def username(self) -> str:
        return str(self.image_username)

    def configuration(self) -> dict[str, dict[str, Any]]:
        """Returns the options that apply to its instances: the cluster's, and its own before them."""
        return merged(self.cluster.cluster_configs.to_dict(), self.node_configs.to_dict())

    def storage_paths(self) -> list[str]:
        count = int(self.volumes_per_node)
        return [f"{self.volume_mount_prefix}{n}" for n in range(1, count + 1)] or ["/mnt"]

    def get_image_id(self) -> str | None:
        image = self.image_id or self.cluster.default_image_id
        return None if image is None else str(image)


class ClusterView(Frozen):
    """A cluster. ``extra`` is what the plugin has stored, ``info`` what it shows: :meth:`keep` and
    :meth:`show` add to them."""

    __slots__ = ("_keep", "node_groups", "record")
    _keep: Keep | None
    node_groups: tuple[NodeGroupView, ...]
    record: Cluster

    def __init__(
        self,
        cluster: Cluster,
        open_remote: OpenRemote,
        keep: Keep | None = None,
    ) -> None:
        object.__setattr__(self, "record", cluster)
        object.__setattr__(self, "_keep", keep)
        fields = {
            "cluster_configs": {},
            "default_image_id": None,
            "cluster_template_id": None,
            "user_keypair_id": None,
            "neutron_management_network": None,
            "anti_affinity": [],
            "description": None,
            "domain_name": None,
            "info": {},
            "extra": {},
            "is_transient": False,
            "use_autoconfig": True,
            **cluster.extra,
            "id": cluster.cluster_id,
            "name": cluster.name,
            "tenant_id": cluster.project,
            "project_id": cluster.project,
            "plugin_name": cluster.product[0],
            "hadoop_version": cluster.product[1],
            "status": cluster.phase.value,
        }
        super().__init__(fields)
        views = tuple(
            NodeGroupView(group, [n for n in cluster.nodes if n.group == group.name], self, open_remote)
            for group in cluster.groups
        )
        object.__setattr__(self, "node_groups", views)

    def keep(self, extra: Mapping[str, Any]) -> None:
        """Stores values for the plugin under their names; they are in ``extra`` from the next call on.

        Raises ``ValueError`` where nothing can be stored yet: while a cluster is being validated.
        """
        self._add("extra", extra)

    def show(self, info: Mapping[str, Mapping[str, str]]) -> None:
        """Shows the user where the cluster's services are: ``{"HDFS": {"Web UI": "http://…"}}``.

        Raises what :meth:`keep` raises.
        """
        self._add("info", info)

    def _add(self, part: Literal["extra", "info"], values: Mapping[str, Any]) -> None:
        if self._keep is None:
            raise ValueError("a cluster that is being validated has no record yet")
        self._keep(part, thaw(freeze(values)))

    def instances_with(self, process: str) -> list[InstanceView]:
        """Returns the instances that run ``process``."""
        return [one for group in self.groups_with(process) for one in group.instances]

    def groups_with(self, process: str) -> list[NodeGroupView]:
        return [group for group in self.node_groups if process in group.node_processes]

    def count_of(self, process: str) -> int:
        """Returns how many nodes are to run ``process``."""
        return sum(int(group["count"]) for group in self.groups_with(process))
