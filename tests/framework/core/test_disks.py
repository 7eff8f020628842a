"""Data disks: each of them one task's, kept for its successor, withheld by an operator."""

from __future__ import annotations

import pytest

from framework.core import messages as m
from framework.core.disks import by_number
from framework.core.matching import Ask, Room, vetoes
from framework.core.scheduler import Scheduler
from framework.model.errors import NotFound
from framework.model.jobs import JobKey
from framework.model.tasks import Home, TaskState
from tests.framework.core.rig import KEY, Rig, config, equal_state, offer, spec

OTHER = JobKey("devcluster", "ann", "prod", "other")
DISKS = ("disk1", "disk2", "disk10")


def disks(rig: Rig, agent: str = "a0") -> dict[str, tuple[int | None, str, bool]]:
    """Who has which disk of an agent: the instance, its state; and whether it is withheld."""
    return {
        use.name: (use.instance, use.state, use.withheld)
        for use in rig.scheduler.disks()[f"{agent}.example"]
    }


def placed(rig: Rig) -> dict[int, tuple[str, tuple[str, ...]]]:
    return {
        t.instance: (launch.agent_id, t.disks) for launch in rig.actions(m.Launch) for t in launch.tasks
    }


def test_disks_are_ordered_by_their_numbers() -> None:
    names = ["disk10", "disk2", "sdb", "2", "disk", "disk2a", "10", ""]
    assert sorted(names, key=by_number) == ["", "2", "10", "disk", "disk2", "disk2a", "disk10", "sdb"]


def test_a_task_gets_the_lowest_free_disks_in_order_and_nobody_else_does() -> None:
    rig = Rig()
    rig.create(spec(1, data_disks=2))
    rig.offers(offer(1, disks=("disk10", "disk1", "disk2")))
    assert placed(rig) == {0: ("a0", ("disk1", "disk2"))}
    rig.create(spec(1, key=OTHER, data_disks=1))
    # As if the master had not heard of the launch.
    rig.offers(offer(2, disks=DISKS))
    assert placed(rig) == {0: ("a0", ("disk10",))}


def test_tasks_of_one_pass_have_disks_of_their_own() -> None:
    rig = Rig()
    rig.create(spec(3, data_disks=1))
    rig.offers(offer(1, disks=DISKS[:2]), offer(2, "a1"))
    assert sorted(d for _, d in placed(rig).values()) == [("disk1",), ("disk2",)]
    assert "data disks: needs 1, largest of 2 offers has 0" in rig.reasons(0) + rig.reasons(2)


def test_disks_that_are_named_are_given_in_that_order_or_none() -> None:
    rig = Rig()
    rig.create(spec(1, disk_names=("disk7", "disk1")))
    rig.offers(offer(1, disks=DISKS), offer(2, "a1", disks=("disk1",)))
    (reason,) = [r for r in rig.scheduler.pending_reasons(rig.task().task_id) if "disk7" in r.reason]
    assert reason.reason == "disk disk7 of the agent is in use or does not exist"
    assert (reason.count, reason.agents) == (2, ("a0.example", "a1.example"))
    rig.offers(offer(3, "a2", disks=("disk1", "disk7")))
    assert placed(rig) == {0: ("a2", ("disk7", "disk1"))}


def test_the_reasons_count_disks() -> None:
    rig = Rig()
    rig.create(spec(1, data_disks=2))
    rig.offers(offer(1, disks=("disk1",)), offer(2, "a1"), offer(3, "a2"))
    assert rig.reasons() == [
        "no agent seen so far could ever hold it: it needs 2 data disks, "
        "the most that any of 3 has offered is 1",
        "data disks: needs 2, largest of 3 offers has 1",
    ]


def test_in_a_gang_what_names_its_disks_goes_first() -> None:
    rig = Rig()
    rig.gang(config("any", data_disks=1, cpus=2.0), config("named", disk_names=("disk1",)))
    rig.offers(offer(1, disks=("disk1", "disk2")))
    assert placed(rig) == {0: ("a0", ("disk2",)), 1: ("a0", ("disk1",))}


