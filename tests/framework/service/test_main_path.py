"""The service with the real core, storage and driver: what it is there for."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import wait
from pathlib import Path

import pytest

from framework.core.messages import (
    Job,
    KillTasks,
    Write,
)
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.model.errors import NotFound
from framework.service import SchedulerService, make_scheduler
from framework.storage import StoredEvent
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import Request, eventually
from tests.framework.service.world import KEY, Make, WatchedStorage, create, running, spec


def test_a_job_is_created_placed_and_runs(service: SchedulerService, cluster: Cluster) -> None:
    service.submit(create(instances=3)).result(30)
    eventually(lambda: running(service) == [0, 1, 2])
    assert cluster.instances() == ["0", "1", "2"]
    eventually(lambda: len(cluster.acknowledged) == 3)
    service.submit(KillTasks(at=0.0, key=KEY, instances=(1,))).result(30)
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
    service.submit(create()).result(30)
    eventually(lambda: cluster.acknowledged)
    assert seen == [("ACCEPT", "ASSIGNED"), ("ACKNOWLEDGE", "RUNNING")]


def test_an_answer_means_that_it_is_durable(
    service: SchedulerService, storage: WatchedStorage, path: Path
) -> None:
    storage.gate.clear()
    future = service.submit(create())
    assert wait([future], timeout=0.2).not_done
    storage.gate.set()
    future.result(30)
    # Not as a storage: to open one takes the lock that the service's next commits hold.
    connection = sqlite3.connect(path)
    assert connection.execute("select id from scheduler_jobs").fetchall() == [(str(KEY),)]
    connection.close()


def test_what_arrives_together_is_committed_together(
    make_service: Make, storage: WatchedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A turn has a tenth of a second; on a machine that has other things to do not much happens in that.
    monkeypatch.setattr("framework.service._TURN_SECONDS", 3600.0)
    service = make_service()
    storage.gate.clear()
    first = service.submit(create("first"))
    assert storage.held.wait(30)
    futures = [service.submit(create(f"job-{number}")) for number in range(300)]
    storage.gate.set()
    for future in (first, *futures):
        future.result(60)
    # The held one, then what had gathered. (The first may be in either.)
    jobs = [sum(hasattr(w, "job") for w in writes) for writes in list(storage.commits)]
    assert [n for n in jobs if n] in ([1, 300], [301])


def test_the_service_stamps_the_time(service: SchedulerService) -> None:
    before = time.time()
    service.submit(create()).result(30)
    view = service.query(lambda core: core.get_job(KEY)).result(30)
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
    assert both.result(30) == (1, 1)
    created.result(30)


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
    created.result(30)
    after = eventually(lambda: service.glance(lambda core: core.list_roles("devcluster")))
    assert after.result(0) == ["www-data"]


def test_a_reader_runs_where_he_asks_when_nothing_is_under_way(service: SchedulerService) -> None:
    mine = threading.get_ident()
    eventually(lambda: service.query(lambda core: threading.get_ident()).result(30) == mine)


def test_what_a_reader_raises_is_his(service: SchedulerService) -> None:
    with pytest.raises(NotFound):
        service.query(lambda core: core.get_job(KEY)).result(30)
    with pytest.raises(ZeroDivisionError):
        service.query(lambda core: 1 / 0).result(30)
    assert service.query(lambda core: 7).result(30) == 7


def test_events_are_told_in_order_and_can_be_read_again(
    service: SchedulerService, cluster: Cluster
) -> None:
    told: list[StoredEvent] = []
    failing = service.subscribe(lambda event: 1 / 0)  # a bad listener harms nobody
    unsubscribe = service.subscribe(told.append)
    service.submit(create()).result(30)
    eventually(lambda: [e for e in told if e.event.state == "RUNNING"])
    unsubscribe()
    failing()
    count = len(told)
    service.submit(KillTasks(at=0.0, key=KEY)).result(30)
    eventually(lambda: [e for e in service.events_after(count) if e.event.state == "KILLED"])
    assert len(told) == count
    assert service.events_after(0, count) == told
    assert [event.sequence for event in told] == list(range(1, count + 1))
    assert service.events_after(0, key=KEY) == service.events_after(0, role="www-data")
    assert service.events_after(0, role="alice") == []


def test_jobs_survive_as_they_were(service: SchedulerService, storage: WatchedStorage) -> None:
    service.submit(create(instances=2)).result(30)
    jobs: tuple[Job, ...] = storage.load().jobs
    assert jobs[0].spec == spec(instances=2)
    core = make_scheduler(Settings(), storage.load())
    core.validate()


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
    sizes = [len(writes) for writes in storage.commits if len(writes) > 100]
    # One long turn has been enough to learn from; one before it may have begun with the first requests.
    longest = max(sizes)
    later = sizes[sizes.index(longest) + 1 :]
    assert sorted(later)[len(later) // 2] < 0.75 * longest, sizes
    storage.close()
