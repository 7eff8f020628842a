"""F15: the making of a cluster fails, or its maker dies, at every step; nothing is left or lost.

The marked points of the engine are before and after everything that it does to the world: each commit
to the store and each command to the scheduler. A kill is an exception that nothing catches, and a new
engine on the same store.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from framework.model.errors import GatewayError, Invalid, NotFound, Unavailable
from framework.model.jobs import JobKey, JobSpec, TaskConfig
from framework.storage import StorageUnavailable
from gateway.clusters.model import Cluster, Phase
from gateway.clusters.phases import NEXT
from gateway.clusters.provider import StepContext, StepFailed
from gateway.store import Change, Store
from tests.faults.seeds import seeded
from tests.gateway.clusters.doubles import Bench, MemoryFleet
from tests.measured import Measured

DEATHS = "F15 deaths of the engine in a cluster's life, nothing lost or left"


class Killed(BaseException):
    """kill -9, as far as one process can do that to itself."""


class Points:
    """Raises what ``choose(point)`` gives, while armed; only in the thread of the engine."""

    def __init__(self) -> None:
        self.choose: Callable[[str], BaseException | None] = lambda point: None
        self.passed: list[str] = []
        self.where = ""
        self._armed = False

    @contextmanager
    def armed(self) -> Iterator[None]:
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def pass_by(self, what: str) -> None:
        if not self._armed or threading.current_thread() is not threading.main_thread():
            return
        point = f"{self.where}: {what}"
        self.passed.append(point)
        if (error := self.choose(point)) is not None:
            raise error


class FaultyFleet(MemoryFleet):
    """The fleet, with a point before and after each of its commands."""

    points: Points

    def create(self, spec: JobSpec, configs: Mapping[int, TaskConfig], user: str) -> None:
        self.points.pass_by("before the creation")
        super().create(spec, configs, user)
        self.points.pass_by("after the creation")

    def resize(
        self, key: JobKey, add: Mapping[int, TaskConfig], remove: Sequence[int], user: str
    ) -> None:
        what = "growth" if add else "shrinking"
        self.points.pass_by(f"before the {what}")
        super().resize(key, add, remove, user)
        self.points.pass_by(f"after the {what}")

    def kill(self, key: JobKey, user: str) -> None:
        self.points.pass_by("before the kill")
        super().kill(key, user)
        self.points.pass_by("after the kill")


class FaultyBench(Bench):
    """A bench whose engine dies at points, and is followed by another one each time."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.points = Points()
        self.kills = 0
        super().__init__(store)
        self.fleet = FaultyFleet(self.clock)
        self.fleet.points = self.points
        self.clusters._fleet = self.fleet
        self.new_engine()
        self.phases: dict[str, Phase] = {}
        self.wrong: list[str] = []
        store.subscribe(self._check)
        database = store._sessions._database
        transaction = database.transaction

        @contextmanager
        def faulty(write: bool = True) -> Iterator[sa.Connection]:
            if write:
                self.points.pass_by("before a commit")
            with transaction(write) as connection:
                yield connection
            if write:
                self.points.pass_by("after a commit")

        monkeypatch.setattr(database, "transaction", faulty)

    def turn(self, cluster: Cluster) -> None:
        self._locate(self.store.clusters.get(cluster.cluster_id))
        try:
            with self.points.armed():
                self.engine.turn()
        except Killed:
            self.kills += 1
            self.engine._runs.stop(0.0)
            self.new_engine()

    def drive(
        self, cluster: Cluster, until: Callable[[Cluster], bool], timeout: float = 60.0
    ) -> Cluster:
        for _ in range(20_000):
            now = self.store.clusters.get(cluster.cluster_id)
            if until(now):
                return now
            self.turn(cluster)
            self.fleet.settle()
            self.now += 0.5
            if self.engine._runs.busy:
                threading.Event().wait(0.002)
        raise AssertionError((now, self.story(cluster), self.points.passed[-20:]))

    def _locate(self, now: Cluster) -> None:
        kind = now.operation.kind if now.operation is not None else "idle"
        undoing = " undone" if now.failed_step else ""
        self.points.where = f"{kind}{undoing} {now.step}"

    def _check(self, change: Change) -> None:
        """Every phase follows from the one before by the table; what a kill kept from being told may
        lie in between."""
        if change.kind != "cluster":
            return
        cluster = self.store.clusters.get(change.id)
        self._locate(cluster)
        now = cluster.phase
        before = self.phases.get(change.id, Phase.REGISTERED)
        if now is not before and now not in after(before):
            self.wrong.append(f"{before} -> {now}")
        self.phases[change.id] = now


