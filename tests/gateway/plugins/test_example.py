"""The example of docs/plugins.md: installed as a distribution of its own, found, and used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from typing import Any

import pytest

from gateway.clusters.model import Phase
from gateway.plugins.exceptions import CannotScale, InvalidComponentCount
from gateway.plugins.loader import GROUP, load
from gateway.plugins.remote import Remote
from tests.gateway.plugins.distributions import copy, install
from tests.gateway.plugins.world import World, group, request, view_of


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EntryPoint]]:
    """The entry points of the example, which pip has installed beside the gateway."""
    target = tmp_path_factory.mktemp("installed")
    install(target, copy(tmp_path_factory.mktemp("source")))
    (distribution,) = distributions(path=[str(target)])
    assert distribution.metadata["Name"] == "mesos-gateway-notes"
    sys.path.insert(0, str(target))
    yield list(distribution.entry_points.select(group=GROUP))
    sys.path.remove(str(target))
    for name in [name for name in sys.modules if name.startswith("mesos_gateway_notes")]:
        del sys.modules[name]


def test_it_is_found_and_says_what_can_be(installed: list[EntryPoint]) -> None:
    plugins = load(installed)
    assert not plugins.broken
    plugin = plugins.choose("notes", "1.0").plugin
    assert plugin.get_required_image_tags("1.0") == ["notes", "1.0"]
    desks, readers = group("front", ["desk"]), group("back", ["reader"])
    cluster = view_of(request(("notes", "1.0"), [(desks, 1), (readers, 2)]))
    plugin.validate(cluster)
    plugin.validate_scaling(cluster, {"id-of-back": 3}, {})
    with pytest.raises(CannotScale):
        plugin.validate_scaling(cluster, {"id-of-front": 2}, {})
    with pytest.raises(InvalidComponentCount):
        plugin.validate(view_of(request(("notes", "1.0"), [(readers, 2)])))


def test_a_cluster_of_it_lives(installed: list[EntryPoint], made: World) -> None:
    plugin = load(installed).get("notes")
    made.add("notes", plugin)
    desks, readers = group("front", ["desk"]), group("back", ["reader"])
    configs = {"Notes": {"Greeting": "Welcome"}}
    cluster = made.launch(request(("notes", "1.0"), [(desks, 1), (readers, 2)], configs))
    assert (cluster.phase, cluster.reason) == (Phase.READY, "")
    assert cluster.extra["info"] == {"Notes": {"Desk": "front-0"}}
    assert notes(made, cluster.cluster_id) == {
        "front-0": "Welcome, front-0\n",
        "back-0": "Welcome, back-0\n",
        "back-1": "Welcome, back-1\n",
    }
    assert health_of(plugin, made, cluster.cluster_id) == "the desk has all 2 readers"

    made.clusters.resize(cluster.cluster_id, {"back": 1}, (), "ann")
    assert made.settled(cluster.cluster_id).reason == ""
    assert len(notes(made, cluster.cluster_id)) == 4
    made.clusters.resize(cluster.cluster_id, {}, ("back-0", "back-2"), "ann")
    assert made.settled(cluster.cluster_id).reason == ""
    assert health_of(plugin, made, cluster.cluster_id) == "the desk has all 1 readers"
    made.delete(cluster.cluster_id)


def notes(made: World, cluster_id: str) -> dict[str, str]:
    found = {}
    for one in made.view(cluster_id).node_groups:
        for instance in one.instances:
            with instance.remote() as remote:
                assert isinstance(remote, Remote)
                found[instance.hostname()] = remote.read_file_from("notes/note")
    return found


def health_of(plugin: Any, made: World, cluster_id: str) -> str:
    (health,) = plugin.get_health_checks(made.view(cluster_id))
    return str(health.check())
