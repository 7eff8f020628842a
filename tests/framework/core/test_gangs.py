"""Gangs: placed together or not at all, within a bounded time, and without starving anybody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from framework.core import messages as m
from framework.core.messages import PendingReason
from framework.core.settings import Settings
from framework.model.cluster import Offer, StatusUpdate
from framework.model.errors import Conflict, Invalid, NotFound
from framework.model.jobs import JobKey, JobSpec, Resources
from framework.model.tasks import TaskState
from tests.framework.core.rig import KEY, Rig, config, offer, spec

OTHER = JobKey("devcluster", "ann", "prod", "other")


def where(rig: Rig) -> dict[int, str]:
    """On which agent the outcome put which instance."""
    return {t.instance: launch.agent_id for launch in rig.actions(m.Launch) for t in launch.tasks}


def nodes(count: int, **fields: Any) -> list[Any]:
    """Configs that need the same, none of them equal to another."""
    return [config(str(n), **fields) for n in range(count)]


# -- the commands ---------------------------------------------------------------------------------


def test_a_gang_has_the_configs_that_were_given_and_tells_its_tasks() -> None:
    rig = Rig()
    configs = nodes(3)
    change = rig.gang(*configs)
    assert change.gang
    assert change.tasks == {i: rig.task(i).task_id for i in range(3)}
    assert [rig.task(i).config for i in range(3)] == configs
    assert {rig.task(i).gang for i in range(3)} == {change.gang}
    assert {p.message for p in rig.store.published if p.kind == "job"} == {"3 instances, by ann"}


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({}, "has no instances"),
        ({-1: config()}, "no instance -1"),
        ({2**31: config()}, "from 0 to 2147483647"),
        ({0: config(), 1: config(cpus=0.0)}, "asks for no cpus"),
        ({0: config(data_disks=-1)}, "-1 data disks"),
        ({0: config(disk_names=("a", "a"))}, "names a data disk twice: a, a"),
        ({0: config(disk_names=("a", "b"), data_disks=1)}, "1 data disks and names 2: a, b"),
    ],
)
def test_a_gang_that_makes_no_sense_is_refused(configs: dict[int, Any], said: str) -> None:
    rig = Rig()
    with pytest.raises(Invalid, match=said):
        rig.send(m.CreateGang(at=rig.now, spec=spec(1), configs=configs))
    with pytest.raises(NotFound):
        rig.scheduler.get_job(KEY)


def test_a_job_that_lives_is_not_created_again() -> None:
    rig = Rig()
    rig.gang(config())
    with pytest.raises(Conflict, match="already exists"):
        rig.gang(config())
    rig.kill()
    assert rig.gang(config()).tasks


def test_a_resize_adds_a_gang_and_removes_in_the_same_command() -> None:
    rig = Rig()
    first = rig.gang(*nodes(3))
    rig.run()
    change = rig.resize({3: config("x"), 4: config("y")}, 1, 9)
    assert (set(change.tasks), change.removed) == ({3, 4}, (1,))
    assert change.gang not in ("", first.gang)
    assert {a.task_id for a in rig.actions(m.Kill)} == {rig.task(1).task_id}
    job = rig.scheduler.get_job(KEY).job
    assert (set(job.wanted), job.spec.instances) == ({0, 2, 3, 4}, 4)
    rig.end(1)
    rig.run()
    assert rig.states() == dict.fromkeys((0, 2, 3, 4), "RUNNING")


def test_a_resize_that_cannot_be_is_refused() -> None:
    rig = Rig()
    rig.gang(*nodes(2))
    with pytest.raises(Conflict, match=r"instance 1 is active already \(PENDING\)"):
        rig.resize({1: config()}, 1)
    with pytest.raises(Invalid, match="neither to add nor to remove"):
        rig.resize()
    with pytest.raises(Invalid, match="no cpus"):
        rig.resize({5: config(cpus=0.0)})
    with pytest.raises(Invalid, match="would have 4001 instances"):
        rig.resize({i: config() for i in range(2, 4001)})
    with pytest.raises(NotFound):
        rig.resize({5: config()}, key=OTHER)
    rig.run()
    rig.kill()
    with pytest.raises(Conflict, match="being killed"):
        rig.resize({5: config()})


def test_a_resize_during_an_update_is_refused_and_ends_a_restart_only_of_what_it_removes() -> None:
    rig = Rig()
    rig.gang(*nodes(3))
    rig.run()
    restart = rig.restart(0)
    rig.resize({3: config()})
    assert rig.last_update().is_active
    rig.resize({}, 0)
    assert (rig.last_update().update_id, rig.last_update().status) == (restart.update_id, "ABORTED")
    rig.update(spec(3, "2"))
    with pytest.raises(Conflict, match="currently updating"):
        rig.resize({5: config()})


def test_a_node_that_is_restarted_keeps_its_config_and_is_no_gang_any_more() -> None:
    rig = Rig()
    configs = nodes(2)
    rig.gang(*configs)
    rig.run()
    rig.restart(1)
    rig.end(1)
    task = rig.task(1)
    assert (task.state, task.config, task.gang) == (TaskState.PENDING, configs[1], "")
    rig.run()
    assert rig.states() == {0: "RUNNING", 1: "RUNNING"}


def test_a_node_restarted_before_it_was_placed_stays_with_its_gang() -> None:
    rig = Rig()
    change = rig.gang(*nodes(2, cpus=3.0))
    rig.restart(1)
    assert rig.task(1).gang == change.gang
    rig.offers(offer(1, cpus=4.0))
    assert where(rig) == {}


# -- all or none ----------------------------------------------------------------------------------


def test_nothing_is_placed_until_all_fit_then_all_at_once() -> None:
    rig = Rig()
    rig.gang(*nodes(3, cpus=3.0))
    rig.offers(offer(1, "a0"), offer(2, "a1"))
    assert rig.outcome.actions == ()
    assert rig.scheduler.counts().offers == 2
    rig.now += 5
    rig.offers(offer(3, "a2"))
    assert where(rig) == {0: "a0", 1: "a1", 2: "a2"}
    assert rig.actions(m.Suppress)


def test_a_part_that_fits_never_leaves_the_others_without_room() -> None:
    """The large one first, whatever the order of the instances."""
    rig = Rig()
    rig.gang(config("a"), config("b"), config("c", cpus=3.5))
    rig.offers(offer(1, "a0", cpus=3.5), offer(2, "a1", cpus=2.0))
    assert where(rig) == {0: "a1", 1: "a1", 2: "a0"}


def test_it_is_spread_if_it_can_be_and_packed_if_it_must() -> None:
    rig = Rig()
    rig.gang(*nodes(2))
    rig.offers(offer(1, "a0"), offer(2, "a1"))
    assert set(where(rig).values()) == {"a0", "a1"}
    rig = Rig()
    # Spread out, the three small ones would take from each agent what the large one needs.
    rig.gang(*nodes(3), config("x", gpus=1, cpus=1.0), config("y", gpus=1, cpus=1.0))
    rig.offers(offer(1, "a0", cpus=3.0, gpus=1.0), offer(2, "a1", cpus=2.0, gpus=1.0))
    assert sorted(where(rig)) == [0, 1, 2, 3, 4]


def test_what_names_its_host_comes_first() -> None:
    rig = Rig()
    rig.gang(config("big", cpus=4.0), config("bound", cpus=3.0, constraints=[("host", "a0.example")]))
    rig.offers(offer(1, "a0", cpus=5.0), offer(2, "a1", cpus=4.0))
    assert where(rig) == {0: "a1", 1: "a0"}


def test_the_rank_between_gangs_and_others_is_priority_then_waiting_time() -> None:
    rig = Rig()
    rig.create(spec(1, key=OTHER, cpus=2.0))
    rig.now += 1
    rig.gang(*nodes(2, cpus=2.0))
    rig.offers(offer(1, cpus=4.0))
    assert [t.key for t in rig.actions(m.Launch)[0].tasks] == [OTHER]
    rig = Rig()
    rig.create(spec(1, key=OTHER, cpus=2.0))
    rig.now += 1
    rig.gang(*nodes(2, cpus=2.0, priority=1))
    rig.offers(offer(1, cpus=4.0))
    assert {t.key for t in rig.actions(m.Launch)[0].tasks} == {KEY}


def test_what_a_gang_cannot_use_goes_to_the_others() -> None:
    rig = Rig()
    rig.gang(*nodes(2, cpus=4.0))
    rig.create(spec(1, key=OTHER))
    rig.offers(offer(1))
    assert [t.key for t in rig.actions(m.Launch)[0].tasks] == [OTHER]


def test_a_limit_among_a_tag_holds_within_the_gang_and_names_it() -> None:
    rig = Rig()
    tagged = nodes(2, tags=("data",), limit_among="data")
    rig.gang(*tagged, config("free"))
    rig.offers(offer(1, "a0"))
    assert where(rig) == {}
    rig.offers(offer(2, "a1"))
    placed = where(rig)
    assert {placed[0], placed[1]} == {"a0", "a1"}
    rig.resize({3: config("3", tags=("data",), limit_among="data")})
    rig.offers(offer(3, "a0"), offer(4, "a1"))
    assert "1 of the job's tasks tagged data are already on host=a0.example" in str(rig.reasons(3))
    rig.kill(0 if placed[0] == "a1" else 1)
    rig.end(0 if placed[0] == "a1" else 1)
    assert where(rig) == {3: "a1"}, "the offer held is tried again when the limit frees up"


def test_what_is_not_tagged_counts_for_no_limit_among_the_tag() -> None:
    rig = Rig()
    rig.gang(config("free"), config("1", tags=("data",), limit_among="data"))
    rig.offers(offer(1, "a0"))
    assert where(rig) == {0: "a0", 1: "a0"}
    rig.status(rig.task(1).task_id, "RUNNING")
    rig.status(rig.task(1).task_id, "FAILED")
    rig.wait(rig.settings.throttle_initial_secs)
    rig.offers(offer(2, "a0"))
    assert where(rig) == {1: "a0"}, "the one before it does not count"


# -- what it costs --------------------------------------------------------------------------------


def test_a_gang_that_does_not_fit_is_tried_again_only_when_something_is_new() -> None:
    rig = Rig()
    rig.gang(*nodes(50, cpus=3.0))
    rig.offers(*(offer(n, f"a{n}") for n in range(49)))
    first = rig.scheduler.counts().looks
    # What needs the same is looked at once: a scan, and four ways to place.
    assert first <= 49 + 4 * 2 * 50
    for _ in range(20):
        rig.now += 0.1
        rig.send(m.Tick(at=rig.now))
    assert rig.scheduler.counts().looks == first
    rig.offers(offer(99, "a49"))
    assert len(where(rig)) == 50


def test_a_gang_that_is_hopeless_costs_one_look_per_agent_held() -> None:
    rig = Rig()
    rig.gang(*nodes(50, cpus=100.0))
    rig.offers(*(offer(n, f"a{n}") for n in range(30)))
    assert rig.scheduler.counts().looks == 30


# -- offers ---------------------------------------------------------------------------------------


def test_offers_are_collected_for_a_gang_then_declined_together() -> None:
    rig = Rig()
    rig.gang(*nodes(3, cpus=3.0))
    rig.offers(offer(1, "a0"))
    assert rig.wait(rig.settings.gang_hold_secs - 2) == []
    rig.offers(offer(2, "a1"))
    assert rig.wait(1.9) == []
    assert rig.wait(0.2) == [m.Decline(("o1-a0", "o2-a1"), rig.settings.gang_refuse_secs)]


def test_no_offer_is_held_longer_for_being_completed_or_taken_back_in_part() -> None:
    rig = Rig()
    rig.gang(*nodes(3, cpus=30.0))
    rig.offers(offer(1, "a0"))
    rig.wait(10)
    rig.offers(offer(2, "a0"), offer(3, "a1"))
    rig.send(m.OfferRescinded(at=rig.now, offer_id="o1-a0"))
    actions = rig.wait(rig.settings.gang_hold_secs - 10)
    assert actions == [m.Decline(("o2-a0", "o3-a1"), rig.settings.gang_refuse_secs)]


def test_once_no_gang_waits_offers_are_held_as_usual() -> None:
    rig = Rig()
    rig.gang(*nodes(2, cpus=3.0))
    rig.create(spec(1, key=OTHER, cpus=30.0))
    rig.offers(offer(1, "a0"))
    rig.wait(10)
    rig.kill()
    assert rig.outcome.actions == (m.Decline(("o1-a0",), rig.settings.refuse_secs),)


# -- nobody starves -------------------------------------------------------------------------------


class Cluster:
    """Agents that offer what is free of them, in virtual time; every task runs for a while.

    One task of a cpu is created each second, and runs for ``small_secs``.
    """

    def __init__(self, agents: int, *, small_secs: float, **small: Any) -> None:
        self.rig = Rig(FAST)
        self.agents = [f"a{n}" for n in range(agents)]
        self.small_secs = small_secs
        self.small = small
        self.until: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self._numbers = itertools.count()
        # When the tasks of which job were placed, and all the small ones.
        self.placed: dict[str, list[float]] = {}
        self.smalls: list[float] = []
        self.last = KEY

    def second(self, *, small: bool = True) -> None:
        if small:
            self.last = JobKey("devcluster", "ann", "prod", f"small{next(self._numbers)}")
            job = spec(1, key=self.last, service=False, **self.small)
            self._send(m.CreateJob(at=self.rig.now, spec=job))
        for task_id in [i for i, end in self.until.items() if end <= self.rig.now]:
            del self.until[task_id]
            agent = self.rig.store.tasks[task_id].agent_id
            update = StatusUpdate(task_id=task_id, state="TASK_FINISHED", agent_id=agent)
            self._send(m.StatusReceived(at=self.rig.now, update=update))
        self._send(m.OffersReceived(at=self.rig.now, offers=tuple(self._free())))
        end = self.rig.now + 1.0
        while (deadline := self.rig.scheduler.next_deadline()) is not None and deadline <= end:
            assert deadline >= self.rig.now
            self.rig.now = deadline
            self._send(m.Tick(at=deadline))
        self.rig.now = end

    def _free(self) -> Iterator[Offer]:
        held = {o.agent_id for o in self.rig.scheduler.session().offers}
        for agent in self.agents:
            ours = [t for i in self.until if (t := self.rig.store.tasks[i]).agent_id == agent]
            free = 4.0 - sum(t.config.resources.cpus for t in ours)
            if free and agent not in held and self.refused.get(agent, 0.0) <= self.rig.now:
                yield offer(next(self._numbers), agent, cpus=free)

    def _send(self, event: m.Event) -> None:
        outcome = self.rig.scheduler.handle(event)
        self.rig.store.apply(outcome.writes)
        now = self.rig.now
        for action in outcome.actions:
            if isinstance(action, m.Decline):
                for offer_id in action.offer_ids:
                    self.refused[offer_id.split("-")[1]] = now + action.refuse_seconds
            for task in action.tasks if isinstance(action, m.Launch) else ():
                is_small = task.key.name.startswith("small")
                self.until[task.task_id] = now + (self.small_secs if is_small else 30.0)
                self.placed.setdefault(task.key.name, []).append(now)
                if is_small:
                    self.smalls.append(now)


# So that a test need not go through so many seconds.
FAST = Settings(
    executor_cpus=0.0,
    executor_mem_mb=0.0,
    gang_patience_secs=20.0,
    gang_hold_secs=5.0,
    history_tasks=1,
)


def test_a_stream_of_small_jobs_starves_no_gang() -> None:
    """As many as there is room for; the gang needs all of both agents at the same time."""
    cluster = Cluster(2, small_secs=10.0)
    for _ in range(15):
        cluster.second()
    began = cluster.rig.now
    cluster.rig.gang(*nodes(2, cpus=4.0, service=False))
    said: set[str] = set()
    while KEY.name not in cluster.placed and cluster.rig.now < began + 300:
        cluster.second()
        said |= {r.reason for r in cluster.rig.scheduler.pending_reasons(small_task(cluster))}
    assert len(cluster.placed[KEY.name]) == 2
    # Its patience, then at most a stretch for the others, then what runs has to end.
    patience = FAST.gang_patience_secs
    assert patience <= cluster.placed[KEY.name][0] - began <= 2 * patience + 10.0 + FAST.gang_hold_secs
    assert any("all offers are for the nodes of" in r and "have waited longer" in r for r in said), said
    cluster.rig.scheduler.validate()


def small_task(cluster: Cluster) -> str:
    return cluster.rig.task(0, cluster.last).task_id


def test_a_gang_whose_room_never_comes_leaves_the_others_every_second_turn() -> None:
    """It could fit by what the agents once had, but something stays on one of them."""
    cluster = Cluster(2, small_secs=1.0)
    cluster.rig.create(spec(1, key=OTHER, constraints=[("host", "a0.example")]))
    cluster.second(small=False)
    cluster.until.update(dict.fromkeys(cluster.until, 1e18))
    cluster.rig.gang(*nodes(2, cpus=4.0))
    began = cluster.rig.now
    for _ in range(200):
        cluster.second()
    assert KEY.name not in cluster.placed
    gaps = [b - a for a, b in pairwise([began, *cluster.smalls])]
    patience = FAST.gang_patience_secs
    assert max(gaps) <= patience + FAST.gang_refuse_secs + 2, "no turn is longer than it may be"
    assert len([gap for gap in gaps if gap >= patience - 2]) == 5, "every second stretch of 20 s"
    assert len(cluster.smalls) >= 180, "what had to wait is done in the others' turns"


def test_a_gang_that_could_never_fit_keeps_nobody_from_anything() -> None:
    cluster = Cluster(2, small_secs=1.0)
    cluster.rig.gang(*nodes(3, cpus=4.0))
    for n in range(100):
        cluster.second()
        # An offer may just have been declined, with all the others, for a second.
        assert len(cluster.smalls) >= n


def test_what_is_of_higher_priority_does_not_wait_for_a_gang_s_turn() -> None:
    cluster = Cluster(1, small_secs=2.0, priority=1)
    cluster.second()
    cluster.rig.gang(*nodes(2, cpus=2.0))
    for n in range(100):
        cluster.second()
        assert len(cluster.smalls) == n + 2


def test_two_gangs_that_each_need_more_than_half_run_one_after_the_other() -> None:
    cluster = Cluster(4, small_secs=5.0)
    for key in (KEY, OTHER):
        cluster.rig.gang(*nodes(3, cpus=4.0, service=False), key=key)
    for _ in range(120):
        cluster.second()
    assert [len(cluster.placed[key.name]) for key in (KEY, OTHER)] == [3, 3]
    first, second = sorted(cluster.placed[key.name][0] for key in (KEY, OTHER))
    assert second >= first + 30
    assert len(cluster.smalls) > 60


# -- reasons --------------------------------------------------------------------------------------


def test_each_task_says_why_and_that_the_gang_waits() -> None:
    rig = Rig()
    rig.gang(*nodes(2, cpus=3.0), config("big", cpus=6.0))
    assert "no offers yet" in rig.reasons(0)
    rig.offers(offer(1, "a0"), offer(2, "a1"))
    for instance in range(3):
        assert "waits until all 3 nodes fit at once; now 2 of 3 fit" in rig.reasons(instance)
    assert "cpus: needs 6, largest of 2 offers has 4" in rig.reasons(2)
    views = rig.scheduler.get_job(KEY).instances
    assert all(PendingReason(r, 0) in views[2].pending for r in rig.reasons(2) if "waits" in r)


def test_the_reason_says_when_they_fit_one_by_one_only() -> None:
    rig = Rig()
    rig.gang(*nodes(3, cpus=3.0))
    rig.offers(offer(1, "a0"), offer(2, "a1"))
    assert "waits until all 3 nodes fit at once; now 2 of 3 fit" in rig.reasons(0)
    assert "waiting for the next offer of an agent that fits" in rig.reasons(0)


def test_a_restart_of_the_gateway_changes_nothing_about_a_gang() -> None:
    rig = Rig()
    rig.gang(*nodes(2, cpus=3.0))
    rig.reload()
    rig.register()
    rig.offers(offer(1, "a0"))
    assert where(rig) == {}
    rig.offers(offer(2, "a1"))
    assert set(where(rig)) == {0, 1}


def test_the_spec_of_a_gang_is_only_its_summary() -> None:
    rig = Rig()
    summary = JobSpec(key=KEY, instances=7, config=config(cpus=9.0))
    rig.send(m.CreateGang(at=rig.now, spec=summary, configs={2: config("a"), 5: config("b")}))
    job = rig.scheduler.get_job(KEY).job
    assert (job.spec.instances, set(job.wanted)) == (2, {2, 5})
    assert job.wanted[2].resources == Resources(1.0, 128, 64)