def after(phase: Phase) -> set[Phase]:
    """The phases that may ever follow."""
    found: set[Phase] = set()
    new = set(NEXT[phase])
    while new:
        found |= new
        new = {following for one in new for following in NEXT[one]} - found
    return found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBench]:
    store = Store("sqlite://")
    bench = FaultyBench(store, monkeypatch)
    yield bench
    bench.engine._leave(5.0)
    assert bench.wrong == []
    store.close()


def settled(cluster: Cluster) -> bool:
    return cluster.operation is None


def at_first_passing(make: Callable[[], BaseException]) -> Callable[[str], BaseException | None]:
    """At every point, once."""
    seen: set[str] = set()

    def choose(point: str) -> BaseException | None:
        if point in seen:
            return None
        seen.add(point)
        return make()

    return choose


def fail(cluster: Cluster, context: StepContext) -> None:
    raise StepFailed("the script has ended with 3")


def live(bench: FaultyBench, number: int = 1) -> list[Cluster]:
    """A cluster's whole life; returns what it was at the end of each operation."""
    cluster = bench.launch(2, number)
    bench.store.secrets.put(cluster.cluster_id, "ssh", "private")
    seen = [bench.drive(cluster, settled)]
    bench.clusters.resize(cluster.cluster_id, {"slave": 1}, ["slave0"])
    seen.append(bench.drive(cluster, settled))
    bench.clusters.run(cluster.cluster_id, "status")
    seen.append(bench.drive(cluster, settled))
    bench.clusters.delete(cluster.cluster_id)
    seen.append(bench.drive(cluster, settled))
    return seen


def check_life(bench: FaultyBench, seen: list[Cluster]) -> None:
    launched, resized, ran, gone = seen
    assert [c.phase for c in seen] == [Phase.READY, Phase.READY, Phase.READY, Phase.DELETED]
    assert [node.name for node in launched.nodes] == ["slave0", "slave1"]
    assert [node.name for node in resized.nodes] == ["slave1", "slave2"]
    assert len({node.address for node in resized.nodes}) == 2
    assert ran.reason == ""
    assert bench.nothing_left(gone)
    assert bench.fleet.calls["create"] == 1


# -- death ----------------------------------------------------------------------------------------


def test_an_engine_that_dies_everywhere_loses_nothing(bench: FaultyBench, measured: Measured) -> None:
    bench.points.choose = at_first_passing(lambda: Killed())
    check_life(bench, live(bench))
    measured(DEATHS, bench.kills)
    assert bench.kills >= 45, bench.points.passed
    for point in (
        "create placement: before the creation",
        "create placement: after the creation",
        "resize placement: after the growth",
        "resize removal: after the shrinking",
        "delete kill: after the kill",
    ):
        assert point in bench.points.passed


def test_an_engine_that_dies_everywhere_releases_everything(
    bench: FaultyBench, measured: Measured
) -> None:
    """At every point of a launch that fails at its last step."""
    bench.points.choose = at_first_passing(lambda: Killed())
    bench.provider.acts["placed/second"] = fail
    cluster = bench.launch(2)
    bench.store.secrets.put(cluster.cluster_id, "ssh", "private")
    failed = bench.drive(cluster, settled)
    assert (failed.phase, failed.failed_step) == (Phase.FAILED, "placed second")
    assert failed.reason == "the script has ended with 3"
    assert bench.nothing_left(failed)
    assert any(point.startswith("create undone") for point in bench.points.passed)
    assert bench.kills >= 18
    measured("F15 deaths of the engine in a launch that fails, all released", bench.kills)


@pytest.mark.parametrize("why", ["resized/second", "shrinking/second"])
def test_a_resize_is_undone_by_engines_that_die_everywhere(
    bench: FaultyBench, why: str, measured: Measured
) -> None:
    cluster = bench.drive(bench.launch(2), settled)
    bench.points.choose = at_first_passing(lambda: Killed())
    bench.provider.acts[why] = fail
    bench.clusters.resize(cluster.cluster_id, {"slave": 2}, ["slave0"])
    after = bench.drive(cluster, settled)
    assert (after.phase, after.reason) == (Phase.READY, "the script has ended with 3")
    assert [node.name for node in after.nodes] == ["slave0", "slave1"]
    assert bench.fleet.names(cluster.job) == ["slave0", "slave1"]
    assert [a.node for a in bench.store.networks.of(cluster.cluster_id)] == ["slave0", "slave1"]
    measured("F15 deaths of the engine in a resize that fails, undone", bench.kills)


