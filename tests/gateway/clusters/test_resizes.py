"""The engine: clusters that change their size, with groups that come and go."""

from __future__ import annotations

import threading

import msgspec
import pytest

from framework.model.errors import Conflict, Invalid, NotFound
from gateway.clusters.course import Limits
from gateway.clusters.model import Cluster, NetworkAsk, NodeSpec, NodeStatus, Phase
from gateway.clusters.model import Group as NodeGroup
from gateway.clusters.networks import Network
from gateway.clusters.provider import StepContext
from tests.gateway.clusters.doubles import Bench, fail, is_gone, is_ready

SPEC = NodeSpec(cpus=0.2, mem_mb=64, command="sleep 1000", networks=(NetworkAsk("n"),))
EXTRA = NodeGroup("extra", SPEC, {"id": "id-of-extra"}, stem="c1-extra-")


def test_a_cluster_grows_and_shrinks(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(2), is_ready)
    changed = bench.clusters.resize(cluster.cluster_id, {"slave": 2}, ["slave0"], "ann")
    assert (changed.phase, [n.name for n in changed.nodes]) == (
        Phase.RESIZING,
        ["slave0", "slave1", "slave2", "slave3"],
    )
    with pytest.raises(Conflict, match="resize is under way"):
        bench.clusters.resize(cluster.cluster_id, {"slave": 1})
    cluster = bench.drive(cluster, is_ready)
    assert [(n.name, n.index, n.address) for n in cluster.nodes] == [
        ("slave1", 1, "10.0.0.11"),
        ("slave2", 2, "10.0.0.12"),
        ("slave3", 3, "10.0.0.13"),
    ]
    assert bench.fleet.names(cluster.job) == ["slave1", "slave2", "slave3"]
    assert [a.address for a in bench.store.networks.of(cluster.cluster_id)] == [
        "10.0.0.11",
        "10.0.0.12",
        "10.0.0.13",
    ]
    assert bench.provider.done[4:] == [
        "resized/first",
        "resized/second",
        "shrinking/first",
        "shrinking/second",
    ]
    last = dict(bench.written)
    assert set(last) == {"slave1", "slave2", "slave3"}
    for text in last.values():
        assert "10.0.0.13\tslave3" in text
        assert "slave0" not in text
    # The next one gets a new number, though slave0 is free.
    bench.clusters.resize(cluster.cluster_id, {"slave": 1})
    cluster = bench.drive(cluster, is_ready)
    assert (cluster.nodes[-1].name, cluster.nodes[-1].index) == ("slave4", 4)


@pytest.mark.parametrize("why", ["room", "addresses", "resized/second", "shrinking/first"])
def test_a_resize_that_fails_leaves_the_cluster_as_it_was(bench: Bench, why: str) -> None:
    bench.options["limits"] = Limits(place_secs=5.0)
    bench.new_engine()
    cluster = bench.drive(bench.launch(2), is_ready)
    if why == "room":
        bench.fleet.full = True
    elif why == "addresses":
        bench.store.networks.define(Network("n", "10.0.0.0/24", ("10.0.0.10", "10.0.0.11")))
    else:
        bench.provider.acts[why] = fail
    bench.clusters.resize(cluster.cluster_id, {"slave": 1}, ["slave0"])
    after = bench.drive(cluster, is_ready)
    assert after.reason
    assert after.failed_in is Phase.RESIZING
    assert [n.name for n in after.nodes] == ["slave0", "slave1"]
    assert bench.fleet.names(cluster.job) == ["slave0", "slave1"]
    assert [a.node for a in bench.store.networks.of(cluster.cluster_id)] == ["slave0", "slave1"]
    assert all("slave2" not in text for text in dict(bench.written).values())
    bench.fleet.full = False
    bench.provider.acts.clear()
    bench.store.networks.define(Network("n", "10.0.0.0/24", tuple(f"10.0.0.1{n}" for n in range(9))))
    bench.clusters.resize(cluster.cluster_id, {"slave": 1})
    again = bench.drive(cluster, is_ready)
    assert (again.reason, len(again.nodes)) == ("", 3)


def test_what_cannot_be_resized_is_refused(bench: Bench) -> None:
    cluster = bench.launch(2)
    with pytest.raises(Conflict, match="when it is ready"):
        bench.clusters.resize(cluster.cluster_id, {"slave": 1})
    bench.drive(cluster, is_ready)
    for add, remove, error, words in (
        ({"other": 1}, [], NotFound, "no group 'other'"),
        ({}, ["other"], NotFound, "no node 'other'"),
        ({"slave": -1}, [], Invalid, "-1 nodes"),
        ({"slave": 500}, [], Invalid, "502 nodes; 500 at most"),
        ({}, ["slave0", "slave1"], Invalid, "delete it instead"),
        ({}, [], Invalid, "nothing is to be changed"),
    ):
        with pytest.raises(error, match=words):
            bench.clusters.resize(cluster.cluster_id, add, remove)
    with pytest.raises(NotFound):
        bench.clusters.resize("nothing", {"slave": 1})


# -- groups ---------------------------------------------------------------------------------------


