"""What clusters look like in the API of data clusters (v1.1). Requests are what is checked."""

from __future__ import annotations

from gateway.api.reference.sahara_schemas import GROUP_FIELDS, MARKERS, TIMES, asked
from gateway.api.reference.shapes import (
    FLAG,
    MAP,
    Schema,
    integer,
    listed,
    nullable,
    record,
    text,
    without,
)
from gateway.dataprocessing import schemas

_TEXT = nullable(text())
_INSTANCE = record(
    **TIMES,
    id=text(),
    instance_id=text("the task's id"),
    instance_name=text(),
    internal_ip=_TEXT,
    management_ip=_TEXT,
    storage_devices_number=integer(),
    dns_hostname=_TEXT,
)
_GROUP = record(
    **TIMES,
    id=text(),
    name=text(),
    **GROUP_FIELDS,
    count=integer(minimum=0),
    node_group_template_id=_TEXT,
    instances=listed(_INSTANCE),
)
_EVENT = record(
    **TIMES,
    id=text(),
    node_group_id=_TEXT,
    instance_id=_TEXT,
    instance_name=_TEXT,
    event_info=_TEXT,
    successful=FLAG,
    step_id=text(),
)
_STEP = without(
    ("events",),
    record(
        **TIMES,
        id=text(),
        cluster_id=text(),
        tenant_id=text(),
        step_name=text(),
        step_type=text(),
        total=integer("how many nodes it is about"),
        successful=nullable(FLAG),
        events=listed(_EVENT),
    ),
)
_STATUS = text(enum=["CHECKING", "GREEN", "YELLOW", "RED"])
_VERIFICATION = record(
    **TIMES,
    id=text(),
    cluster_id=text(),
    status=_STATUS,
    checks=listed(
        record(
            **TIMES,
            id=text(),
            verification_id=text(),
            status=_STATUS,
            description=text(),
            name=text(),
        )
    ),
)
_CLUSTER = without(
    ("verification",),
    record(
        **TIMES,
        id=text(),
        name=text(),
        description=_TEXT,
        tenant_id=text(),
        trust_id=_TEXT,
        is_transient=FLAG,
        plugin_name=text(),
        hadoop_version=text(),
        cluster_configs=MAP,
        default_image_id=_TEXT,
        neutron_management_network=_TEXT,
        anti_affinity=listed(text()),
        anti_affinity_ratio=integer(),
        management_public_key=text(),
        user_keypair_id=_TEXT,
        status=text("Validating … Active, Error, Deleting"),
        status_description=text("why the last change did not succeed, or what instances wait for"),
        info=MAP,
        use_autoconfig=FLAG,
        cluster_template_id=_TEXT,
        shares=nullable(listed(MAP)),
        is_public=FLAG,
        is_protected=FLAG,
        domain_name=_TEXT,
        node_groups=listed(_GROUP),
        provision_progress=listed(_STEP),
        verification=_VERIFICATION,
    ),
)

SAHARA_CLUSTER_SCHEMAS: dict[str, Schema] = {
    "SaharaClusters": without(("markers",), record(clusters=listed(_CLUSTER), markers=MARKERS)),
    "SaharaCluster": record(cluster=_CLUSTER),
    "SaharaNewClusters": record(clusters=listed(text("a cluster's id"))),
    "SaharaClusterDefinition": asked(schemas.CLUSTER),
    "SaharaClustersDefinition": asked(schemas.CLUSTERS),
    "SaharaClusterChange": asked(schemas.CLUSTER_CHANGE),
    "SaharaScaling": asked(schemas.SCALING),
}
