"""Data clusters from their requests to their end, with the fake plugin and no machines."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import msgspec
import pytest

from framework.model.errors import GatewayError, Invalid, Unavailable
from gateway.clusters import keys
from gateway.clusters.model import Cluster, Phase
from gateway.dataprocessing.calls import PluginCalls
from gateway.dataprocessing.errors import (
    DeletionFailed,
    DuplicateEntry,
    InvalidData,
    InvalidReference,
    NameExists,
    NoSuchObject,
    NotThere,
    UpdateFailed,
)
from gateway.dataprocessing.status import description_of, status_of
from gateway.dataprocessing.verification import CannotVerify, verification_of
from gateway.plugins.exceptions import PluginError, YellowHealth
from gateway.plugins.health import HealthCheck
from gateway.plugins.loader import Plugins
from tests.gateway.clusters.doubles import a_request
from tests.gateway.dataprocessing.world import IMAGE_ID, NETWORK, OTHER, PLAIN_ID, TENANT, World

_numbers = itertools.count(1)


def given(**fields: Any) -> dict[str, Any]:
    """A request for a cluster of a master and two workers, with a name of its own."""
    return {
        "name": f"c{next(_numbers)}",
        "plugin_name": "fake",
        "hadoop_version": "0.1",
        "default_image_id": IMAGE_ID,
        "neutron_management_network": NETWORK,
        "node_groups": [group("master", 1, "namenode"), group("worker", 2, "datanode")],
        **fields,
    }


def group(name: str, count: int, *processes: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "count": count,
        "flavor_id": "42",
        "node_processes": list(processes or ("datanode",)),
        **fields,
    }


def failing(method: str) -> dict[str, Any]:
    return {"general": {"Fail at": method}}


def sizes(cluster: Cluster) -> dict[str, int]:
    return {g.name: sum(n.group == g.name for n in cluster.nodes) for g in cluster.groups}


# -- creation -------------------------------------------------------------------------------------


def test_a_cluster_becomes_active_and_is_verified(world: World) -> None:
    made = world.data.clusters.create(TENANT, given(user_keypair_id="demo-key"), "ann")
    assert status_of(made) == "Validating"
    cluster = world.active(made)
    assert sizes(cluster) == {"master": 1, "worker": 2}
    assert [n.name.removeprefix(cluster.name) for n in cluster.nodes] == [
        "-master-0",
        "-worker-0",
        "-worker-1",
    ]
    seen = verification_of(cluster)
    assert seen is not None
    assert (seen.status, [(c.name, c.status, c.description) for c in seen.checks]) == (
        "GREEN",
        [("Check of instances accessibility", "GREEN", "All instances are available")],
    )
    steps = world.data.clusters.progress(cluster)
    assert [(step.kind, step.total, step.ok, step.happenings) for step in steps] == [
        ("Engine: create cluster", 3, True, ()),
        ("Engine: create cluster", 3, True, ()),
        ("Engine: create cluster", 3, True, ()),
        ("Plugin: configure cluster", 3, True, ()),
        ("Plugin: start cluster", 3, True, ()),
    ]


def test_nodes_let_their_user_and_the_gateway_in(world: World) -> None:
    cluster = world.active(world.data.clusters.create(TENANT, given(user_keypair_id="demo-key")))
    secret = world.store.secrets.get(cluster.cluster_id, keys.SECRET)
    assert secret is not None
    management = keys.user_key(secret).public
    assert cluster.extra["management_public_key"] == management
    view = world.fleet.look(cluster.job)
    assert view is not None
    for config in view.job.wanted.values():
        assert config.node is not None
        allowed = next(f for f in config.node.files if f.path.endswith("authorized_keys"))
        assert allowed.text == f"{management}ssh-ed25519 AAAAuser demo\n"


def test_a_cluster_is_made_from_templates(world: World) -> None:
    data = world.data
    ngt = data.node_group_templates.create(
        TENANT,
        {
            "name": "w-template",
            "plugin_name": "fake",
            "hadoop_version": "0.1",
            "flavor_id": "42",
            "node_processes": ["datanode"],
            "volumes_per_node": 0,
        },
    )
    template = data.cluster_templates.create(
        TENANT,
        {
            "name": "ct",
            "plugin_name": "fake",
            "hadoop_version": "0.1",
            "description": "small",
            "default_image_id": IMAGE_ID,
            "neutron_management_network": NETWORK,
            "node_groups": [{"name": "worker", "count": 2, "node_group_template_id": ngt.id}],
        },
    )
    asked = {
        "name": "from-template",
        "plugin_name": "fake",
        "hadoop_version": "0.1",
        "cluster_template_id": template.id,
    }
    first = data.clusters.create(TENANT, asked)
    second = data.clusters.create(TENANT, {**asked, "name": "from-template-2"})
    assert (first.extra["description"], sizes(first)) == ("small", {"worker": 2})
    ids = {one.groups[0].extra["id"] for one in (first, second)} | {template.node_groups[0].id}
    assert len(ids) == 3
    with pytest.raises(InvalidReference, match="in use by from-template"):
        data.cluster_templates.delete(TENANT, template.id)
    for one in (first, second):
        data.clusters.delete(TENANT, one.cluster_id)
        world.gone(one)
    data.cluster_templates.delete(TENANT, template.id)


def test_several_clusters_are_created_at_once_or_none(world: World) -> None:
    made = world.data.clusters.create_many(TENANT, given(name="many", count=10))
    assert [c.name for c in made][::9] == ["many-01", "many-10"]
    assert len({c.groups[0].extra["id"] for c in made}) == 10
    world.active(made[-1])
    for one in made[:2]:
        world.data.clusters.delete(TENANT, one.cluster_id)
        world.gone(one)
    with pytest.raises(NameExists, match="Cluster with name 'many-03' already exists"):
        world.data.clusters.create_many(TENANT, given(name="many", count=10))
    assert "many-01" not in {c.name for c in world.data.clusters.find(TENANT)}
    with pytest.raises(InvalidData, match="100 at most"):
        world.data.clusters.create_many(TENANT, given(count=101))
    for one in made[2:]:
        world.data.clusters.delete(TENANT, one.cluster_id)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"default_image_id": None}, NotThere, "'default_image_id' field is not found"),
        ({"neutron_management_network": None}, NotThere, "'neutron_management_network' field is not"),
        ({"neutron_management_network": IMAGE_ID}, NotThere, "Network aaaaaaaa.* not found"),
        ({"user_keypair_id": "nope"}, NotThere, "Requested keypair 'nope' not found"),
        ({"cluster_template_id": IMAGE_ID}, NotThere, "Cluster template with id 'aaaaaaaa.*' not found"),
        ({"default_image_id": PLAIN_ID}, InvalidReference, "is not registered"),
        ({"name": "c" * 50}, InvalidData, "Composite hostname"),
        ({"cluster_configs": {"HDFS": {"x": 1}}}, InvalidReference, "doesn't contain config"),
        ({"anti_affinity": ["nope"]}, InvalidReference, "doesn't support the following node processes"),
        ({"node_groups": [group("w", 1, flavor_id="9")]}, NotThere, "Requested flavor '9' not found"),
        ({"node_groups": [group("w", 1), group("w", 1)]}, InvalidData, "Duplicates in node group names"),
        ({"node_groups": [group("w", 0)]}, Invalid, "at least one node"),
        ({"node_groups": []}, Invalid, "at least one node"),
        ({"node_groups": [group("w", 10**12)]}, InvalidData, "500 at most"),
        ({"plugin_name": "nope"}, PluginError, "no plugin with name 'nope'"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    world: World, fields: dict[str, Any], error: type[GatewayError], words: str
) -> None:
    asked = given(**fields)
    with pytest.raises(error, match=words):
        world.data.clusters.create(TENANT, asked)
    assert asked["name"] not in {cluster.name for cluster in world.data.clusters.find(TENANT)}


def test_what_the_plugin_refuses_is_kept_with_its_error(world: World) -> None:
    asked = given(cluster_configs=failing("validate"))
    with pytest.raises(PluginError, match="validate fails"):
        world.data.clusters.create(TENANT, asked)
    kept = next(c for c in world.data.clusters.find(TENANT) if c.name == asked["name"])
    assert status_of(kept) == "Error"
    assert description_of(kept).startswith("validate fails")
    with pytest.raises(NameExists):
        world.data.clusters.create(TENANT, {**asked, "cluster_configs": {}})
    world.data.clusters.delete(TENANT, kept.cluster_id)
    world.gone(kept)
    made = world.data.clusters.create(TENANT, {**asked, "cluster_configs": {}})
    world.active(made)


@pytest.mark.parametrize("method", ["configure_cluster", "start_cluster"])
def test_a_creation_that_fails_says_where_and_leaves_nothing(world: World, method: str) -> None:
    made = world.data.clusters.create(TENANT, given(cluster_configs=failing(method)))
    cluster = world.wait(made, lambda c: c.phase is Phase.FAILED)
    assert description_of(cluster).startswith(
        f"Creating cluster failed for the following reason(s): {method} fails, as the option"
    )
    assert world.nothing_left(cluster)
    last = world.data.clusters.progress(cluster)[-1]
    assert (last.ok, [h.ok for h in last.happenings]) == (False, [False])
    assert f"{method} fails" in str(last.happenings[-1].info)
    with pytest.raises(InvalidReference, match="Cluster status: Error"):
        world.data.clusters.scale(
            TENANT, cluster.cluster_id, {"resize_node_groups": [{"name": "worker", "count": 3}]}
        )
    world.data.clusters.delete(TENANT, cluster.cluster_id)
    world.gone(cluster)
    with pytest.raises(NoSuchObject):
        world.data.clusters.get(TENANT, cluster.cluster_id)


# -- scaling --------------------------------------------------------------------------------------


def test_a_cluster_grows_shrinks_and_loses_a_group(world: World) -> None:
    clusters = world.data.clusters
    made = world.active(clusters.create(TENANT, given()))
    before = verification_of(made)
    up = {
        "resize_node_groups": [{"name": "worker", "count": 3}],
        "add_node_groups": [group("extra", 1)],
    }
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


def test_a_size_that_is_there_already_is_none_to_change(world: World) -> None:
    made = world.active(world.data.clusters.create(TENANT, given()))
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
    made = world.active(clusters.create(TENANT, given(cluster_configs=failing(method))))
    clusters.scale(TENANT, made.cluster_id, asked)
    after = world.active(made)
    assert description_of(after).startswith(f"{method} fails, as the option")
    assert sizes(after) == left
    assert len(world.fleet.names(after.job)) == 3
    assert [step.ok for step in clusters.progress(after)][-1] is False
    again = {"resize_node_groups": [{"name": "master", "count": 1}]}
    clusters.scale(TENANT, made.cluster_id, again)


def test_new_groups_are_checked_as_those_of_new_clusters(world: World) -> None:
    made = world.active(world.data.clusters.create(TENANT, given()))
    for bad, words in (
        (group("x", 1, flavor_id="9"), "Requested flavor '9' not found"),
        (group("x", 1, "nope"), "doesn't support the following node processes"),
        (group("x" * 50, 1), "Composite hostname"),
        (group("worker", 1), "already has nodegroup"),
    ):
        with pytest.raises(GatewayError, match=words):
            world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [bad]})
    assert sizes(world.active(made)) == {"master": 1, "worker": 2}


# -- changes --------------------------------------------------------------------------------------


def test_a_cluster_is_described_renamed_shown_and_protected(world: World) -> None:
    clusters = world.data.clusters
    made = clusters.create(TENANT, given())
    other = clusters.create(TENANT, given())
    changed = clusters.change(TENANT, made.cluster_id, {"name": "renamed", "description": "mine"})
    assert (changed.name, changed.extra["description"]) == ("renamed", "mine")
    with pytest.raises(DuplicateEntry):
        clusters.change(TENANT, other.cluster_id, {"name": "renamed"})
    clusters.change(TENANT, made.cluster_id, {"name": "renamed", "is_protected": True})
    with pytest.raises(DeletionFailed) as caught:
        clusters.delete(TENANT, made.cluster_id, force=True)
    assert str(caught.value) == (
        f"ClusterResource with id '{made.cluster_id}' could not be deleted because it's marked as "
        "protected"
    )
    with pytest.raises(UpdateFailed, match="marked as protected"):
        clusters.change(TENANT, made.cluster_id, {"description": "x"})
    with pytest.raises(UpdateFailed, match="marked as protected"):
        clusters.scale(TENANT, made.cluster_id, {"resize_node_groups": []})
    assert clusters.change(TENANT, made.cluster_id, {"is_public": True}).shared
    clusters.change(TENANT, made.cluster_id, {"is_protected": False, "description": "x"})
    clusters.delete(TENANT, made.cluster_id)
    world.gone(made)


def test_others_see_what_is_public_and_change_nothing(world: World) -> None:
    clusters = world.data.clusters
    private = clusters.create(TENANT, given())
    public = clusters.create(TENANT, given(is_public=True))
    assert [c.name for c in clusters.find(OTHER)] == [public.name]
    assert clusters.get(OTHER, public.cluster_id).name == public.name
    for act in (
        lambda c: clusters.get(OTHER, c),
        lambda c: clusters.scale(OTHER, c, {"resize_node_groups": [{"name": "worker", "count": 9}]}),
        lambda c: clusters.change(OTHER, c, {"description": "x"}),
        lambda c: clusters.delete(OTHER, c),
    ):
        with pytest.raises(NoSuchObject):
            act(private.cluster_id)
    with pytest.raises(UpdateFailed, match="wasn't created in this tenant"):
        clusters.scale(OTHER, public.cluster_id, {"resize_node_groups": []})
    with pytest.raises(UpdateFailed, match="wasn't created in this tenant"):
        clusters.change(OTHER, public.cluster_id, {"description": "x"})
    with pytest.raises(DeletionFailed, match="wasn't created in this tenant"):
        clusters.delete(OTHER, public.cluster_id)
    with pytest.raises(NameExists):
        clusters.create(OTHER, given(name=public.name))
    world.active(clusters.create(OTHER, given(name=private.name)))
    world.active(public)
    clusters.delete(TENANT, public.cluster_id)
    world.gone(public)
    assert public.name not in [c.name for c in clusters.find(OTHER)]


def test_products_clusters_are_none_of_this_api(world: World) -> None:
    asks = msgspec.structs.replace(a_request(1, 77), project=TENANT)
    spec = msgspec.structs.replace(asks.nodes[0].spec, networks=())
    node = msgspec.structs.replace(asks.nodes[0], spec=spec)
    product = world.clusters.launch(msgspec.structs.replace(asks, nodes=(node,)))
    assert product.cluster_id not in [c.cluster_id for c in world.data.clusters.find(TENANT)]
    with pytest.raises(NoSuchObject):
        world.data.clusters.get(TENANT, product.cluster_id)
    world.clusters.delete(product.cluster_id)


# -- the end --------------------------------------------------------------------------------------


def test_a_cluster_that_is_deleted_leaves_nothing(world: World) -> None:
    clusters = world.data.clusters
    made = world.active(clusters.create(TENANT, given(cluster_configs=failing("on_terminate_cluster"))))
    clusters.delete(TENANT, made.cluster_id)
    clusters.delete(TENANT, made.cluster_id)
    world.gone(made)
    assert world.nothing_left(made)
    with pytest.raises(NoSuchObject):
        clusters.delete(TENANT, made.cluster_id)


def test_a_deletion_that_hangs_in_its_plugin_can_be_forced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, called = threading.Event(), threading.Event()

    def hang(cluster: object) -> None:
        called.set()
        free.wait(30)

    monkeypatch.setattr(world.plugins.get("fake"), "on_terminate_cluster", hang)
    made = world.active(world.data.clusters.create(TENANT, given()))
    world.data.clusters.delete(TENANT, made.cluster_id)
    assert called.wait(20)
    assert status_of(world.data.clusters.get(TENANT, made.cluster_id)) == "Deleting"
    world.data.clusters.delete(TENANT, made.cluster_id, force=True)
    world.gone(made)
    assert world.nothing_left(made)
    called.clear()
    at_once = world.active(world.data.clusters.create(TENANT, given()))
    world.data.clusters.delete(TENANT, at_once.cluster_id, force=True)
    world.gone(at_once)
    assert not called.is_set()
    free.set()


# -- verification ---------------------------------------------------------------------------------


def test_a_verification_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = world.data.clusters
    made = clusters.create(TENANT, given())
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


def test_one_verification_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def slow() -> str:
        free.wait(20)
        return "at last"

    made = world.active(world.data.clusters.create(TENANT, given()))
    slow_check = [HealthCheck("slow", slow)]
    monkeypatch.setattr(world.plugins.get("fake"), "get_health_checks", lambda cluster: slow_check)
    start = {"verification": {"status": "START"}}
    world.data.clusters.change(TENANT, made.cluster_id, start)
    with pytest.raises(CannotVerify, match="verification in state CHECKING"):
        world.data.clusters.change(TENANT, made.cluster_id, start)
    free.set()
    world.active(made)


# -- plugins' calls -------------------------------------------------------------------------------


def test_calls_of_plugins_have_a_time() -> None:
    free = threading.Event()
    calls = PluginCalls(0.05, most=1)
    with pytest.raises(Unavailable, match=r"validate has not ended within 0.05 s"):
        calls.call("validate", lambda: free.wait(20))
    with pytest.raises(Unavailable, match="too many calls of plugins have not ended"):
        calls.call("validate", lambda: 1)
    free.set()


def test_what_plugins_raise_is_said() -> None:
    calls = PluginCalls(5.0)
    with pytest.raises(Invalid, match="validate has failed: KeyError: 'x'"):
        calls.call("validate", lambda: {}["x"])  # type: ignore[misc]
    assert calls.call("validate", lambda: 7) == 7


def test_advice_of_plugins_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = world.plugins.get("fake")
    seen: list[Any] = []

    class Advising(type(plugin)):  # type: ignore[misc]  # whatever class it is
        def recommend_configs(self, cluster: Any, scaling: bool = False) -> dict[str, Any]:
            seen.append(cluster.node_groups[1].count)
            return {"cluster_configs": {"general": {"Delay": 0}}}

    advising = Advising()
    advising.name = "fake"
    monkeypatch.setattr(world.data.plugins, "plugins", Plugins({"fake": advising}))
    made = world.data.clusters.create(TENANT, given())
    assert (made.extra["cluster_configs"], seen) == ({"general": {"Delay": 0}}, [2])
    left = world.data.clusters.create(TENANT, given(use_autoconfig=False))
    assert (left.extra["cluster_configs"], len(seen)) == ({}, 1)
