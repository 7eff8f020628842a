"""The service with the real core, storage and driver, against a cluster on loopback."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from framework.core.messages import (
    Command,
    CreateJob,
    Job,
    KillTasks,
    Outcome,
    Snapshot,
    StatusReceived,
    Tick,
    Write,
)
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.guarded import Timing
from framework.model.errors import Conflict, NotFound, Unavailable
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.model.tasks import TaskState
from framework.service import SchedulerService, make_scheduler
from framework.storage import Storage, StoredEvent
from framework.turn import InternalError
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import Request, eventually

KEY = JobKey("devcluster", "www-data", "prod", "hello")
QUICK = Timing(
    answer_timeout=2.0, call_timeout=2.0, first_pause=0.02, longest_pause=0.1, settled_after=1.0
)


def spec(name: str = "hello", instances: int = 1) -> JobSpec:
    config = TaskConfig(resources=Resources(0.1, 16, 16), executor_data="{}", service=True)
    return JobSpec(JobKey("devcluster", "www-data", "prod", name), instances, config)


def create(name: str = "hello", instances: int = 1) -> CreateJob:
    return CreateJob(at=0.0, user="me", spec=spec(name, instances))


class WatchedStorage(Storage):
    """Counts commits, and lets a test hold them up or see them."""

    def __init__(self, url: str) -> None:
        self.commits: list[Sequence[Write]] = []
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(url)

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        assert self.gate.wait(10)
        published = super().commit(writes, epoch)
        self.commits.append(writes)
        return published


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def storage(path: Path) -> Iterator[WatchedStorage]:
    storage = WatchedStorage(str(path))
    yield storage
    storage.close()


Make = Callable[..., SchedulerService]


@pytest.fixture
def make_service(cluster: Cluster, storage: WatchedStorage) -> Iterator[Make]:
    """Makes started services and stops them; afterwards no thread of theirs may be left."""
    before = set(threading.enumerate())
    services: list[SchedulerService] = []

    def make(storage: Storage = storage, **options: Any) -> SchedulerService:
        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            return MesosDriver(
                cluster.address,
                FrameworkSettings(user="nobody"),
                ExecutorSettings(command="/opt/executor"),
                sink,
                framework_id=framework_id,
                timing=QUICK,
            )

        service = SchedulerService(storage, make_driver, Settings(), **options)
        services.append(service)
        service.start()
        return service

    yield make
    storage.gate.set()
    for service in services:
        service.stop()
    names = ("mesos-", "scheduler")
    assert [t for t in set(threading.enumerate()) - before if t.name.startswith(names)] == []


@pytest.fixture
def service(make_service: Make) -> SchedulerService:
    service = make_service()
    eventually(lambda: service.status().ready)
    return service


def running(service: SchedulerService, key: JobKey = KEY) -> list[int]:
    """The instances that the core knows as RUNNING."""
    view = service.query(lambda core: core.get_job(key)).result(10)
    return [i.task.instance for i in view.instances if i.task.state is TaskState.RUNNING]


# -- the main path --------------------------------------------------------------------------------


def test_a_job_is_created_placed_and_runs(service: SchedulerService, cluster: Cluster) -> None:
    service.submit(create(instances=3)).result(10)
    eventually(lambda: running(service) == [0, 1, 2])
    assert cluster.instances() == ["0", "1", "2"]
    eventually(lambda: len(cluster.acknowledged) == 3)
    service.submit(KillTasks(at=0.0, key=KEY, instances=(1,))).result(10)
    eventually(lambda: cluster.instances() == ["0", "2"])
    status = service.status()
    assert status.ready
    assert status.problems == ()
    assert status.framework_id == cluster.framework_id
    assert status.master == cluster.address
    assert status.epoch == 1
    assert status.durations["commit"].count > 0
    assert status.mesos["event:OFFERS"] > 0
    eventually(lambda: (c := service.status().counts) is not None and c.tasks.get("RUNNING") == 2)


def test_nothing_is_launched_or_acknowledged_before_it_is_durable(
    make_service: Make, cluster: Cluster, path: Path
) -> None:
    """The peer looks into the database, over a connection of its own, when the calls arrive."""
    seen: list[tuple[str, str | None]] = []
    answer = cluster.call

    def look(request: Request) -> bool:
        if request.kind in ("ACCEPT", "ACKNOWLEDGE"):
            connection = sqlite3.connect(path)
            row = connection.execute("select state from scheduler_tasks").fetchone()
            framework = connection.execute("select framework_id from scheduler_leader").fetchone()
            connection.close()
            assert framework == (cluster.framework_id,)
            seen.append((request.kind, row and row[0]))
        return answer(request)

    cluster.call = look
    service = make_service()
    service.submit(create()).result(10)
    eventually(lambda: cluster.acknowledged)
    assert seen == [("ACCEPT", "ASSIGNED"), ("ACKNOWLEDGE", "RUNNING")]


def test_an_answer_means_that_it_is_durable(
    service: SchedulerService, storage: WatchedStorage, path: Path
) -> None:
    storage.gate.clear()
    future = service.submit(create())
    assert wait([future], timeout=0.2).not_done
    storage.gate.set()
    future.result(10)
    other = Storage(str(path))
    assert [job.spec.key for job in other.load().jobs] == [KEY]
    other.close()


def test_what_arrives_together_is_committed_together(
    service: SchedulerService, storage: WatchedStorage
) -> None:
    storage.gate.clear()
    first = service.submit(create("first"))
    eventually(lambda: service.status().queued == 0)  # it is being committed, and held up
    futures = [service.submit(create(f"job-{number}")) for number in range(300)]
    commits = len(storage.commits)
    storage.gate.set()
    for future in (first, *futures):
        future.result(10)
    # The held one, then all that had gathered; a few more for offers and updates that came between.
    assert len(storage.commits) - commits <= 20
    assert max(sum(hasattr(w, "job") for w in writes) for writes in storage.commits) >= 200


def test_the_service_stamps_the_time(service: SchedulerService) -> None:
    before = time.time()
    service.submit(create()).result(10)
    view = service.query(lambda core: core.get_job(KEY)).result(10)
    assert before - 1 <= view.job.created_at <= time.time() + 1


# -- reads ----------------------------------------------------------------------------------------


def test_a_reader_never_sees_what_is_not_durable(
    service: SchedulerService, storage: WatchedStorage, path: Path
) -> None:
    def stored(_: Scheduler) -> int:
        connection = sqlite3.connect(path)
        count = connection.execute("select count(*) from scheduler_jobs").fetchone()[0]
        connection.close()
        return int(count)

    storage.gate.clear()
    created = service.submit(create())
    both = service.query(lambda core: (len(core.list_jobs("devcluster", "www-data")), stored(core)))
    assert wait([both], timeout=0.2).not_done
    storage.gate.set()
    assert both.result(10) == (1, 1)
    created.result(10)


def test_a_glance_is_answered_at_once_or_not_at_all(
    service: SchedulerService, storage: WatchedStorage
) -> None:
    eventually(lambda: service.status().ready)
    first = eventually(lambda: service.glance(lambda core: core.list_roles("devcluster")))
    assert first.result(0) == []
    storage.gate.clear()
    created = service.submit(create())
    assert service.glance(lambda core: core.list_roles("devcluster")) is None
    storage.gate.set()
    created.result(10)
    after = eventually(lambda: service.glance(lambda core: core.list_roles("devcluster")))
    assert after.result(0) == ["www-data"]


def test_a_reader_runs_where_he_asks_when_nothing_is_under_way(service: SchedulerService) -> None:
    mine = threading.get_ident()
    eventually(lambda: service.query(lambda core: threading.get_ident()).result(10) == mine)


def test_what_a_reader_raises_is_his(service: SchedulerService) -> None:
    with pytest.raises(NotFound):
        service.query(lambda core: core.get_job(KEY)).result(10)
    with pytest.raises(ZeroDivisionError):
        service.query(lambda core: 1 / 0).result(10)
    assert service.query(lambda core: 7).result(10) == 7


def test_events_are_told_in_order_and_can_be_read_again(
    service: SchedulerService, cluster: Cluster
) -> None:
    told: list[StoredEvent] = []
    failing = service.subscribe(lambda event: 1 / 0)  # a bad listener harms nobody
    unsubscribe = service.subscribe(told.append)
    service.submit(create()).result(10)
    eventually(lambda: [e for e in told if e.event.state == "RUNNING"])
    unsubscribe()
    failing()
    count = len(told)
    service.submit(KillTasks(at=0.0, key=KEY)).result(10)
    eventually(lambda: [e for e in service.events_after(count) if e.event.state == "KILLED"])
    assert len(told) == count
    assert service.events_after(0, count) == told
    assert [event.sequence for event in told] == list(range(1, count + 1))
    assert service.events_after(0, key=KEY) == service.events_after(0, role="www-data")
    assert service.events_after(0, role="alice") == []


# -- refusals and defects -------------------------------------------------------------------------


def test_a_refusal_is_the_requests_own(service: SchedulerService) -> None:
    results = [service.submit(create("a")), service.submit(create("a")), service.submit(create("b"))]
    assert results[0].exception(10) is None
    assert isinstance(results[1].exception(10), Conflict)
    assert results[2].exception(10) is None


def test_a_cancelled_request_is_not_carried_out(
    service: SchedulerService, storage: WatchedStorage
) -> None:
    storage.gate.clear()
    first = service.submit(create("first"))
    eventually(lambda: service.status().queued == 0)
    second = service.submit(create("second"))
    assert second.cancel()
    storage.gate.set()
    first.result(10)
    with pytest.raises(NotFound):
        service.query(lambda core: core.get_job(spec("second").key)).result(10)


class Trap(Command, frozen=True, kw_only=True):
    """A command on which the core below fails, having changed something."""


class Faulty(Scheduler):
    """A core with a defect."""

    def handle(self, event: Any) -> Outcome:
        if isinstance(event, Trap):
            super().handle(create("half-done"))
            raise RuntimeError("a defect")
        return super().handle(event)


def faulty(settings: Settings, snapshot: Snapshot) -> Scheduler:
    return Faulty(settings, snapshot, new_id=lambda: f"id-{time.monotonic_ns()}")


def test_a_defect_costs_one_request_and_the_core(
    make_service: Make, cluster: Cluster, storage: WatchedStorage, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(make_core=faulty)
    service.submit(create("before")).result(10)
    eventually(lambda: running(service, spec("before").key))
    storage.gate.clear()
    held = service.submit(create("held"))
    eventually(lambda: service.status().queued == 0)
    futures = [service.submit(c) for c in (create("same"), Trap(at=0.0), create("after"))]
    storage.gate.set()
    assert [held.exception(10), futures[0].exception(10), futures[2].exception(10)] == [None] * 3
    defect = futures[1].exception(10)
    assert isinstance(defect, InternalError)
    assert any(defect.reference in record.getMessage() for record in caplog.records)
    # Nothing of what the defect had begun is left; the rest goes on, with Mesos asked anew.
    names = service.query(lambda core: core.list_jobs("devcluster", "www-data")).result(10)
    assert [key.name for key in names] == ["after", "before", "held", "same"]
    eventually(lambda: len(cluster.subscriptions) == 2)
    eventually(lambda: running(service, spec("after").key) == [0])
    assert len(cluster.launched) == 4
    assert service.status().ready


def test_a_defect_that_comes_again_is_not_met_at_full_speed(
    make_service: Make, cluster: Cluster
) -> None:
    """An update that the core always fails on comes again with every subscription."""
    cores: list[Scheduler] = []

    class Poisoned(Scheduler):
        def handle(self, event: Any) -> Outcome:
            if isinstance(event, StatusReceived):
                raise RuntimeError("a defect")
            return super().handle(event)

    def poisoned(settings: Settings, snapshot: Snapshot) -> Scheduler:
        cores.append(Poisoned(settings, snapshot, new_id=lambda: "id"))
        return cores[-1]

    service = make_service(make_core=poisoned)
    eventually(lambda: service.status().ready)
    began = time.monotonic()
    cluster.update("t", "TASK_RUNNING")
    eventually(lambda: len(cores) >= 4)
    assert time.monotonic() - began >= 0.1 + 0.2  # the pauses before the third and the fourth
    assert cluster.acknowledged == []


def test_the_death_of_the_thread_leaves_nobody_waiting(
    service: SchedulerService, storage: WatchedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If even the stored state makes no core, every request is answered and the service says so."""

    def contradiction(*_: Any) -> Any:
        raise AssertionError("the state contradicts itself")

    monkeypatch.setattr(service, "_make_core", contradiction)
    monkeypatch.setattr(storage, "commit", contradiction)
    first, query = service.submit(create()), service.query(lambda core: 1)
    assert isinstance(first.exception(10), InternalError)
    assert query.exception(10) is None or isinstance(query.exception(10), Unavailable)
    assert isinstance(service.submit(create("late")).exception(10), Unavailable)
    eventually(lambda: service.ended)
    assert not service.status().ready


