"""When Mesos is asked what has become of our tasks."""

from __future__ import annotations

from framework.core import messages as m
from framework.core.settings import Settings
from tests.framework.core.rig import Rig, offer, spec


def asked(rig: Rig) -> list[set[str]]:
    return [{task_id for task_id, _ in call.tasks} for call in rig.actions(m.Reconcile)]


def test_a_registration_asks_for_every_task_and_for_whatever_else_there_is() -> None:
    rig = Rig()
    rig.running(spec(2))
    rig.register()
    ids = {rig.task(0).task_id, rig.task(1).task_id}
    assert asked(rig) == [ids, set()]
    assert {agent for call in rig.actions(m.Reconcile) for _, agent in call.tasks} == {"a0"}


def test_the_first_registration_asks_only_for_whatever_there_is() -> None:
    rig = Rig(registered=False)
    rig.register()
    assert rig.actions(m.Reconcile) == [m.Reconcile()]
    assert rig.store.framework_id == "f1"


def test_a_long_list_is_asked_for_in_parts() -> None:
    rig = Rig(Settings(reconcile_batch=2))
    rig.running(spec(5))
    rig.register()
    assert [len(part) for part in asked(rig)] == [2, 2, 1, 0]


def test_what_was_not_answered_is_asked_again_with_a_growing_wait() -> None:
    rig = Rig()
    rig.running(spec(2))
    rig.register()
    begin = rig.now
    rig.status(rig.task(0).task_id, "RUNNING", uuid=None, reason="REASON_RECONCILIATION")
    times: list[float] = []
    while rig.now < begin + 300:
        deadline = rig.scheduler.next_deadline()
        assert deadline is not None
        rig.now = deadline
        rig.send(m.Tick(at=rig.now))
        if asked(rig):
            assert asked(rig) == [{rig.task(1).task_id}]
            times.append(rig.now - begin)
    assert times[:6] == [5, 15, 35, 75, 135, 195]
    rig.status(rig.task(1).task_id, "RUNNING")
    assert rig.scheduler.counts().unanswered == 0
    assert not any(isinstance(a, m.Reconcile) for a in rig.wait(300))


def test_everything_is_asked_for_every_quarter_of_an_hour() -> None:
    rig = Rig()
    rig.running(spec(1))
    rounds = [a for a in rig.wait(2 * 900) if a == m.Reconcile()]
    assert len(rounds) == 2


def test_tasks_just_being_launched_are_not_asked_for_in_the_same_breath() -> None:
    """Else the master, asked before it is told to launch, would say that it does not know them."""
    rig = Rig()
    rig.create(spec(1))
    rig.now += 900
    rig.offers(offer())
    assert rig.actions(m.Launch)
    assert asked(rig) == [set()]


def test_a_lost_agent_s_tasks_are_asked_for() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.send(m.AgentLost(at=rig.now, agent_id="a0"))
    assert asked(rig) == [{rig.task().task_id}]
    assert not rig.send(m.AgentLost(at=rig.now, agent_id="a9")).actions


def test_nothing_is_asked_while_disconnected() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.disconnect()
    rig.send(m.AgentLost(at=rig.now, agent_id="a0"))
    assert rig.outcome.actions == ()
    assert rig.wait(2000) == []


def test_a_task_that_ended_is_not_asked_for_any_more() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.register()
    rig.end(0, "FINISHED")
    assert rig.scheduler.counts().unanswered == 0