def test_disks_that_are_freed_are_looked_at_again_in_the_offers_held() -> None:
    rig = Rig()
    rig.create(spec(1, data_disks=1, sticky=False))
    rig.offers(offer(1, disks=("disk1",)))
    rig.gang(config("a", data_disks=1), config("b", data_disks=1), key=OTHER)
    # Its end reaches the master, which offers its disk, before it reaches us.
    rig.offers(offer(2, disks=("disk1",)), offer(3, "a1", disks=("disk1",)))
    assert placed(rig) == {}
    rig.kill()
    rig.end(0)
    assert set(placed(rig).values()) == {("a0", ("disk1",)), ("a1", ("disk1",))}


# -- sticky ---------------------------------------------------------------------------------------


def sticky(rig: Rig, **fields: object) -> None:
    """A sticky task runs on a0 with its first two disks."""
    rig.create(spec(1, sticky=True, data_disks=2, **fields))
    rig.offers(offer(1, disks=DISKS))
    rig.status(rig.task().task_id, "RUNNING")


def fail(rig: Rig, state: str = "FAILED", *, patiently: bool = True) -> None:
    if patiently:
        rig.now += rig.settings.flapping_secs
    rig.status(rig.task().task_id, state)


def test_a_sticky_task_s_successor_runs_where_its_disks_are_and_with_these() -> None:
    rig = Rig()
    sticky(rig)
    fail(rig)
    assert rig.task().home == Home("a0.example", ("disk1", "disk2"), "a0")
    rig.offers(offer(2, "a1", disks=DISKS, cpus=64.0))
    assert placed(rig) == {}
    (why,) = [r for r in rig.scheduler.pending_reasons(rig.task().task_id) if "only" in r.reason]
    assert why.reason == "it can only run on a0.example, where its disks are"
    assert why.agents == ("a1.example",)
    rig.offers(offer(3, disks=("disk2", "disk10")))
    assert "disk disk1 of the agent is in use or does not exist" in rig.reasons()
    rig.offers(offer(4, disks=("disk1",)))
    assert placed(rig) == {0: ("a0", ("disk1", "disk2"))}


def test_its_disks_are_kept_for_it_while_it_is_throttled_and_while_it_waits() -> None:
    rig = Rig()
    sticky(rig)
    rig.create(spec(1, key=OTHER, data_disks=2))
    fail(rig, patiently=False)
    assert rig.states() == {0: "THROTTLED"}
    assert disks(rig)["disk1"] == (0, "THROTTLED", False)
    rig.offers(offer(2, disks=DISKS))
    assert placed(rig) == {}
    rig.wait(rig.settings.throttle_initial_secs)
    rig.offers(offer(3, cpus=0.5, disks=DISKS))
    assert (placed(rig), disks(rig)["disk2"]) == ({}, (0, "PENDING", False))
    rig.offers(offer(4, disks=()))
    assert placed(rig) == {0: ("a0", ("disk1", "disk2"))}
    assert rig.task(0, OTHER).state is TaskState.PENDING


def test_it_stays_at_home_through_further_failures_and_restarts_of_the_gateway() -> None:
    rig = Rig()
    sticky(rig)
    home = Home("a0.example", ("disk1", "disk2"), "a0")
    for n in range(3):
        fail(rig)
        assert rig.task().home == home
        rig.reload()
        assert equal_state(rig.store, rig.scheduler)
        rig.register()
        rig.offers(offer(10 + n, "a1", disks=DISKS))
        assert placed(rig) == {}
        rig.offers(offer(20 + n, disks=DISKS))
        assert rig.task().disks == home.disks
        # One that does not get so far as to run loses nothing.
        rig.status(rig.task().task_id, "LOST", uuid=None, reason="REASON_INVALID_OFFERS")
        assert rig.task().home == home
        rig.offers(offer(30 + n, disks=DISKS))
        rig.status(rig.task().task_id, "RUNNING")


def test_one_that_has_never_run_may_run_anywhere() -> None:
    rig = Rig()
    rig.create(spec(1, sticky=True, data_disks=1))
    rig.offers(offer(1, disks=DISKS))
    rig.status(rig.task().task_id, "LOST", uuid=None, reason="REASON_INVALID_OFFERS")
    assert rig.task().home is None
    rig.offers(offer(2, "a1", disks=DISKS))
    assert placed(rig) == {0: ("a1", ("disk1",))}


