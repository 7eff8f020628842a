"""What the bodies of the API of data clusters (v1.1) look like. Requests are what is checked."""

from __future__ import annotations

from typing import Any

from gateway.api.reference.shapes import (
    FLAG,
    MAP,
    Schema,
    integer,
    listed,
    nullable,
    record,
    ref,
    text,
    without,
)
from gateway.dataprocessing import schemas

_MOMENT = text("UTC", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}$")
_ZULU = text("UTC", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")
TIMES = {"created_at": nullable(_MOMENT), "updated_at": nullable(_MOMENT)}
_TEXT = nullable(text())
_FLAG = nullable(FLAG)
_NUMBER = nullable(integer())
MARKERS = record(prev=_TEXT, next=_TEXT)
_LABELS = {
    "type": "object",
    "additionalProperties": record(status=FLAG, mutable=FLAG, description=text()),
}
_PLUGIN: dict[str, Schema] = {
    "name": text(),
    "title": text(),
    "description": text(),
    "versions": listed(text()),
    "plugin_labels": _LABELS,
    "version_labels": {"type": "object", "additionalProperties": _LABELS},
}
_CONFIG = record(
    name=text(),
    description=_TEXT,
    config_type=text(enum=["string", "int", "bool", "dropdown"]),
    config_values=nullable(listed({"type": "array"})),
    default_value={},
    applicable_target=text(),
    scope=text(enum=["node", "cluster"]),
    is_optional=FLAG,
    priority=integer(enum=[1, 2]),
)
_IMAGE = record(
    id=text(),
    name=text(),
    status=text(const="ACTIVE"),
    progress=integer(),
    minDisk=integer("GiB"),
    minRam=integer("MiB"),
    username=text("who commands are run as in a node"),
    tags=listed(text()),
    metadata={"type": "object", "additionalProperties": text()},
    **{"OS-EXT-IMG-SIZE:size": integer("bytes")},
    description=text(),
    created=_ZULU,
    updated=_ZULU,
)
GROUP_FIELDS: dict[str, Schema] = {
    "flavor_id": text(),
    "node_processes": listed(text()),
    "node_configs": nullable(MAP),
    "volumes_per_node": _NUMBER,
    "volumes_size": nullable(integer("GiB")),
    "volumes_availability_zone": _TEXT,
    "volume_mount_prefix": _TEXT,
    "volume_type": _TEXT,
    "volume_local_to_instance": _FLAG,
    "boot_from_volume": _FLAG,
    "boot_volume_type": _TEXT,
    "boot_volume_availability_zone": _TEXT,
    "boot_volume_local_to_instance": _FLAG,
    "floating_ip_pool": _TEXT,
    "image_id": _TEXT,
    "security_groups": nullable(listed(text())),
    "auto_security_group": _FLAG,
    "availability_zone": _TEXT,
    "is_proxy_gateway": _FLAG,
    "use_autoconfig": _FLAG,
    "shares": nullable(listed(MAP)),
}
_TEMPLATE: dict[str, Schema] = {
    "id": text(),
    "name": text(),
    "plugin_name": text(),
    "hadoop_version": text(),
    "description": _TEXT,
    "tenant_id": text(),
    "is_public": FLAG,
    "is_protected": FLAG,
    "is_default": FLAG,
    **TIMES,
}
_GROUP = record(
    id=text(),
    name=text(),
    count=integer(minimum=0),
    node_group_template_id=_TEXT,
    **TIMES,
    **GROUP_FIELDS,
)
_NODE_GROUP_TEMPLATE = record(**_TEMPLATE, **GROUP_FIELDS)
_CLUSTER_TEMPLATE = record(
    **_TEMPLATE,
    cluster_configs=nullable(MAP),
    anti_affinity=nullable(listed(text())),
    node_groups=listed(_GROUP),
    default_image_id=_TEXT,
    neutron_management_network=_TEXT,
    use_autoconfig=_FLAG,
    shares=nullable(listed(MAP)),
    domain_name=_TEXT,
)


def asked(schema: schemas.Schema) -> Schema:
    """Returns the schema of a request; the formats are of the checks' own and say what they mean."""
    found: dict[str, Any] = dict(schema)
    return found


SAHARA_SCHEMAS: dict[str, Schema] = {
    "SaharaFailure": {
        "description": "a fault: of what is asked, of the path, or of the credentials",
        "anyOf": [
            record(
                error_code=integer(),
                error_name={"type": ["string", "integer"]},
                error_message=text("its last line has the id of the request"),
            ),
            record(error=integer(), error_message=text()),
            record(error=record(code=integer(const=401), title=text(), message=text())),
        ],
    },
    "SaharaVersions": record(
        versions=listed(record(id=text(), status=text(), links=listed(record(rel=text(), href=text()))))
    ),
    "SaharaPlugins": record(plugins=listed(record(**_PLUGIN))),
    "SaharaPlugin": record(plugin=record(**_PLUGIN)),
    "SaharaLabelledPlugin": record(plugin=record(**_PLUGIN, tenant_id=text())),
    "SaharaPluginVersion": record(
        plugin=record(
            **_PLUGIN,
            node_processes={"type": "object", "additionalProperties": listed(text())},
            required_image_tags=listed(text()),
            configs=listed(_CONFIG),
        )
    ),
    "SaharaPluginLabels": asked(schemas.PLUGIN_LABELS),
    "SaharaImages": record(images=listed(_IMAGE)),
    "SaharaImage": record(image=_IMAGE),
    "SaharaRegistration": asked(schemas.IMAGE),
    "SaharaTags": asked(schemas.TAGS),
    "SaharaNodeGroupTemplates": without(
        ("markers",),
        record(node_group_templates=listed(_NODE_GROUP_TEMPLATE), markers=MARKERS),
    ),
    "SaharaNodeGroupTemplate": record(node_group_template=_NODE_GROUP_TEMPLATE),
    "SaharaNodeGroupTemplateDefinition": asked(schemas.NODE_GROUP_TEMPLATE),
    "SaharaNodeGroupTemplateChange": asked(schemas.NODE_GROUP_TEMPLATE_CHANGE),
    "SaharaClusterTemplates": without(
        ("markers",), record(cluster_templates=listed(_CLUSTER_TEMPLATE), markers=MARKERS)
    ),
    "SaharaClusterTemplate": record(cluster_template=_CLUSTER_TEMPLATE),
    "SaharaClusterTemplateDefinition": asked(schemas.CLUSTER_TEMPLATE),
    "SaharaClusterTemplateChange": asked(schemas.CLUSTER_TEMPLATE_CHANGE),
    "SaharaExport": {
        "description": "a template without what is its own; {name} is to be filled in",
        "type": "object",
    },
    "SaharaJobTypes": record(job_types=listed(ref("Options"))),
}
