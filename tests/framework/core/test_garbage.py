"""The state is a forest without cycles, which the garbage collector need not walk through."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from framework.core import messages as m
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.model.cluster import PortRange, StatusUpdate
from framework.model.jobs import JobKey, JobSpec
from tests.framework.core.rig import START, config, ids, offer, spec


def of(number: int, name: str) -> JobKey:
    return JobKey("devcluster", "www-data", "prod", f"{name}-{number}")


def fill(handle: Callable[[m.Event], Any], number: int) -> None:
    """A job that runs, one that waits for place, a gang that runs, and one that waits."""
    at = START + number
    handle(m.CreateJob(at=at, spec=spec(3, key=of(number, "runs")), user="ann"))
    handle(m.CreateJob(at=at, spec=spec(2, key=of(number, "waits"), cpus=99.0), user="ann"))
    for name, cpus in (("together", 1.0), ("not-yet", 99.0)):
        member = config(cpus=cpus, tags=("db",), limit_among="db")
        summary = JobSpec(key=of(number, name), instances=1, config=member)
        handle(m.CreateGang(at=at, spec=summary, configs={0: member}, user="ann"))
    given = offer(number, f"a{number % 3}", cpus=64.0, ports=(PortRange(31000, 31999),))
    actions = handle(m.OffersReceived(at=at, offers=(given,))).actions
    tasks = [task for action in actions if isinstance(action, m.Launch) for task in action.tasks]
    assert len(tasks) == 4
    for task in tasks:
        said = StatusUpdate(
            task_id=task.task_id,
            state="TASK_RUNNING",
            uuid=f"uuid-{task.task_id}",
            agent_id=given.agent_id,
            source="SOURCE_EXECUTOR",
        )
        handle(m.StatusReceived(at=at, update=said))


def test_it_finds_as_little_in_many_jobs_as_in_few() -> None:
    """A walk through 10,000 jobs would hold up every request for a tenth of a second."""
    settings = Settings(executor_cpus=0.0, executor_mem_mb=0.0)
    scheduler = Scheduler(settings, new_id=ids())
    scheduler.handle(m.Registered(at=START, framework_id="f1"))

    def tracked() -> int:
        gc.collect()
        return len(gc.get_objects())

    for number in range(10):
        fill(scheduler.handle, number)
    few = tracked()
    for number in range(10, 60):
        fill(scheduler.handle, number)
    # One for each job that counts tags, and what the interpreter itself made meanwhile.
    assert tracked() - few < 100, "for 200 jobs and 350 tasks"
    scheduler.validate()