def test_a_restart_stays_at_home_and_a_new_config_may_go_anywhere() -> None:
    rig = Rig()
    sticky(rig)
    rig.restart(0)
    rig.end(0)
    assert rig.task().home is not None
    rig.offers(offer(2, disks=DISKS))
    rig.status(rig.task().task_id, "RUNNING")
    rig.wait(40)
    rig.update(spec(1, "2", sticky=True, data_disks=2))
    rig.end(0)
    assert rig.task().home is None
    rig.offers(offer(3, "a1", disks=DISKS))
    assert placed(rig) == {0: ("a1", ("disk1", "disk2"))}


def test_what_is_killed_and_added_again_is_free() -> None:
    rig = Rig()
    node = config("a", sticky=True, data_disks=1)
    rig.gang(node, config("b"))
    rig.offers(offer(1, disks=DISKS))
    for instance in (0, 1):
        rig.status(rig.task(instance).task_id, "RUNNING")
    rig.now += rig.settings.flapping_secs
    rig.status(rig.task(0).task_id, "LOST", uuid=None, reason="REASON_AGENT_REMOVED")
    assert rig.task(0).home is not None
    rig.kill(0)
    assert all(instance != 0 for instance, _, _ in disks(rig).values()), "nothing is kept"
    rig.resize({0: node})
    rig.offers(offer(2, "a1", disks=DISKS))
    assert placed(rig) == {0: ("a1", ("disk1",))}


def test_nobody_takes_the_place_that_a_limit_leaves_to_one_that_is_to_come_back() -> None:
    rig = Rig()
    node = config("a", sticky=True, data_disks=1, tags=("data",), limit_among="data")
    rig.gang(node, config("b"))
    rig.offers(offer(1, disks=DISKS))
    rig.status(rig.task(0).task_id, "RUNNING")
    rig.status(rig.task(0).task_id, "FAILED")
    rig.resize({2: node})
    rig.offers(offer(2, disks=DISKS))
    assert placed(rig) == {}
    assert "1 of the job's tasks tagged data are already on host=a0.example" in str(rig.reasons(2))
    rig.wait(rig.settings.throttle_initial_secs)
    rig.offers(offer(3, disks=DISKS))
    assert placed(rig) == {0: ("a0", ("disk1",))}
    rig.status(rig.task(0).task_id, "RUNNING")
    rig.status(rig.task(0).task_id, "FAILED")
    rig.offers(offer(4, disks=DISKS))
    rig.kill(0)
    assert placed(rig) == {2: ("a0", ("disk1",))}, "it does not come back: its place is free"


def test_a_sticky_task_without_disks_stays_on_its_host() -> None:
    rig = Rig()
    rig.create(spec(1, sticky=True))
    rig.offers(offer(1))
    rig.status(rig.task().task_id, "RUNNING")
    fail(rig)
    rig.offers(offer(2, "a1"))
    assert "it can only run on a0.example, where it ran before" in rig.reasons()
    rig.offers(offer(3))
    assert placed(rig) == {0: ("a0", ())}


def test_agents_of_one_host_are_told_apart_while_they_are_known() -> None:
    rig = Rig()
    sticky(rig)
    fail(rig)
    rig.offers(offer(2, "b0", hostname="a0.example", disks=DISKS))
    assert placed(rig) == {}
    # The machine comes back as another agent.
    rig.send(m.AgentLost(at=rig.now, agent_id="a0"))
    rig.offers(offer(3, "c0", hostname="a0.example", disks=DISKS))
    assert placed(rig)[0][1] == ("disk1", "disk2")


# -- withheld -------------------------------------------------------------------------------------