def test_a_new_group_comes_with_its_nodes(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1), is_ready)
    begun = bench.clusters.resize(cluster.cluster_id, {"extra": 2, "slave": 1}, groups=[EXTRA])
    assert [g.name for g in begun.groups] == ["slave", "extra"]
    grown = bench.drive(cluster, is_ready)
    assert grown.groups[1] == EXTRA
    assert [(n.name, n.group, n.index, n.address) for n in grown.nodes] == [
        ("slave0", "slave", 0, "10.0.0.10"),
        ("c1-extra-0", "extra", 1, "10.0.0.11"),
        ("c1-extra-1", "extra", 2, "10.0.0.12"),
        ("slave1", "slave", 3, "10.0.0.13"),
    ]
    config = bench.fleet.jobs[cluster.job].wanted[2]
    assert (config.resources.cpus, config.resources.mem_mb) == (0.2, 64)
    # Those that were there know the new ones.
    assert "10.0.0.12\tc1-extra-1" in dict(bench.written)["slave0"]
    # The group is one like others now.
    bench.clusters.resize(cluster.cluster_id, {"extra": 1})
    assert bench.drive(cluster, is_ready).nodes[-1].name == "c1-extra-2"


def test_a_group_that_is_there_is_not_new(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1), is_ready)
    slave = msgspec.structs.replace(EXTRA, name="slave")
    for groups in ([slave], [EXTRA, EXTRA]):
        with pytest.raises(Invalid, match=rf"has a group '{groups[0].name}' already"):
            bench.clusters.resize(cluster.cluster_id, {"slave": 1}, groups=groups)
    assert bench.clusters.get(cluster.cluster_id) == cluster


@pytest.mark.parametrize("why", ["room", "addresses", "resized/first", "node"])
@pytest.mark.parametrize(("provider", "left"), [("plugin", ["slave"]), ("product", ["slave", "extra"])])
def test_a_new_group_that_fails_goes_with_its_nodes(
    bench: Bench, why: str, provider: str, left: list[str]
) -> None:
    """A product's groups are those of its template: they stay, without nodes."""
    bench.options["limits"] = Limits(place_secs=5.0)
    bench.new_engine()
    cluster = bench.drive(bench.launch(1, provider=provider), is_ready)
    if why == "room":
        bench.fleet.full = True
    elif why == "addresses":
        bench.store.networks.define(Network("n", "10.0.0.0/24", ("10.0.0.10", "10.0.0.11")))
    elif why == "node":
        bench.fleet.failing = {"c1-extra-1"}
    else:
        bench.provider.acts[why] = fail
    bench.clusters.resize(cluster.cluster_id, {"extra": 2}, groups=[EXTRA])
    after = bench.drive(cluster, is_ready)
    assert after.reason
    assert [g.name for g in after.groups] == left
    assert bench.fleet.names(cluster.job) == [n.name for n in after.nodes] == ["slave0"]
    assert [a.node for a in bench.store.networks.of(cluster.cluster_id)] == ["slave0"]


def test_a_group_of_a_plugin_that_is_empty_goes_and_may_come_again(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1, provider="plugin"), is_ready)
    bench.clusters.resize(cluster.cluster_id, {"extra": 1}, groups=[EXTRA])
    bench.drive(cluster, is_ready)
    bench.clusters.resize(cluster.cluster_id, {}, ["c1-extra-0"])
    assert [g.name for g in bench.drive(cluster, is_ready).groups] == ["slave"]
    bench.clusters.resize(cluster.cluster_id, {"extra": 1}, groups=[EXTRA])
    again = bench.drive(cluster, is_ready)
    assert [(n.name, n.index) for n in again.nodes] == [("slave0", 0), ("c1-extra-0", 2)]


def test_nodes_of_a_plugin_go_before_others_come(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(2, provider="plugin"), is_ready)
    del bench.provider.done[:]
    seen: list[tuple[str, list[str]]] = []

    def note(cluster: Cluster, context: StepContext) -> None:
        running = [n.name for n in cluster.nodes if n.status is NodeStatus.RUNNING]
        seen.append((cluster.step, running))

    for step in ("shrinking/first", "resized/first"):
        bench.provider.acts[step] = note
    bench.clusters.resize(cluster.cluster_id, {"extra": 1}, ["slave1"], groups=[EXTRA])
    bench.drive(cluster, is_ready)
    assert bench.provider.done == [
        "shrinking/first",
        "shrinking/second",
        "resized/first",
        "resized/second",
    ]
    assert seen == [
        ("shrinking first", ["slave0", "slave1"]),
        ("resized first", ["slave0", "c1-extra-0"]),
    ]


def test_a_new_group_survives_its_engine(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1, provider="plugin"), is_ready)
    bench.clusters.resize(cluster.cluster_id, {"extra": 2}, groups=[EXTRA])
    bench.fleet.full = True
    bench.drive(cluster, lambda c: c.step == "nodes")
    bench.engine._leave(5.0)
    bench.new_engine()
    bench.fleet.full = False
    grown = bench.drive(cluster, is_ready)
    assert [n.name for n in grown.nodes] == ["slave0", "c1-extra-0", "c1-extra-1"]
    assert bench.fleet.names(cluster.job) == ["slave0", "c1-extra-0", "c1-extra-1"]
    assert bench.fleet.calls["resize"] == 1


def test_a_deletion_ends_a_resize_with_a_new_group(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1, provider="plugin"), is_ready)
    free = threading.Event()
    bench.provider.acts["resized/first"] = lambda cluster, context: (free.wait(120), None)[1]
    bench.clusters.resize(cluster.cluster_id, {"extra": 2}, groups=[EXTRA])
    bench.drive(cluster, lambda c: c.step == "resized first")
    bench.clusters.delete(cluster.cluster_id)
    bench.drive(cluster, is_gone)
    free.set()
    assert bench.nothing_left(cluster)
