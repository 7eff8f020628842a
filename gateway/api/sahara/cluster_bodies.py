"""What clusters look like in this API. Names and order of the fields are part of the contract.

``old`` is v1.0: the keys of Savanna's documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.api.sahara.bodies import Body, moment, node_group_fields
from gateway.clusters.model import Cluster, Group, NodeRecord, NodeStatus, Phase
from gateway.dataprocessing.objects import NodeGroup
from gateway.dataprocessing.progress import Happening, Progress
from gateway.dataprocessing.status import VALIDATION, description_of, status_of
from gateway.dataprocessing.verification import Verification, verification_of

# Where a Sahara that nobody has configured puts so many nodes of a process on one host.
_ANTI_AFFINITY_RATIO = 1


def cluster(
    value: Cluster, steps: Sequence[Progress], *, events: bool = False, old: bool = False
) -> Body:
    """``steps`` are those of :func:`gateway.dataprocessing.progress.progress`; with ``events`` also what
    has happened in those that have not ended well."""
    return _old_cluster(value) if old else _cluster(value, steps, events)


def _cluster(value: Cluster, steps: Sequence[Progress], events: bool) -> Body:
    extra = value.extra
    body: Body = {
        "created_at": moment(value.created_at),
        "updated_at": moment(value.updated_at),
        "id": value.cluster_id,
        "name": value.name,
        "description": extra.get("description"),
        "tenant_id": value.project,
        "trust_id": None,
        "is_transient": extra.get("is_transient", False),
        "plugin_name": value.product[0],
        "hadoop_version": value.product[1],
        "cluster_configs": extra.get("cluster_configs") or {},
        "default_image_id": extra.get("default_image_id"),
        "neutron_management_network": extra.get("neutron_management_network"),
        "anti_affinity": extra.get("anti_affinity") or [],
        "anti_affinity_ratio": _ANTI_AFFINITY_RATIO,
        "management_public_key": extra.get("management_public_key", ""),
        "user_keypair_id": extra.get("user_keypair_id"),
        "status": status_of(value),
        "status_description": description_of(value),
        "info": extra.get("info") or {},
        "use_autoconfig": extra.get("use_autoconfig", True),
        "cluster_template_id": extra.get("cluster_template_id"),
        "shares": extra.get("shares"),
        "is_public": value.shared,
        "is_protected": extra.get("is_protected", False),
        "domain_name": extra.get("domain_name"),
        "node_groups": [_group(group, value) for group in value.groups],
        "provision_progress": [_step(step, value, events) for step in steps],
    }
    verification = verification_of(value)
    if verification is not None:
        body["verification"] = _verification(verification, value)
    return body


def _group(group: Group, value: Cluster) -> Body:
    kept = _kept(group)
    nodes = [node for node in value.nodes if node.group == group.name]
    return {
        "created_at": moment(kept.created_at),
        "updated_at": moment(kept.updated_at),
        "id": kept.id,
        "name": group.name,
        **node_group_fields(kept),
        "count": _count(nodes, value),
        "node_group_template_id": kept.node_group_template_id,
        "instances": [_instance(node) for node in nodes if _is_shown(node)],
    }


def _kept(group: Group) -> NodeGroup:
    """Returns what was asked for of a group: its cluster keeps it as it was."""
    return msgspec.convert({**group.extra, "name": group.name}, NodeGroup)


def _count(nodes: Sequence[NodeRecord], value: Cluster) -> int:
    """How many there are; those that are being added count when they are placed."""
    if value.phase is Phase.FAILED and value.failed_step != VALIDATION:
        return 0
    operation = value.operation
    added = operation.added if operation is not None and operation.kind == "resize" else ()
    return sum(node.name not in added or node.task_id is not None for node in nodes)


def _is_shown(node: NodeRecord) -> bool:
    """Instances are what has been placed, and is not gone for good."""
    return node.task_id is not None and node.status is not NodeStatus.DELETED


def _instance(node: NodeRecord) -> Body:
    return {
        "created_at": moment(node.created_at),
        "updated_at": moment(node.updated_at),
        "id": node.node_id,
        "instance_id": node.task_id,
        "instance_name": node.name,
        "internal_ip": _internal_ip(node),
        "management_ip": _management_ip(node),
        "storage_devices_number": len(node.spec.disks),
        "dns_hostname": None,
    }


def _internal_ip(node: NodeRecord) -> str | None:
    """A node without an address of its own has its agent's."""
    return node.interfaces[0].address if node.interfaces else node.host


