"""What plugins do, and say, when data clusters call them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from framework.model.errors import Invalid, Unavailable
from gateway.dataprocessing.status import status_of
from gateway.plugins.calls import PluginCalls
from gateway.plugins.exceptions import PluginError
from gateway.plugins.loader import Plugins
from tests.gateway.dataprocessing.asks import given
from tests.gateway.dataprocessing.world import TENANT, World


def overridden(world: World, monkeypatch: pytest.MonkeyPatch, **methods: Callable[..., object]) -> None:
    """Has the fake plugin do other things, as a class of its own: what it offers is looked up there."""
    plugin = type("Overridden", (type(world.plugins.get("fake")),), methods)()
    monkeypatch.setattr(world.data.plugins, "plugins", Plugins.of({"fake": plugin}))


def test_calls_of_plugins_have_a_time() -> None:
    free = threading.Event()
    calls = PluginCalls(0.05, most=1)
    with pytest.raises(Unavailable, match=r"validate has not ended within 0.05 s"):
        calls.call("slow", "validate", lambda: free.wait(120))
    with pytest.raises(Unavailable, match="too many calls of the plugin slow have not ended"):
        calls.call("slow", "validate", lambda: 1)
    # One that hangs keeps no other from its work, which has all the time that it needs.
    calls._seconds = 60.0
    assert calls.call("other", "validate", lambda: 1) == 1
    free.set()


def test_what_plugins_raise_is_said() -> None:
    calls = PluginCalls(60.0)
    with pytest.raises(Invalid, match="validate has failed: KeyError: 'x'"):
        calls.call("fake", "validate", lambda: {}["x"])  # type: ignore[misc]
    assert calls.call("fake", "validate", lambda: 7) == 7


def test_a_plugin_that_wants_to_exit_has_failed() -> None:
    with pytest.raises(Invalid, match="validate has failed: SystemExit: 3"):
        PluginCalls(60.0).call("fake", "validate", lambda: sys.exit(3))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SystemExit(3), "configure_cluster of the plugin fake failed: SystemExit: 3"),
        (KeyError("namenode"), "configure_cluster of the plugin fake failed: KeyError: 'namenode'"),
        (PluginError("no file \udcff"), "no file ?"),
        (PluginError("x" * 20_000), "x" * 16_384),
    ],
)
def test_whatever_a_plugin_raises_ends_its_step(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException, sentence: str
) -> None:
    def configure(cluster: Any) -> None:
        raise error

    monkeypatch.setattr(world.plugins.get("fake"), "configure_cluster", configure)
    made = world.data.launches.create(TENANT, given())
    failed = world.wait(made, lambda c: status_of(c) == "Error" and not c.is_busy)
    assert failed.reason == sentence


def test_a_cluster_that_its_plugin_does_not_advise_stays_with_its_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recommend(self: Any, cluster: Any, scaling: bool = False) -> None:
        raise PluginError("a worker of 64 MiB cannot be advised")

    overridden(world, monkeypatch, recommend_configs=recommend)
    asked = given()
    with pytest.raises(PluginError, match="cannot be advised"):
        world.data.launches.create(TENANT, asked)
    (kept,) = world.store.clusters.named(TENANT, asked["name"])
    assert (status_of(kept), kept.reason) == ("Error", "a worker of 64 MiB cannot be advised")


def test_a_refusal_that_cannot_be_stored_as_it_is_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cluster: Any, *sizes: Any) -> None:
        raise PluginError("no file \udcff")

    made = world.active(world.data.launches.create(TENANT, given()))
    monkeypatch.setattr(world.plugins.get("fake"), "validate", refuse)
    monkeypatch.setattr(world.plugins.get("fake"), "validate_scaling", refuse)
    asked = given()
    with pytest.raises(PluginError, match="no file"):
        world.data.launches.create(TENANT, asked)
    (kept,) = world.store.clusters.named(TENANT, asked["name"])
    assert (status_of(kept), kept.reason) == ("Error", "no file ?")
    more = {"resize_node_groups": [{"name": "worker", "count": 3}]}
    with pytest.raises(PluginError, match="no file"):
        world.data.clusters.scale(TENANT, made.cluster_id, more)
    assert world.store.clusters.get(made.cluster_id).reason == "no file ?"


def test_advice_of_plugins_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def recommend(self: Any, cluster: Any, scaling: bool = False) -> dict[str, Any]:
        seen.append(cluster.node_groups[1].count)
        return {"cluster_configs": {"general": {"Delay": 0}}}

    overridden(world, monkeypatch, recommend_configs=recommend)
    made = world.data.launches.create(TENANT, given())
    assert (made.extra["cluster_configs"], seen) == ({"general": {"Delay": 0}}, [2])
    left = world.data.launches.create(TENANT, given(use_autoconfig=False))
    assert (left.extra["cluster_configs"], len(seen)) == ({}, 1)


@pytest.mark.parametrize("method", ["validate", "recommend_configs"])
def test_a_cluster_at_which_its_plugin_breaks_is_kept_with_what_happened(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(self: Any, cluster: Any, scaling: bool = False) -> None:
        raise KeyError("namenode")

    overridden(world, monkeypatch, **{method: fail})
    asked = given()
    with pytest.raises(Invalid, match="KeyError"):
        world.data.launches.create(TENANT, asked)
    (kept,) = world.store.clusters.named(TENANT, asked["name"])
    sentence = f"{method} of the plugin fake has failed: KeyError: 'namenode'"
    assert (status_of(kept), kept.reason) == ("Error", sentence)