def test_withheld_disks_are_given_to_nobody_until_they_are_no_longer_withheld() -> None:
    rig = Rig()
    rig.withhold(a0=("disk1", "disk2"))
    rig.create(spec(1, data_disks=2))
    rig.offers(offer(1, disks=DISKS))
    assert placed(rig) == {}
    assert "data disks: needs 2, largest of 1 offer has 1" in rig.reasons()
    assert disks(rig)["disk1"] == (None, "", True)
    rig.withhold(a1=("disk1",))
    assert placed(rig) == {0: ("a0", ("disk1", "disk2"))}, "the offer held is looked at again"
    assert [withheld for _, _, withheld in disks(rig).values()] == [False] * 3


def test_an_offer_held_loses_what_is_withheld_meanwhile() -> None:
    rig = Rig()
    rig.create(spec(1, data_disks=2))
    rig.offers(offer(1, disks=("disk1",)))
    rig.withhold(a0=("disk1",))
    rig.offers(offer(2, disks=("disk2",)))
    assert placed(rig) == {}
    rig.send(m.OfferRescinded(at=rig.now, offer_id="o2-a0"))
    rig.offers(offer(3, disks=("disk3",)))
    assert placed(rig) == {}


def test_a_task_keeps_a_disk_that_is_withheld_and_its_successor_does_not_get_it() -> None:
    rig = Rig()
    sticky(rig)
    rig.withhold(a0=("disk2",))
    assert disks(rig)["disk2"] == (0, "RUNNING", True)
    fail(rig)
    rig.offers(offer(2, disks=DISKS))
    assert "disk disk2 of the agent is in use or does not exist" in rig.reasons()


def test_what_is_withheld_is_not_written_and_survives_a_failed_commit_only() -> None:
    rig = Rig()
    assert rig.withhold(a0=("disk1",)).writes == ()
    anew = Scheduler(rig.settings, rig.store.snapshot(), new_id=rig.new_id)
    rig.store.apply(anew.adopt_session(rig.scheduler.session()).writes)
    rig.scheduler = anew
    rig.create(spec(1, data_disks=1))
    rig.offers(offer(1, disks=("disk1",)))
    assert placed(rig) == {}
    rig.reload()
    rig.register()
    rig.offers(offer(2, disks=("disk1",)))
    assert placed(rig) == {0: ("a0", ("disk1",))}


# -- reading --------------------------------------------------------------------------------------


def test_a_reader_sees_every_disk_of_every_host_and_who_has_it() -> None:
    rig = Rig()
    assert rig.scheduler.disks() == {}
    sticky(rig)
    rig.create(spec(1, key=OTHER))
    rig.offers(offer(2, "a1", disks=("ssd1",)))
    task = rig.task()
    assert rig.scheduler.disks() == {
        "a0.example": (
            m.DiskUse("a0.example", "disk1", "a0", task.task_id, KEY, 0, "RUNNING"),
            m.DiskUse("a0.example", "disk2", "a0", task.task_id, KEY, 0, "RUNNING"),
            m.DiskUse("a0.example", "disk10", "a0"),
        ),
        "a1.example": (m.DiskUse("a1.example", "ssd1", "a1"),),
    }
    rig.reload()
    assert [use.name for use in rig.scheduler.disks()["a0.example"]] == ["disk1", "disk2"], "ours"
    with pytest.raises(NotFound):
        rig.scheduler.pending_reasons("nobody")


def test_disks_kept_on_an_agent_that_has_come_back_as_another_are_shown_there() -> None:
    rig = Rig()
    sticky(rig)
    rig.create(spec(1, key=OTHER, cpus=99.0))
    fail(rig)
    rig.send(m.AgentLost(at=rig.now, agent_id="a0"))
    rig.offers(offer(2, "c0", hostname="a0.example", cpus=0.5, disks=DISKS))
    uses = rig.scheduler.disks()["a0.example"]
    assert [(u.name, u.agent_id, u.instance) for u in uses] == [
        ("disk1", "c0", 0),
        ("disk2", "c0", 0),
        ("disk10", "c0", None),
    ]


def test_one_rule_says_what_the_veto_says() -> None:
    ask = Ask(config(data_disks=2))
    room = Room.of([offer(1, disks=("x",)), offer(2, disks=("y",))])
    assert vetoes(ask, room, {}) == ()
    assert [v.what for v in vetoes(Ask(config(data_disks=3)), room, {})] == ["data disks"]
