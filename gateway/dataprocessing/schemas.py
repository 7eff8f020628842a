"""The shapes of requests, as JSON schemas, and the check of a body against one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError

from gateway.dataprocessing.errors import SchemaViolated
from gateway.dataprocessing.formats import make_checker

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": ["boolean", "null"]}
# No cluster has more nodes or volumes, and no volume more GiB.
_MOST = 1_000_000
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": _MOST}
_NAMES: Schema = {"type": "array", "uniqueItems": True, "items": {"type": "string"}}
_NAMES_OR_NULL: Schema = {**_NAMES, "type": ["array", "null"]}
_CONFIGS: Schema = {"type": ["object", "null"], "format": "configs"}
_IMAGE: Schema = {"type": ["string", "null"], "format": "uuid"}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 50, "format": "valid_name_hostname"}
_SHARES: Schema = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "path": {"type": ["string", "null"]},
            "access_level": {"type": ["string", "null"], "enum": ["rw", "ro", None]},
        },
        "additionalProperties": False,
        "required": ["id"],
    },
}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    shape: dict[str, Any] = {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
    }
    if required:
        shape["required"] = list(required)
    return shape


# What node groups have in templates, in cluster templates and in clusters.
_NODE_GROUP: dict[str, Schema] = {
    "flavor_id": {"type": ["string", "integer"], "format": "flavor"},
    "node_processes": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
    "image_id": _IMAGE,
    "node_configs": _CONFIGS,
    "volumes_per_node": _COUNT,
    "volumes_size": {"type": ["integer", "null"], "minimum": 0, "maximum": _MOST},
    "volume_type": _TEXT,
    "volumes_availability_zone": _TEXT,
    "volume_mount_prefix": {"type": ["string", "null"], "format": "posix_path"},
    "volume_local_to_instance": _FLAG,
    "boot_from_volume": _FLAG,
    "boot_volume_type": _TEXT,
    "boot_volume_availability_zone": _TEXT,
    "boot_volume_local_to_instance": _FLAG,
    "description": _TEXT,
    "floating_ip_pool": _TEXT,
    "security_groups": {"type": ["array", "null"], "items": {"type": "string"}},
    "auto_security_group": _FLAG,
    "availability_zone": _TEXT,
    "is_proxy_gateway": _FLAG,
    "use_autoconfig": _FLAG,
    "shares": _SHARES,
}
_SHARED: dict[str, Schema] = {"is_public": _FLAG, "is_protected": _FLAG}
_PLUGIN: dict[str, Schema] = {
    "plugin_name": {"type": "string"},
    "hadoop_version": {"type": "string"},
}

NODE_GROUP_TEMPLATE = _object(
    {"name": _NAME, **_PLUGIN, **_NODE_GROUP, **_SHARED},
    "name",
    "flavor_id",
    "plugin_name",
    "hadoop_version",
    "node_processes",
)
NODE_GROUP_TEMPLATE_CHANGE = _object(NODE_GROUP_TEMPLATE["properties"])

_GROUP_WITH_TEMPLATE = _object(
    {
        "name": _NAME,
        "count": _COUNT,
        "node_group_template_id": {"type": "string", "format": "uuid"},
        **_NODE_GROUP,
    },
    "name",
    "count",
    "node_group_template_id",
)
_GROUP_ALONE = _object(
    {"name": _NAME, "count": _COUNT, **_NODE_GROUP}, "name", "count", "flavor_id", "node_processes"
)
_GROUPS: Schema = {
    "type": ["array", "null"],
    "items": {"anyOf": [_GROUP_WITH_TEMPLATE, _GROUP_ALONE]},
}
_CLUSTER_TEMPLATE: dict[str, Schema] = {
    "name": _NAME,
    **_PLUGIN,
    "description": _TEXT,
    "default_image_id": _IMAGE,
    "cluster_configs": _CONFIGS,
    "node_groups": _GROUPS,
    "anti_affinity": _NAMES_OR_NULL,
    "neutron_management_network": {"type": ["string", "null"], "format": "uuid"},
    "use_autoconfig": _FLAG,
    "shares": _SHARES,
    "domain_name": _TEXT,
    **_SHARED,
}
CLUSTER_TEMPLATE = _object(_CLUSTER_TEMPLATE, "name", "plugin_name", "hadoop_version")
CLUSTER_TEMPLATE_CHANGE = _object(_CLUSTER_TEMPLATE)

_CLUSTER: dict[str, Schema] = {
    **_CLUSTER_TEMPLATE,
    "user_keypair_id": {"type": ["string", "null"], "format": "valid_keypair_name"},
    "cluster_template_id": {"type": "string", "format": "uuid"},
    "is_transient": {"type": "boolean"},
}
CLUSTER = _object(_CLUSTER, "name", "plugin_name", "hadoop_version")
CLUSTERS = _object(
    {**_CLUSTER, "count": {"type": "integer", "minimum": 1, "maximum": _MOST}},
    "name",
    "plugin_name",
    "hadoop_version",
    "count",
)
CLUSTER_CHANGE = _object(
    {
        "name": _NAME,
        "description": _TEXT,
        "shares": _SHARES,
        **_SHARED,
        "verification": _object({"status": {"enum": ["START"]}}, "status"),
    }
)
_RESIZES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": _object(
        {
            "name": {"type": "string"},
            "count": _COUNT,
            "instances": {"type": "array", "items": {"type": "string"}},
        },
        "name",
        "count",
    ),
}
_ADDITIONS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"anyOf": [_GROUP_WITH_TEMPLATE, _GROUP_ALONE]},
}
SCALING: Schema = {
    "type": "object",
    "properties": {"resize_node_groups": _RESIZES, "add_node_groups": _ADDITIONS},
    "additionalProperties": False,
    "anyOf": [{"required": ["resize_node_groups"]}, {"required": ["add_node_groups"]}],
}
_USER: Schema = {"type": "string", "format": "valid_user_name"}
IMAGE = _object({"username": _USER, "description": _TEXT}, "username")
TAGS = _object({"tags": {"type": "array", "items": {"type": "string", "format": "valid_tag"}}}, "tags")
_LABEL = _object({"status": {"type": "boolean"}}, "status")
_LABELS = _object(dict.fromkeys(("enabled", "hidden", "stable", "deprecated"), _LABEL))
PLUGIN_LABELS = _object(
    {
        "plugin_labels": _LABELS,
        "version_labels": {"type": "object", "additionalProperties": _LABELS},
    }
)


def old(schema: Schema) -> Schema:
    """Returns a schema for API v1.0, whose documents use names with underscores."""

    def changed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: "valid_old_name" if one == "valid_name_hostname" else changed(one)
                for key, one in value.items()
            }
        return [changed(one) for one in value] if isinstance(value, list) else value

    made: Schema = changed(schema)
    return made


@cache
def _checker() -> Any:
    return make_checker()


def check(body: object, schema: Schema) -> None:
    """Raises :class:`SchemaViolated` with ``path: sentence`` for everything that is wrong."""
    validator = Draft4Validator(schema, format_checker=_checker())
    faults = sorted(validator.iter_errors(body), key=lambda fault: [str(p) for p in fault.absolute_path])
    if faults:
        raise SchemaViolated("\n".join(_sentence(fault) for fault in faults[:20]))


def _sentence(fault: ValidationError) -> str:
    parts = [str(part) for part in fault.absolute_path]
    path = "".join([*parts[:1], *(f"[{part}]" for part in parts[1:])])
    return f"{path[:200]}: {fault.message[:500]}" if path else fault.message[:500]
