"""What an operation consists of, and what is to be done next. Pure: values in, an action out.

An operation is a row of stages. Each is done again after a crash unless it is known to be done, so none
does harm when it is repeated. When one fails, the operation has another row: what undoes it.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Literal

import msgspec

from framework.core.messages import InstanceState, JobView
from framework.model.tasks import Task, TaskState
from gateway.clusters.model import Cluster, NodeRecord, Operation, Phase
from gateway.clusters.provider import Moment

Does = Literal["take", "place", "nodes", "provide", "hosts", "remove", "kill", "gone", "end"]
Whose = Literal["all", "added", "removed"]


class Stage(msgspec.Struct, frozen=True):
    """``whose`` nodes it is about. ``phase`` is the cluster's while it is under way, ``after`` when it
    is done; None: as it is. ``moment`` is when the provider does it."""

    name: str
    does: Does
    whose: Whose = "all"
    phase: Phase | None = None
    after: Phase | None = None
    moment: Moment = "planned"


_P = Phase
_CREATE = (
    Stage("addresses", "take", phase=_P.SCHEDULING),
    Stage("planned", "provide", phase=_P.SCHEDULING, moment="planned"),
    Stage("placement", "place", phase=_P.SCHEDULING),
    Stage("nodes", "nodes", phase=_P.SCHEDULING, after=_P.SCHEDULED),
    Stage("placed", "provide", phase=_P.CONFIGURING, after=_P.CONFIGURED, moment="placed"),
    Stage("end", "end", after=_P.READY),
)
_RESIZE = (
    Stage("addresses", "take", "added"),
    Stage("placement", "place", "added"),
    Stage("nodes", "nodes", "added"),
    Stage("names", "hosts"),
    Stage("resized", "provide", "added", moment="resized"),
    Stage("shrinking", "provide", "removed", moment="shrinking"),
    Stage("removal", "remove", "removed"),
    Stage("removed", "gone", "removed"),
    Stage("names without them", "hosts"),
    Stage("end", "end", after=_P.READY),
)
# Plugins rely on it that nodes have gone before others come.
_RESIZE_OF_PLUGIN = (
    Stage("shrinking", "provide", "removed", moment="shrinking"),
    Stage("removal", "remove", "removed"),
    Stage("removed", "gone", "removed"),
    Stage("addresses", "take", "added"),
    Stage("placement", "place", "added"),
    Stage("nodes", "nodes", "added"),
    Stage("names", "hosts"),
    Stage("resized", "provide", "added", moment="resized"),
    Stage("end", "end", after=_P.READY),
)
_RUN = (Stage("run", "provide", moment="run"), Stage("end", "end"))
_DELETE = (
    Stage("deleting", "provide", moment="deleting"),
    Stage("kill", "kill"),
    Stage("gone", "gone"),
    Stage("end", "end", after=_P.DELETED),
)
# By the operation's kind, or, before that, by this and the cluster's provider.
COURSES = MappingProxyType(
    {
        "create": _CREATE,
        "resize": _RESIZE,
        "resize/plugin": _RESIZE_OF_PLUGIN,
        "run": _RUN,
        "delete": _DELETE,
    }
)
UNDOING = MappingProxyType(
    {
        "create": (
            Stage("kill", "kill"),
            Stage("gone", "gone"),
            Stage("end", "end", after=_P.FAILED),
        ),
        "resize": (
            Stage("withdrawal", "remove", "added"),
            Stage("withdrawn", "gone", "added"),
            Stage("names as before", "hosts"),
            Stage("end", "end", after=_P.READY),
        ),
        "run": (Stage("end", "end"),),
        # A deletion fails never: it goes on.
        "delete": _DELETE,
    }
)


class Limits(msgspec.Struct, frozen=True):
    """``place_secs``: how long all nodes may take to run. ``most_failures``: so often a node may fail
    before it has run together with the others. ``deleting_secs``: what the provider has at most for
    each step before the nodes go. ``history_secs``: how long what has been deleted is remembered,
    ``history_size``: and how many such clusters at most."""

    place_secs: float = 1800.0
    most_failures: int = 3
    deleting_secs: float = 300.0
    history_secs: float = 30 * 86_400.0
    history_size: int = 10_000


class Sight(msgspec.Struct, frozen=True):
    """What is known besides the cluster: its job (None: there is none), the provider's steps for the
    stage, the one that is under way (""), the time."""

    view: JobView | None
    now: float
    steps: tuple[str, ...] = ()
    running: str = ""


# -- what is to be done ---------------------------------------------------------------------------


class Action(msgspec.Struct, frozen=True):
    """What is to be done next with a cluster."""


class Rest(Action, frozen=True):
    """Nothing until something happens, or until that time."""

    until: float | None = None


class Do(Action, frozen=True):
    """Carry the stage out, then look again."""

    stage: Stage


class Provide(Action, frozen=True):
    """Have the provider do a step, or hosts be written, in a thread of its own."""

    stage: Stage
    step: str


class Wait(Action, frozen=True):
    """The stage is under way and needs nothing."""

    stage: Stage
    until: float | None = None


class Pass(Action, frozen=True):
    """The stage is done."""

    stage: Stage


class Fail(Action, frozen=True):
    """The operation fails at this step, and what was done before it is undone."""

    step: str
    reason: str


def stage_of(cluster: Cluster) -> Stage | None:
    """Returns the stage that the cluster's operation is in; None if there is no operation."""
    operation = cluster.operation
    if operation is None:
        return None
    return next(stage for stage in course_of(cluster, operation) if stage.name not in operation.done)


