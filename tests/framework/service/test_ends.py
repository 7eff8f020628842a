"""Who is deposed, stopped, restarted or without a master."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from framework.model.errors import Unavailable
from framework.model.tasks import TaskState
from framework.service import SchedulerService
from framework.storage import Storage
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import eventually
from tests.framework.service.world import Make, create, running


def test_a_deposed_service_stops_acting(service: SchedulerService, cluster: Cluster, path: Path) -> None:
    other = Storage(str(path))
    other.claim_epoch()
    other.close()
    error = service.submit(create()).exception(30)
    assert isinstance(error, Unavailable)
    assert "taken over" in str(error)
    assert isinstance(service.submit(create("b")).exception(30), Unavailable)
    assert isinstance(service.query(lambda core: 1).exception(30), Unavailable)
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
    service.stop(60)
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


def test_teardown_is_for_operators(service: SchedulerService, cluster: Cluster) -> None:
    service.teardown()
    assert len(cluster.calls("TEARDOWN")) == 1


def test_a_restart_goes_on_with_the_same_framework(make_service: Make, cluster: Cluster) -> None:
    first = make_service()
    first.submit(create(instances=2)).result(30)
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
    service.submit(create()).result(30)  # what is asked for meanwhile is kept
