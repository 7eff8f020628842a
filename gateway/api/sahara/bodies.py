"""The bodies of this API. Names and order of the fields are part of the contract.

``old`` is v1.0: the keys of Savanna's documents.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gateway.dataprocessing.images import RegisteredImage
from gateway.dataprocessing.objects import ClusterTemplate, NodeGroup, NodeGroupTemplate
from gateway.dataprocessing.plugins_view import LABELS, PluginInfo, VersionInfo
from gateway.plugins.profile import Statuses

Body = dict[str, Any]
_OLD_GROUP = (
    "flavor_id",
    "node_processes",
    "node_configs",
    "volumes_per_node",
    "volumes_size",
    "volume_mount_prefix",
)
_GROUP = (
    *_OLD_GROUP[:3],
    "volumes_per_node",
    "volumes_size",
    "volumes_availability_zone",
    "volume_mount_prefix",
    "volume_type",
    "volume_local_to_instance",
    "boot_from_volume",
    "boot_volume_type",
    "boot_volume_availability_zone",
    "boot_volume_local_to_instance",
    "floating_ip_pool",
    "image_id",
    "security_groups",
    "auto_security_group",
    "availability_zone",
    "is_proxy_gateway",
    "use_autoconfig",
    "shares",
)


def moment(seconds: float | None, zone: str = "") -> str | None:
    """Returns a time as the API has it: 2026-11-20T15:04:02, in UTC."""
    if seconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + zone


# -- plugins ---------------------------------------------------------------------------------------


def plugin(info: PluginInfo, old: bool = False) -> Body:
    found: Body = {
        "name": info.name,
        "title": info.title,
        "description": info.description,
        "versions": list(info.versions),
    }
    if not old:
        found["plugin_labels"] = _labels(info.labels)
        found["version_labels"] = {v: _labels(said) for v, said in info.version_labels.items()}
    return found


def plugin_version(info: VersionInfo, old: bool = False) -> Body:
    return {
        **plugin(info.plugin, old),
        "node_processes": {name: list(some) for name, some in info.profile.node_processes.items()},
        "required_image_tags": list(info.profile.required_image_tags),
        "configs": [config.to_dict() for config in info.profile.configs],
    }


def _labels(statuses: Statuses) -> Body:
    return {
        name: {
            "status": status,
            "mutable": LABELS[name].mutable,
            "description": LABELS[name].description,
        }
        for name, status in statuses.items()
    }


# -- images ----------------------------------------------------------------------------------------


def image(value: RegisteredImage, old: bool = False) -> Body:
    """What is known of the image, with what has been said of it among its metadata."""
    mark = "_savanna" if old else "_sahara"
    metadata = {f"{mark}_username": value.username}
    if value.description is not None:
        metadata[f"{mark}_description"] = value.description
    metadata.update({f"{mark}_tag_{tag}": "True" for tag in value.tags})
    found: Body = {
        "id": value.image.id,
        "name": value.image.name,
        "status": "ACTIVE",
        "progress": 100,
        "minDisk": value.image.min_disk,
        "minRam": value.image.min_ram,
        "username": value.username,
        "tags": list(value.tags),
        "metadata": metadata,
    }
    if old:
        return found
    return {
        **found,
        "OS-EXT-IMG-SIZE:size": value.image.size,
        "description": value.description or "",
        "created": moment(value.image.created_at, "Z"),
        "updated": moment(value.updated_at, "Z"),
    }


# -- templates -------------------------------------------------------------------------------------


def node_group_fields(group: NodeGroup, old: bool = False) -> Body:
    """What describes the nodes of a group: its template, a cluster template and a cluster show it."""
    found = {name: getattr(group, name) for name in (_OLD_GROUP if old else _GROUP)}
    found["node_processes"] = list(group.node_processes)
    if old and group.floating_ip_pool is not None:
        found["floating_ip_pool"] = group.floating_ip_pool
    return found


def node_group(group: NodeGroup, old: bool = False) -> Body:
    """A group of a cluster template."""
    found: Body = {"name": group.name, "count": group.count, **node_group_fields(group, old)}
    if not old:
        times = {"created_at": moment(group.created_at), "updated_at": moment(group.updated_at)}
        return {
            "id": group.id,
            **times,
            **found,
            "node_group_template_id": group.node_group_template_id,
        }
    if group.node_group_template_id is not None:
        found["node_group_template_id"] = group.node_group_template_id
    return found


def node_group_template(value: NodeGroupTemplate, old: bool = False) -> Body:
    return {**_template(value, old), **node_group_fields(value.group, old)}


def cluster_template(value: ClusterTemplate, old: bool = False) -> Body:
    found = {
        **_template(value, old),
        "cluster_configs": value.cluster_configs,
        "anti_affinity": value.anti_affinity,
        "node_groups": [node_group(group, old) for group in value.node_groups],
    }
    more: Body = {
        "default_image_id": value.default_image_id,
        "neutron_management_network": value.network,
    }
    if old:
        return {**found, **{name: given for name, given in more.items() if given is not None}}
    return {
        **found,
        **more,
        "use_autoconfig": value.use_autoconfig,
        "shares": value.shares,
        "domain_name": value.domain_name,
    }


def _template(value: NodeGroupTemplate | ClusterTemplate, old: bool) -> Body:
    found: Body = {
        "id": value.id,
        "name": value.name,
        "plugin_name": value.plugin,
        "hadoop_version": value.version,
        "description": value.description,
    }
    if old:
        found["description"] = value.description or ""
        times = {"created": moment(value.created_at), "updated": moment(value.updated_at)}
        return {**found, **times}
    return {
        **found,
        "tenant_id": value.tenant,
        "is_public": value.is_public,
        "is_protected": value.is_protected,
        "is_default": False,
        "created_at": moment(value.created_at),
        "updated_at": moment(value.updated_at),
    }


_OWN = frozenset({"id", "tenant_id", "created_at", "updated_at", "is_default"})


def exported(body: Mapping[str, Any], *left_open: str) -> Body:
    """Returns a template to be created elsewhere: ``left_open`` is to be filled in there."""
    found = {name: value for name, value in body.items() if name not in _OWN}
    return {**found, **{name: f"{{{name}}}" for name in left_open}}
