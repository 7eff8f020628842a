"""The engine: clusters that go, whatever happens meanwhile, and whoever does not listen."""

from __future__ import annotations

import threading

import msgspec
import pytest

from framework.model.errors import Conflict
from gateway.clusters.course import Limits
from gateway.clusters.model import Cluster, NodeStatus, Phase
from gateway.clusters.provider import StepContext, StepFailed
from tests.framework.mesos.peer import eventually
from tests.gateway.clusters.doubles import Bench, fail, is_gone, is_ready, waiting_for


def test_a_deleted_cluster_leaves_nothing(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(), is_ready)
    first = bench.clusters.delete(cluster.cluster_id)
    assert (first.phase, first.deleting) == (Phase.DELETING, True)
    assert bench.clusters.delete(cluster.cluster_id) == first
    gone = bench.drive(cluster, is_gone)
    assert bench.provider.done[-2:] == ["deleting/first", "deleting/second"]
    assert bench.nothing_left(cluster)
    assert bench.clusters.delete(cluster.cluster_id) == gone
    assert {node.status for node in gone.nodes} == {NodeStatus.DELETED}
    with pytest.raises(Conflict, match="is destroyed"):
        bench.clusters.resize(cluster.cluster_id, {"slave": 1})


def test_a_deletion_ends_though_the_provider_fails_and_hangs(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(), is_ready)
    free = threading.Event()

    def fail_and_leave_little_time(cluster: Cluster, context: StepContext) -> None:
        # Only for the next step: this one is to fail by itself, whenever its thread gets to it.
        bench.engine._limits = Limits(deleting_secs=0.2)
        fail(cluster, context)

    bench.provider.acts["deleting/first"] = fail_and_leave_little_time
    bench.provider.acts["deleting/second"] = waiting_for(free)
    bench.clusters.delete(cluster.cluster_id)
    bench.drive(cluster, is_gone)
    free.set()
    story = bench.story(cluster)
    assert "deleting first: failed: the script has ended with 3" in story
    assert "deleting second: failed: deleting second has not ended within 0.2 s" in story


def assert_it_waits(bench: Bench, cluster: Cluster) -> None:
    """For its nodes to be gone, whose addresses it keeps so long."""
    bench.drive(cluster, lambda c: c.step == "gone")
    for _ in range(20):
        bench.engine.turn()
    assert bench.clusters.get(cluster.cluster_id).phase is Phase.DELETING
    assert len(bench.store.networks.of(cluster.cluster_id)) == 3


def test_a_deletion_waits_until_nothing_runs(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(), is_ready)
    bench.fleet.stuck = True
    bench.clusters.delete(cluster.cluster_id)
    assert_it_waits(bench, cluster)
    bench.fleet.stuck = False
    bench.drive(cluster, is_gone)
    assert bench.nothing_left(cluster)


@pytest.mark.parametrize("step", ["planned/first", "placed/second"])
def test_a_deletion_cancels_what_is_under_way(bench: Bench, step: str) -> None:
    heard: list[bool] = []

    def wait(cluster: Cluster, context: StepContext) -> None:
        while not context.cancelled():
            threading.Event().wait(0.01)
        heard.append(True)
        context.save(lambda c: msgspec.structs.replace(c, said="too late"))

    bench.provider.acts[step] = wait
    cluster = bench.launch()
    bench.drive(cluster, lambda c: c.step == step.replace("/", " "))
    bench.clusters.delete(cluster.cluster_id)
    gone = bench.drive(cluster, is_gone)
    # It hears of it, though the bench's clock may have run on before its thread has.
    eventually(lambda: heard, 60)
    assert gone.said == bench.clusters.get(cluster.cluster_id).said == ""
    assert bench.nothing_left(cluster)


