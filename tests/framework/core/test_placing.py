"""Placement, offers, and what it costs."""

from __future__ import annotations

import pytest

from framework.core import messages as m
from framework.core.settings import Settings
from framework.model.cluster import Offer, PortRange
from framework.model.jobs import JobKey
from tests.framework.core.rig import KEY, Rig, offer, spec


def hosts(rig: Rig) -> dict[str, int]:
    """How many tasks each Launch put where."""
    return {launch.agent_id: len(launch.tasks) for launch in rig.actions(m.Launch)}


def test_tasks_are_launched_with_the_whole_offers_of_one_agent() -> None:
    rig = Rig()
    rig.create(spec(3, ports=("http",)))
    rig.offers(offer(1, cpus=1.5), offer(2, cpus=1.5, ports=(PortRange(32000, 32001),)))
    (launch,) = rig.actions(m.Launch)
    assert sorted(launch.offer_ids) == ["o1-a0", "o2-a0"]
    assert [t.state for t in launch.tasks] == ["ASSIGNED"] * 3
    assert {t.hostname for t in launch.tasks} == {"a0.example"}
    assert len({t.ports["http"] for t in launch.tasks}) == 3
    assert launch.tasks == tuple(rig.store.tasks[t.task_id] for t in launch.tasks)


def test_what_is_launched_is_stored_in_the_same_outcome() -> None:
    rig = Rig()
    rig.create(spec(1))
    outcome = rig.offers(offer())
    (launch,) = rig.actions(m.Launch)
    assert m.SaveTask(launch.tasks[0]) in outcome.writes


def test_the_job_is_spread() -> None:
    rig = Rig()
    rig.create(spec(4))
    rig.offers(offer(1, "a0", cpus=8.0), offer(2, "a1"), offer(3, "a2", cpus=3.0), offer(4, "a3"))
    assert hosts(rig) == {"a0": 1, "a1": 1, "a2": 1, "a3": 1}


def test_among_equals_the_freest_agent_is_taken() -> None:
    rig = Rig()
    rig.create(spec(1))
    rig.offers(offer(1, "a0"), offer(2, "a1", cpus=5.0), offer(3, "a2"))
    assert hosts(rig) == {"a1": 1}


def test_an_agent_that_has_one_already_comes_last() -> None:
    rig = Rig()
    rig.create(spec(1))
    rig.offers(offer(1, "a0"))
    rig.update(spec(2))
    rig.status(rig.task().task_id, "RUNNING")
    rig.offers(offer(2, "a0", cpus=9.0), offer(3, "a1", cpus=2.0))
    assert hosts(rig) == {"a1": 1}


def test_a_limit_holds_within_one_pass_and_over_several() -> None:
    rig = Rig()
    rig.create(spec(5, constraints=[("rack", "limit:2")]))
    racks = {"a0": "x", "a1": "x", "a2": "y"}
    rig.offers(*(offer(n, a, attributes={"rack": (r,)}) for n, (a, r) in enumerate(racks.items())))
    assert sum(hosts(rig).values()) == 4
    rig.offers(*(offer(9 + n, a, attributes={"rack": (r,)}) for n, (a, r) in enumerate(racks.items())))
    assert hosts(rig) == {}
    assert any("constraint rack=limit:2" in reason for reason in rig.reasons(4))
    ended = next(i for i in range(4) if rig.task(i).agent_id == "a2")
    rig.status(rig.task(ended).task_id, "RUNNING")
    rig.offers(offer(20, "a2", attributes={"rack": ("y",)}))
    assert hosts(rig) == {}
    rig.status(rig.task(ended).task_id, "FINISHED")
    assert sum(hosts(rig).values()) == 1, "the offer held is tried again when the limit frees up"


def test_higher_priority_goes_first_then_who_waits_longer() -> None:
    rig = Rig()
    keys = [JobKey("devcluster", "ann", "prod", name) for name in ("old", "new", "vip")]
    rig.create(spec(1, key=keys[0]))
    rig.now += 1
    rig.create(spec(1, key=keys[1]))
    rig.now += 1
    rig.create(spec(1, key=keys[2], priority=5))
    rig.offers(offer(cpus=2.0))
    (launch,) = rig.actions(m.Launch)
    assert [task.key.name for task in launch.tasks] == ["vip", "old"]


