"""Replicas in this process, over a real ZooKeeper and a state that they share."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

from framework.core.messages import CreateJob, Write
from framework.core.settings import Settings
from framework.election import Election
from framework.lease import Permit
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.guarded import Timing
from framework.mesos.masters import ZooKeeperUrl
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.replica import Replica
from framework.service import SchedulerService
from framework.storage import Storage, StoredEvent
from tests.framework.mesos import peer
from tests.measured import Stopwatch

# For what only has to come to pass.
PATIENCE = 60.0
QUICK = Timing(
    answer_timeout=10.0, call_timeout=10.0, first_pause=0.02, longest_pause=0.1, settled_after=1.0
)


class GatedStorage(Storage):
    """Tells of every commit what it was (``committed``: epochs), and can be held up before one."""

    def __init__(self, url: str) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.waits = threading.Event()
        self.committed: list[int] = []
        super().__init__(url)

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        if writes and not self.gate.is_set():
            self.waits.set()
            self.gate.wait(60)
        published = super().commit(writes, epoch)
        self.committed.append(epoch)
        return published


# Seconds. The short one is for tests that wait for its end; a shorter one would end by itself on a busy
# machine. A leader's lease is renewed each sixth of its session, and holds for two thirds of it: what
# happens within half a session does not wait for its end.
SESSION, CALM_SESSION = 6.0, 10.0


def create(name: str, instances: int = 1) -> CreateJob:
    config = TaskConfig(resources=Resources(0.1, 16, 16), executor_data="{}", service=True)
    key = JobKey("devcluster", "www-data", "prod", name)
    return CreateJob(at=0.0, user="me", spec=JobSpec(key, instances, config))


class Member:
    """One replica with all that it is made of. ``zookeeper`` is host:port; ``session``, seconds."""

    def __init__(
        self,
        name: str,
        zookeeper: str,
        path: str,
        state: Path,
        master: str,
        session: float = CALM_SESSION,
    ) -> None:
        self.storage = GatedStorage(str(state))
        self.election: Election
        self._zookeeper = zookeeper
        self._path = path
        place = ZooKeeperUrl(zookeeper, path)

        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            settings, executor = FrameworkSettings(user="nobody"), ExecutorSettings(command="/opt/x")
            return MesosDriver(master, settings, executor, sink, framework_id=framework_id, timing=QUICK)

        def make_service(permit: Permit) -> SchedulerService:
            settings = Settings(throttle_initial_secs=0.1, reconcile_initial_secs=0.2)
            return SchedulerService(self.storage, make_driver, settings, permit=permit)

        def make_election(changed: Any) -> Election:
            self.election = Election(place, f"http://{name}", changed, session=session)
            return self.election

        self.replica = Replica(make_election, make_service, self.storage)

    @property
    def ready(self) -> bool:
        """It leads, and Mesos has accepted it."""
        return self.replica.leads and self.replica.status().ready

    def candidates(self) -> int:
        """How many stand for election."""
        children = self.election.client.get_children(self._path)
        return sum(child.startswith("candidate-") for child in children)

    def submit(self, name: str, instances: int = 1) -> Any:
        return self.replica.submit(create(name, instances)).result(PATIENCE)

    def end_session(self) -> None:
        """Has ZooKeeper end the session while the connection is fine, as when it was not heard of."""
        session = self.election.client.client_id
        watcher = KazooClient(hosts=self._zookeeper)
        watcher.start(timeout=PATIENCE)
        try:
            mine = f"-{session[0] & (2**64 - 1):x}-"
            # The member may come back, and so cut the other's connection, before that has said a word.
            while any(mine in child for child in watcher.get_children(self._path)):
                other = KazooClient(hosts=self._zookeeper, client_id=session)
                other.start(timeout=PATIENCE)
                other.stop()
                other.close()
        finally:
            watcher.stop()
            watcher.close()

    def close(self) -> None:
        self.storage.gate.set()
        self.replica.stop()
        self.storage.close()


def fresh_path() -> str:
    return f"/tests/{uuid.uuid4().hex}"


def eventually(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Waits until ``condition()`` gives something true, and returns it."""
    return peer.eventually(condition, timeout)


def took(condition: Callable[[], Any]) -> float:
    """Returns after how many seconds ``condition()`` holds, as far as this machine had time for them."""
    watch = Stopwatch()
    eventually(condition)
    return watch.own


def lasted(condition: Callable[[], Any]) -> float:
    """Returns for how many seconds ``condition()`` has certainly held, until it holds no more.

    Who asks may be held up himself: it counts until when he began to ask and was told yes.
    """
    began = seen = time.monotonic()
    while True:
        asked = time.monotonic()
        if not condition():
            return seen - began
        seen = asked
        assert seen - began < PATIENCE, f"it has not ended for {PATIENCE} s"
        time.sleep(0.005)
