"""What the apis ask of the domain: a configuration read, a policy applied, one backend called.

Every method blocks until the answer is certain and is run in the execution pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from framework.core.messages import JobView, Plan
from framework.model.errors import Invalid
from framework.model.jobs import JobKey, JobSpec, TaskConfig
from gateway import policy
from gateway.jobs import Change, describe_diff, pick_job
from gateway.pending import Pending
from gateway.policy import Policy
from gateway.schedulers.base import SchedulerBackend, Submission
from gateway.schedulers.registry import Registry


class Reader(Protocol):
    """Reads job configurations, as :class:`gateway.jobs.sandbox.JobReader` does."""

    def read(
        self, source: bytes, user: str, bindings: Mapping[str, str] | None = None
    ) -> list[JobSpec]: ...

    def read_at_once(
        self, source: bytes, bindings: Mapping[str, str] | None = None
    ) -> list[JobSpec] | None: ...


class Request(msgspec.Struct, frozen=True):
    """A job configuration for one job, as it came: ``source`` are the body's bytes."""

    key: JobKey
    source: bytes
    bindings: Mapping[str, str]
    user: str


class Group(msgspec.Struct, frozen=True):
    """Instances to which the same would happen: ``diff`` is what would change in each of them."""

    action: Literal["add", "update", "remove"]
    instances: tuple[int, ...]
    diff: tuple[Change, ...] = ()


class DryRun(msgspec.Struct, frozen=True):
    """What would be done, and to which instances what would change."""

    plan: Plan
    groups: tuple[Group, ...]
    warnings: tuple[str, ...]


class Operations:
    """The verbs of the job apis over the backends of a registry."""

    def __init__(self, registry: Registry, reader: Reader, rules: Policy) -> None:
        self._registry = registry
        self._reader = reader
        self._rules = rules

    @property
    def registry(self) -> Registry:
        """The backends, by cluster."""
        return self._registry

    def _backend(self, cluster: str) -> SchedulerBackend:
        return self._registry.backend(cluster)

    def _submission(self, backend: SchedulerBackend, request: Request) -> Submission:
        """Reads the configuration and applies the policy; a backend that reads itself gets the bytes."""
        if not request.source.strip():
            raise Invalid(
                "the body is empty; a job configuration is needed (.aurora or JSON), for example "
                "curl -X PUT --data-binary @job.aurora URL"
            )
        if backend.reads_source:
            return Submission(request.source, request.bindings)
        spec = pick_job(self._reader.read(request.source, request.user, request.bindings), request.key)
        policy.check(spec, self._rules)
        return Submission(request.source, request.bindings, spec)

    def _plain(self, request: Request) -> Submission | None:
        """Does the same if the configuration is so plain that it takes no time; None: it is not."""
        jobs = self._reader.read_at_once(request.source, request.bindings)
        if jobs is None:
            return None
        spec = pick_job(jobs, request.key)
        policy.check(spec, self._rules)
        return Submission(request.source, request.bindings, spec)

    @staticmethod
    def _optional(request: Request) -> Submission | None:
        """A body that a verb does not need reaches only a backend that wants it."""
        return Submission(request.source, request.bindings) if request.source.strip() else None

    # -- verbs -------------------------------------------------------------------------------------

    def create(self, request: Request) -> None:
        """Creates the request's job."""
        backend = self._backend(request.key.cluster)
        submission = self._submission(backend, request)
        backend.create_job(request.key, submission, request.user)

    def begin_create(self, request: Request, *, plainly: bool = False) -> Pending[None] | None:
        """Begins what :meth:`create` does; returns what is to be waited for.

        ``plainly``: only what blocks nobody at all, neither to read the configuration nor to send it
        off. None: nothing has been begun.
        """
        backend = self._backend(request.key.cluster)
        if backend.reads_source:
            return None
        submission = self._plain(request) if plainly else self._submission(backend, request)
        if submission is None:
            return None
        return backend.begin_create(request.key, submission, request.user)

    def update(self, request: Request, instances: tuple[int, ...] | None) -> None:
        """Begins an update of the request's job, or of these instances of it."""
        backend = self._backend(request.key.cluster)
        submission = self._submission(backend, request)
        backend.update_job(request.key, submission, instances, request.user)

    def cancel_update(self, request: Request) -> None:
        """Ends the update of the request's job."""
        backend = self._backend(request.key.cluster)
        backend.cancel_update(request.key, self._optional(request), request.user)

    def restart(self, request: Request, instances: tuple[int, ...] | None) -> None:
        """Begins to replace instances; all for None."""
        backend = self._backend(request.key.cluster)
        backend.restart_job(request.key, self._optional(request), instances, request.user)

    def kill(self, request: Request, instances: tuple[int, ...] | None) -> None:
        """Ends instances; all for None."""
        backend = self._backend(request.key.cluster)
        backend.kill_job(request.key, self._optional(request), instances, request.user)

    def plan(self, request: Request, instances: tuple[int, ...] | None, creates: bool) -> DryRun:
        """Returns what a create or an update would do; refuses what they would refuse."""
        backend = self._backend(request.key.cluster)
        submission = self._submission(backend, request)
        spec = submission.spec
        plan = backend.plan(request.key, submission, instances, creates)
        assert spec is not None
        groups = []
        if plan.add:
            groups.append(Group("add", plan.add, tuple(describe_diff(None, spec.config))))
        if plan.update:
            groups += _changes(backend.get_job(request.key), spec, plan.update)
        if plan.remove:
            groups.append(Group("remove", plan.remove))
        return DryRun(plan, tuple(groups), spec.warnings)

    # -- reads -------------------------------------------------------------------------------------

    def list_jobs(self, cluster: str, role: str) -> Sequence[str]:
        """Returns the keys of a role's jobs, sorted."""
        return self._backend(cluster).list_jobs(role)

    def list_cluster(self, cluster: str, visible: frozenset[str] | None = None) -> list[str]:
        """Returns the keys of the jobs of the cluster's ``visible`` roles (None: all), sorted."""
        backend = self._backend(cluster)
        roles = [role for role in backend.list_roles() if visible is None or role in visible]
        return sorted(key for role in roles for key in backend.list_jobs(role))

    def glance(self, key: JobKey) -> JobView | None:
        """Returns what :meth:`job` does if it is at hand; the one method that never blocks."""
        return self._backend(key.cluster).glance_job(key)

    def job(self, key: JobKey) -> JobView:
        """Returns all there is of a job; raises :class:`NotFound`."""
        return self._backend(key.cluster).get_job(key)


def _changes(view: JobView, spec: JobSpec, instances: tuple[int, ...]) -> list[Group]:
    """Returns the instances to be updated, by what they are configured to be now."""
    present: dict[TaskConfig, list[int]] = {}
    for instance in instances:
        present.setdefault(view.job.wanted[instance], []).append(instance)
    return [
        Group("update", tuple(numbers), tuple(describe_diff(config, spec.config)))
        for config, numbers in present.items()
    ]
