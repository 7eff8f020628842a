"""The backend over our own framework: the scheduler lives in this process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from framework.core.messages import (
    AbortUpdate,
    Command,
    CreateJob,
    JobView,
    KillTasks,
    Plan,
    StartRestart,
    StartUpdate,
)
from framework.model.errors import Conflict, NotFound
from framework.model.jobs import JobKey, JobSpec, UpdateSettings
from gateway.pending import Pending
from gateway.schedulers.base import Submission

T = TypeVar("T")

# The command line's defaults: one instance at a time, watched for half a minute, no failure allowed.
RESTART = UpdateSettings(strategy="batch", group_sizes=(1,), watch_secs=30, rollback_on_failure=False)


class Service(Protocol):
    """What is used of :class:`framework.service.SchedulerService`."""

    def submit(self, command: Command) -> Future[Any]: ...

    def query(self, read: Callable[[Any], T]) -> Future[T]: ...

    def glance(self, read: Callable[[Any], T]) -> Future[T] | None: ...

    def status(self) -> Any: ...


class FrameworkBackend:
    """One cluster of the framework behind ``service``; waits ``timeout`` seconds for an answer."""

    reads_source = False

    def __init__(self, service: Service, cluster: str, timeout: float = 30.0) -> None:
        self._service = service
        self._cluster = cluster
        self._timeout = timeout

    # -- verbs -------------------------------------------------------------------------------------

    def create_job(self, key: JobKey, submission: Submission, user: str) -> None:
        self.begin_create(key, submission, user).wait()

    def begin_create(self, key: JobKey, submission: Submission, user: str) -> Pending[None]:
        command = CreateJob(at=0.0, user=user, spec=_spec(submission))
        return Pending(self._service.submit(command), self._timeout)

    def update_job(
        self, key: JobKey, submission: Submission, instances: tuple[int, ...] | None, user: str
    ) -> None:
        self._submit(
            StartUpdate(
                at=0.0,
                user=user,
                spec=_spec(submission),
                update_id=str(uuid.uuid4()),
                instances=instances,
            )
        )

    def cancel_update(self, key: JobKey, submission: Submission | None, user: str) -> None:
        self._submit(AbortUpdate(at=0.0, user=user, key=key))

    def restart_job(
        self,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
        user: str,
    ) -> None:
        self._submit(
            StartRestart(
                at=0.0,
                user=user,
                key=key,
                update_id=str(uuid.uuid4()),
                instances=instances,
                settings=RESTART,
            )
        )

    def kill_job(
        self,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
        user: str,
    ) -> None:
        self._submit(KillTasks(at=0.0, user=user, key=key, instances=instances))

    # -- reads -------------------------------------------------------------------------------------

    def list_jobs(self, role: str) -> Sequence[str]:
        names: Sequence[str] = self._query(lambda core: core.job_names(self._cluster, role))
        return names

    def list_roles(self) -> list[str]:
        return sorted(self._query(lambda core: core.list_roles(self._cluster)))

    def get_job(self, key: JobKey) -> JobView:
        view: JobView = self._query(lambda core: core.get_job(key))
        return view

    def glance_job(self, key: JobKey) -> JobView | None:
        view: Future[JobView | None] | None = self._service.glance(lambda core: core.glance(key))
        return None if view is None else view.result()

    def plan(
        self, key: JobKey, submission: Submission, instances: tuple[int, ...] | None, creates: bool
    ) -> Plan:
        spec = _spec(submission)

        def read(core: Any) -> Plan:
            live = core.is_live(key)
            if creates and live:
                raise Conflict(f"job {key} already exists: update it (PUT …/update), or kill it first")
            if not creates and not live:
                raise NotFound(f"there is no active job {key}: nothing to update")
            plan: Plan = core.plan(spec, instances)
            return plan

        return self._wait(self._service.query(read))

    def health(self) -> dict[str, Any]:
        status = self._service.status()
        found = {"ready": bool(status.ready), "problems": list(status.problems)}
        if status.counts is None:
            return found
        found["stored"] = list(status.counts.clusters)
        if troubles := status.counts.troubles:
            found["warnings"] = [f"agent {trouble.host}: {trouble.text}" for trouble in troubles]
        return found

    # -- waiting -----------------------------------------------------------------------------------

    def _submit(self, command: Command) -> Any:
        return self._wait(self._service.submit(command))

    def _query(self, read: Callable[[Any], Any]) -> Any:
        return self._wait(self._service.query(read))

    def _wait(self, future: Future[T]) -> T:
        return Pending(future, self._timeout).wait()


def _spec(submission: Submission) -> JobSpec:
    assert submission.spec is not None, "this backend does not read job configurations itself"
    return submission.spec
