"""Data clusters from their requests to their end, with the fake plugin and no machines."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from framework.model.errors import GatewayError, Invalid
from gateway.clusters import keys
from gateway.clusters.model import Phase
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
from gateway.dataprocessing.verification import verification_of
from gateway.plugins.exceptions import PluginError
from tests.gateway.clusters.doubles import a_request
from tests.gateway.dataprocessing.asks import failing, given, group, sizes
from tests.gateway.dataprocessing.world import IMAGE_ID, NETWORK, OTHER, PLAIN_ID, TENANT, World

# -- creation -------------------------------------------------------------------------------------


def test_a_cluster_becomes_active_and_is_verified(world: World) -> None:
    made = world.data.launches.create(TENANT, given(user_keypair_id="demo-key"), "ann")
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
    cluster = world.active(world.data.launches.create(TENANT, given(user_keypair_id="demo-key")))
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
    first = data.launches.create(TENANT, asked)
    second = data.launches.create(TENANT, {**asked, "name": "from-template-2"})
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
    made = world.data.launches.create_many(TENANT, given(name="many", count=10))
    assert [c.name for c in made][::9] == ["many-01", "many-10"]
    assert len({c.groups[0].extra["id"] for c in made}) == 10
    world.active(made[-1])
    for one in made[:2]:
        world.data.clusters.delete(TENANT, one.cluster_id)
        world.gone(one)
    with pytest.raises(NameExists, match="Cluster with name 'many-03' already exists"):
        world.data.launches.create_many(TENANT, given(name="many", count=10))
    assert "many-01" not in {c.name for c in world.data.clusters.find(TENANT)}
    with pytest.raises(InvalidData, match="100 at most"):
        world.data.launches.create_many(TENANT, given(count=101))
    for one in made[2:]:
        world.data.clusters.delete(TENANT, one.cluster_id)
    for one in made[2:]:
        world.gone(one)


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
        ({"node_groups": [group("w", 1, volumes_per_node=65)]}, InvalidData, "64 at most"),
        ({"plugin_name": "nope"}, PluginError, "no plugin with name 'nope'"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    world: World, fields: dict[str, Any], error: type[GatewayError], words: str
) -> None:
    asked = given(**fields)
    with pytest.raises(error, match=words):
        world.data.launches.create(TENANT, asked)
    assert asked["name"] not in {cluster.name for cluster in world.data.clusters.find(TENANT)}


def test_what_the_plugin_refuses_is_kept_with_its_error(world: World) -> None:
    asked = given(cluster_configs=failing("validate"))
    with pytest.raises(PluginError, match="validate fails"):
        world.data.launches.create(TENANT, asked)
    kept = next(c for c in world.data.clusters.find(TENANT) if c.name == asked["name"])
    assert status_of(kept) == "Error"
    assert description_of(kept).startswith("validate fails")
    with pytest.raises(NameExists):
        world.data.launches.create(TENANT, {**asked, "cluster_configs": {}})
    world.data.clusters.delete(TENANT, kept.cluster_id)
    world.gone(kept)
    made = world.data.launches.create(TENANT, {**asked, "cluster_configs": {}})
    world.active(made)


@pytest.mark.parametrize("method", ["configure_cluster", "start_cluster"])
def test_a_creation_that_fails_says_where_and_leaves_nothing(world: World, method: str) -> None:
    made = world.data.launches.create(TENANT, given(cluster_configs=failing(method)))
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


# -- changes --------------------------------------------------------------------------------------


def test_a_cluster_is_described_renamed_shown_and_protected(world: World) -> None:
    clusters = world.data.clusters
    made = world.data.launches.create(TENANT, given())
    other = world.data.launches.create(TENANT, given())
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
    private = world.data.launches.create(TENANT, given())
    public = world.data.launches.create(TENANT, given(is_public=True))
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
        world.data.launches.create(OTHER, given(name=public.name))
    world.active(world.data.launches.create(OTHER, given(name=private.name)))
    world.active(public)
    clusters.delete(TENANT, public.cluster_id)
    world.gone(public)
    assert public.name not in [c.name for c in clusters.find(OTHER)]


def test_a_list_costs_few_statements_however_long_it_is(world: World) -> None:
    clusters = world.data.clusters
    made = [world.data.launches.create(TENANT, given()) for _ in range(5)]
    # Those of other tests as well, which are in the list: what changes is read anew.
    for cluster in clusters.find(TENANT):
        world.at_rest(cluster)
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        steps = clusters.progress_of(clusters.find(TENANT))
        first = len(statements)
        assert clusters.progress_of(clusters.find(TENANT)) == steps
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert all(len(steps[cluster.cluster_id]) > 3 for cluster in made)
    assert first <= 6
    assert len(statements) - first <= 2
    found = [cluster.cluster_id for cluster in clusters.find(TENANT)]
    assert found == sorted(found)


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
    made = world.active(
        world.data.launches.create(TENANT, given(cluster_configs=failing("on_terminate_cluster")))
    )
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
        free.wait(120)

    monkeypatch.setattr(world.plugins.get("fake"), "on_terminate_cluster", hang)
    made = world.active(world.data.launches.create(TENANT, given()))
    world.data.clusters.delete(TENANT, made.cluster_id)
    assert called.wait(60)
    assert status_of(world.data.clusters.get(TENANT, made.cluster_id)) == "Deleting"
    world.data.clusters.delete(TENANT, made.cluster_id, force=True)
    world.gone(made)
    assert world.nothing_left(made)
    called.clear()
    at_once = world.active(world.data.launches.create(TENANT, given()))
    world.data.clusters.delete(TENANT, at_once.cluster_id, force=True)
    world.gone(at_once)
    assert not called.is_set()
    free.set()
