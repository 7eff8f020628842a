"""What readers may ask of the scheduler; nothing here changes anything."""

from __future__ import annotations

from framework.core.commands import CommandDesk, check_spec, plan
from framework.core.lifecycle import Lifecycle
from framework.core.matching import Ask
from framework.core.messages import Counts, InstanceState, JobView, PendingReason, Plan
from framework.core.offers import OfferBook
from framework.core.placing import CrowdSource, Placer
from framework.core.reasons import placement, waiting
from framework.core.reconciliation import Reconciler
from framework.core.state import Group, JobRecord, State
from framework.core.tasks import tell
from framework.model.errors import NotFound
from framework.model.jobs import JobKey, JobSpec, TaskConfig
from framework.model.tasks import Task, TaskState

# What was said of an agent so long ago, in seconds, says nothing any more.
_TROUBLE_SECS = 900.0
# So many tasks, or agents, are looked at in no time.
_GLANCE = 20


class Views:
    """Reads of one scheduler's state."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        book: OfferBook,
        placer: Placer,
        reconciler: Reconciler,
        desk: CommandDesk,
    ) -> None:
        self._lifecycle = lifecycle
        self._state: State = lifecycle.state
        self._book = book
        self._placer = placer
        self._reconciler = reconciler
        self._desk = desk

    def list_jobs(self, cluster: str, role: str) -> list[JobKey]:
        """Returns the role's jobs that want something or have an active task, sorted."""
        return sorted(self._state.live.get((cluster, role), ()))

    def job_names(self, cluster: str, role: str) -> tuple[str, ...]:
        """Returns the same jobs as texts, sorted as texts; cheap while they stay the same."""
        live = self._state.live.get((cluster, role))
        return () if live is None else live.texts()

    def is_live(self, key: JobKey) -> bool:
        """Whether the job wants something or has an active task."""
        return key in self._state.live.get((key.cluster, key.role), ())

    def list_roles(self, cluster: str) -> list[str]:
        """Returns the roles that have such jobs, sorted."""
        return sorted(role for place, role in self._state.live if place == cluster)

    def get_job(self, key: JobKey) -> JobView:
        """Returns all there is of a job; raises :class:`NotFound`."""
        record = self._state.record(key)
        if record is None:
            raise NotFound(f"there is no job {key}")
        ended = [self._state.tasks[task_id] for task_id in reversed(record.ended)]
        shown: dict[int, Task] = {}
        for task in reversed(ended):
            # Of this incarnation of the job: an earlier one may have had more instances.
            if task.since >= record.job.created_at:
                shown[task.instance] = task
        shown.update(record.active)
        known: dict[TaskConfig, tuple[PendingReason, ...]] = {}
        instances = [
            InstanceState(task=task, pending=self._reasons(record, task, known))
            for _, task in sorted(shown.items())
        ]
        return JobView(
            job=record.job,
            instances=tuple(instances),
            history=tuple(ended),
            updates=tuple(self._state.updates[i] for i in reversed(record.updates)),
        )

    def glance(self, key: JobKey) -> JobView | None:
        """Returns what :meth:`get_job` does if that is a matter of microseconds, else None."""
        record = self._state.record(key)
        if record is not None:
            if len(record.active) + len(record.ended) > _GLANCE:
                return None
            if record.groups and len(self._book.agents) > _GLANCE:
                return None  # the reasons of what is pending cost a look at every agent
        return self.get_job(key)

    def plan(self, spec: JobSpec, instances: tuple[int, ...] | None) -> Plan:
        """Returns what an update to ``spec`` (a create, if the job is not there) would do."""
        record = self._state.record(spec.key)
        if record is not None and record.is_live:
            return self._desk.plan_update(spec, instances)[1]
        check_spec(spec, self._lifecycle.settings)
        return plan(None, spec, instances)

    def pending_reasons(self, task_id: str) -> tuple[PendingReason, ...]:
        """Returns why a task does not run yet; empty if that is not so. Raises :class:`NotFound`."""
        task = self._state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        return self._reasons(self._state.jobs[task.key], task, {})

    def _reasons(
        self, record: JobRecord, task: Task, known: dict[TaskConfig, tuple[PendingReason, ...]]
    ) -> tuple[PendingReason, ...]:
        reasons = waiting(task, self._state.now, task.instance in record.job.wanted)
        if reasons is not None:
            return reasons
        if task.config not in known:
            known[task.config] = self._placement(record.groups[task.config])
        return known[task.config]

    def _placement(self, group: Group) -> tuple[PendingReason, ...]:
        settings = self._lifecycle.settings
        ask = Ask(group.config, settings.executor_cpus, settings.executor_mem_mb)
        crowd = CrowdSource(self._lifecycle, self._book, strict=False).of(group)
        return placement(ask, self._book.agents, crowd, self._lifecycle.connected)

    def counts(self) -> Counts:
        """Returns how much there is of what."""
        state = self._state
        return Counts(
            tasks={str(s): state.by_state[s] for s in TaskState if s is not TaskState.INIT},
            jobs=sum(len(keys) for keys in state.live.values()),
            updates=len(state.updating),
            offers=len(self._book),
            agents=len(self._book.agents),
            registered=self._lifecycle.connected,
            unanswered=len(self._reconciler.unanswered),
            placed=self._placer.placed,
            looks=self._placer.looks,
            troubles=tuple(t for t in self._book.troubles.values() if t.at > state.now - _TROUBLE_SECS),
        )

    def story(self, about: str | JobKey) -> tuple[str, ...]:
        """Returns what has happened to a task (by its id) or a job, a line per transition.

        A task's own history comes first, whole; then what this process has seen.
        """
        task = self._state.tasks.get(about) if isinstance(about, str) else None
        own = tell(task) if task is not None else ()
        return (*own, *(str(line) for line in self._lifecycle.log if about in (line.task_id, line.key)))