def test_a_defect_in_a_commit_is_survived(
    service: SchedulerService, storage: WatchedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [TypeError("a defect")]
    commit = storage.commit

    def fail_once(writes: Sequence[Write], epoch: int) -> Any:
        if failures:
            raise failures.pop()
        return commit(writes, epoch)

    monkeypatch.setattr(storage, "commit", fail_once)
    assert isinstance(service.submit(create()).exception(10), InternalError)
    service.submit(create()).result(10)
    eventually(lambda: running(service) == [0])


# -- F9: storage that does not write --------------------------------------------------------------


class Lock:
    """Somebody else's transaction on the same file: SQLITE_BUSY for everybody."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *exc_info: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def test_a_locked_database_is_unavailable_and_recovers(
    service: SchedulerService, cluster: Cluster, storage: WatchedStorage, path: Path
) -> None:
    service.submit(create("before")).result(10)
    eventually(lambda: cluster.acknowledged)
    with Lock(path):
        error = service.submit(create("during")).exception(10)
        assert isinstance(error, Unavailable)
        assert error.retry_after > 0
        status = service.status()
        assert not status.ready
        assert "database is locked" in status.problems[0]
        # An update that comes now is neither lost nor acknowledged before its effect is durable.
        task_id = cluster.launched[0]
        acknowledged = len(cluster.acknowledged)
        cluster.update(task_id, "TASK_FAILED")
        cluster.running.clear()
        assert isinstance(service.submit(create("still")).exception(10), Unavailable)
        # What is durable can still be read.
        jobs = service.query(lambda core: core.list_jobs("devcluster", "www-data")).result(10)
        assert [key.name for key in jobs] == ["before"]
        assert len(cluster.acknowledged) == acknowledged
    eventually(lambda: service.status().ready)
    service.submit(create("after")).result(10)
    eventually(lambda: running(service, spec("after").key) == [0])
    eventually(lambda: task_id in cluster.acknowledged[acknowledged:])
    # Mesos was told nothing of what was not durable.
    names = {info["name"].rpartition("/")[2] for info in cluster.running.values()}
    assert "during" not in names
    assert "still" not in names


def test_a_launch_that_could_not_be_stored_is_made_after_the_outage(
    service: SchedulerService, cluster: Cluster, path: Path, storage: WatchedStorage
) -> None:
    """The offers that the forgotten launches had used up are not lost either."""
    storage.gate.clear()
    first = service.submit(create(instances=2))
    eventually(lambda: service.status().queued == 0)
    lock = Lock(path)
    lock.__enter__()
    storage.gate.set()
    assert isinstance(first.exception(10), Unavailable)
    assert cluster.launched == []
    lock.__exit__()
    eventually(lambda: service.status().ready)
    service.submit(create(instances=2)).result(10)
    eventually(lambda: running(service) == [0, 1])
    assert len(cluster.launched) == 2


# -- the end --------------------------------------------------------------------------------------


def test_a_deposed_service_stops_acting(service: SchedulerService, cluster: Cluster, path: Path) -> None:
    other = Storage(str(path))
    other.claim_epoch()
    other.close()
    error = service.submit(create()).exception(10)
    assert isinstance(error, Unavailable)
    assert "taken over" in str(error)
    assert isinstance(service.submit(create("b")).exception(10), Unavailable)
    assert isinstance(service.query(lambda core: 1).exception(10), Unavailable)
    eventually(cluster.stream.closed.is_set)
    status = service.status()
    assert not status.ready
    assert "taken over" in status.problems[0]
    assert cluster.launched == []
    assert cluster.calls("TEARDOWN") == []


def test_a_deposed_service_kills_nothing(
    service: SchedulerService, cluster: Cluster, path: Path
) -> None:
    """A task that it does not know is its successor's; killing it would write nothing here."""
    other = Storage(str(path))
    other.claim_epoch()
    other.close()
    cluster.update("its-successors", "TASK_RUNNING")
    eventually(lambda: service.ended)
    assert cluster.calls("KILL") == []


def test_stop_does_what_is_queued_and_leaves_the_framework(
    service: SchedulerService, cluster: Cluster, path: Path
) -> None:
    futures: list[Future[Any]] = [service.submit(create(f"job-{n}")) for n in range(200)]
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 5
    assert [future.exception(0) for future in futures] == [None] * 200
    assert isinstance(service.submit(create("late")).exception(0), Unavailable)
    assert isinstance(service.query(lambda core: 1).exception(0), Unavailable)
    assert cluster.calls("TEARDOWN") == []
    assert service.status().problems == ("the scheduler has been stopped",)
    stored = Storage(str(path))
    snapshot = stored.load()
    stored.close()
    assert len(snapshot.jobs) == 200
    # Whatever it decided to launch it has told Mesos.
    assigned = {task.task_id for task in snapshot.tasks if task.state is not TaskState.PENDING}
    assert assigned == set(cluster.launched)


def test_stop_ends_an_outage(service: SchedulerService, path: Path) -> None:
    with Lock(path):
        future = service.submit(create())
        assert isinstance(future.exception(10), Unavailable)
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 5


def test_teardown_is_for_operators(service: SchedulerService, cluster: Cluster) -> None:
    service.teardown()
    assert len(cluster.calls("TEARDOWN")) == 1


def test_a_restart_goes_on_with_the_same_framework(make_service: Make, cluster: Cluster) -> None:
    first = make_service()
    first.submit(create(instances=2)).result(10)
    eventually(lambda: running(first) == [0, 1])
    first.stop()
    second = make_service()
    eventually(lambda: second.status().ready)
    assert cluster.subscriptions[-1].json["framework_id"]["value"] == cluster.framework_id
    eventually(lambda: cluster.calls("RECONCILE"))
    assert running(second) == [0, 1]
    assert len(cluster.launched) == 2
    assert second.status().epoch == 2


def test_a_master_that_is_away_is_a_problem_with_a_name(
    service: SchedulerService, cluster: Cluster
) -> None:
    cluster.subscribe = lambda request: request.connection.close() or True
    cluster.stream.close()
    eventually(lambda: not service.status().ready)
    (problem,) = service.status().problems
    assert problem.startswith("not connected to Mesos: ")
    service.submit(create()).result(10)  # what is asked for meanwhile is kept


def test_a_flood_of_updates_does_not_grow_the_queue_without_end() -> None:
    from framework.inbox import EventItem, Inbox
    from framework.model.cluster import StatusUpdate

    inbox = Inbox()
    again = EventItem(StatusReceived(at=0.0, update=StatusUpdate("t", "TASK_RUNNING", "a", "uuid")), 0.0)
    once = EventItem(StatusReceived(at=0.0, update=StatusUpdate("t", "TASK_LOST", "a")), 0.0)
    while inbox.put(again):
        assert len(inbox) <= 60_000
    assert inbox.put(once)  # nobody would send this one again


def test_users_come_before_a_storm_and_keep_their_order() -> None:
    from framework.inbox import CommandItem, EventItem, Inbox, QueryItem

    inbox = Inbox()
    told = [EventItem(Tick(at=float(n)), 0.0) for n in range(5)]
    asked = [CommandItem(create(), Future(), 0.0), QueryItem(len, Future(), 0.0)]
    for item in (*told[:3], asked[0], told[3], asked[1], told[4]):
        inbox.put(item)
    assert len(inbox) == 7
    assert inbox.take(0.0, 4) == [*asked, *told[:2]]
    inbox.put_back([asked[1], told[1]])
    assert inbox.take(0.0, None) == [asked[1], *told[1:]]


class SlowStorage(WatchedStorage):
    """A disk that takes four tenths of a millisecond for each thing."""

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        time.sleep(0.0004 * len(writes))
        return super().commit(writes, epoch)


@pytest.mark.alone
def test_turns_are_shorter_where_commits_are_slow(make_service: Make, path: Path) -> None:
    """So that a reader in the middle of a storm waits for a tenth of a second, not for a whole one."""
    storage = SlowStorage(str(path))
    service = make_service(storage)
    eventually(lambda: service.status().ready)
    futures = [service.submit(create(f"job-{number}")) for number in range(2500)]
    assert not wait(futures, 60).not_done
    first, *others = [len(writes) for writes in storage.commits if len(writes) > 100]
    # One long turn has been enough to learn from.
    assert sorted(others)[len(others) // 2] < 0.75 * first, (first, others)
    storage.close()


def test_jobs_survive_as_they_were(service: SchedulerService, storage: WatchedStorage) -> None:
    service.submit(create(instances=2)).result(10)
    jobs: tuple[Job, ...] = storage.load().jobs
    assert jobs[0].spec == spec(instances=2)
    core = make_scheduler(Settings(), storage.load())
    core.validate()
