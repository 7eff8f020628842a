"""What clusters ask of the scheduler: their jobs created, resized, killed, looked at."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from framework.core.messages import (
    CreateGang,
    JobView,
    KillTasks,
    ResizeGang,
    StartRestart,
)
from framework.model.errors import NotFound
from framework.model.jobs import JobKey, JobSpec, TaskConfig, UpdateSettings
from framework.storage import StoredEvent
from gateway.pending import Pending

T = TypeVar("T")

_RESTART = UpdateSettings(strategy="batch", group_sizes=(1,), watch_secs=5, rollback_on_failure=False)


class Fleet(Protocol):
    """The jobs of clusters. Every method may raise :class:`Unavailable`: what it asked for may then
    have been done, and :meth:`look` tells."""

    def create(self, spec: JobSpec, configs: Mapping[int, TaskConfig], user: str) -> None:
        """Creates a job, all of it placed together. Raises :class:`Conflict` if it is there."""

    def resize(
        self, key: JobKey, add: Mapping[int, TaskConfig], remove: Sequence[int], user: str
    ) -> None:
        """Adds instances, placed together, and kills others."""

    def kill(self, key: JobKey, user: str) -> None:
        """Kills all of a job; nothing happens if there is none."""

    def restart(self, key: JobKey, instance: int, user: str) -> None:
        """Has an instance run anew, whether or not it runs; raises :class:`NotFound` without a job."""

    def look(self, key: JobKey) -> JobView | None:
        """Returns all there is of a job; None if there is none."""

    def live(self, cluster: str, environment: str) -> list[JobKey]:
        """Returns the jobs that want something or have an active task."""

    def subscribe(self, listener: Callable[[JobKey], None]) -> Callable[[], None]:
        """Has ``listener`` called with the key of every job that something happens to; quick, please."""


class Service(Protocol):
    """What is used of SchedulerService and of Replica."""

    def submit(self, command: Any) -> Future[Any]: ...

    def query(self, read: Callable[[Any], T]) -> Future[T]: ...

    def subscribe(self, listener: Callable[[StoredEvent], None]) -> Callable[[], None]: ...


class SchedulerFleet:
    """The fleet of our scheduler; waits ``timeout`` seconds for an answer."""

    def __init__(self, service: Service, timeout: float = 30.0) -> None:
        self._service = service
        self._timeout = timeout

    def create(self, spec: JobSpec, configs: Mapping[int, TaskConfig], user: str) -> None:
        self._submit(CreateGang(at=0.0, user=user, spec=spec, configs=dict(configs)))

    def resize(
        self, key: JobKey, add: Mapping[int, TaskConfig], remove: Sequence[int], user: str
    ) -> None:
        self._submit(ResizeGang(at=0.0, user=user, key=key, add=dict(add), remove=tuple(remove)))

    def kill(self, key: JobKey, user: str) -> None:
        try:
            self._submit(KillTasks(at=0.0, user=user, key=key))
        except NotFound:
            return  # nothing of it is alive

    def restart(self, key: JobKey, instance: int, user: str) -> None:
        self._submit(
            StartRestart(
                at=0.0,
                user=user,
                key=key,
                update_id=str(uuid.uuid4()),
                instances=(instance,),
                settings=_RESTART,
            )
        )

    def look(self, key: JobKey) -> JobView | None:
        try:
            view: JobView = self._wait(self._service.query(lambda core: core.get_job(key)))
        except NotFound:
            return None
        return view

    def live(self, cluster: str, environment: str) -> list[JobKey]:
        def read(core: Any) -> list[JobKey]:
            roles = core.list_roles(cluster)
            keys = [key for role in roles for key in core.list_jobs(cluster, role)]
            return [key for key in keys if key.environment == environment]

        return self._wait(self._service.query(read))

    def subscribe(self, listener: Callable[[JobKey], None]) -> Callable[[], None]:
        return self._service.subscribe(lambda stored: listener(stored.event.key))

    def _submit(self, command: Any) -> Any:
        return self._wait(self._service.submit(command))

    def _wait(self, future: Future[T]) -> T:
        return Pending(future, self._timeout).wait()