def test_nothing_pending_means_suppress_and_decline_and_a_new_task_means_revive() -> None:
    rig = Rig()
    assert rig.actions(m.Suppress)
    rig.offers(offer())
    assert rig.outcome.actions == (m.Decline(("o0-a0",), rig.settings.idle_refuse_secs),)
    rig.create(spec(1))
    assert rig.outcome.actions == (m.Revive(),)
    rig.create(spec(1, key=JobKey("devcluster", "bob", "prod", "x")))
    assert rig.outcome.actions == (), "said once"
    rig.offers(offer(1))
    assert [type(a) for a in rig.outcome.actions] == [m.Launch, m.Suppress]
    # At 300 s a launch of which nothing is heard is lost, and made anew.
    assert not any(isinstance(action, m.Revive | m.Suppress) for action in rig.wait(299))


def test_offers_that_fit_nothing_are_held_for_a_while_then_declined() -> None:
    rig = Rig()
    rig.create(spec(1, cpus=6.0))
    rig.offers(offer(1))
    assert rig.outcome.actions == ()
    assert rig.scheduler.counts().offers == 1
    actions = rig.wait(rig.settings.offer_hold_secs)
    assert actions == [m.Decline(("o1-a0",), rig.settings.refuse_secs)]
    assert rig.scheduler.counts().offers == 0


def test_a_second_offer_of_the_agent_completes_the_first() -> None:
    rig = Rig()
    rig.create(spec(1, cpus=6.0))
    rig.offers(offer(1))
    rig.now += 1
    rig.offers(offer(2))
    assert hosts(rig) == {"a0": 1}


def test_a_rescinded_offer_is_not_used() -> None:
    rig = Rig()
    rig.create(spec(1, cpus=6.0))
    rig.offers(offer(1), offer(3, "a1", cpus=1.0))
    rig.send(m.OfferRescinded(at=rig.now, offer_id="o1-a0"))
    rig.offers(offer(2))
    assert hosts(rig) == {}
    rig.send(m.OfferRescinded(at=rig.now, offer_id="never-seen"))


def test_revive_is_repeated_when_no_offer_comes() -> None:
    rig = Rig()
    rig.create(spec(1))
    actions = rig.wait(3 * rig.settings.revive_interval_secs + 1)
    assert actions.count(m.Revive()) == 3
    assert m.Suppress() not in actions


def test_after_a_registration_revive_or_suppress_is_said_again() -> None:
    rig = Rig()
    rig.create(spec(1))
    rig.offers(offer(1, cpus=0.5))
    rig.disconnect()
    rig.register()
    assert rig.actions(m.Revive)
    assert rig.scheduler.counts().offers == 0, "offers of the old connection are void"


def test_without_a_connection_nothing_is_asked_of_mesos() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.disconnect()
    rig.kill()
    rig.create(spec(1, key=JobKey("devcluster", "bob", "prod", "x")))
    rig.offers(offer())
    assert rig.wait(1000) == []


def test_a_lost_agent_s_offers_are_forgotten() -> None:
    rig = Rig()
    rig.create(spec(1, cpus=6.0))
    rig.offers(offer(1))
    rig.send(m.AgentLost(at=rig.now, agent_id="a0"))
    assert rig.scheduler.counts().agents == 0
    rig.offers(offer(2))
    assert hosts(rig) == {}


def test_after_a_restart_unknown_racks_count_against_a_limit_for_a_while() -> None:
    rig = Rig()
    job = spec(2, constraints=[("rack", "limit:1")])
    rig.create(job)
    rig.offers(offer(1, "a0", attributes={"rack": ("x",)}))
    rig.status(rig.task(0).task_id, "RUNNING")
    rig.reload()
    rig.register()
    rig.offers(offer(2, "a1", attributes={"rack": ("x",)}))
    assert hosts(rig) == {}, "a0's rack is not known: it may be x"
    rig.wait(rig.settings.attributes_grace_secs + 10)
    rig.offers(offer(3, "a2", attributes={"rack": ("z",)}))
    assert hosts(rig) == {"a2": 1}, "a full agent does not hold the job back for ever"


