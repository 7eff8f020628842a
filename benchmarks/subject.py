"""What is measured, in a process of its own: the scheduler's service with its driver, no gateway.

Obeys lines of JSON on stdin (:class:`Order`), answers each with a line on stdout.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.mesos_json import FRAMEWORK, agent_id
from framework.core.messages import CreateJob, SaveFrameworkId, SaveJob, SaveTask, Snapshot, Write
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.model.jobs import Constraint, JobKey, JobSpec, Resources, TaskConfig
from framework.model.tasks import TaskEvent, TaskState
from framework.service import SchedulerService
from framework.storage import Storage, StoredEvent
from gateway.jobs import read_jobs

CLUSTER, ROLE = "devcluster", "www-data"
EXECUTOR = ExecutorSettings(command="/opt/mesos-gateway/bin/executor")
_TEXT = """
web = Process(name = 'web', cmdline = 'exec /srv/bin/web --port {{thermos.ports[http]}}')
jobs = [Service(cluster = 'devcluster', role = 'www-data', environment = 'prod', name = 'web',
  task = Task(processes = [web], resources = Resources(cpu = 1, ram = 256*MB, disk = 256*MB)))]
"""


class Order(msgspec.Struct, kw_only=True):
    """``do``: ``prepare`` (``jobs`` of ``instances`` each, their tasks in ``state``, over ``agents``
    agents, kept at ``storage``: a path, "" for nowhere), ``start`` (subscribe to ``master``),
    ``tasks`` (ids and agents of the tasks), ``status``, ``offers`` (when the last OFFERS came).
    """

    do: str
    jobs: int = 0
    instances: int = 0
    state: str = "PENDING"
    agents: int = 0
    storage: str = ""
    master: str = ""
    limit: int = 0


class NowhereStorage:
    """Keeps nothing: what the scheduler does when nobody asks it to be durable."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._sequence = 0

    def claim_epoch(self) -> int:
        return 1

    def load(self) -> Snapshot:
        return self._snapshot

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        return ()

    def close(self) -> None:
        pass


def spec(number: int, instances: int, limit: int, executor_data: str) -> JobSpec:
    """Returns job ``number``: 1 cpu, 256 MiB, two ports, at most ``limit`` tasks on a rack."""
    config = TaskConfig(
        resources=Resources(cpus=1.0, mem_mb=256, disk_mb=256, ports=("http", "admin")),
        executor_data=executor_data,
        constraints=(Constraint.parse("rack", f"limit:{limit}"),) if limit else (),
        service=True,
    )
    return JobSpec(
        key=JobKey(CLUSTER, ROLE, "prod", f"job-{number}"), instances=instances, config=config
    )


def snapshot(order: Order) -> Snapshot:
    """Returns the state that the order describes."""
    executor_data = read_jobs(_TEXT.encode(), user="bench")[0].config.executor_data
    core = Scheduler(Settings(), new_id=lambda: str(uuid.uuid4()))
    now = time.time()
    jobs, tasks = [], []
    for number in range(order.jobs):
        job = spec(number, order.instances, order.limit, executor_data)
        for write in core.handle(CreateJob(at=now, spec=job)).writes:
            match write:
                case SaveJob(job=saved):
                    jobs.append(saved)
                case SaveTask(task=task):
                    tasks.append(task)
    if order.state != "PENDING":
        steps = ("ASSIGNED", "STARTING", "RUNNING")
        passed = steps[: steps.index(order.state) + 1]
        events = tuple(TaskEvent(now, TaskState(s), "bench") for s in passed)
        tasks = [
            msgspec.structs.replace(
                task,
                state=TaskState(order.state),
                events=task.events + events,
                agent_id=agent_id(n % order.agents),
                hostname=f"agent-{n % order.agents}.example",
                agent_address=f"agent-{n % order.agents}.example:5051",
                ports={"http": 31000 + n // order.agents * 2, "admin": 31001 + n // order.agents * 2},
            )
            for n, task in enumerate(tasks)
        ]
    return Snapshot(jobs=tuple(jobs), tasks=tuple(tasks), framework_id=FRAMEWORK)


def store(state: Snapshot, path: str) -> None:
    """Makes ``state`` durable at ``path``."""
    storage = Storage(path)
    try:
        writes: list[Write] = [SaveFrameworkId(FRAMEWORK)]
        writes += [SaveJob(job) for job in state.jobs]
        writes += [SaveTask(task) for task in state.tasks]
        storage.commit(writes, storage.claim_epoch())
    finally:
        storage.close()


class Subject:
    """Carries orders out."""

    def __init__(self) -> None:
        self._storage: Any = None
        self._service: SchedulerService | None = None
        self._tasks: list[tuple[str, str]] = []

    def obey(self, order: Order) -> Any:
        match order.do:
            case "prepare":
                return self._prepare(order)
            case "start":
                return self._start(order)
            case "tasks":
                return self._tasks
        assert self._service is not None
        status = self._service.status()
        return {
            "ready": status.ready,
            "counts": status.counts,
            "durations": status.durations,
            "mesos": status.mesos,
        }

    def _prepare(self, order: Order) -> dict[str, Any]:
        state = snapshot(order)
        self._tasks = [(task.task_id, task.agent_id or "") for task in state.tasks]
        if order.storage:
            store(state, order.storage)
            self._storage = Storage(order.storage)
        else:
            self._storage = NowhereStorage(state)
        return {"tasks": len(state.tasks)}

    def _start(self, order: Order) -> dict[str, Any]:
        if self._storage is None:
            self._storage = Storage(order.storage)

        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            return MesosDriver(
                order.master, FrameworkSettings(), EXECUTOR, sink, framework_id=framework_id
            )

        settings = Settings(executor_cpus=EXECUTOR.cpus, executor_mem_mb=EXECUTOR.mem_mb)
        self._service = SchedulerService(self._storage, make_driver, settings)
        self._service.start()
        return {}


def main() -> None:
    subject, decode = Subject(), msgspec.json.Decoder(Order).decode
    sys.stdout.write("listens on stdin\n")
    sys.stdout.flush()
    for line in sys.stdin:
        answer = subject.obey(decode(line))
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
