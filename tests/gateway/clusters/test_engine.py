"""The engine: clusters come to be, change and go, whatever happens meanwhile."""

from __future__ import annotations

import threading

import msgspec
import pytest

from framework.model.errors import Conflict, NotFound
from gateway.clusters.course import Limits
from gateway.clusters.model import Cluster, NodeStatus, Phase
from gateway.clusters.networks import Network
from gateway.clusters.provider import StepContext
from gateway.store import Store
from tests.gateway.clusters.doubles import Bench, fail, is_failed, is_gone, is_ready, waiting_for

# -- a launch -------------------------------------------------------------------------------------


def test_a_cluster_comes_to_be(bench: Bench) -> None:
    launched = bench.launch(3)
    assert (launched.phase, launched.is_busy) == (Phase.REGISTERED, True)
    seen: list[Phase] = []
    bench.store.subscribe(
        lambda change: (
            seen.append(bench.store.clusters.get(change.id).phase) if change.kind == "cluster" else None
        )
    )
    cluster = bench.drive(launched, is_ready)
    assert list(dict.fromkeys(seen)) == [
        Phase.SCHEDULING,
        Phase.SCHEDULED,
        Phase.CONFIGURING,
        Phase.CONFIGURED,
        Phase.READY,
    ]
    assert (cluster.progress, cluster.step, cluster.reason) == (100, "", "")
    assert bench.provider.done == ["planned/first", "planned/second", "placed/first", "placed/second"]
    assert [(n.name, n.status, n.host, n.address) for n in cluster.nodes] == [
        ("slave0", NodeStatus.RUNNING, "agent0", "10.0.0.10"),
        ("slave1", NodeStatus.RUNNING, "agent1", "10.0.0.11"),
        ("slave2", NodeStatus.RUNNING, "agent2", "10.0.0.12"),
    ]
    config = bench.fleet.jobs[cluster.job].wanted[1]
    assert config.node is not None
    assert config.node.hosts == (
        ("slave0", "10.0.0.10"),
        ("slave1", "10.0.0.11"),
        ("slave2", "10.0.0.12"),
    )
    assert config.node.files[0].text == "slave1"
    assert bench.written == []  # they know each other from the start
    story = bench.story(cluster)
    for line in (
        "addresses: begins",
        "addresses: done",
        "planned first: begins",
        "planned first: planned first",
        "planned first: done",
        "slave0: runs on agent0",
        ": is scheduled",
        ": is ready",
    ):
        assert line in story
    assert story.index("placed second: done") < story.index(": is ready")


def test_there_is_one_cluster_of_a_name(bench: Bench) -> None:
    bench.launch()
    with pytest.raises(Conflict, match="already a cluster"):
        bench.launch()


def test_two_launches_do_not_wait_for_each_other(bench: Bench) -> None:
    free = threading.Event()
    hold = bench.launch(1, 1)

    def wait(cluster: Cluster, context: StepContext) -> None:
        if cluster.cluster_id == hold.cluster_id:
            free.wait(120)

    bench.provider.acts["placed/first"] = wait
    bench.drive(bench.launch(2, 2), is_ready)
    assert bench.clusters.get(hold.cluster_id).phase is Phase.CONFIGURING
    free.set()
    bench.drive(hold, is_ready)


@pytest.mark.parametrize("step", ["planned/first", "planned/second", "placed/first", "placed/second"])
def test_a_step_that_fails_fails_the_launch(bench: Bench, step: str) -> None:
    bench.provider.acts[step] = fail
    cluster = bench.launch()
    bench.store.secrets.put(cluster.cluster_id, "ssh", "private")
    cluster = bench.drive(cluster, is_failed)
    assert cluster.failed_step == step.replace("/", " ")
    assert cluster.reason == "the script has ended with 3"
    assert cluster.failed_in is (Phase.SCHEDULING if "planned" in step else Phase.CONFIGURING)
    assert bench.nothing_left(cluster)
    assert {node.status for node in cluster.nodes} == {NodeStatus.DELETED}
    assert f"{cluster.failed_step}: failed: the script has ended with 3" in bench.story(cluster)
    assert bench.drive(bench.clusters.delete(cluster.cluster_id), is_gone).reason == ""


def test_a_launch_that_finds_no_addresses_says_so(bench: Bench) -> None:
    bench.store.networks.define(Network("n", "10.0.0.0/24", ("10.0.0.10",)))
    cluster = bench.drive(bench.launch(2), is_failed)
    assert cluster.failed_step == "addresses"
    assert "2 addresses are needed and 1 are free" in cluster.reason
    assert bench.nothing_left(cluster)


