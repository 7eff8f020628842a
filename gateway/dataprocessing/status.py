"""What a cluster's progress is called in the API of data clusters. Pure.

The words come in the order of :data:`CREATING` and :data:`SCALING`; what is passed over at once may be
left out, none comes twice. A cluster that is being deleted is called so until it is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from framework.core.messages import PendingReason
from gateway.clusters.course import stage_of
from gateway.clusters.model import Cluster, NodeStatus, Operation, Phase

ACTIVE, ERROR, DELETING = "Active", "Error", "Deleting"
CREATING = (
    "Validating",
    "InfraUpdating",
    "Spawning",
    "Waiting",
    "Preparing",
    "Configuring",
    "Starting",
    ACTIVE,
)
SCALING = (
    "Validating",
    "Decommissioning",
    "Scaling",
    "Scaling: Spawning",
    "Scaling: Waiting",
    "Scaling: Preparing",
    "Configuring",
    ACTIVE,
)
UNDOING = ("Rollback: Spawning", "Rollback: Waiting", "Rollback: Preparing", ACTIVE)
# The step of a cluster that its plugin did not accept: nothing of it was made.
VALIDATION = "validate"
_CREATION_FAILED = "Creating cluster failed for the following reason(s): "


def status_of(cluster: Cluster) -> str:
    """Returns the word for how far a cluster is."""
    operation = cluster.operation
    if cluster.deleting or cluster.is_gone:
        return DELETING
    if cluster.phase is Phase.FAILED:
        return ERROR
    if operation is None:
        return ACTIVE
    if operation.kind == "create":
        return ERROR if cluster.failed_step else _creating(cluster, operation)
    if operation.kind == "resize":
        return _undoing(cluster) if cluster.failed_step else _scaling(cluster, operation)
    return ACTIVE


def description_of(cluster: Cluster) -> str:
    """Returns why the last thing that was done to a cluster did not succeed, "" if it did."""
    if not cluster.failed_step or cluster.deleting:
        return ""
    creation = cluster.phase is Phase.FAILED or cluster.failed_in is not Phase.RESIZING
    if creation and cluster.failed_step != VALIDATION:
        return _CREATION_FAILED + cluster.reason
    return cluster.reason


def waiting_of(cluster: Cluster, pending: Mapping[str, Sequence[PendingReason]]) -> str:
    """Returns how many nodes have no place yet and what the first of them waits for; "" for none.

    ``pending`` are the reasons by the nodes' names.
    """
    for name, reasons in pending.items():
        why = "; ".join(
            f"{one.reason} (agents: {one.count})" if one.count else one.reason for one in reasons
        )
        return f"{len(pending)} of {len(cluster.nodes)} instances wait; {name}: {why}"
    return ""


def _creating(cluster: Cluster, operation: Operation) -> str:
    match _stage(cluster):
        case "addresses":
            return "Validating" if cluster.phase is Phase.REGISTERED else "InfraUpdating"
        case "planned":
            return "InfraUpdating"
        case "placement":
            return "Spawning"
        case "nodes":
            return "Waiting" if _any_came(cluster, None) else "Spawning"
        case "placed":
            if _begun(cluster, operation, "placed", "start_cluster"):
                return "Starting"
            if _begun(cluster, operation, "placed", "configure_cluster"):
                return "Configuring"
            return "Preparing"
    return "Starting"


def _scaling(cluster: Cluster, operation: Operation) -> str:
    match _stage(cluster):
        case "shrinking":
            return "Decommissioning" if operation.removed and cluster.step else "Validating"
        case "removal" | "removed":
            return "Decommissioning" if operation.removed else "Validating"
        case "addresses":
            return "Scaling"
        case "placement":
            return "Scaling: Spawning"
        case "nodes":
            came = _any_came(cluster, operation.added)
            return "Scaling: Waiting" if came else "Scaling: Spawning"
        case "resized":
            if _begun(cluster, operation, "resized", "scale_cluster"):
                return "Configuring"
        case "end":
            if operation.added:
                return "Configuring"
    return "Scaling: Preparing"


def _undoing(cluster: Cluster) -> str:
    if _stage(cluster) in ("withdrawal", "withdrawn"):
        return "Rollback: Spawning"
    return "Rollback: Preparing"


def _stage(cluster: Cluster) -> str:
    stage = stage_of(cluster)
    return "" if stage is None else stage.name


def _begun(cluster: Cluster, operation: Operation, stage: str, step: str) -> bool:
    return cluster.step == step or f"{stage}/{step}" in operation.done


def _any_came(cluster: Cluster, names: tuple[str, ...] | None) -> bool:
    """Whether any of the nodes has ever run (``names`` None: any at all)."""
    nodes = (node for node in cluster.nodes if names is None or node.name in names)
    return any(node.status is not NodeStatus.QUEUED for node in nodes)
