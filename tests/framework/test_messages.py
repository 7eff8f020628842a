"""Messages to and from executors through the service and through a replica that leads now and then."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.task import TaskReport
from framework.election import Standing
from framework.lease import Lease, Permit
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.model.errors import NotFound, Unavailable
from framework.model.tasks import TaskState
from framework.replica import Replica
from framework.service import SchedulerService
from framework.storage import Storage
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import QUICK, eventually
from tests.framework.service.world import KEY, create

REPORT = TaskReport(sandbox="/w/slaves/a-1/frameworks/f/executors/e-7/runs/r/tasks/t")


class Voter:
    """An election of one candidate, won and lost as the test says."""

    url = "http://here:1"
    framework: str | None = None

    def __init__(self, news: Callable[[], None]) -> None:
        self._news = news
        self.standing = Standing()

    def elect(self) -> None:
        lease = Lease()
        lease.extend(float("inf"), "")
        self.standing = Standing(lease=lease, leader=self.url, problem=None)
        self._news()

    def vote_out(self) -> None:
        self.standing = Standing(lease=None, leader="http://there:1", problem=None)
        self._news()

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def resign(self, rest: float) -> None: ...

    def remember(self, framework: str) -> None:
        self.framework = framework


class Rig:
    def __init__(self, path: Path) -> None:
        self.cluster = Cluster()
        self.storage = Storage(str(path))
        self.voters: list[Voter] = []
        self.replica = Replica(self._make_election, self._make_service, self.storage)
        self.heard: list[tuple[str, str, bytes]] = []
        self.replica.start()

    def _make_election(self, news: Callable[[], None]) -> Voter:
        self.voters.append(Voter(news))
        return self.voters[-1]

    def _make_service(self, permit: Permit) -> SchedulerService:
        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            return MesosDriver(
                self.cluster.address,
                FrameworkSettings(user="nobody"),
                ExecutorSettings(command="/opt/executor"),
                sink,
                framework_id=framework_id,
                timing=QUICK,
            )

        return SchedulerService(self.storage, make_driver, permit=permit)

    def lead(self) -> None:
        self.voters[0].elect()
        eventually(lambda: self.replica.leads and self.replica.status().ready)

    def task_id(self, state: TaskState) -> str:
        def found() -> str | None:
            view = self.replica.query(lambda core: core.get_job(KEY)).result(30)
            task = view.instances[0].task
            return task.task_id if task.state is state else None

        return str(eventually(found))

    def say(self, data: bytes) -> None:
        """The executor says something."""
        content = {"agent_id": {"value": "a-1"}, "executor_id": {"value": "e-7"}}
        encoded = base64.b64encode(data).decode()
        stream = self.cluster.subscriptions[-1].connection
        stream.event({"type": "MESSAGE", "message": {**content, "data": encoded}})

    def told(self) -> list[tuple[str, str, bytes]]:
        """What executors have been told: agent, executor, bytes."""
        calls = [call["message"] for call in self.cluster.calls("MESSAGE")]
        return [
            (c["agent_id"]["value"], c["executor_id"]["value"], base64.b64decode(c["data"]))
            for c in calls
        ]

    def close(self) -> None:
        self.replica.stop()
        self.storage.close()
        self.cluster.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "state.db")
    yield rig
    rig.close()


def test_messages_reach_the_executor_of_a_task_from_whoever_leads(rig: Rig) -> None:
    with pytest.raises(Unavailable, match="no answer can be given here"):
        rig.replica.send_message("t", b"nobody leads")
    unlisten = rig.replica.listen(lambda *about: rig.heard.append(about))
    rig.lead()
    with pytest.raises(NotFound, match="there is no task t"):
        rig.replica.send_message("t", b"nobody has it")
    rig.replica.submit(create()).result(30)
    task_id = rig.task_id(TaskState.RUNNING)
    with pytest.raises(Unavailable, match="does not run yet"):
        rig.replica.send_message(task_id, b"its executor is not known yet")
    rig.cluster.update(task_id, "TASK_RUNNING", data=msgspec.json.encode(REPORT))

    def sent(data: bytes) -> bool:
        try:
            rig.replica.send_message(task_id, data)
        except Unavailable:
            return False  # the report is still on its way
        return True

    eventually(lambda: sent(b"first"))
    eventually(lambda: rig.told() == [("a-1", "e-7", b"first")])
    rig.say(b"one")
    eventually(lambda: rig.heard == [("a-1", "e-7", b"one")])
    rig.voters[0].vote_out()
    eventually(lambda: not rig.replica.serves)
    with pytest.raises(Unavailable, match="there:1 leads"):
        rig.replica.send_message(task_id, b"another leads")
    # The next term: what the task's executor is stands in the state.
    rig.lead()
    rig.replica.send_message(task_id, b"second")
    eventually(lambda: rig.told()[1:] == [("a-1", "e-7", b"second")])
    rig.say(b"two")
    eventually(lambda: rig.heard[1:] == [("a-1", "e-7", b"two")])
    unlisten()
    rig.say(b"three")
    rig.cluster.update(task_id, "TASK_FINISHED")
    eventually(lambda: _ended(rig, task_id))
    assert len(rig.heard) == 2


def _ended(rig: Rig, task_id: str) -> bool:
    try:
        rig.replica.send_message(task_id, b"last")
    except NotFound as error:
        return "does not run: it is FINISHED" in str(error)
    time.sleep(0.01)
    return False


def test_a_replica_whose_lease_is_dropped_says_why_at_once(rig: Rig) -> None:
    rig.lead()
    lease = rig.voters[0].standing.lease
    assert lease is not None
    # The election itself has not said anything yet.
    lease.drop("ZooKeeper does not answer")
    assert rig.replica.problem == "ZooKeeper does not answer"
    assert "ZooKeeper does not answer" in str(rig.replica.unavailable())
    lease.extend(float("inf"), "")
    eventually(lambda: rig.replica.leads and rig.replica.problem is None)
