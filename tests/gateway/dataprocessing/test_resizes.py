"""Data clusters that change their size, with the fake plugin and no machines."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from framework.model.errors import GatewayError
from gateway.dataprocessing.errors import InvalidReference
from gateway.dataprocessing.status import description_of, status_of
from gateway.dataprocessing.verification import verification_of
from gateway.plugins.exceptions import PluginError
from tests.gateway.dataprocessing.asks import failing, given, group, sizes
from tests.gateway.dataprocessing.world import TENANT, World


def test_the_engine_hears_of_a_resize_when_it_can_see_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.active(world.data.launches.create(TENANT, given()))
    wake, me, seen = world.engine.wake, threading.current_thread(), []

    def hear(cluster_id: str | None = None) -> None:
        if threading.current_thread() is me:
            with ThreadPoolExecutor(1) as other:  # which sees what is stored
                now = other.submit(world.store.clusters.get, made.cluster_id).result()
            seen.append(len(now.nodes))
        wake(cluster_id)

    monkeypatch.setattr(world.engine, "wake", hear)
    more = {"resize_node_groups": [{"name": "worker", "count": 3}]}
    world.data.clusters.scale(TENANT, made.cluster_id, more)
    assert seen[-1] == 4


def test_a_cluster_grows_shrinks_and_loses_a_group(world: World) -> None:
    clusters = world.data.clusters
    made = world.active(world.data.launches.create(TENANT, given()))
    before = verification_of(made)
    up = {
        "resize_node_groups": [{"name": "worker", "count": 3}],
        "add_node_groups": [group("extra", 1)],
    }
    with world.full():
        scaled = clusters.scale(TENANT, made.cluster_id, up)
        assert status_of(scaled) == "Validating"
        with pytest.raises(InvalidReference, match="Cluster cannot be scaled not in 'Active' status"):
            clusters.scale(TENANT, made.cluster_id, up)
    grown = world.active(made)
    assert sizes(grown) == {"master": 1, "worker": 3, "extra": 1}
    assert [n.name.removeprefix(grown.name) for n in grown.nodes[-2:]] == ["-worker-2", "-extra-0"]
    after = verification_of(grown)
    assert before is not None
    assert after is not None
    assert before.id != after.id
    down = {
        "resize_node_groups": [
            {"name": "worker", "count": 2, "instances": [f"{grown.name}-worker-0"]},
            {"name": "extra", "count": 0},
        ]
    }
    clusters.scale(TENANT, made.cluster_id, down)
    shrunk = world.active(made)
    assert [n.name.removeprefix(grown.name) for n in shrunk.nodes] == [
        "-master-0",
        "-worker-1",
        "-worker-2",
    ]
    assert [g.name for g in shrunk.groups] == ["master", "worker"]
    kinds = [step.kind for step in clusters.progress(shrunk)]
    assert kinds.count("Plugin: decommission cluster") == 1
    assert kinds.count("Plugin: scale cluster") == 1
    # A group of the name that is gone may come again.
    clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [group("extra", 1)]})
    assert sizes(world.active(made)) == {"master": 1, "worker": 2, "extra": 1}


def test_a_scaling_that_was_planned_before_another_one_is_not_begun_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters = world.data.clusters
    made = world.active(world.data.launches.create(TENANT, given()))
    plugin = world.plugins.get("fake")
    more = {"resize_node_groups": [{"name": "worker", "count": 3}]}

    def another_first(*_: object) -> None:
        monkeypatch.undo()
        clusters.scale(TENANT, made.cluster_id, more)
        world.active(made)

    monkeypatch.setattr(plugin, "validate_scaling", another_first)
    with pytest.raises(InvalidReference, match="another request has scaled it meanwhile"):
        clusters.scale(TENANT, made.cluster_id, more)
    after = world.active(made)
    assert (sizes(after), after.failed_step) == ({"master": 1, "worker": 3}, "")


def test_a_size_that_is_there_already_is_none_to_change(world: World) -> None:
    made = world.active(world.data.launches.create(TENANT, given()))
    same = {"resize_node_groups": [{"name": "worker", "count": 2}]}
    assert status_of(world.data.clusters.scale(TENANT, made.cluster_id, same)) == "Active"


@pytest.mark.parametrize(
    ("method", "asked", "left"),
    [
        (
            "scale_cluster",
            {"add_node_groups": [group("extra", 1)]},
            {"master": 1, "worker": 2},
        ),
        (
            "decommission_nodes",
            {"resize_node_groups": [{"name": "worker", "count": 1}]},
            {"master": 1, "worker": 2},
        ),
    ],
)
def test_a_scaling_that_fails_leaves_an_active_cluster_that_says_why(
    world: World, method: str, asked: dict[str, Any], left: dict[str, int]
) -> None:
    clusters = world.data.clusters
    made = world.active(world.data.launches.create(TENANT, given(cluster_configs=failing(method))))
    clusters.scale(TENANT, made.cluster_id, asked)
    after = world.active(made)
    assert description_of(after).startswith(f"{method} fails, as the option")
    assert sizes(after) == left
    assert len(world.fleet.names(after.job)) == 3
    assert [step.ok for step in clusters.progress(after)][-1] is False
    again = {"resize_node_groups": [{"name": "master", "count": 1}]}
    clusters.scale(TENANT, made.cluster_id, again)


def test_a_scaling_that_is_refused_leaves_a_cluster_that_says_so_until_the_next(world: World) -> None:
    clusters = world.data.clusters
    configs = failing("validate_scaling")
    made = world.active(world.data.launches.create(TENANT, given(cluster_configs=configs)))
    more = {"resize_node_groups": [{"name": "worker", "count": 3}]}
    with pytest.raises(PluginError, match="validate_scaling fails"):
        clusters.scale(TENANT, made.cluster_id, more)
    after = world.store.clusters.get(made.cluster_id)
    assert status_of(after) == "Active"
    assert description_of(after).startswith("validate_scaling fails, as the option")
    assert sizes(after) == {"master": 1, "worker": 2}
    told = [event.text for event in world.store.events.read(made.cluster_id)]
    assert told[-1].startswith("resize refused: validate_scaling fails")
    # Verified it can be, and the next operation has its own end.
    clusters.change(TENANT, made.cluster_id, {"verification": {"status": "START"}})
    world.clusters.delete(made.cluster_id)
    assert description_of(world.store.clusters.get(made.cluster_id)) == ""


def test_new_groups_are_checked_as_those_of_new_clusters(world: World) -> None:
    made = world.active(world.data.launches.create(TENANT, given()))
    for bad, words in (
        (group("x", 1, flavor_id="9"), "Requested flavor '9' not found"),
        (group("x", 1, "nope"), "doesn't support the following node processes"),
        (group("x" * 50, 1), "Composite hostname"),
        (group("worker", 1), "already has nodegroup"),
    ):
        with pytest.raises(GatewayError, match=words):
            world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [bad]})
    assert sizes(world.active(made)) == {"master": 1, "worker": 2}