def test_a_step_that_does_not_listen_does_not_keep_a_deletion(bench: Bench) -> None:
    free = threading.Event()
    said: list[str] = []

    def hang(cluster: Cluster, context: StepContext) -> None:
        free.wait(120)
        context.tell("of no interest")
        try:
            context.save(lambda c: msgspec.structs.replace(c, said="too late"))
        except StepFailed as error:
            said.append(str(error))

    bench.provider.acts["placed/first"] = hang
    cluster = bench.launch()
    bench.drive(cluster, lambda c: c.step == "placed first")
    bench.clusters.delete(cluster.cluster_id)
    bench.drive(cluster, is_gone)
    free.set()
    eventually(lambda: said, 60)
    assert said == ["nobody waits for placed first any more"]
    assert bench.clusters.get(cluster.cluster_id).said == ""
    assert "placed first: of no interest" not in bench.story(cluster)


# -- forced: whatever the provider says, or does not say --------------------------------------------


def farewells(bench: Bench) -> list[str]:
    return [step for step in bench.provider.done if step.startswith("deleting/")]


def test_a_forced_deletion_takes_no_leave(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(), is_ready)
    begun = bench.clusters.delete(cluster.cluster_id, "ann", force=True)
    assert (begun.phase, begun.deleting) == (Phase.DELETING, True)
    # Again, forced or not, is the same deletion.
    assert bench.clusters.delete(cluster.cluster_id, force=True) == begun
    assert bench.clusters.delete(cluster.cluster_id) == begun
    gone = bench.drive(cluster, is_gone)
    assert farewells(bench) == []
    assert bench.nothing_left(cluster)
    assert bench.clusters.delete(cluster.cluster_id, force=True) == gone


def test_a_farewell_that_hangs_is_cut_short_by_force_alone(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(), is_ready)
    free = threading.Event()
    bench.provider.acts["deleting/first"] = waiting_for(free)
    bench.clusters.delete(cluster.cluster_id)
    waiting = bench.drive(cluster, lambda c: c.step == "deleting first")
    bench.clusters.delete(cluster.cluster_id)
    for _ in range(20):
        bench.engine.turn()
    assert bench.clusters.get(cluster.cluster_id) == waiting
    bench.clusters.delete(cluster.cluster_id, force=True)
    bench.drive(cluster, is_gone)
    free.set()
    # The second half of the farewell was not begun.
    assert "deleting second: begins" not in bench.story(cluster)
    assert bench.nothing_left(cluster)


@pytest.mark.parametrize("step", ["planned/first", "placed/first"])
def test_a_launch_that_hangs_ends_by_force(bench: Bench, step: str) -> None:
    free = threading.Event()
    bench.provider.acts[step] = waiting_for(free)
    cluster = bench.launch()
    bench.drive(cluster, lambda c: c.step == step.replace("/", " "))
    bench.clusters.delete(cluster.cluster_id, force=True)
    bench.drive(cluster, is_gone)
    free.set()
    assert farewells(bench) == []
    assert bench.nothing_left(cluster)


def test_a_cluster_that_has_failed_goes_by_force(bench: Bench) -> None:
    bench.provider.acts["placed/first"] = fail
    cluster = bench.drive(bench.launch(), lambda c: c.phase is Phase.FAILED)
    bench.clusters.delete(cluster.cluster_id, force=True)
    bench.drive(cluster, is_gone)
    assert farewells(bench) == []


def test_force_is_remembered_by_whoever_leads_next(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(), is_ready)
    bench.fleet.stuck = True
    bench.clusters.delete(cluster.cluster_id, force=True)
    bench.drive(cluster, lambda c: c.step == "gone")
    bench.engine._leave(5.0)
    bench.new_engine()
    bench.fleet.stuck = False
    bench.drive(cluster, is_gone)
    assert farewells(bench) == []
    assert bench.nothing_left(cluster)


def test_force_does_not_leave_what_still_runs_behind(bench: Bench) -> None:
    """It is the provider that is not waited for; nodes and their addresses are."""
    cluster = bench.drive(bench.launch(), is_ready)
    bench.fleet.stuck = True
    bench.clusters.delete(cluster.cluster_id, force=True)
    assert_it_waits(bench, cluster)
    bench.fleet.stuck = False
    bench.drive(cluster, is_gone)
