"""Verifications of data clusters, asked for and by themselves."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gateway.dataprocessing.verification import CannotVerify, verification_of
from gateway.plugins.exceptions import YellowHealth
from gateway.plugins.health import HealthCheck
from tests.gateway.dataprocessing.asks import given
from tests.gateway.dataprocessing.world import PATIENCE, TENANT, World


def test_a_verification_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = world.data.clusters
    made = world.data.launches.create(TENANT, given())
    start = {"verification": {"status": "START"}}
    with pytest.raises(CannotVerify, match=r"Cannot verify cluster\. Reason: Cluster is not active"):
        clusters.change(TENANT, made.cluster_id, start)
    world.active(made)
    with pytest.raises(CannotVerify, match="with other updates"):
        clusters.change(TENANT, made.cluster_id, {**start, "name": "x"})

    def warm() -> str:
        raise YellowHealth("it is warm")

    def broken() -> str:
        raise ValueError("no such key")

    checks = [HealthCheck("warm", warm), HealthCheck("fine", lambda: "it is fine")]
    monkeypatch.setattr(world.plugins.get("fake"), "get_health_checks", lambda cluster: checks)
    clusters.change(TENANT, made.cluster_id, start)
    seen = verification_of(world.active(made))
    assert seen is not None
    assert (seen.status, [(c.name, c.status, c.description) for c in seen.checks[1:]]) == (
        "YELLOW",
        [("warm", "YELLOW", "it is warm"), ("fine", "GREEN", "it is fine")],
    )
    checks.append(HealthCheck("broken", broken))
    clusters.change(TENANT, made.cluster_id, start)
    seen = verification_of(world.active(made))
    assert seen is not None
    assert (seen.status, seen.checks[-1].status) == ("RED", "RED")
    assert "no such key" in seen.checks[-1].description


def test_a_plugin_whose_checks_are_none_holds_up_no_other_cluster(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exits() -> str:
        raise SystemExit(3)

    def half() -> str:
        return "no file \udcff"

    class Silent:
        def __str__(self) -> str:
            raise ValueError("no words")

    made = world.active(world.data.launches.create(TENANT, given()))
    start = {"verification": {"status": "START"}}
    checks: list[object] = [42]
    monkeypatch.setattr(world.plugins.get("fake"), "get_health_checks", lambda cluster: checks)
    world.data.clusters.change(TENANT, made.cluster_id, start)
    seen = verification_of(world.active(made))
    assert seen is not None
    assert (seen.status, seen.checks[-1].description) == (
        "RED",
        "get_health_checks of the plugin fake has returned 42, which is no HealthCheck",
    )
    checks[:] = [
        HealthCheck("exits", exits),
        HealthCheck("half", half),
        HealthCheck("silent", lambda: Silent()),  # type: ignore[arg-type, return-value]
    ]
    world.data.clusters.change(TENANT, made.cluster_id, start)
    seen = verification_of(world.active(made))
    assert seen is not None
    assert [(check.status, check.description) for check in seen.checks[1:]] == [
        ("RED", "the check 'exits' has failed: SystemExit: 3"),
        ("GREEN", "no file ?"),
        ("RED", "the check 'silent' has failed: ValueError: no words"),
    ]


def test_one_verification_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def slow() -> str:
        free.wait(PATIENCE)
        return "at last"

    made = world.active(world.data.launches.create(TENANT, given()))
    slow_check = [HealthCheck("slow", slow)]
    monkeypatch.setattr(world.plugins.get("fake"), "get_health_checks", lambda cluster: slow_check)
    start = {"verification": {"status": "START"}}
    world.data.clusters.change(TENANT, made.cluster_id, start)
    with pytest.raises(CannotVerify, match="verification in state CHECKING"):
        world.data.clusters.change(TENANT, made.cluster_id, start)
    free.set()
    world.active(made)


def test_a_verification_that_hangs_holds_up_no_other_cluster(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, asked = threading.Event(), threading.Event()

    def checks(cluster: Any) -> list[HealthCheck]:
        return [HealthCheck("hangs", hang)] if cluster.id == made.cluster_id else []

    def hang() -> str:
        asked.set()
        free.wait(PATIENCE)
        return "at last"

    made = world.active(world.data.launches.create(TENANT, given()))
    other = world.active(world.data.launches.create(TENANT, given()))
    monkeypatch.setattr(world.plugins.get("fake"), "get_health_checks", checks)
    start = {"verification": {"status": "START"}}
    world.data.clusters.change(TENANT, made.cluster_id, start)
    assert asked.wait(PATIENCE)
    world.data.clusters.change(TENANT, other.cluster_id, start)
    seen = verification_of(world.active(other))
    assert seen is not None
    assert seen.status == "GREEN"
    assert not free.is_set()
    last = verification_of(world.store.clusters.get(made.cluster_id))
    assert last is not None
    assert last.status == "CHECKING"
    free.set()
    seen = verification_of(world.active(made))
    assert seen is not None
    assert seen.checks[-1].description == "at last"
