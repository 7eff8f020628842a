"""The words for how far a cluster is, along every way that the engine goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from framework.core.messages import PendingReason
from gateway.clusters.course import course_of, nodes_of, stage_of
from gateway.clusters.model import Cluster, NodeStatus, Operation, Phase
from gateway.clusters.phases import move
from gateway.clusters.requests import with_delete, with_resize, without_nodes
from gateway.dataprocessing.status import (
    CREATING,
    DELETING,
    SCALING,
    UNDOING,
    VALIDATION,
    description_of,
    status_of,
    waiting_of,
)
from tests.gateway.dataprocessing.samples import a_cluster, group

STEPS = {
    "planned": ("update_infra",),
    "placed": ("validate_images", "configure_cluster", "start_cluster"),
    "resized": ("scale_cluster",),
    "shrinking": ("decommission_nodes",),
    "deleting": ("on_terminate_cluster",),
}
replace = msgspec.structs.replace


def ready() -> Cluster:
    *_, last = way(a_cluster())
    return last


def with_status(cluster: Cluster, names: set[str], status: NodeStatus) -> Cluster:
    nodes = (replace(n, status=status) if n.name in names else n for n in cluster.nodes)
    return replace(cluster, nodes=tuple(nodes))


def done(cluster: Cluster, name: str) -> Cluster:
    assert cluster.operation is not None
    operation = replace(cluster.operation, done=(*cluster.operation.done, name))
    return replace(cluster, operation=operation)


def way(cluster: Cluster, fail_at: int | None = None) -> Iterator[Cluster]:
    """Yields the cluster at each thing that the engine stores until its operation is over.

    ``fail_at``: after so many of them, what is under way fails, and is undone.
    """
    yield cluster
    for number in itertools.count():
        stage = stage_of(cluster)
        if stage is None:
            return
        assert number < 100
        if number == fail_at:
            assert cluster.operation is not None
            operation = replace(cluster.operation, done=())
            cluster = replace(
                cluster,
                operation=operation,
                failed_step="it",
                failed_in=cluster.phase,
                reason="why",
                step="",
            )
            yield cluster
            continue
        nodes = {node.name for node in nodes_of(cluster, stage)}
        if stage.does == "end":
            cluster = replace(move(cluster, stage.after or cluster.phase), operation=None, step="")
            yield cluster
            return
        if nodes:
            cluster = replace(move(cluster, stage.phase or cluster.phase), step=stage.name)
            yield cluster
        if stage.does == "nodes" and nodes:
            # One after the other runs; the first one stops meanwhile.
            for name in sorted(nodes):
                cluster = with_status(cluster, {name}, NodeStatus.RUNNING)
                yield cluster
                cluster = with_status(cluster, {min(nodes)}, NodeStatus.STOPPED)
                yield cluster
            cluster = with_status(cluster, nodes, NodeStatus.RUNNING)
        if stage.does == "provide" and nodes:
            for step in STEPS[stage.moment]:
                cluster = replace(cluster, step=step)
                yield cluster
                cluster = done(cluster, f"{stage.name}/{step}")
                yield cluster
        if stage.does == "gone" and stage.whose != "all":
            cluster = without_nodes(cluster, sorted(nodes))
        cluster = done(cluster, stage.name)
        for phase in (stage.phase, stage.after):
            cluster = cluster if phase is None else move(cluster, phase)
        yield cluster


def words(clusters: Iterator[Cluster]) -> list[str]:
    """The words in their order, each once for as long as it lasts."""
    return [word for word, _ in itertools.groupby(status_of(cluster) for cluster in clusters)]


def in_order(found: list[str], order: tuple[str, ...]) -> bool:
    places = [order.index(word) for word in found]
    return places == sorted(set(places))


def resized(add: dict[str, int], remove: list[str]) -> Cluster:
    return with_resize(ready(), add, remove, "ann", 2000.0, lambda: "op")


def test_a_cluster_is_created() -> None:
    assert words(way(a_cluster())) == list(CREATING)


GROWTH = [word for word in SCALING if word != "Decommissioning"]
SHRINKING = [word for word in SCALING if word != "Configuring"]


@pytest.mark.parametrize(
    ("add", "remove", "expected"),
    [
        ({"worker": 2}, [], GROWTH),
        ({}, ["c1-worker-1"], SHRINKING),
        ({"worker": 2}, ["c1-worker-0"], list(SCALING)),
        ({"master": 1, "worker": 1}, ["c1-worker-0", "c1-worker-1"], list(SCALING)),
    ],
)
def test_a_cluster_is_scaled(add: dict[str, int], remove: list[str], expected: list[str]) -> None:
    found = words(way(resized(add, remove)))
    assert in_order(found, SCALING)
    passed_over = {"Scaling", "Scaling: Spawning", "Scaling: Waiting"}
    assert [word for word in expected if word in found] == found
    assert set(expected) - set(found) <= passed_over


def test_a_creation_that_fails_is_an_error_at_once_and_stays_one() -> None:
    total = sum(1 for _ in way(a_cluster()))
    for fail_at in range(total):
        states = list(way(a_cluster(), fail_at))
        found = words(iter(states))
        if states[-1].phase is Phase.READY:
            continue  # it was over before
        assert found[-1] == "Error"
        assert in_order(found[:-1], CREATING)
        assert description_of(states[-1]) == ("Creating cluster failed for the following reason(s): why")


@pytest.mark.parametrize(
    ("add", "remove"), [({"worker": 2}, []), ({}, ["c1-worker-1"]), ({"worker": 2}, ["c1-worker-0"])]
)
def test_a_scaling_that_fails_ends_active_and_says_why(add: dict[str, int], remove: list[str]) -> None:
    cluster = resized(add, remove)
    total = sum(1 for _ in way(cluster))
    failed = 0
    for fail_at in range(total):
        states = list(way(cluster, fail_at))
        if not states[-1].failed_step:
            continue
        failed += 1
        at = next(n for n, state in enumerate(states) if state.failed_step)
        assert in_order(words(iter(states[:at])), SCALING)
        assert in_order(words(iter(states[at:])), UNDOING)
        assert (status_of(states[-1]), description_of(states[-1])) == ("Active", "why")
    assert failed > 3


def test_a_cluster_that_is_deleted_is_so_whatever_it_was() -> None:
    for cluster in (*way(a_cluster()), *way(resized({"worker": 1}, [])), *way(a_cluster(), 5)):
        deleted = with_delete(cluster, "ann", 3000.0, lambda: "op")
        assert set(words(way(deleted))) == {DELETING}
        assert description_of(deleted) == ""


def test_a_cluster_that_its_plugin_refused_says_so_alone() -> None:
    cluster = a_cluster(
        phase=Phase.FAILED,
        operation=None,
        failed_step=VALIDATION,
        failed_in=Phase.REGISTERED,
        reason="too few",
    )
    assert (status_of(cluster), description_of(cluster)) == ("Error", "too few")


def test_plugins_nodes_go_before_others_come() -> None:
    cluster = resized({"worker": 1}, ["c1-worker-0"])
    assert isinstance(cluster.operation, Operation)
    names = [stage.name for stage in course_of(cluster, cluster.operation)]
    assert names.index("removed") < names.index("addresses") < names.index("resized")


def test_a_group_goes_with_its_last_node() -> None:
    cluster = a_cluster(group("master", 1, "namenode"), group("worker", 2))
    left = without_nodes(cluster, ["c1-worker-0", "c1-worker-1"])
    assert [one.name for one in left.groups] == ["master"]
    assert [one.name for one in without_nodes(cluster, ["c1-worker-0"]).groups] == ["master", "worker"]


def test_instances_without_a_place_say_what_they_wait_for() -> None:
    cluster = a_cluster(group("worker", 3))
    reasons = (PendingReason("mem: needs 512 MiB", 2), PendingReason("now 1 of 2 fit", 0))
    waits = {"c1-worker-1": reasons, "c1-worker-2": (PendingReason("no offers", 0),)}
    assert waiting_of(cluster, waits) == (
        "2 of 3 instances wait; c1-worker-1: mem: needs 512 MiB (agents: 2); now 1 of 2 fit"
    )
    assert waiting_of(cluster, {}) == ""
