"""The machine of phases: whatever is asked and whatever happens, in any order."""

from __future__ import annotations

import contextlib
import threading

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from framework.model.errors import Conflict, GatewayError, Invalid
from framework.model.jobs import JobKey
from gateway.clusters.course import COURSES, UNDOING, Limits, stage_of
from gateway.clusters.model import Cluster, NodeStatus, Phase
from gateway.clusters.phases import NEXT, WrongPhase, move
from gateway.clusters.provider import StepContext, StepFailed
from gateway.clusters.requests import new_cluster
from gateway.store import Change, Store
from tests.gateway.clusters.doubles import MOMENTS, Bench, a_request

OVER = (Phase.DELETED, Phase.FAILED)


def fail(cluster: Cluster, context: StepContext) -> None:
    raise StepFailed("no")


@pytest.mark.parametrize("before", Phase)
@pytest.mark.parametrize("after", Phase)
def test_only_what_is_in_the_table_may_follow(before: Phase, after: Phase) -> None:
    job = JobKey("c", "ann", "paas", "j")
    new = new_cluster(a_request(1), job, "ann", 1.0, lambda: "id")
    cluster = msgspec.structs.replace(new, phase=before)
    if after is before:
        assert move(cluster, after) is cluster
    elif after in NEXT[before]:
        assert move(cluster, after).phase is after
    else:
        with pytest.raises(WrongPhase, match=f"from {before.value} to {after.value}"):
            move(cluster, after)


def test_every_course_leads_to_an_end() -> None:
    for course in (*COURSES.values(), *UNDOING.values()):
        assert course[-1].does == "end"
        names = [stage.name for stage in course]
        assert len(set(names)) == len(names)
    for phase in Phase:
        # Whatever it is, it can be deleted.
        assert phase in (Phase.DELETED, Phase.DELETING) or Phase.DELETING in NEXT[phase]


class Life(RuleBasedStateMachine):
    """One cluster, its users, its provider, its scheduler and its engines."""

    @initialize(count=st.integers(1, 3))
    def launch(self, count: int) -> None:
        self.store = Store("sqlite://")
        self.bench = Bench(self.store, limits=Limits(place_secs=20.0))
        self.phase = Phase.REGISTERED
        self.wrong: list[str] = []
        self.store.subscribe(self._follow)
        self.id = self.bench.launch(count).cluster_id

    def _follow(self, change: Change) -> None:
        if change.kind == "cluster":
            now = self.bench.clusters.get(change.id).phase
            if now is not self.phase and now not in NEXT[self.phase]:
                self.wrong.append(f"{self.phase} -> {now}")
            self.phase = now

    @rule(times=st.integers(1, 12))
    def go_on(self, times: int) -> None:
        for _ in range(times):
            self.bench.engine.turn()
            self.bench.fleet.settle()
            self.bench.now += 0.3
            if self.bench.engine._runs.busy:
                threading.Event().wait(0.001)

    @rule(seconds=st.sampled_from([1.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.bench.now += seconds

    @rule(add=st.integers(0, 2), which=st.integers(0, 5), remove=st.booleans())
    def resize(self, add: int, which: int, remove: bool) -> None:
        nodes = self.bench.clusters.get(self.id).nodes
        names = [nodes[which % len(nodes)].name] if remove else []
        with contextlib.suppress(Conflict, Invalid):
            self.bench.clusters.resize(self.id, {"slave": add}, names)

    @rule()
    def run(self) -> None:
        with contextlib.suppress(Conflict):
            self.bench.clusters.run(self.id, "status")

    @rule(sure=st.integers(0, 3))
    def delete(self, sure: int) -> None:
        if sure == 0:
            self.bench.clusters.delete(self.id)

    @rule(moment=st.sampled_from(MOMENTS), fails=st.booleans())
    def provider(self, moment: str, fails: bool) -> None:
        self.bench.provider.acts.clear()
        if fails:
            self.bench.provider.acts[f"{moment}/second"] = fail

    @rule(full=st.booleans(), stuck=st.booleans())
    def scheduler(self, full: bool, stuck: bool) -> None:
        self.bench.fleet.full, self.bench.fleet.stuck = full, stuck

    @rule(which=st.integers(0, 5))
    def lose(self, which: int) -> None:
        cluster = self.bench.clusters.get(self.id)
        nodes = [node for node in cluster.nodes if node.status is NodeStatus.RUNNING]
        job = self.bench.fleet.jobs.get(cluster.job)
        if nodes and job is not None and (index := nodes[which % len(nodes)].index) in job.wanted:
            self.bench.fleet.lose(cluster.job, index)

    @rule()
    def restart(self) -> None:
        """A crash: the steps under way are lost."""
        self.bench.engine._runs.stop(0.0)
        self.bench.new_engine()

    @invariant()
    def phases_are_the_table_s(self) -> None:
        if hasattr(self, "bench"):
            assert self.wrong == []

    @invariant()
    def what_is_over_has_left_nothing(self) -> None:
        if hasattr(self, "bench"):
            cluster = self.bench.clusters.get(self.id)
            if cluster.phase in OVER:
                assert self.bench.nothing_left(cluster)
                assert cluster.operation is None
            if cluster.phase is Phase.READY and cluster.operation is None:
                assert stage_of(cluster) is None
                held = {(a.node, a.address) for a in self.store.networks.of(self.id)}
                assert held == {(n.name, n.address) for n in cluster.nodes}

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        try:
            self.bench.provider.acts.clear()
            self.bench.fleet.full = self.bench.fleet.stuck = False
            cluster = self.bench.clusters.delete(self.id)
            gone = self.bench.drive(cluster, lambda c: c.is_gone)
            assert self.bench.nothing_left(gone)
            assert self.bench.fleet.active() == 0
            assert self.wrong == []
        except GatewayError as error:
            raise AssertionError(self.bench.story(cluster)) from error
        finally:
            self.bench.engine._leave(5.0)
            self.store.close()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
