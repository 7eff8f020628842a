"""Commands beside tasks, and data disks, over the embedded Mesos with real executors."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.task import DiskMount, Node
from framework.core.messages import CreateJob, KillTasks
from framework.local.launcher import LocalMesos
from framework.local.options import DISK_PATH
from framework.mesos.executors import ExecutorSettings
from framework.model.errors import NotFound
from framework.model.jobs import Constraint, JobSpec, Resources, TaskConfig
from framework.model.tasks import Task, TaskState
from framework.remote import CommandFailed, Remote
from framework.service import SchedulerService
from tests.framework.test_service_local import DOCUMENT, EXECUTOR, all_in, key, service

AGENTS = 2


@pytest.fixture(scope="module")
def mesos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesos]:
    directory = tmp_path_factory.mktemp("mesos")
    resources = "cpus:4;mem:2048;disk:2048;ports:[31000-31099];dataDisks:{disk1,disk2}"
    with LocalMesos(AGENTS, resources, work_dir=directory) as running:
        yield running


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "state.db"


def executor(mesos: LocalMesos, name: str = "mesos-gateway") -> ExecutorSettings:
    """``name`` goes into the executor's id, as anything does that another release changes."""
    return msgspec.structs.replace(EXECUTOR, disk_path=str(mesos.work_dir / DISK_PATH), name=name)


def nodes(name: str, instances: int, disks: int) -> JobSpec:
    node = Node("node", disks=tuple(DiskMount(f"/data/{n}") for n in range(disks)))
    config = TaskConfig(
        Resources(0.1, 32, 32, data_disks=disks),
        executor_data=DOCUMENT,
        service=True,
        node=node if disks else None,
        constraints=(Constraint("host", "limit", limit=1),),
    )
    return JobSpec(key(name), instances, config)


def start(scheduler: SchedulerService, spec: JobSpec) -> list[Task]:
    scheduler.submit(CreateJob(at=0.0, spec=spec)).result(30)
    return all_in(scheduler, spec.key.name, TaskState.RUNNING, spec.instances)


def end(scheduler: SchedulerService, spec: JobSpec) -> None:
    scheduler.submit(KillTasks(at=0.0, key=spec.key)).result(30)
    all_in(scheduler, spec.key.name, TaskState.KILLED, spec.instances)


def agents(mesos: LocalMesos) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://{mesos.address}/slaves", timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["slaves"]
    return found


def test_commands_run_beside_tasks_also_after_the_gateway_was_replaced(
    mesos: LocalMesos, state: Path
) -> None:
    spec = nodes("commands", AGENTS, 0)
    with service(mesos, state, executor(mesos)) as scheduler:
        tasks = start(scheduler, spec)
        remote = Remote(scheduler)

        def check(number: int) -> bool:
            """Where it ran, and that what went in came out."""
            task = tasks[number % AGENTS]
            stdin = f"{number} ".encode() * (20_000 if number % 4 else 300_000)
            finished = remote.run(task.task_id, ["sh", "-c", "pwd >&2; cat; exit 5"], stdin)
            return (finished.code, finished.stdout, finished.stderr.decode().strip()) == (
                5,
                stdin,
                task.sandbox,
            )

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(check, range(16)))
        with pytest.raises(NotFound, match="there is no task nobody"):
            remote.run("nobody", ["true"])
        with pytest.raises(CommandFailed, match="sleep"):
            remote.run(tasks[0].task_id, ["sleep", "100"], timeout=0.5)
    # Another release of the gateway, whose new tasks would get another executor.
    with service(mesos, state, executor(mesos, "mesos-gateway-next")) as scheduler:
        remote = Remote(scheduler)
        digest = remote.run(tasks[1].task_id, ["sha256sum"], b"x" * 1_000_000).stdout.split()[0]
        assert digest.decode() == hashlib.sha256(b"x" * 1_000_000).hexdigest()
        end(scheduler, spec)
        with pytest.raises(NotFound, match="does not run: it is KILLED"):
            remote.run(tasks[0].task_id, ["true"])


def test_tasks_have_disks_of_their_own(mesos: LocalMesos, state: Path) -> None:
    """Two tasks with both disks of an agent: one on each, and no disk of one is the other's."""
    spec = nodes("disks", AGENTS, 2)
    with service(mesos, state, executor(mesos)) as scheduler:
        tasks = start(scheduler, spec)
        remote = Remote(scheduler)
        assert {task.disks for task in tasks} == {("disk1", "disk2")}
        write = 'for n in 1 2; do echo "$0 $n" > disks/$n/own; done; readlink disks/1 disks/2'
        paths = [
            remote.run(t.task_id, ["sh", "-ec", write, t.task_id]).stdout.decode().split() for t in tasks
        ]
        assert len({path for two in paths for path in two}) == 2 * AGENTS
        for task, two in zip(tasks, paths, strict=True):
            assert two == [str(mesos.work_dir / "disks" / (task.hostname or "") / d) for d in task.disks]
            read = remote.run(task.task_id, ["cat", "disks/1/own", "disks/2/own"]).stdout.decode()
            assert read == f"{task.task_id} 1\n{task.task_id} 2\n"
        for agent in agents(mesos):
            assert agent["resources"]["dataDisks"] == "{disk1, disk2}"
            assert agent["used_resources"]["dataDisks"] == "{disk1, disk2}"
        end(scheduler, spec)