def test_a_launch_that_finds_no_room_says_why(bench: Bench) -> None:
    bench.options["limits"] = Limits(place_secs=5.0)
    bench.new_engine()
    bench.fleet.full = True
    launched = bench.launch(3)
    bench.drive(launched, lambda c: c.step == "nodes")
    reasons = bench.clusters.pending_reasons(launched.cluster_id)
    assert [r.reason for r in reasons["slave2"]] == ["cpus: needs 5, largest of 3 offers has 4"]
    cluster = bench.drive(launched, is_failed)
    assert cluster.failed_step == "nodes"
    assert cluster.reason == (
        "3 of 3 nodes do not run after 5 s; slave0: cpus: needs 5, largest of 3 offers has 4"
    )
    assert bench.nothing_left(cluster)


def test_a_node_that_fails_again_and_again_fails_the_launch(bench: Bench) -> None:
    bench.fleet.failing = {"slave1"}
    cluster = bench.drive(bench.launch(3), is_failed)
    assert cluster.reason == "node slave1 has failed 3 times: exit status 3"
    assert bench.nothing_left(cluster)


def test_a_job_of_somebody_else_is_left_alone(bench: Bench) -> None:
    job = bench.fleet.jobs[bench.drive(bench.launch(1), is_ready).job]
    launched = bench.launch(1, 2)
    bench.fleet.create(msgspec.structs.replace(job.spec, key=launched.job), job.wanted, "bob")
    cluster = bench.drive(launched, is_failed)
    assert "already exists" in cluster.reason
    assert bench.fleet.names(launched.job) == ["slave0"]


# -- limits ----------------------------------------------------------------------------------------


def test_a_step_has_a_limit(bench: Bench) -> None:
    bench.provider.timeouts["placed/first"] = 0.2
    free = threading.Event()
    bench.provider.acts["placed/first"] = waiting_for(free)
    cluster = bench.drive(bench.launch(), is_failed)
    free.set()
    assert cluster.reason == "placed first has not ended within 0.2 s"
    assert bench.nothing_left(cluster)


def test_a_lease_ends(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(lease_secs=3600.0), is_ready)
    assert cluster.expires_at is not None
    bench.now = cluster.expires_at - 1.0
    bench.engine.turn()
    assert bench.clusters.get(cluster.cluster_id).phase is Phase.READY
    bench.now = cluster.expires_at
    bench.drive(cluster, is_gone)
    assert ": its lease has ended" in bench.story(cluster)


def test_what_comes_back_to_a_cluster_that_is_gone_is_killed(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1), is_ready)
    job = bench.fleet.jobs[cluster.job]
    wanted = dict(job.wanted)
    bench.clusters.delete(cluster.cluster_id)
    bench.drive(cluster, is_gone)
    bench.fleet.create(job.spec, wanted, "nobody")
    for _ in range(6000):
        bench.engine.turn()
        bench.fleet.settle()
        if not bench.fleet.names(cluster.job):
            break
        threading.Event().wait(0.005)
    assert bench.fleet.names(cluster.job) == []


# -- changes --------------------------------------------------------------------------------------


def test_what_a_script_says_is_kept_whatever_it_is(bench: Bench) -> None:
    bench.provider.acts["placed/first"] = lambda cluster, context: context.tell(
        "a\0\udc80" + "x" * 20_000, stream="stderr", node="slave0"
    )
    cluster = bench.drive(bench.launch(1), is_ready)
    said = [e for e in bench.clusters.events(cluster.cluster_id) if e.stream == "stderr"]
    assert [(e.kind, e.node, e.text[:4], len(e.text)) for e in said] == [
        ("output", "slave0", "a\0?x", 16 * 1024)
    ]


def test_a_verb_of_the_provider_runs(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(1), is_ready)
    seen: list[str] = []

    def note(cluster: Cluster, context: StepContext) -> None:
        assert cluster.operation is not None
        seen.append(cluster.operation.verb)
        saved = context.save(
            lambda c: msgspec.structs.replace(
                c,
                said="stopped",
                phase=Phase.DELETED,  # not a step's to change
                nodes=tuple(msgspec.structs.replace(n, said="off", host="x") for n in c.nodes),
            )
        )
        assert context.reload() == saved

    bench.provider.acts["run/first"] = note
    bench.clusters.run(cluster.cluster_id, "stop", "ann")
    after = bench.drive(cluster, is_ready)
    assert (seen, after.said, after.nodes[0].said, after.nodes[0].host) == (
        ["stop"],
        "stopped",
        "off",
        "agent0",
    )
    bench.provider.acts["run/first"] = fail
    bench.clusters.run(cluster.cluster_id, "status")
    after = bench.drive(cluster, is_ready)
    assert (after.failed_step, after.reason) == ("run first", "the script has ended with 3")


# -- what happens by itself -----------------------------------------------------------------------


