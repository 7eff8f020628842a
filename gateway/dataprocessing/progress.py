"""From what has happened to a cluster to the steps and events that its API shows. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.clusters.model import Cluster, ClusterEvent

# The engine's stages and the plugins' methods that are shown, as (name, kind); the kind of the engine's
# is what it does.
_ENGINE: Mapping[str, str] = {
    "addresses": "Assign IPs",
    "placement": "Create instances",
    "nodes": "Wait for instance accessibility",
    "names": "Configure instances",
    "removal": "Remove instances",
}
_PLUGIN: Mapping[str, tuple[str, str]] = {
    "validate_images": ("Validate images", "Plugin: validate images"),
    "configure_cluster": ("Configure instances", "Plugin: configure cluster"),
    "start_cluster": ("Start the processes", "Plugin: start cluster"),
    "scale_cluster": ("Configure new instances", "Plugin: scale cluster"),
    "decommission_nodes": ("Take instances out of service", "Plugin: decommission cluster"),
}
# Shown when it has failed only: most plugins do nothing there.
_QUIET = {"update_infra": ("Prepare the infrastructure", "Plugin: update infrastructure")}
# The stage in which nodes come.
_CAME = "nodes"
_NAMESPACE = uuid.UUID("5cbd0b5c-7a35-4fd1-a3a2-9a3c2d1d2c53")


class Happening(msgspec.Struct, frozen=True):
    """Something that has happened to a node in a step. ``node`` "": to none in particular."""

    id: str
    at: float
    node: str = ""
    info: str | None = None
    ok: bool = True


class Progress(msgspec.Struct, frozen=True):
    """A step. ``ok`` None: it is under way. ``total``: how many nodes it is about."""

    id: str
    name: str
    kind: str
    total: int
    created_at: float
    updated_at: float | None = None
    ok: bool | None = None
    happenings: tuple[Happening, ...] = ()


def progress(cluster: Cluster, events: Sequence[ClusterEvent]) -> tuple[Progress, ...]:
    """Returns the steps of a cluster's operations, but for its deletion, in their order.

    ``events`` are all of the cluster's. What has happened stands only in steps that have not ended, or
    not well.
    """
    first = next((event.operation_id for event in events if event.operation_id), "")
    nodes: dict[str, dict[str, None]] = {}
    steps: dict[tuple[str, str], list[ClusterEvent]] = {}
    for event in events:
        operation = event.operation_id
        if event.kind == "node" and operation and event.ok is not None:
            nodes.setdefault(operation, {})[event.node] = None
            if event.ok and (operation, "placement") in steps:
                # Where all of them ran before anybody waited for them, nothing else says so.
                steps.setdefault((operation, _CAME), [event])
        if event.kind == "step" and _is_shown(event):
            steps.setdefault((operation, event.step), []).append(event)
    totals = {operation: len(names) for operation, names in nodes.items()}
    if (current := cluster.operation) is not None:
        about = len(cluster.nodes) if current.kind == "create" else len(current.added)
        totals[current.operation_id] = about or len(current.removed)
    return tuple(
        _progress(operation, step, story, operation == first, totals.get(operation, 1) or 1, events)
        for (operation, step), story in steps.items()
    )


def _is_shown(event: ClusterEvent) -> bool:
    if event.step in _QUIET:
        return event.ok is False
    return event.step in _ENGINE or event.step in _PLUGIN


def _progress(
    operation: str,
    step: str,
    story: Sequence[ClusterEvent],
    creates: bool,
    total: int,
    events: Iterable[ClusterEvent],
) -> Progress:
    last = story[-1]
    step_id = _id(operation, step)
    if step in _ENGINE:
        name = _ENGINE[step]
        kind = "Engine: create cluster" if creates else "Engine: scale cluster"
    else:
        name, kind = _PLUGIN[step] if step in _PLUGIN else _QUIET[step]
    happenings: tuple[Happening, ...] = ()
    if last.ok is not True:
        happenings = tuple(_happenings(operation, step_id, story, events))
    return Progress(
        step_id,
        name,
        kind,
        total,
        story[0].at,
        last.at if last is not story[0] or last.ok is not None else None,
        last.ok,
        happenings,
    )


def _happenings(
    operation: str, step_id: str, story: Sequence[ClusterEvent], events: Iterable[ClusterEvent]
) -> Iterable[Happening]:
    """What has been said of nodes since the step began, the last of each, and how the step failed."""
    last: dict[str, ClusterEvent] = {}
    end = story[-1].sequence if story[-1].ok is not None else None
    for event in events:
        mine = event.operation_id == operation and event.sequence >= story[0].sequence
        # What is undone after the step has failed is none of its business.
        mine = mine and (end is None or event.sequence <= end)
        if mine and event.kind == "node" and event.ok is not None:
            last[event.node] = event
    for node, event in last.items():
        ok = event.ok is True
        yield Happening(_id(step_id, node), event.at, node, None if ok else event.text, ok)
    failure = story[-1]
    if failure.ok is False:
        yield Happening(_id(step_id, "failure"), failure.at, "", failure.text, False)


def _id(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))