def _management_ip(node: NodeRecord) -> str | None:
    return node.address or node.host


def _step(step: Progress, value: Cluster, events: bool) -> Body:
    body: Body = {
        "created_at": moment(step.created_at),
        "updated_at": moment(step.updated_at),
        "id": step.id,
        "cluster_id": value.cluster_id,
        "tenant_id": value.project,
        "step_name": step.name,
        "step_type": step.kind,
        "total": step.total,
        "successful": step.ok,
    }
    if events:
        body["events"] = [_event(one, step, value) for one in step.happenings]
    return body


def _event(happening: Happening, step: Progress, value: Cluster) -> Body:
    node = value.node(happening.node) if happening.node else None
    group = None if node is None else next((g for g in value.groups if g.name == node.group), None)
    return {
        "created_at": moment(happening.at),
        "updated_at": None,
        "id": happening.id,
        "node_group_id": None if group is None else group.extra.get("id"),
        "instance_id": None if node is None else node.task_id or node.node_id,
        "instance_name": happening.node or None,
        "event_info": happening.info,
        "successful": happening.ok,
        "step_id": step.id,
    }


def _verification(verification: Verification, value: Cluster) -> Body:
    return {
        "created_at": moment(verification.created_at),
        "updated_at": moment(verification.updated_at),
        "id": verification.id,
        "cluster_id": value.cluster_id,
        "status": verification.status,
        "checks": [
            {
                "created_at": moment(check.created_at),
                "updated_at": moment(check.updated_at),
                "id": check.id,
                "verification_id": verification.id,
                "status": check.status,
                "description": check.description,
                "name": check.name,
            }
            for check in verification.checks
        ],
    }


# -- Savanna v1.0 ----------------------------------------------------------------------------------


def _old_cluster(value: Cluster) -> Body:
    extra = value.extra
    body: Body = {
        "status": status_of(value),
        "info": extra.get("info") or {},
        "name": value.name,
        "description": extra.get("description") or "",
        "cluster_configs": extra.get("cluster_configs") or {},
        "default_image_id": extra.get("default_image_id"),
        "user_keypair_id": extra.get("user_keypair_id"),
        "plugin_name": value.product[0],
        "anti_affinity": extra.get("anti_affinity") or [],
        "node_groups": [_old_group(group, value) for group in value.groups],
        "hadoop_version": value.product[1],
        "id": value.cluster_id,
    }
    for name in ("cluster_template_id", "neutron_management_network"):
        if extra.get(name) is not None:
            body[name] = extra[name]
    if description := description_of(value):
        body["status_description"] = description
    return body


def _old_group(group: Group, value: Cluster) -> Body:
    kept = _kept(group)
    nodes = [node for node in value.nodes if node.group == group.name]
    body: Body = {
        "count": _count(nodes, value),
        "updated": moment(kept.updated_at or kept.created_at),
        "name": group.name,
        "created": moment(kept.created_at),
        **node_group_fields(kept, old=True),
        "instances": [_old_instance(node) for node in nodes if _is_shown(node)],
    }
    if kept.node_group_template_id is not None:
        body["node_group_template_id"] = kept.node_group_template_id
    return body


def _old_instance(node: NodeRecord) -> Body:
    addresses = {"internal_ip": _internal_ip(node), "management_ip": _management_ip(node)}
    return {
        "instance_name": node.name,
        "instance_id": node.task_id,
        **{name: address for name, address in addresses.items() if address is not None},
        "volumes": [disk.destination for disk in node.spec.disks],
    }
