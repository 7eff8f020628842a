"""How tasks begin, fail, are throttled, time out and are forgotten."""

from __future__ import annotations

import re

import pytest

from framework.core import messages as m
from framework.core.lifecycle import make_task_id
from framework.core.settings import Settings
from framework.model.errors import Conflict, NotFound
from framework.model.jobs import JobKey, UpdateSettings
from tests.framework.core.rig import KEY, Rig, spec


def test_a_task_id_is_role_environment_name_instance_uuid() -> None:
    key = JobKey("c", "www.data", "prod", "my_job")
    assert make_task_id(key, 7, "1b-2") == "www-data-prod-my_job-7-1b-2"


def test_a_task_id_is_never_too_long_for_a_directory() -> None:
    key = JobKey("c", "r" * 255, "e" * 255, "n" * 255)
    made = make_task_id(key, 3999, "0" * 36)
    assert len(made) == 255
    assert made.endswith("-3999-" + "0" * 36)
    assert re.fullmatch(r"[\w-]+", made)


# -- flapping ---------------------------------------------------------------------------------------


def fail_after(rig: Rig, seconds: float, state: str = "FAILED") -> None:
    rig.run()
    rig.wait(seconds)
    rig.end(0, state)


def test_a_service_that_flaps_waits_longer_each_time_up_to_a_limit() -> None:
    rig = Rig()
    rig.create(spec(1))
    waits = []
    for _ in range(6):
        fail_after(rig, 1)
        assert rig.states() == {0: "THROTTLED"}
        waits.append(rig.task().throttle_until - rig.now)
        rig.wait(waits[-1] - 1)
        assert rig.states() == {0: "THROTTLED"}
        rig.wait(1)
        assert rig.states() == {0: "PENDING"}
    assert waits == [30, 60, 120, 240, 300, 300]
    assert (rig.task().restarts, rig.task().failures) == (6, 6)


def test_a_long_run_forgives() -> None:
    rig = Rig()
    rig.create(spec(1))
    fail_after(rig, 1)
    rig.wait(30)
    fail_after(rig, 300)
    assert rig.states() == {0: "PENDING"}
    fail_after(rig, 1)
    assert rig.task().throttle_until - rig.now == 30


def test_a_task_we_restarted_is_not_throttled() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.restart()
    rig.end(0, "FAILED")
    assert rig.states() == {0: "PENDING"}
    assert rig.task().failures == 0


def test_a_kill_ends_a_restart_only_of_what_it_kills() -> None:
    rig = Rig()
    rig.running(spec(3))
    rig.restart(0)
    rig.kill(2)
    assert rig.last_update().is_active
    rig.kill(0)
    assert rig.last_update().status == "ABORTED"
    rig.end(0)
    rig.end(2)
    rig.restart(1)
    rig.kill()
    assert rig.last_update().status == "ABORTED"


def test_a_batch_task_that_finishes_before_its_turn_in_a_restart_is_not_run_again() -> None:
    rig = Rig()
    rig.running(spec(2, service=False))
    rig.restart()
    rig.end(1, "FINISHED")
    rig.end(0)
    rig.run()
    rig.wait(30)
    assert rig.last_update().status == "ROLLED_FORWARD"
    assert rig.states() == {0: "RUNNING"}


def test_a_throttled_task_asks_for_no_offers() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.end(0, "FAILED")
    assert not rig.actions(m.Revive)
    assert m.Revive() in rig.wait(30)


# -- batch jobs --------------------------------------------------------------------------------------


def test_a_batch_instance_that_finished_is_not_wanted_any_more() -> None:
    rig = Rig()
    rig.running(spec(2, service=False))
    rig.end(0, "FINISHED")
    assert set(rig.scheduler.get_job(KEY).job.wanted) == {1}
    assert rig.task(0).state == "FINISHED"
    rig.end(1, "FINISHED")
    assert rig.scheduler.list_jobs("devcluster", "www-data") == []
    assert rig.store.published[-1].state == "ENDED"
    rig.create(spec(1, service=False))


def test_a_service_that_finished_runs_again() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.wait(301)
    rig.end(0, "FINISHED")
    assert rig.states() == {0: "PENDING"}
    assert rig.task().failures == 0


def test_a_batch_instance_fails_as_often_as_it_may() -> None:
    rig = Rig()
    rig.create(spec(1, service=False, max_task_failures=3))
    for failures in (1, 2):
        fail_after(rig, 301)
        assert (rig.states(), rig.task().failures) == ({0: "PENDING"}, failures)
    fail_after(rig, 301)
    assert (rig.states(), rig.task().state) == ({}, "FAILED")
    assert rig.scheduler.list_jobs("devcluster", "www-data") == []


def test_a_batch_instance_that_others_killed_runs_again() -> None:
    rig = Rig()
    rig.running(spec(1, service=False))
    rig.wait(301)
    rig.end(0, "KILLED")
    assert (rig.states(), rig.task().failures) == ({0: "PENDING"}, 0)


# -- timeouts ----------------------------------------------------------------------------------------


