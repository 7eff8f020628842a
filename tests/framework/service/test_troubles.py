"""Refusals, defects, and a storage that does not write (F9)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from framework.core.messages import (
    Command,
    Outcome,
    SaveJob,
    Snapshot,
    StatusReceived,
    Write,
)
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.model.errors import Conflict, NotFound, Unavailable
from framework.service import SchedulerService
from framework.storage import Storage, StorageUnavailable
from framework.turn import InternalError
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import eventually
from tests.framework.service.world import Make, WatchedStorage, create, running, spec

# -- refusals and defects -------------------------------------------------------------------------


def test_a_refusal_is_the_requests_own(service: SchedulerService) -> None:
    results = [service.submit(create("a")), service.submit(create("a")), service.submit(create("b"))]
    assert results[0].exception(30) is None
    assert isinstance(results[1].exception(30), Conflict)
    assert results[2].exception(30) is None


def test_a_cancelled_request_is_not_carried_out(
    service: SchedulerService, storage: WatchedStorage
) -> None:
    storage.gate.clear()
    first = service.submit(create("first"))
    assert storage.held.wait(30)
    second = service.submit(create("second"))
    assert second.cancel()
    storage.gate.set()
    first.result(30)
    with pytest.raises(NotFound):
        service.query(lambda core: core.get_job(spec("second").key)).result(30)


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
    service.submit(create("before")).result(30)
    eventually(lambda: running(service, spec("before").key))
    storage.gate.clear()
    held = service.submit(create("held"))
    assert storage.held.wait(30)
    futures = [service.submit(c) for c in (create("same"), Trap(at=0.0), create("after"))]
    storage.gate.set()
    assert [held.exception(30), futures[0].exception(30), futures[2].exception(30)] == [None] * 3
    defect = futures[1].exception(30)
    assert isinstance(defect, InternalError)
    assert any(defect.reference in record.getMessage() for record in caplog.records)
    # Nothing of what the defect had begun is left; the rest goes on, with Mesos asked anew.
    names = service.query(lambda core: core.list_jobs("devcluster", "www-data")).result(30)
    assert [key.name for key in names] == ["after", "before", "held", "same"]
    eventually(lambda: len(cluster.subscriptions) == 2)
    for key in names:
        eventually(lambda key=key: running(service, key) == [0])
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
    assert isinstance(first.exception(30), InternalError)
    assert query.exception(30) is None or isinstance(query.exception(30), Unavailable)
    assert isinstance(service.submit(create("late")).exception(30), Unavailable)
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
    assert isinstance(service.submit(create()).exception(30), InternalError)
    service.submit(create()).result(30)
    eventually(lambda: running(service) == [0])


# -- F9: storage that does not write --------------------------------------------------------------


class Lock:
    """Somebody else's transaction on the same file: SQLITE_BUSY for everybody."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *exc_info: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def test_a_locked_database_is_unavailable_and_recovers(
    service: SchedulerService, cluster: Cluster, storage: WatchedStorage, path: Path
) -> None:
    service.submit(create("before")).result(30)
    eventually(lambda: cluster.acknowledged)
    with Lock(path):
        error = service.submit(create("during")).exception(30)
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
        assert isinstance(service.submit(create("still")).exception(30), Unavailable)
        # What is durable can still be read.
        jobs = service.query(lambda core: core.list_jobs("devcluster", "www-data")).result(30)
        assert [key.name for key in jobs] == ["before"]
        assert len(cluster.acknowledged) == acknowledged
    eventually(lambda: service.status().ready)
    service.submit(create("after")).result(30)
    eventually(lambda: running(service, spec("after").key) == [0])
    eventually(lambda: task_id in cluster.acknowledged[acknowledged:])
    # Mesos was told nothing of what was not durable.
    assert not cluster.names() & {"during", "still"}


