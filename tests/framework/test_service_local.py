"""The whole framework on the embedded Mesos, with real executors and real processes."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from framework.core.messages import CreateJob, KillTasks
from framework.local.launcher import LocalMesos
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.model.tasks import Task, TaskState
from framework.service import SchedulerService
from framework.storage import Storage
from tests.framework.mesos.peer import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = '{"task": {"name": "hello", "processes": [{"name": "p", "cmdline": "exec sleep 1000"}]}}'
EXECUTOR = ExecutorSettings(
    command=f"exec {sys.executable} -m executor", environment=(("PYTHONPATH", str(ROOT)),)
)


@pytest.fixture
def mesos(tmp_path: Path) -> Iterator[Callable[..., LocalMesos]]:
    started: list[LocalMesos] = []

    def start(resources: str) -> LocalMesos:
        started.append(LocalMesos(1, resources, work_dir=tmp_path / "mesos"))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@contextmanager
def service(
    mesos: LocalMesos, state: Path, executor: ExecutorSettings = EXECUTOR
) -> Iterator[SchedulerService]:
    def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
        assert mesos.address is not None
        return MesosDriver(mesos.address, FrameworkSettings(), executor, sink, framework_id=framework_id)

    storage = Storage(str(state))
    scheduler = SchedulerService(storage, make_driver)
    try:
        scheduler.start()
        yield scheduler
    finally:
        scheduler.stop()
        storage.close()


def key(name: str) -> JobKey:
    return JobKey("devcluster", "www-data", "prod", name)


def tasks(scheduler: SchedulerService, name: str) -> list[Task]:
    view = scheduler.query(lambda core: core.get_job(key(name))).result(30)
    return sorted((i.task for i in view.instances), key=lambda task: task.instance)


def all_in(scheduler: SchedulerService, name: str, state: TaskState, count: int) -> list[Task]:
    def found() -> list[Task] | None:
        now = tasks(scheduler, name)
        return now if [task.state for task in now] == [state] * count else None

    result: list[Task] = eventually(found, 60)
    return result


def job(name: str, instances: int) -> JobSpec:
    resources = Resources(0.1, 32, 32, 0, ("http",))
    return JobSpec(key(name), instances, TaskConfig(resources, executor_data=DOCUMENT, service=True))


def test_tasks_outlive_their_scheduler(mesos: Callable[..., LocalMesos], tmp_path: Path) -> None:
    cluster, state = mesos("cpus:4;mem:1024;disk:1024;ports:[31000-31099]"), tmp_path / "state.db"
    with service(cluster, state) as first:
        first.submit(CreateJob(at=0.0, spec=job("hello", 2))).result(30)
        before = all_in(first, "hello", TaskState.RUNNING, 2)
    with service(cluster, state) as second:
        eventually(lambda: second.status().ready)
        after = all_in(second, "hello", TaskState.RUNNING, 2)
        assert [task.task_id for task in after] == [task.task_id for task in before]
        assert [len(task.events) for task in after] == [len(task.events) for task in before]
        second.submit(KillTasks(at=0.0, key=key("hello"))).result(30)
        all_in(second, "hello", TaskState.KILLED, 2)


def test_one_executor_runs_all_tasks_of_an_agent(
    mesos: Callable[..., LocalMesos], tmp_path: Path
) -> None:
    """Mesos refuses a task whose ExecutorInfo differs from the running one's."""
    cluster = mesos("cpus:4;mem:1024;disk:1024;ports:[31000-31099]")
    with service(cluster, tmp_path / "state.db") as scheduler:
        scheduler.submit(CreateJob(at=0.0, spec=job("first", 1))).result(30)
        all_in(scheduler, "first", TaskState.RUNNING, 1)
        scheduler.submit(CreateJob(at=0.0, spec=job("second", 2))).result(30)
        all_in(scheduler, "second", TaskState.RUNNING, 2)
        with urllib.request.urlopen(f"http://{cluster.address}/master/state", timeout=30) as answer:
            (framework,) = json.load(answer)["frameworks"]
        assert len(framework["tasks"]) == 3
        assert len({task["executor_id"] for task in framework["tasks"]}) == 1