def test_a_node_that_is_replaced_is_followed(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(2), is_ready)
    before = cluster.nodes[1]
    bench.fleet.full = True
    bench.fleet.lose(cluster.job, 1)
    stopped = bench.drive(cluster, lambda c: c.nodes[1].status is NodeStatus.STOPPED)
    assert stopped.nodes[1].host is None
    bench.fleet.full = False
    after = bench.drive(cluster, lambda c: c.nodes[1].status is NodeStatus.RUNNING)
    assert after.nodes[1].task_id != before.task_id
    assert after.nodes[1].interfaces == before.interfaces
    story = bench.story(cluster)
    assert "slave1: runs again on agent1" in story
    # It has begun with the names of the launch, which may not be the present ones.
    bench.drive(cluster, lambda c: c.nodes[1].hosts != "")
    assert [name for name, _ in bench.written] == ["slave1"]


def test_a_step_that_is_begun_again_waits_for_nodes_that_are_away(bench: Bench) -> None:
    free = threading.Event()
    bench.provider.acts["placed/first"] = waiting_for(free)
    cluster = bench.launch()
    bench.drive(cluster, lambda c: "placed/first" in bench.provider.done)
    # The gateway dies, and the agent of a node with it.
    bench.fleet.held = {"slave1"}
    bench.fleet.lose(cluster.job, 1)
    bench.provider.acts.clear()
    bench.new_engine()
    for _ in range(20):
        bench.engine.turn()
        bench.fleet.settle()
        bench.now += 0.1
    assert bench.provider.done.count("placed/first") == 1
    bench.fleet.held = set()
    bench.drive(cluster, is_ready)
    assert bench.provider.done.count("placed/first") == 2
    free.set()


def test_a_step_does_not_wait_for_ever_for_nodes_that_are_away(bench: Bench) -> None:
    bench.options["limits"] = Limits(place_secs=5.0)
    bench.new_engine()

    def lose(cluster: Cluster, context: StepContext) -> None:
        bench.fleet.held = {"slave1"}
        bench.fleet.lose(cluster.job, 1)

    bench.provider.acts["placed/first"] = lose
    cluster = bench.launch(2)
    began = bench.now
    bench.drive(cluster, is_ready)
    assert bench.provider.done.count("placed/second") == 1
    assert bench.now > began + 5.0


def test_a_node_is_restarted_on_demand(bench: Bench) -> None:
    cluster = bench.drive(bench.launch(2), is_ready)
    bench.clusters.restart_node(cluster.cluster_id, "slave1", "ann")
    after = bench.drive(cluster, lambda c: c.nodes[1].task_id != cluster.nodes[1].task_id)
    assert after.nodes[0].task_id == cluster.nodes[0].task_id
    assert "slave1: restarted by ann" in bench.story(cluster)
    with pytest.raises(NotFound):
        bench.clusters.restart_node(cluster.cluster_id, "slave9")


def test_an_engine_that_does_not_lead_does_nothing(bench: Bench) -> None:
    leading: list[int | None] = [None]
    bench.options["term"] = lambda: leading[0]
    bench.new_engine()
    cluster = bench.launch(1)
    for _ in range(5):
        bench.engine.turn()
    assert bench.clusters.get(cluster.cluster_id).phase is Phase.REGISTERED
    leading[0] = 1
    bench.drive(cluster, lambda c: c.phase is Phase.SCHEDULING)
    leading[0] = None
    for _ in range(5):
        bench.engine.turn()
        bench.fleet.settle()
    assert bench.clusters.get(cluster.cluster_id).phase is Phase.SCHEDULING
    leading[0] = 2
    bench.drive(cluster, is_ready)


def test_the_engines_thread_hears_of_everything_by_itself(bench: Bench) -> None:
    bench.options["tick_secs"] = 600.0
    engine = bench.new_engine()
    bench.fleet._listeners.clear()
    engine.start()
    try:
        cluster = bench.launch(2)
        bench.now += 1.0
        for _ in range(6000):
            if is_ready(bench.clusters.get(cluster.cluster_id)):
                break
            bench.fleet.settle()
            threading.Event().wait(0.005)
        assert is_ready(bench.clusters.get(cluster.cluster_id)), bench.story(cluster)
    finally:
        engine.stop()


def test_clusters_are_counted_by_phase(bench: Bench) -> None:
    bench.drive(bench.launch(1), is_ready)
    bench.new_engine().turn()
    counted = bench.engine.counts
    assert counted == bench.store.clusters.phases()
    assert (counted["ready"], sum(counted.values())) == (1, 1)
    bench.engine._leave()
    assert sum(bench.engine.counts.values()) == 0


def test_a_store_is_enough_to_go_on(bench: Bench) -> None:
    cluster = bench.launch(2)
    for phase in (Phase.SCHEDULING, Phase.CONFIGURING):
        bench.drive(cluster, lambda c, phase=phase: c.phase is phase)  # type: ignore[misc]
        bench.engine._leave(5.0)
        bench.new_engine()
    assert isinstance(bench.store, Store)
    bench.drive(cluster, is_ready)
    assert bench.fleet.calls["create"] == 1
