"""From what a user asks for to the cluster that is to be launched. Pure.

What only this API knows of a cluster stands in ``extra`` of the cluster and of its groups, under the
names that plugins and clients know (see :mod:`gateway.plugins.views`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.clusters.model import DiskAsk, Group, LaunchRequest, NetworkAsk, NodeAsk, NodeSpec
from gateway.clusters.planning import IDLE
from gateway.clusters.requests import MOST_NODES
from gateway.dataprocessing.catalogue import Flavor
from gateway.dataprocessing.errors import InvalidData
from gateway.dataprocessing.images import RegisteredImage
from gateway.dataprocessing.objects import MOUNT_PREFIX, ClusterTemplate, Configs, NodeGroup
from gateway.plugins.channels import SSH_PORT
from gateway.plugins.provisioning import merged

ENVIRONMENT = "sahara"
# What a host may be called, with the domain that it is in, in a Sahara that nobody has configured.
_DOMAIN = "novalocal"
_LONGEST_HOST = 64
_GIB = 1024
# The zone that every agent is in.
ANY_ZONE = "nova"
# What a cluster has of its template unless the request says otherwise.
_INHERITED = {
    "description": "description",
    "default_image_id": "default_image_id",
    "anti_affinity": "anti_affinity",
    "neutron_management_network": "network",
    "use_autoconfig": "use_autoconfig",
    "shares": "shares",
    "domain_name": "domain_name",
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that is asked for, what its templates say filled in. ``network`` and ``keypair`` are
    what the request calls them by."""

    name: str
    plugin: str
    version: str
    template_id: str | None = None
    description: str | None = None
    cluster_configs: Configs = {}
    default_image_id: str | None = None
    anti_affinity: tuple[str, ...] = ()
    network: str | None = None
    keypair: str | None = None
    use_autoconfig: bool = True
    shares: list[dict[str, Any]] | None = None
    domain_name: str | None = None
    is_public: bool = False
    is_protected: bool = False
    is_transient: bool = False
    groups: tuple[NodeGroup, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the names in a :class:`Wanted` stand for.

    ``flavors`` and ``images`` by id. ``network`` is the gateway's network whose addresses the nodes
    get, None if they have those of their agents. ``management_key`` and ``user_key`` are public keys
    (lines of an authorized_keys file).
    """

    flavors: Mapping[str, Flavor]
    images: Mapping[str, RegisteredImage]
    network: str | None = None
    management_key: str = ""
    user_key: str = ""


# -- what is wanted --------------------------------------------------------------------------------


def wanted(
    given: Mapping[str, Any], template: ClusterTemplate | None, groups: Sequence[NodeGroup] | None
) -> Wanted:
    """Returns what a request asks for; ``groups`` None: those of its template.

    ``given`` has passed its schema.
    """
    fields = {
        name: given[name] if given.get(name) is not None else getattr(template, of_template, None)
        for name, of_template in _INHERITED.items()
    }
    configs = merged(
        (template.cluster_configs if template is not None else None) or {},
        given.get("cluster_configs") or {},
    )
    if groups is None:
        groups = template.node_groups if template is not None else ()
    return Wanted(
        name=given["name"],
        plugin=given["plugin_name"],
        version=given["hadoop_version"],
        template_id=given.get("cluster_template_id"),
        description=fields["description"],
        cluster_configs=configs,
        default_image_id=fields["default_image_id"],
        anti_affinity=tuple(fields["anti_affinity"] or ()),
        network=fields["neutron_management_network"],
        keypair=given.get("user_keypair_id"),
        use_autoconfig=fields["use_autoconfig"] is not False,
        shares=fields["shares"],
        domain_name=fields["domain_name"],
        is_public=bool(given.get("is_public")),
        is_protected=bool(given.get("is_protected")),
        is_transient=bool(given.get("is_transient")),
        groups=tuple(groups),
    )


def fresh(groups: Iterable[NodeGroup], now: float, new_id: Callable[[], str]) -> tuple[NodeGroup, ...]:
    """Returns groups of a template as those of a cluster: with ids and a time of their own."""
    return tuple(
        msgspec.structs.replace(group, id=new_id(), created_at=now, updated_at=None) for group in groups
    )


def check_size(groups: Iterable[NodeGroup]) -> None:
    """Raises :class:`InvalidData` for more nodes than a cluster may have."""
    total = sum(group.count for group in groups)
    if total > MOST_NODES:
        raise InvalidData(f"the cluster would have {total} instances; {MOST_NODES} at most")


def check_host_names(cluster: str, groups: Iterable[NodeGroup]) -> None:
    """Raises :class:`InvalidData` for groups whose hosts' names would be too long."""
    for group in groups:
        longest = f"{cluster}-{group.name}-{group.count:03d}.{_DOMAIN}"
        if len(longest) > _LONGEST_HOST:
            raise InvalidData(
                f"Composite hostname {longest} in provisioned cluster exceeds maximum limit "
                f"{_LONGEST_HOST} characters"
            )


# -- what is launched ------------------------------------------------------------------------------


def request(asked: Wanted, found: Found, tenant: str, cluster_id: str) -> LaunchRequest:
    """Returns what is to be launched for a tenant, who is its owner, too."""
    groups = tuple(cluster_group(group, asked, found) for group in asked.groups)
    nodes = tuple(
        NodeAsk(f"{group.stem}{number}", group.name, group.spec)
        for group, of_request in zip(groups, asked.groups, strict=True)
        for number in range(of_request.count)
    )
    return LaunchRequest(
        key=f"sahara/{tenant}/{cluster_id}",
        cluster_id=cluster_id,
        owner=tenant,
        project=tenant,
        provider="plugin",
        product=(asked.plugin, asked.version),
        environment=ENVIRONMENT,
        job_name=f"{asked.name}-{cluster_id[:8]}",
        name=asked.name,
        groups=groups,
        nodes=nodes,
        shared=asked.is_public,
        extra=_extra(asked, found),
    )


def cluster_group(group: NodeGroup, asked: Wanted, found: Found) -> Group:
    """Returns a group as it is kept with its cluster.

    Raises :class:`InvalidData` for nodes that would be reached over SSH and have no address for it.
    """
    image = found.images[group.image_id or asked.default_image_id or ""]
    if image.image.transport == "ssh" and found.network is None:
        raise InvalidData(
            f"the nodes of the image {image.image.name!r} are reached over SSH: they need a network "
            "that gives them addresses of their own, and this one does not"
        )
    extra = {
        name: value
        for name, value in msgspec.to_builtins(group).items()
        if name not in ("name", "count")
    }
    extra["image_username"] = image.username
    extra["transport"] = image.image.transport
    spec = node_spec(group, found.flavors[group.flavor_id], image, found.network, asked.anti_affinity)
    return Group(group.name, spec, extra, stem=f"{asked.name}-{group.name}-")


def node_spec(
    group: NodeGroup,
    flavor: Flavor,
    image: RegisteredImage,
    network: str | None,
    anti_affinity: Sequence[str],
) -> NodeSpec:
    """Returns what a node of the group is made of. Nodes with a process of ``anti_affinity`` are each
    on an agent of its own."""
    apart = tuple(_tag(name) for name in anti_affinity if name in group.node_processes)
    prefix = group.volume_mount_prefix or MOUNT_PREFIX
    zone = group.availability_zone
    volumes = range(1, (group.volumes_per_node or 0) + 1)
    over_ssh = image.image.transport == "ssh"
    # Others are kept alive by a command: what runs in them is their plugin's to start. A server that the
    # plugin itself comes in by is the image's.
    own_command = (image.image.keep_entrypoint or over_ssh) and bool(image.image.reference)
    return NodeSpec(
        cpus=flavor.cpus,
        mem_mb=flavor.mem_mb,
        disk_mb=flavor.disk_gb * _GIB,
        image=image.image.reference or None,
        command=None if own_command else IDLE,
        tags=apart,
        apart=apart,
        attributes=() if zone in (None, "", ANY_ZONE) else (("zone", str(zone)),),
        networks=(NetworkAsk(network),) if network is not None else (),
        disks=tuple(DiskAsk(f"volume{n}", f"{prefix}{n}") for n in volumes),
        # A node that cannot be reached yet does not run.
        check_ports=(SSH_PORT,) if over_ssh else (),
        services=group.node_processes,
    )


def _tag(process: str) -> str:
    return f"process:{process}"


def _extra(asked: Wanted, found: Found) -> dict[str, Any]:
    return {
        "description": asked.description,
        "cluster_configs": asked.cluster_configs,
        "default_image_id": asked.default_image_id,
        "cluster_template_id": asked.template_id,
        "neutron_management_network": asked.network,
        "network": found.network,
        "user_keypair_id": asked.keypair,
        "user_public_key": found.user_key,
        "management_public_key": found.management_key,
        "anti_affinity": list(asked.anti_affinity),
        "use_autoconfig": asked.use_autoconfig,
        "shares": asked.shares,
        "domain_name": asked.domain_name,
        "is_protected": asked.is_protected,
        "is_transient": asked.is_transient,
        "info": {},
        "extra": {},
    }
