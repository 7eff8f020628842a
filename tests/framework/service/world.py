"""What the tests of the service ask for, and a storage that can be held up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from framework.core.messages import (
    CreateJob,
    Write,
)
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.model.tasks import TaskState
from framework.service import SchedulerService
from framework.storage import Storage, StoredEvent

KEY = JobKey("devcluster", "www-data", "prod", "hello")


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
        self.held = threading.Event()
        super().__init__(url)

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        if not self.gate.is_set():
            self.held.set()
        assert self.gate.wait(60)
        published = super().commit(writes, epoch)
        self.commits.append(writes)
        return published


Make = Callable[..., SchedulerService]


def running(service: SchedulerService, key: JobKey = KEY) -> list[int]:
    """The instances that the core knows as RUNNING."""
    view = service.query(lambda core: core.get_job(key)).result(30)
    return [i.task.instance for i in view.instances if i.task.state is TaskState.RUNNING]
