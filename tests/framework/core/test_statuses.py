"""What Mesos reports, and what becomes of the task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from executor.task import Container
from framework.core import messages as m
from framework.model.cluster import StatusUpdate
from framework.model.jobs import PartitionPolicy
from tests.framework.core.rig import KEY, Rig, offer, spec


def a_running_task(**fields: Any) -> tuple[Rig, str]:
    rig = Rig()
    rig.running(spec(1, **fields))
    return rig, rig.task().task_id


def an_assigned_task() -> tuple[Rig, str]:
    rig = Rig()
    rig.create(spec(1))
    rig.place()
    return rig, rig.task().task_id


@pytest.mark.parametrize(
    ("reported", "becomes"),
    [
        ("STAGING", "ASSIGNED"),
        ("STARTING", "STARTING"),
        ("RUNNING", "RUNNING"),
        ("KILLING", "ASSIGNED"),
        ("FINISHED", "FINISHED"),
        ("FAILED", "FAILED"),
        ("KILLED", "KILLED"),
        ("ERROR", "FAILED"),
        ("LOST", "LOST"),
        ("DROPPED", "LOST"),
        ("GONE", "LOST"),
        ("GONE_BY_OPERATOR", "LOST"),
        ("UNREACHABLE", "LOST"),
        ("UNKNOWN", "LOST"),
        ("OF_THE_FUTURE", "ASSIGNED"),
    ],
)
def test_every_mesos_state_has_its_meaning(reported: str, becomes: str) -> None:
    rig, task_id = an_assigned_task()
    rig.status(task_id, reported)
    assert rig.store.tasks[task_id].state == becomes
    assert len(rig.actions(m.Acknowledge)) == 1


def test_an_update_of_the_master_is_never_acknowledged() -> None:
    rig, task_id = a_running_task()
    for state in ("RUNNING", "LOST", "RUNNING"):
        rig.status(task_id, state, uuid=None)
        assert not rig.actions(m.Acknowledge)


def test_a_repeated_update_is_only_acknowledged() -> None:
    rig, task_id = a_running_task()
    for _ in range(100):
        outcome = rig.status(task_id, "RUNNING", uuid="same")
        assert outcome.writes == ()
        assert [type(a) for a in outcome.actions] == [m.Acknowledge]


def test_a_terminal_update_can_come_three_times() -> None:
    rig, task_id = a_running_task()
    rig.status(task_id, "FINISHED")
    restarts = rig.task().restarts
    for _ in range(2):
        outcome = rig.status(task_id, "FINISHED")
        assert outcome.writes == ()
        assert [type(a) for a in outcome.actions] == [m.Acknowledge]
    assert rig.task().restarts == restarts == 1


@pytest.mark.parametrize("late", ["STAGING", "STARTING"])
def test_an_old_report_does_not_take_a_task_back(late: str) -> None:
    rig, task_id = a_running_task()
    outcome = rig.status(task_id, late)
    assert (outcome.writes, rig.states()) == ((), {0: "RUNNING"})


@pytest.mark.parametrize("state", ["STAGING", "STARTING", "RUNNING", "KILLING"])
def test_an_unknown_task_that_lives_is_killed(state: str) -> None:
    rig = Rig()
    outcome = rig.status("who", state, agent_id="a7")
    assert m.Kill("who", "a7") in outcome.actions
    assert rig.actions(m.Acknowledge)
    assert outcome.writes == ()


def test_an_unknown_task_that_ended_is_acknowledged() -> None:
    rig = Rig()
    assert [type(a) for a in rig.status("who", "FAILED").actions] == [m.Acknowledge]


def test_a_task_given_up_that_comes_back_is_killed() -> None:
    rig, task_id = a_running_task()
    rig.status(task_id, "LOST", uuid=None, reason="REASON_AGENT_REMOVED")
    rig.run()
    twin = rig.task().task_id
    assert twin != task_id
    outcome = rig.status(task_id, "RUNNING", uuid=None, reason="REASON_AGENT_REREGISTERED")
    assert outcome.actions == (m.Kill(task_id, "a0"),)
    assert rig.states() == {0: "RUNNING"}
    assert rig.task().task_id == twin


def test_a_report_for_a_task_that_is_on_no_agent_changes_nothing() -> None:
    rig = Rig()
    rig.create(spec(1))
    assert rig.status(rig.task().task_id, "RUNNING", agent_id="a0").writes == ()


def test_the_messages_are_for_people() -> None:
    rig, task_id = a_running_task()
    rig.status(
        task_id,
        "FAILED",
        message="docker: no such image nginx:0",
        reason="REASON_EXECUTOR_TERMINATED",
        source="SOURCE_AGENT",
    )
    event = rig.store.tasks[task_id].events[-1]
    assert event.message == "docker: no such image nginx:0 (executor terminated)"
    assert event.source == "agent"
    line = next(p for p in rig.store.published if p.task_id == task_id and p.state == "FAILED")
    assert (line.previous, line.instance, line.message) == ("RUNNING", 0, event.message)


def test_what_the_executor_reports_is_kept_also_without_a_new_state() -> None:
    rig, task_id = a_running_task()
    rig.status(task_id, "RUNNING", data=b'{"sandbox": "/var/x", "container_id": "c1"}')
    assert (rig.task().sandbox, rig.task().container_id) == ("/var/x", "c1")
    rig.status(task_id, "RUNNING", data=b'{"container_id": "c2"}')
    assert (rig.task().sandbox, rig.task().container_id) == ("/var/x", "c2")


@pytest.mark.parametrize("data", [b"some data", b"[1]", b"\xff", b'{"sandbox": 7}'])
def test_data_that_is_no_report_is_passed_over(data: bytes) -> None:
    rig, task_id = a_running_task()
    rig.status(task_id, "FINISHED", data=data)
    assert rig.store.tasks[task_id].state == "FINISHED"


# -- losses ---------------------------------------------------------------------------------------


def test_a_launch_that_met_an_executor_at_its_end_is_not_its_update_s_fault() -> None:
    """Mesos ends an executor whose last task was killed on its way; what comes to it then is dropped."""
    rig, task_id = a_running_task()
    rig.update(spec(1, "2"))
    rig.end(0)
    rig.place()
    dropped = rig.task().task_id
    assert dropped != task_id
    rig.status(dropped, "DROPPED", reason="REASON_EXECUTOR_TERMINATED", source="SOURCE_AGENT")
    task = rig.task()
    assert (task.state, task.failures, task.ancestor_id) == ("PENDING", 0, dropped)
    assert task.config == spec(1, "2").config
    assert rig.last_update().status == "ROLLING_FORWARD"
    assert rig.last_update().failures == {}


def test_invalid_offers_are_nobody_s_fault() -> None:
    rig, task_id = an_assigned_task()
    rig.status(task_id, "LOST", uuid=None, reason="REASON_INVALID_OFFERS")
    task = rig.task()
    assert (task.state, task.failures, task.ancestor_id) == ("PENDING", 0, task_id)


def test_a_loss_that_is_not_the_agent_s_is_throttled() -> None:
    rig, task_id = a_running_task()
    rig.status(task_id, "LOST", reason="REASON_EXECUTOR_REREGISTRATION_TIMEOUT")
    assert rig.states() == {0: "THROTTLED"}


def test_an_executor_that_was_thought_to_run_is_no_failure_of_the_task() -> None:
    rig = Rig()
    rig.create(spec(1, service=False))
    rig.place()
    rig.status(
        rig.task().task_id,
        "ERROR",
        uuid=None,
        reason="REASON_TASK_INVALID",
        message="Total resources cpus:1.1 required by task and its executor is more than available",
    )
    assert rig.states() == {0: "THROTTLED"}
    assert rig.task().failures == 0


def test_a_task_that_mesos_finds_invalid_has_failed_and_says_why() -> None:
    rig = Rig()
    rig.create(spec(1, service=False))
    rig.place()
    rig.status(rig.task().task_id, "ERROR", uuid=None, reason="REASON_TASK_INVALID", message="bad id")
    assert (rig.task().state, rig.task().events[-1].message) == ("FAILED", "bad id (task invalid)")


# -- partitions -----------------------------------------------------------------------------------


def test_without_a_policy_an_unreachable_task_is_replaced_at_once() -> None:
    rig, task_id = a_running_task()
    rig.status(task_id, "UNREACHABLE", uuid=None, reason="REASON_AGENT_REMOVED")
    assert rig.store.tasks[task_id].state == "LOST"
    assert rig.states() == {0: "PENDING"}


def test_a_policy_delays_the_replacement() -> None:
    rig, task_id = a_running_task(partition_policy=PartitionPolicy(reschedule=True, delay_secs=120))
    rig.status(task_id, "UNREACHABLE", uuid=None)
    assert rig.states() == {0: "PARTITIONED"}
    rig.wait(119)
    assert rig.states() == {0: "PARTITIONED"}
    actions = rig.wait(1)
    assert m.Kill(task_id, "a0") in actions
    assert rig.store.tasks[task_id].state == "LOST"
    assert rig.states() == {0: "PENDING"}, "and the replacement is not throttled"


def test_a_task_that_returns_in_time_is_kept() -> None:
    rig, task_id = a_running_task(partition_policy=PartitionPolicy(reschedule=True, delay_secs=120))
    rig.status(task_id, "UNREACHABLE", uuid=None)
    rig.wait(100)
    rig.status(task_id, "RUNNING", uuid=None, reason="REASON_AGENT_REREGISTERED")
    rig.wait(1000)
    assert (rig.states(), rig.task().task_id) == ({0: "RUNNING"}, task_id)


def test_a_policy_may_be_to_wait_for_ever() -> None:
    rig, task_id = a_running_task(partition_policy=PartitionPolicy(reschedule=False))
    rig.status(task_id, "UNREACHABLE", uuid=None)
    rig.wait(100_000)
    assert rig.states() == {0: "PARTITIONED"}
    rig.status(task_id, "FINISHED")
    assert rig.states() == {0: "PENDING"}, "a service that ended is replaced"


def test_a_partitioned_task_killed_by_others_is_lost() -> None:
    rig, task_id = a_running_task(partition_policy=PartitionPolicy(reschedule=False))
    rig.status(task_id, "UNREACHABLE", uuid=None)
    rig.status(task_id, "KILLED")
    assert rig.store.tasks[task_id].state == "LOST"


# -- a master that does not know its tasks ----------------------------------------------------------


def unknown(rig: Rig, task_id: str, state: str = "LOST", message: str = "Task is unknown") -> m.Outcome:
    return rig.status(
        task_id,
        state,
        uuid=None,
        reason="REASON_RECONCILIATION",
        message=f"Reconciliation: {message}",
    )


@pytest.mark.parametrize("state", ["LOST", "UNKNOWN"])
def test_a_task_that_a_new_master_does_not_know_is_waited_for(state: str) -> None:
    rig, task_id = a_running_task()
    rig.disconnect()
    rig.now += 5
    rig.register()
    unknown(rig, task_id, state)
    assert rig.states() == {0: "PARTITIONED"}
    assert rig.scheduler.counts().unanswered == 1, "it is asked for again"
    assert m.Reconcile(((task_id, "a0"),)) in rig.wait(20)
    rig.wait(70)
    rig.status(task_id, "RUNNING", uuid=None, reason="REASON_AGENT_REREGISTERED")
    rig.wait(1000)
    assert (rig.states(), rig.task().task_id) == ({0: "RUNNING"}, task_id), "nothing ran twice"


def test_but_not_for_ever() -> None:
    rig, task_id = a_running_task()
    rig.register()
    unknown(rig, task_id)
    rig.wait(rig.settings.unknown_grace_secs)
    assert rig.store.tasks[task_id].state == "LOST"


def test_once_its_agent_is_back_without_it_the_answer_is_final() -> None:
    rig, task_id = a_running_task()
    rig.register()
    unknown(rig, task_id)
    rig.offers(offer(5, "a0"))
    unknown(rig, task_id)
    assert rig.store.tasks[task_id].state == "LOST"
    assert rig.states() == {0: "PENDING"}


def test_what_the_agent_itself_does_not_know_is_lost() -> None:
    rig, task_id = a_running_task()
    rig.register()
    unknown(rig, task_id, message="Task is unknown to the agent")
    assert rig.store.tasks[task_id].state == "LOST"


def test_an_assigned_task_that_may_have_been_launched_waits_for_its_timeout() -> None:
    rig, task_id = an_assigned_task()
    rig.register()
    unknown(rig, task_id)
    assert rig.states() == {0: "ASSIGNED"}
    rig.wait(rig.settings.transient_timeout_secs)
    assert rig.store.tasks[task_id].state == "LOST"


def test_recording_16_a_master_restarts_with_an_empty_registry(shared: Path) -> None:
    rig, task_id = a_running_task(service=False)
    recorded = []
    for line in (shared / "data" / "mesos-v1" / "16-master-restart.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] == "event" and entry["link"] == "scheduler-master":
            recorded.append(entry)
    start = rig.now
    registrations, states = 0, []
    for entry in recorded:
        rig.now = max(rig.now, start + entry["t"])
        rig.send(m.Tick(at=rig.now))
        event = entry["json"]
        if event["type"] == "SUBSCRIBED":
            registrations += 1
            if registrations > 1:
                rig.disconnect()
            rig.register()
        elif event["type"] == "UPDATE":
            status = event["update"]["status"]
            assert status["task_id"]["value"] == "s16-t1"
            agent = "a0" if "agent_id" in status else None
            update = StatusUpdate(
                task_id=task_id,
                state=status["state"],
                agent_id=agent,
                uuid=status.get("uuid"),
                source=status.get("source", ""),
                reason=status.get("reason", ""),
                message=status.get("message", ""),
            )
            rig.send(m.StatusReceived(at=rig.now, update=update))
            assert bool(rig.actions(m.Acknowledge)) is ("uuid" in status)
            assert not rig.actions(m.Launch)
            states.append(str(rig.task().state))
    assert states == ["RUNNING", "PARTITIONED", "PARTITIONED", "FINISHED", "FINISHED", "FINISHED"]
    assert rig.task().task_id == task_id, "it ran once"
    assert not rig.scheduler.get_job(KEY).job.wanted


def test_what_tasks_say_of_their_agent_is_counted_until_they_say_that_it_is_over() -> None:
    rig, task_id = an_assigned_task()
    agent = rig.store.tasks[task_id].agent_id
    said = b'{"trouble": "the Docker daemon does not answer: refused"}'
    rig.status(task_id, "STARTING", data=said)
    (trouble,) = rig.scheduler.counts().troubles
    assert (trouble.host, trouble.text) == (
        rig.store.tasks[task_id].hostname,
        "the Docker daemon does not answer: refused",
    )
    # A task without a container knows nothing of Docker, and ends no trouble.
    rig.status(task_id, "STARTING", data=b'{"sandbox": "/s"}')
    assert rig.scheduler.counts().troubles == (trouble,)
    rig.status(task_id, "RUNNING", data=b'{"trouble": ""}')
    assert rig.scheduler.counts().troubles == ()
    rig.status(task_id, "RUNNING", data=said)
    rig.send(m.AgentLost(at=rig.now, agent_id=agent))
    assert rig.scheduler.counts().troubles == ()


def test_a_container_that_waits_for_docker_says_so() -> None:
    said = b'{"trouble": "the Docker daemon does not answer: refused"}'
    rig = Rig()
    rig.create(spec(1, container=Container("debian:12")))
    rig.place()
    task_id = rig.task().task_id
    rig.status(task_id, "STARTING", data=said)
    (why,) = rig.scheduler.get_job(KEY).instances[0].pending
    assert why.reason == "waiting on its agent: the Docker daemon does not answer: refused"
    assert why.agents == (rig.task().hostname,)
    rig.wait(1000)
    assert rig.scheduler.get_job(KEY).instances[0].pending == (), "too old to be true"
    rig.status(task_id, "STARTING", data=said)
    rig.status(task_id, "RUNNING", data=b'{"trouble": ""}')
    assert rig.scheduler.get_job(KEY).instances[0].pending == ()
    # What runs without a container does not wait for Docker.
    rig, task_id = an_assigned_task()
    rig.status(task_id, "STARTING", data=said)
    assert rig.scheduler.get_job(KEY).instances[0].pending == ()


def test_a_trouble_of_which_nobody_speaks_any_more_is_forgotten() -> None:
    rig, task_id = an_assigned_task()
    rig.status(task_id, "FAILED", data=b'{"trouble": "the Docker daemon does not answer"}')
    assert len(rig.scheduler.counts().troubles) == 1
    rig.wait(1000)
    assert rig.scheduler.counts().troubles == ()