def test_a_launch_that_could_not_be_stored_is_made_after_the_outage(
    service: SchedulerService, cluster: Cluster, path: Path, storage: WatchedStorage
) -> None:
    """The offers that the forgotten launches had used up are not lost either."""
    storage.gate.clear()
    first = service.submit(create(instances=2))
    assert storage.held.wait(30)
    lock = Lock(path)
    lock.__enter__()
    storage.gate.set()
    assert isinstance(first.exception(30), Unavailable)
    assert cluster.launched == []
    lock.__exit__()
    eventually(lambda: service.status().ready)
    service.submit(create(instances=2)).result(30)
    eventually(lambda: running(service) == [0, 1])
    assert len(cluster.launched) == 2


def test_what_is_stored_after_all_is_known_afterwards(
    service: SchedulerService, storage: WatchedStorage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs in a commit still shows what was before; it may carry it out later."""
    under_way: list[Sequence[Write]] = []
    hangs = [True]
    commit, check = storage.commit, storage.check

    def land(epoch: int) -> None:
        while under_way:
            server = Storage(str(path))
            server.load()
            server.commit(under_way.pop(), epoch)
            server.close()

    def hang_once(writes: Sequence[Write], epoch: int) -> Any:
        if hangs and any(isinstance(write, SaveJob) for write in writes):
            hangs.clear()
            under_way.append(writes)
            raise StorageUnavailable("no answer")
        land(epoch)  # it has the lock that this one needs
        return commit(writes, epoch)

    def wait_for_it(epoch: int) -> None:
        land(epoch)
        check(epoch)

    monkeypatch.setattr(storage, "commit", hang_once)
    monkeypatch.setattr(storage, "check", wait_for_it)
    assert isinstance(service.submit(create()).exception(30), StorageUnavailable)
    eventually(lambda: service.status().ready)
    eventually(lambda: running(service) == [0])
    assert isinstance(service.submit(create()).exception(30), Conflict)


def test_an_outage_that_comes_again_at_once_costs_neither_readers_nor_what_was_known(
    service: SchedulerService, storage: WatchedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock can be had, and the first commit after that fails once more."""
    service.submit(create("before")).result(30)
    eventually(lambda: running(service, spec("before").key) == [0])
    known = service.query(lambda core: core.session().story).result(30)
    failing = [True]
    commit = storage.commit
    failed: list[Sequence[Write]] = []

    def fail(writes: Sequence[Write], epoch: int) -> Any:
        if failing:
            failed.append(writes)
            raise StorageUnavailable("the disk is full")
        return commit(writes, epoch)

    monkeypatch.setattr(storage, "commit", fail)
    assert isinstance(service.submit(create()).exception(30), StorageUnavailable)
    eventually(lambda: len(failed) > 2)
    assert running(service, spec("before").key) == [0]
    failing.clear()
    eventually(lambda: service.status().ready)
    assert service.query(lambda core: core.session().story).result(30)[: len(known)] == known


def test_a_state_that_is_restored_meanwhile_is_the_one_to_go_on_from(
    service: SchedulerService, cluster: Cluster, path: Path
) -> None:
    service.submit(create("kept")).result(30)
    eventually(lambda: running(service, spec("kept").key) == [0])
    with sqlite3.connect(path) as connection, sqlite3.connect(path.with_name("backup.db")) as backup:
        connection.backup(backup)
    service.submit(create("since")).result(30)
    eventually(lambda: running(service, spec("since").key) == [0])
    with sqlite3.connect(path) as connection, sqlite3.connect(path.with_name("backup.db")) as backup:
        backup.backup(connection)
    assert isinstance(service.submit(create("refused")).exception(30), StorageUnavailable)
    eventually(lambda: service.status().ready)
    jobs = service.query(lambda core: core.list_jobs("devcluster", "www-data")).result(30)
    assert [key.name for key in jobs] == ["kept"]
    service.submit(create("since")).result(30)
    eventually(lambda: running(service, spec("since").key) == [0])


def test_stop_ends_an_outage(service: SchedulerService, path: Path) -> None:
    with Lock(path):
        future = service.submit(create())
        assert isinstance(future.exception(30), Unavailable)
        service.stop(60)  # within the outage: the lock is still there