@seeded(3, 40)
def test_deaths_at_any_time(seed: int, bench: FaultyBench, measured: Measured) -> None:
    chance = random.Random(seed)
    bench.points.choose = lambda point: Killed() if chance.random() < 0.15 else None
    check_life(bench, live(bench))
    assert bench.kills > 0
    measured(DEATHS, bench.kills)


def test_a_deletion_at_every_moment_of_a_launch(bench: FaultyBench, measured: Measured) -> None:
    """Whoever deletes does so between any two things that the engine does."""
    whole = bench.launch(1)
    bench.drive(whole, settled)
    moments = len([p for p in bench.points.passed if p.endswith("after a commit")])
    assert moments > 10
    for moment in range(0, moments + 1, 2):
        cluster = bench.launch(1, 2 + moment)
        count = len(bench.points.passed) + 2 * moment

        def enough(now: Cluster, count: int = count) -> bool:
            return len(bench.points.passed) >= count or now.operation is None

        bench.drive(cluster, enough)
        bench.clusters.delete(cluster.cluster_id)
        gone = bench.drive(cluster, settled)
        assert gone.phase is Phase.DELETED
        assert bench.nothing_left(gone)
        assert bench.clusters.delete(cluster.cluster_id) == gone
    measured("F15 moments of a launch at which it was deleted", len(range(0, moments + 1, 2)))


# -- failure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StorageUnavailable("no room"), Unavailable("no leader")])
def test_what_is_out_of_order_for_a_while_is_waited_for(bench: FaultyBench, error: GatewayError) -> None:
    bench.points.choose = at_first_passing(lambda: error)
    check_life(bench, live(bench))


@pytest.mark.parametrize(
    ("point", "step"),
    [
        ("create addresses: before a commit", "addresses"),
        ("create placement: before the creation", "placement"),
        ("create placement: after the creation", "placement"),
    ],
)
def test_a_refusal_fails_the_launch(bench: FaultyBench, point: str, step: str) -> None:
    once = iter([Invalid("it cannot be")])
    bench.points.choose = lambda passed: next(once, None) if passed == point else None
    cluster = bench.launch(2)
    bench.store.secrets.put(cluster.cluster_id, "ssh", "private")
    failed = bench.drive(cluster, settled)
    assert (failed.phase, failed.failed_step, failed.reason) == (Phase.FAILED, step, "it cannot be")
    assert bench.nothing_left(failed)
    # To try again is to launch another one.
    assert bench.drive(bench.launch(2, 2), settled).phase is Phase.READY
    first = bench.clusters.delete(cluster.cluster_id)
    assert bench.clusters.delete(cluster.cluster_id) == first
    assert bench.drive(cluster, settled).phase is Phase.DELETED


@pytest.mark.parametrize("moment", ["planned", "placed"])
@pytest.mark.parametrize("what", ["steps", "files"])
def test_a_provider_that_refuses_fails_the_launch(
    bench: FaultyBench, monkeypatch: pytest.MonkeyPatch, moment: str, what: str
) -> None:
    real = getattr(bench.provider, what)

    def refuse(cluster: Cluster, about: Any) -> Any:
        if what == "files" or about == moment:
            raise NotFound("the product is gone")
        return real(cluster, about)

    monkeypatch.setattr(bench.provider, what, refuse)
    failed = bench.drive(bench.launch(2), settled)
    assert (failed.phase, failed.reason) == (Phase.FAILED, "the product is gone")
    assert bench.nothing_left(failed)


def test_a_defect_of_a_step_fails_the_launch(
    bench: FaultyBench, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(cluster: Cluster, context: StepContext) -> None:
        raise ZeroDivisionError("a defect")

    bench.provider.acts["planned/first"] = crash
    failed = bench.drive(bench.launch(2), settled)
    assert failed.reason == "planned first has failed by a defect: ZeroDivisionError"
    assert "a defect" in caplog.text
    assert bench.nothing_left(failed)


def test_a_deletion_goes_on_for_as_long_as_the_scheduler_is_away(bench: FaultyBench) -> None:
    cluster = bench.drive(bench.launch(2), settled)
    away = [True]
    bench.points.choose = lambda point: Unavailable("no leader") if away[0] and "kill" in point else None
    bench.clusters.delete(cluster.cluster_id)
    for _ in range(100):
        bench.turn(cluster)
        bench.now += 1.0
    assert bench.clusters.get(cluster.cluster_id).phase is Phase.DELETING
    away[0] = False
    assert bench.drive(cluster, settled).phase is Phase.DELETED
    assert bench.nothing_left(cluster)