# -- cost ----------------------------------------------------------------------------------------


def many(agents: int, first: int = 0, **fields: object) -> list[Offer]:
    return [
        offer(first + n, f"a{n}", attributes={"rack": (f"r{n % 50}",)}, **fields) for n in range(agents)
    ]


def looks_per_task(jobs: int, instances: int, agents: int, **fields: object) -> float:
    """Creates the jobs, offers all agents at once, and returns the looks per task placed."""
    rig = Rig(Settings(executor_cpus=0.0, executor_mem_mb=0.0))
    for n in range(jobs):
        key = JobKey("devcluster", "ann", "prod", f"job{n}")
        event = m.CreateJob(at=rig.now, spec=spec(instances, key=key, **fields))
        rig.store.apply(rig.scheduler.handle(event).writes)
    rig.scheduler.handle(m.OffersReceived(at=rig.now, offers=tuple(many(agents))))
    counts = rig.scheduler.counts()
    assert counts.placed == jobs * instances
    return counts.looks / counts.placed


def test_the_cost_of_a_task_does_not_grow_with_tasks_or_agents() -> None:
    small = looks_per_task(jobs=5, instances=20, agents=200)
    assert looks_per_task(jobs=50, instances=20, agents=500) <= 1.2 * small
    assert looks_per_task(jobs=5, instances=200, agents=500) <= 1.2 * small
    assert looks_per_task(jobs=5, instances=20, agents=4000) <= 1.2 * small


def test_nor_with_a_limit_per_rack() -> None:
    limited = {"constraints": [("rack", "limit:2")]}
    small = looks_per_task(jobs=5, instances=20, agents=200, **limited)
    assert looks_per_task(jobs=50, instances=20, agents=500, **limited) <= 1.2 * small
    assert looks_per_task(jobs=5, instances=20, agents=4000, **limited) <= 1.2 * small


def looks_with_offers_in_events(jobs: int, agents: int) -> float:
    """All jobs wait while the offers come a few at a time, each agent for a few tasks."""
    rig = Rig(Settings(executor_cpus=0.0, executor_mem_mb=0.0))
    for n in range(jobs):
        rig.create(spec(20, key=JobKey("devcluster", "ann", "prod", f"job{n}")))
    for first in range(0, agents, 10):
        rig.scheduler.handle(m.OffersReceived(at=rig.now, offers=tuple(many(10, first=first, cpus=4.0))))
    counts = rig.scheduler.counts()
    assert counts.placed == min(jobs * 20, agents * 4)
    return counts.looks / counts.placed


def test_nor_with_the_jobs_that_wait_while_agents_fill_up() -> None:
    small = looks_with_offers_in_events(jobs=10, agents=50)
    assert looks_with_offers_in_events(jobs=100, agents=500) <= 1.2 * small
    assert looks_with_offers_in_events(jobs=200, agents=50) <= 1.2 * small


@pytest.mark.parametrize("instances", [10, 1000])
def test_what_fits_nowhere_is_tried_once_per_offer_not_once_per_task(instances: int) -> None:
    rig = Rig()
    rig.create(spec(instances, cpus=100.0, constraints=[("rack", "r1")]))
    rig.offers(*many(30))
    first = rig.scheduler.counts().looks
    assert first <= 30
    for _ in range(20):
        rig.now += 0.1
        rig.send(m.Tick(at=rig.now))
    assert rig.scheduler.counts().looks == first, "nothing has changed, so nothing is tried again"
    rig.offers(*many(3, first=100))
    assert rig.scheduler.counts().looks <= first + 3


def test_many_hopeless_jobs_cost_nothing_at_a_new_offer() -> None:
    rig = Rig()
    for n in range(200):
        rig.create(spec(1, key=JobKey("devcluster", "ann", "prod", f"job{n}"), cpus=100.0))
    before = rig.scheduler.counts().looks
    rig.offers(*many(50))
    assert rig.scheduler.counts().looks == before


def test_the_tasks_of_the_default_job_are_those_of_the_view() -> None:
    rig = Rig()
    rig.create(spec(2))
    rig.place()
    assert {v.task.hostname for v in rig.scheduler.get_job(KEY).instances} == {"a0.example"}
