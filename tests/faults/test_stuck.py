"""F7: tasks that stay where they should not: ASSIGNED, STARTING, told to end and still there.

Aurora's times: a transient state (STARTING is none) is LOST after five minutes; a kill is sent again
after 15 s, then after twice as long, and so on.
"""

from __future__ import annotations

import random

import pytest

from framework.core.messages import Action, Kill, Reconcile
from framework.core.settings import Settings
from tests.faults.seeds import seeded
from tests.framework.core.rig import Rig, spec
from tests.measured import Measured

LIMIT = 300.0
WAYS = ("kill", "restart", "update")


def kills(actions: list[Action], task_id: str) -> int:
    return sum(isinstance(a, Kill) and a.task_id == task_id for a in actions)


@seeded(20, 500)
def test_a_launch_of_which_nothing_is_heard_is_lost_killed_and_made_anew(
    seed: int, measured: Measured
) -> None:
    chance = random.Random(seed)
    rig = Rig()
    rig.create(spec(1))
    rig.place()
    for _ in range(3):
        stuck = rig.task()
        assert stuck.state == "ASSIGNED"
        early = chance.uniform(0, LIMIT - 1)
        rig.wait(early)
        if chance.random() < 0.5:
            # Mesos knows it, and the executor does not begin: that is no progress.
            rig.status(stuck.task_id, "STAGING", uuid=None, reason="REASON_RECONCILIATION")
        if chance.random() < 0.3:
            rig.disconnect()
            rig.wait(chance.uniform(0, 1000))
            rig.register()
            early = 0.0
        assert rig.task().task_id == stuck.task_id
        actions = rig.wait(LIMIT - early)
        assert rig.store.tasks[stuck.task_id].state == "LOST"
        measured("F7 stuck launches, LOST after 300 virtual s and made anew", 1)
        assert kills(actions, stuck.task_id) == 1
        assert rig.task().ancestor_id == stuck.task_id
        # It may have been our fault or the agent's; a launch that hangs is not tried at full speed.
        rig.wait(LIMIT)
        rig.place()


@seeded(20, 500)
def test_a_task_that_does_not_end_is_told_again_with_a_growing_wait_then_given_up(
    seed: int, measured: Measured
) -> None:
    chance = random.Random(seed)
    rig = Rig()
    rig.running(spec(1))
    task, way = rig.task(), chance.choice(WAYS)
    if way == "kill":
        rig.kill(0)
    elif way == "restart":
        rig.restart(0)
    else:
        rig.update(spec(1, "2"))
    assert kills(list(rig.outcome.actions), task.task_id) == 1
    began, sent = rig.now, []
    while rig.store.tasks[task.task_id].state != "LOST":
        assert rig.now - began <= LIMIT
        if kills(rig.wait(1.0), task.task_id):
            sent.append(round(rig.now - began))
        if chance.random() < 0.05:
            # It lives on: that is no reason to stop asking, nor to begin anew.
            rig.status(task.task_id, "RUNNING", uuid=None, reason="REASON_RECONCILIATION")
    # The last with the end, at five minutes.
    assert sent == [15, 45, 105, 225, 300]
    measured("F7 tasks that do not end, told again after 15, 45, 105, 225, 300 virtual s", 1)
    # Given up, not forgotten: when it is heard of, it is killed.
    rig.status(task.task_id, "RUNNING")
    assert Kill(task.task_id, task.agent_id) in rig.outcome.actions
    if way != "kill":
        assert rig.task().ancestor_id == task.task_id


@pytest.mark.parametrize("answers", [True, False])
def test_a_task_may_take_long_to_start_as_long_as_mesos_knows_it(answers: bool) -> None:
    """A large image, a slow health check: the executor has its own patience. It is asked for."""
    rig = Rig()
    rig.create(spec(1))
    rig.place()
    task = rig.task()
    rig.status(task.task_id, "STARTING")
    asked = 0
    for _ in range(4 * 24):
        actions = rig.wait(Settings().reconcile_interval_secs)
        asked += sum(isinstance(a, Reconcile) and bool(a.tasks) for a in actions)
        if answers:
            rig.status(task.task_id, "STARTING", uuid=None, reason="REASON_RECONCILIATION")
    assert rig.task().state == "STARTING"
    assert asked >= 4 * 24
    # Whoever does not know it any more ends the wait.
    rig.status(task.task_id, "GONE", uuid=None, reason="REASON_RECONCILIATION")
    assert rig.store.tasks[task.task_id].state == "LOST"
    assert rig.task().state == "PENDING"