def course_of(cluster: Cluster, operation: Operation) -> tuple[Stage, ...]:
    """Returns the stages of an operation, or of undoing it."""
    if cluster.failed_step:
        return UNDOING[operation.kind]
    return COURSES.get(f"{operation.kind}/{cluster.provider}", COURSES[operation.kind])


def decide(cluster: Cluster, sight: Sight, limits: Limits) -> Action:
    """Returns what is to be done next for a cluster."""
    stage = stage_of(cluster)
    if stage is None:
        return Rest(None if cluster.is_gone or cluster.deleting else cluster.expires_at)
    nodes = nodes_of(cluster, stage)
    match stage.does:
        case "take":
            return Do(stage) if nodes else Pass(stage)
        case "place":
            wanted = sight.view.job.wanted if sight.view is not None else {}
            # Also if nodes are to be added and none are: there is nothing to place.
            placed = all(node.index in wanted for node in nodes)
            return Pass(stage) if placed else Do(stage)
        case "nodes":
            return _await_nodes(cluster, stage, sight, limits)
        case "provide" | "hosts":
            return _provide(cluster, stage, nodes, sight, limits)
        case "remove" | "kill":
            return Do(stage) if _alive(stage, nodes, sight.view) else Pass(stage)
        case "gone":
            return _await_end(stage, nodes, sight)
        case "end":
            return Do(stage)


def nodes_of(cluster: Cluster, stage: Stage) -> tuple[NodeRecord, ...]:
    """Returns the nodes that the stage is about."""
    operation = cluster.operation
    if stage.whose == "all" or operation is None:
        return cluster.nodes
    names = operation.added if stage.whose == "added" else operation.removed
    return tuple(node for node in cluster.nodes if node.name in names)


def tasks_of(view: JobView | None) -> dict[int, InstanceState]:
    """Returns the present or last task of each instance."""
    return {} if view is None else {state.task.instance: state for state in view.instances}


def is_ours(cluster: Cluster, view: JobView) -> bool:
    """Whether a job is the cluster's, and not somebody else's of the same name."""
    mark = ("cluster", cluster.key)
    tasks = (*(state.task for state in view.instances), *view.history)
    configs = (*view.job.wanted.values(), *(task.config for task in tasks))
    return any(mark in config.metadata for config in configs)


