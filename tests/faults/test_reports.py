"""F6: agents and tasks that are lost, unreachable, gone or back; reports that come a hundred times."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.core import messages as m
from framework.core.messages import Acknowledge, CreateJob, Kill
from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.model.cluster import StatusUpdate
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.service import SchedulerService
from framework.storage import Storage
from tests.faults.seeds import seeded
from tests.framework.cluster import Cluster
from tests.framework.core.mesos_model import Mesos
from tests.framework.core.rig import START, Rig, offer, spec
from tests.framework.core.test_faults import KEYS, Gateway, job
from tests.framework.mesos.peer import eventually
from tests.measured import Measured

INTERVAL = Settings().reconcile_interval_secs
LOSSES = {
    # What Mesos says when it is over, and whether the task may be running all the same.
    "TASK_LOST REASON_INVALID_OFFERS": False,
    "TASK_LOST REASON_AGENT_REMOVED": True,
    "TASK_UNREACHABLE REASON_AGENT_REMOVED": True,
    "TASK_GONE REASON_AGENT_REMOVED_BY_OPERATOR": False,
    "TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR": False,
    "TASK_DROPPED REASON_AGENT_DISCONNECTED": False,
    "TASK_UNKNOWN REASON_RECONCILIATION": True,
}


def tell(rig: Rig, task_id: str, what: str, agent_id: str | None) -> m.Outcome:
    state, _, reason = what.partition(" ")
    return rig.status(task_id, state.removeprefix("TASK_"), uuid=None, reason=reason, agent_id=agent_id)


@seeded(20, 500)
def test_each_loss_is_replaced_and_whatever_comes_back_is_killed(seed: int, measured: Measured) -> None:
    chance = random.Random(seed)
    rig = Rig()
    instances = chance.randint(1, 4)
    twins = 0
    rig.running(spec(instances))
    for _ in range(20):
        instance = chance.randrange(instances)
        lost = rig.task(instance)
        what = chance.choice(list(LOSSES))
        assert lost.agent_id is not None
        if "AGENT_REMOVED" in what and chance.random() < 0.5:
            rig.send(m.AgentLost(at=rig.now, agent_id=lost.agent_id))
        tell(rig, lost.task_id, what, lost.agent_id)
        # An agent that the master does not know may be about to come back: it is waited for, then not.
        rig.wait(0 if rig.task(instance).task_id != lost.task_id else INTERVAL)
        successor = rig.task(instance)
        assert successor.ancestor_id == lost.task_id, what
        assert rig.store.tasks[lost.task_id].state == "LOST"
        # Nobody's fault: it is tried again at once.
        assert successor.state == "PENDING"
        if LOSSES[what] and chance.random() < 0.7:
            twins += 1
            again = rig.status(lost.task_id, "RUNNING", uuid=None, agent_id=lost.agent_id)
            assert Kill(lost.task_id, lost.agent_id) in again.actions
            # The executor's own word is believed no more than the master's.
            again = rig.status(lost.task_id, "RUNNING", agent_id=lost.agent_id)
            assert Kill(lost.task_id, lost.agent_id) in again.actions
        rig.run(instance)
        assert set(rig.states().values()) == {"RUNNING"}
        rig.wait(chance.choice([0.0, 5.0, 400.0]))
        for answered in list(rig.states()):
            rig.status(rig.task(answered).task_id, "RUNNING", uuid=None)
    measured("F6 losses replaced, once each", 20)
    measured("F6 lost tasks that came back, killed at once", twins)


@seeded(20, 500)
def test_a_twin_is_killed_with_the_next_reconciliation(seed: int, measured: Measured) -> None:
    """The agent is back with its task, and what it says of that is lost: the next answer tells."""
    chance = random.Random(seed)
    mesos = Mesos(partition_aware=chance.random() < 0.5)
    mesos.now = START
    gateway = Gateway(mesos)
    mesos.subscribe()
    gateway.command(m.CreateJob, spec=job(0, chance.randint(1, 3), 1))

    def work(rounds: int) -> None:
        for _ in range(rounds):
            mesos.work()
            mesos.allocate()
            gateway.tick()
            while mesos.up or mesos.down:
                if mesos.up:
                    mesos.call(*mesos.up.pop(0))
                else:
                    gateway.take(mesos.down.pop(0)[1])
            mesos.now += 1.0

    work(5)
    victim = chance.choice([a for a in mesos.agents.values() if a.live()])
    old = {entry.task.task_id for entry in victim.live()}
    mesos.part(victim)
    work(10)
    replaced = {task.task_id for task in mesos.live_tasks()} - old
    assert len(replaced) >= len(old)
    mesos.rejoin(victim)
    mesos.down.clear()
    assert old <= {task.task_id for task in mesos.live_tasks()}
    back = mesos.now
    while old & {task.task_id for task in mesos.live_tasks()}:
        assert mesos.now - back <= INTERVAL + 10, "the twin has outlived a reconciliation"
        work(1)
    measured("F6 a silent twin lives for, virtual s", mesos.now - back)
    wanted = gateway.store.jobs[KEYS[0]].wanted
    work(5)
    assert sorted(t.instance for t in mesos.live_tasks()) == sorted(wanted)


@seeded(20, 500)
def test_a_report_that_comes_a_hundred_times_is_acknowledged_and_nothing_else(
    seed: int, measured: Measured
) -> None:
    chance = random.Random(seed)
    rig = Rig()
    rig.running(spec(3, service=False))
    states = ["STARTING", "RUNNING", "FINISHED", "FAILED", "KILLED", "LOST"]
    task, state = rig.task(chance.randrange(3)), chance.choice(states)
    rig.status(task.task_id, state, uuid="once")
    before = rig.store.tasks[task.task_id], dict(rig.store.jobs)
    for _ in range(100):
        outcome = rig.status(task.task_id, state, uuid="once", agent_id=task.agent_id)
        assert [type(action) for action in outcome.actions] == [Acknowledge]
        assert outcome.writes == ()
        rig.wait(chance.choice([0.0, 1.0]))
    assert (rig.store.tasks[task.task_id], rig.store.jobs) == before
    measured("F6 duplicates, acknowledged only", 100)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


def test_a_hundred_duplicates_through_the_whole_service(cluster: Cluster, tmp_path: Path) -> None:
    """Driver, core and storage: a hundred acknowledgements, and one line of history."""
    storage = Storage(str(tmp_path / "state.db"))
    service = SchedulerService(
        storage,
        lambda sink, framework_id: MesosDriver(
            cluster.address,
            FrameworkSettings(user="nobody"),
            ExecutorSettings(command="/opt/executor"),
            sink,
            framework_id=framework_id,
        ),
    )
    service.start()
    try:
        key = JobKey("devcluster", "www-data", "prod", "hello")
        config = TaskConfig(resources=Resources(0.1, 16, 16), executor_data="{}", service=True)
        service.submit(CreateJob(at=0.0, user="me", spec=JobSpec(key, 1, config))).result(10)
        eventually(lambda: cluster.acknowledged and not cluster.pending)
        (task_id,) = cluster.running
        acknowledged = len(cluster.acknowledged)
        events = len(service.events_after(0))
        for _ in range(100):
            cluster.update(task_id, "TASK_RUNNING")
        eventually(lambda: len(cluster.acknowledged) == acknowledged + 100, 60)
        assert len(service.events_after(0)) == events
        task = service.query(lambda core: core.get_job(key)).result(10).instances[0].task
        assert [str(event.state) for event in task.events] == ["PENDING", "ASSIGNED", "RUNNING"]
    finally:
        service.stop()
        storage.close()


def test_the_reports_of_a_removed_agent_in_any_order() -> None:
    """FAILURE, UPDATE and RESCIND of one agent race each other in Mesos."""
    for order in range(6):
        rig = Rig()
        rig.running(spec(2))
        tasks = [rig.task(0), rig.task(1)]
        rig.offers(offer(99, "a0"))
        events: list[m.Event] = [m.AgentLost(at=rig.now, agent_id="a0")]
        events += [
            m.StatusReceived(
                at=rig.now,
                update=StatusUpdate(
                    task_id=task.task_id,
                    state="TASK_LOST",
                    agent_id="a0",
                    source="SOURCE_MASTER",
                    reason="REASON_AGENT_REMOVED",
                ),
            )
            for task in tasks
        ]
        random.Random(order).shuffle(events)
        for event in events:
            rig.send(event)
        assert rig.states() == {0: "PENDING", 1: "PENDING"}
        assert {rig.task(i).ancestor_id for i in (0, 1)} == {task.task_id for task in tasks}
