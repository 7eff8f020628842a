"""What stands behind a cluster of clusters.json: the interface every backend has.

Backends are called from the execution pool (:mod:`gateway.pool`), never on the event loop, so their
methods block until the answer is certain: durable, or refused. They raise
:class:`framework.model.errors.GatewayError` subclasses and nothing else that is meant for a user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from framework.core.messages import JobView, Plan
from framework.model.jobs import JobKey, JobSpec
from gateway.pending import Pending


class Submission(msgspec.Struct, frozen=True):
    """A job configuration as a request brought it.

    ``source`` are the body's bytes, ``bindings`` the ``?bind=NAME=VALUE`` pairs. ``spec`` is what
    they were read to, or None for a backend whose ``reads_source`` is true (it reads them itself).
    """

    source: bytes
    bindings: Mapping[str, str] = {}
    spec: JobSpec | None = None


class SchedulerBackend(Protocol):
    """One scheduler. ``instances`` None means all; ``user`` is who asks."""

    reads_source: bool

    def list_jobs(self, role: str) -> Sequence[str]:
        """Returns the keys (``cluster/role/environment/name``) of the role's jobs, sorted."""

    def create_job(self, key: JobKey, submission: Submission, user: str) -> None:
        """Creates the job; raises :class:`Conflict` if it is there."""

    def begin_create(self, key: JobKey, submission: Submission, user: str) -> Pending[None] | None:
        """Begins what :meth:`create_job` does and blocks nobody; None: this backend can only block."""

    def update_job(
        self, key: JobKey, submission: Submission, instances: tuple[int, ...] | None, user: str
    ) -> None:
        """Begins an update to what is submitted; returns once it is accepted."""

    def cancel_update(self, key: JobKey, submission: Submission | None, user: str) -> None:
        """Ends the update that is under way; what it has changed stays."""

    def restart_job(
        self,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
        user: str,
    ) -> None:
        """Begins to replace instances by new tries of themselves."""

    def kill_job(
        self,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
        user: str,
    ) -> None:
        """Ends instances; raises :class:`NotFound` if none of the job is alive."""

    # What only some backends can say; others raise NotSupported with a sentence that says so.

    def list_roles(self) -> list[str]:
        """Returns the roles that have jobs, sorted."""

    def get_job(self, key: JobKey) -> JobView:
        """Returns all there is of a job; raises :class:`NotFound`."""

    def glance_job(self, key: JobKey) -> JobView | None:
        """Returns what :meth:`get_job` does if that takes microseconds and blocks nobody, else None."""

    def plan(
        self, key: JobKey, submission: Submission, instances: tuple[int, ...] | None, creates: bool
    ) -> Plan:
        """Returns what a create (``creates``) or an update would do; raises what it would raise."""

    def health(self) -> dict[str, Any]:
        """Returns ``{"ready": bool, "problems": [sentence, …]}``, and ``warnings`` if there are any.

        ``stored``, from a backend that keeps jobs of several clusters: which clusters these are.
        """