def _provide(
    cluster: Cluster, stage: Stage, nodes: Collection[NodeRecord], sight: Sight, limits: Limits
) -> Action:
    if sight.running:
        return Wait(stage)
    assert cluster.operation is not None
    pointless = not nodes
    if stage.moment == "deleting" and stage.does == "provide":
        # What never ran needs no farewell.
        pointless = not any(state.task.is_active for state in tasks_of(sight.view).values())
    for step in () if pointless else sight.steps:
        if f"{stage.name}/{step}" in cluster.operation.done:
            continue
        if stage.moment in ("placed", "resized"):
            # A node that has died since it ran comes back: nobody can configure it before.
            waits = _await_nodes(cluster, stage, sight, limits)
            if isinstance(waits, Wait):
                return waits
        return Provide(stage, step)
    return Pass(stage)


def _await_nodes(cluster: Cluster, stage: Stage, sight: Sight, limits: Limits) -> Action:
    """Waits until all nodes run: those that are added, and of a new cluster all of them."""
    nodes, states = nodes_of(cluster, stage), tasks_of(sight.view)
    wanted = sight.view.job.wanted if sight.view is not None else {}
    waiting: list[NodeRecord] = []
    for node in nodes:
        state = states.get(node.index)
        if node.index not in wanted:
            return Fail(stage.name, f"node {node.name}: somebody else has killed it")
        if state is not None and state.task.state is TaskState.RUNNING:
            continue
        if state is not None and _failures(state.task) >= limits.most_failures:
            why = _last_words(state.task, sight.view)
            return Fail(stage.name, f"node {node.name} has failed {limits.most_failures} times: {why}")
        waiting.append(node)
    if not waiting:
        return Pass(stage)
    assert cluster.operation is not None
    began = cluster.operation.started_at
    if sight.view is not None and stage.whose == "all":
        began = max(began, sight.view.job.created_at)
    if sight.now < began + limits.place_secs:
        return Wait(stage, began + limits.place_secs)
    return Fail(stage.name, _still_waiting(waiting, states, len(nodes), limits))


def _still_waiting(
    waiting: list[NodeRecord], states: dict[int, InstanceState], total: int, limits: Limits
) -> str:
    first = states.get(waiting[0].index)
    why = "; ".join(dict.fromkeys(reason.reason for reason in first.pending)) if first else ""
    if first is not None and not why:
        why = f"{first.task.state.value.lower()} {first.task.events[-1].message}".strip()
    return (
        f"{len(waiting)} of {total} nodes do not run after {limits.place_secs:g} s; "
        f"{waiting[0].name}: {why or 'no task'}"
    )


def _failures(task: Task) -> int:
    """How often the node has failed: its tries before this one, and this one."""
    return task.failures + (task.state is TaskState.FAILED)


def _last_words(task: Task, view: JobView | None) -> str:
    """Returns what was said of the node's last failure."""
    history = view.history if view is not None else ()
    ended = [task, *(t for t in history if t.instance == task.instance)]
    failed = (t for t in ended if t.state is TaskState.FAILED)
    last = next(failed, None)
    return (last.events[-1].message if last is not None else "") or "its process has ended"


def _alive(stage: Stage, nodes: Collection[NodeRecord], view: JobView | None) -> bool:
    """Whether there is something to kill of these nodes: a task, or the wish for one."""
    if view is None:
        return False
    active = {state.task.instance for state in view.instances if state.task.is_active}
    if stage.whose == "all":
        return bool(active or view.job.wanted)
    return any(node.index in active or node.index in view.job.wanted for node in nodes)


def _await_end(stage: Stage, nodes: Collection[NodeRecord], sight: Sight) -> Action:
    if not _alive(stage, nodes, sight.view):
        return Pass(stage)
    assert sight.view is not None
    wanted = sight.view.job.wanted
    again = bool(wanted) if stage.whose == "all" else any(node.index in wanted for node in nodes)
    # Somebody has brought something back meanwhile.
    return Do(stage) if again else Wait(stage)
