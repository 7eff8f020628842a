"""What becomes of the nodes of a cluster as their tasks come and go. Pure."""

from __future__ import annotations

import msgspec

from framework.core.messages import InstanceState, JobView
from framework.model.tasks import Task, TaskState
from gateway.clusters.course import stage_of, tasks_of
from gateway.clusters.model import Cluster, ClusterEvent, NodeRecord, NodeStatus, Phase

_DONE = (Phase.FAILED, Phase.DELETED)


def follow(cluster: Cluster, view: JobView | None, at: float) -> tuple[Cluster, list[ClusterEvent]]:
    """Returns the cluster with its nodes as the tasks are now, and what is to be told of it."""
    if cluster.phase in _DONE or view is None:
        return cluster, []
    states = tasks_of(view)
    events: list[ClusterEvent] = []
    nodes: list[NodeRecord] = []
    for node in cluster.nodes:
        state = states.get(node.index)
        now = node if state is None else _follow(node, state)
        if now != node and state is not None:
            now = msgspec.structs.replace(now, updated_at=at)
            text = _story(node, now, state.task, view)
            if text:
                events.append(_event(cluster, now, text, at))
        nodes.append(now)
    if tuple(nodes) == cluster.nodes:
        return cluster, []
    changed = msgspec.structs.replace(cluster, nodes=tuple(nodes), updated_at=at)
    return msgspec.structs.replace(changed, progress=progress(changed)), events


def progress(cluster: Cluster) -> int:
    """Returns how many percent of the nodes that an operation waits for run."""
    stage = stage_of(cluster)
    if cluster.operation is None or stage is None or cluster.failed_step:
        return cluster.progress
    names = cluster.operation.added if cluster.operation.kind == "resize" else None
    if cluster.operation.kind not in ("create", "resize"):
        return cluster.progress
    nodes = [node for node in cluster.nodes if names is None or node.name in names]
    running = sum(node.status is NodeStatus.RUNNING for node in nodes)
    return 100 * running // len(nodes) if nodes else 100


def _follow(node: NodeRecord, state: InstanceState) -> NodeRecord:
    task = state.task
    if task.state is TaskState.RUNNING:
        status = NodeStatus.RUNNING
    elif node.status is NodeStatus.QUEUED:
        status = NodeStatus.QUEUED
    else:
        status = NodeStatus.STOPPED
    # What stands in the container's /etc/hosts is known only of the first one.
    same = node.task_id in (None, task.task_id)
    running = status is NodeStatus.RUNNING
    return msgspec.structs.replace(
        node,
        status=status,
        host=task.hostname,
        task_id=task.task_id,
        container_id=task.container_id,
        disks=task.disks or node.disks,
        hosts=node.hosts if same else "",
        reason="" if running else task.events[-1].message,
    )


def _story(before: NodeRecord, now: NodeRecord, task: Task, view: JobView) -> str:
    if now.status is NodeStatus.RUNNING:
        if before.status is not NodeStatus.RUNNING or before.task_id != now.task_id:
            again = " again" if before.status is not NodeStatus.QUEUED else ""
            return f"runs{again} on {now.host}"
        return ""
    if now.status is not before.status:
        why = now.reason if before.task_id == now.task_id else _last_words(before.task_id, view)
        return f"has stopped: {why}" if why else "has stopped"
    if before.task_id not in (None, now.task_id) and task.is_active:
        return f"is tried again: {_last_words(before.task_id, view)}"
    return ""


def _last_words(task_id: str | None, view: JobView) -> str:
    ended = next((task for task in view.history if task.task_id == task_id), None)
    return (ended.events[-1].message if ended is not None else "") or "it has ended"


def _event(cluster: Cluster, node: NodeRecord, text: str, at: float) -> ClusterEvent:
    operation = cluster.operation.operation_id if cluster.operation is not None else ""
    return ClusterEvent(
        cluster.cluster_id,
        at,
        "node",
        text,
        node=node.name,
        ok=node.status is NodeStatus.RUNNING,
        operation_id=operation,
    )