def test_an_assigned_task_of_which_nothing_is_heard_is_lost_killed_and_replaced() -> None:
    rig = Rig()
    rig.create(spec(1))
    rig.place()
    task_id = rig.task().task_id
    rig.wait(299)
    assert rig.states() == {0: "ASSIGNED"}
    assert m.Kill(task_id, "a0") in rig.wait(1)
    assert rig.store.tasks[task_id].state == "LOST"
    assert "300 s in ASSIGNED" in rig.store.tasks[task_id].events[-1].message
    assert rig.states() == {0: "PENDING"}


@pytest.mark.parametrize("state", ["STARTING", "RUNNING"])
def test_starting_and_running_may_last(state: str) -> None:
    rig = Rig()
    rig.create(spec(1))
    rig.place()
    rig.status(rig.task().task_id, state)
    rig.wait(10_000)
    assert rig.states() == {0: state}


def test_a_kill_is_repeated_with_a_growing_wait_then_given_up() -> None:
    rig = Rig()
    rig.running(spec(1))
    task_id = rig.task().task_id
    rig.kill()
    begin = rig.now
    sent: list[float] = []
    while rig.states():
        deadline = rig.scheduler.next_deadline()
        assert deadline is not None
        rig.now = deadline
        if m.Kill(task_id, "a0") in rig.send(m.Tick(at=rig.now)).actions:
            sent.append(rig.now - begin)
    assert sent == [15, 45, 105, 225, 300]
    assert rig.task().state == "LOST"


def test_no_timeout_runs_while_there_is_no_connection() -> None:
    rig = Rig()
    rig.create(spec(1))
    rig.place()
    rig.disconnect()
    rig.wait(10_000)
    assert rig.states() == {0: "ASSIGNED"}
    rig.register()
    rig.wait(299)
    assert rig.states() == {0: "ASSIGNED"}
    rig.wait(1)
    assert rig.states() == {0: "PENDING"}


def test_a_kill_is_sent_again_after_each_registration() -> None:
    rig = Rig()
    rig.running(spec(2))
    rig.kill(1)
    rig.disconnect()
    rig.register()
    assert rig.actions(m.Kill) == [m.Kill(rig.task(1).task_id, "a0")]


# -- what is forgotten --------------------------------------------------------------------------------


def test_only_so_many_terminated_tasks_are_kept() -> None:
    rig = Rig(Settings(history_tasks=3))
    rig.create(spec(1))
    for _ in range(6):
        fail_after(rig, 301)
    history = rig.scheduler.get_job(KEY).history
    assert [task.restarts for task in history] == [5, 4, 3]
    assert len(rig.store.tasks) == 4


def test_a_job_that_ended_is_forgotten_with_its_history() -> None:
    rig = Rig()
    rig.running(spec(1, service=False))
    rig.end(0, "FINISHED")
    rig.wait(rig.settings.history_secs - 2 * rig.settings.prune_interval_secs)
    assert rig.scheduler.get_job(KEY).history
    rig.wait(3 * rig.settings.prune_interval_secs)
    with pytest.raises(NotFound, match="there is no job devcluster/www-data/prod/hello"):
        rig.scheduler.get_job(KEY)
    assert not rig.store.jobs
    assert not rig.store.tasks
    assert rig.store.published[-1].state == "DELETED"


def test_a_job_that_runs_is_never_forgotten() -> None:
    rig = Rig(Settings(history_secs=86_400.0, executor_cpus=0.0, executor_mem_mb=0.0))
    rig.running(spec(1))
    rig.wait(3 * rig.settings.history_secs)
    assert rig.states() == {0: "RUNNING"}


# -- what is asked of it -----------------------------------------------------------------------------


def test_a_plan_is_refused_like_the_update_while_another_one_is_active() -> None:
    rig = Rig()
    rig.running(spec(1))
    rig.update(spec(2))
    with pytest.raises(Conflict, match="currently updating"):
        rig.scheduler.plan(spec(3), None)
    rig.abort()
    assert rig.scheduler.plan(spec(3), None).add


def test_the_counts_name_the_clusters_of_live_jobs() -> None:
    rig = Rig()
    assert rig.scheduler.counts().clusters == ()
    rig.create(spec(1))
    assert rig.scheduler.counts().clusters == (KEY.cluster,)
    rig.kill()
    rig.run()
    assert rig.scheduler.counts().clusters == ()


def test_an_update_that_pauses_after_a_batch_says_how_to_go_on() -> None:
    rig = Rig()
    rig.running(spec(2))
    settings = UpdateSettings(strategy="batch", autopause_after_batch=True, watch_secs=30)
    wanted = spec(2, version="2", update=settings)
    rig.update(wanted)
    rig.end(0)
    rig.run()
    rig.wait(31)
    paused = rig.last_update()
    assert paused.status == "ROLL_FORWARD_PAUSED"
    assert "cancel it (DELETE …/update) and begin the same update again" in paused.message
    rig.abort()
    rig.update(wanted)
    assert rig.last_update().scope == (1,)
