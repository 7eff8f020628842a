"""Everything the scheduler durably knows, with the indexes that make each question cheap.

All changes of jobs, tasks and updates go through here, so that the writes of an event are complete
and the indexes agree with the values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from framework.core.changes import Changes
from framework.core.disks import DiskBook
from framework.core.live import LiveJobs
from framework.core.messages import Job, Snapshot
from framework.core.pending import Gang, Group, Waiting
from framework.model.jobs import JobKey, TaskConfig
from framework.model.tasks import ACTIVE, ON_AGENT, TERMINAL, Home, Task, TaskState
from framework.model.updates import Update


class InvariantViolation(AssertionError):
    """The scheduler's state contradicts itself: a defect. The message says what and where."""


class JobRecord(msgspec.Struct, eq=False, gc=False):
    """A job with what belongs to it. ``ended`` (oldest first) and ``updates`` hold ids.

    Like all of the state a tree without cycles: the garbage collector need not look at it, however much
    there is.
    """

    job: Job
    active: dict[int, Task] = msgspec.field(default_factory=dict)
    ended: dict[str, None] = msgspec.field(default_factory=dict)
    updates: dict[str, None] = msgspec.field(default_factory=dict)
    updating: str | None = None
    # How many of the job's tasks each agent holds.
    crowd: dict[str, int] = msgspec.field(default_factory=dict)
    # And how many of those with each tag.
    tagged: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    # Those that are to come back to where they ran before: their places are not free.
    homes: dict[str, Task] = msgspec.field(default_factory=dict)
    groups: dict[tuple[TaskConfig, Home | None], Group] = msgspec.field(default_factory=dict)
    gangs: dict[str, Gang] = msgspec.field(default_factory=dict)
    announced: bool = False

    @property
    def is_live(self) -> bool:
        """Whether there is, or may again be, something of it: the job cannot be created anew."""
        return bool(self.job.wanted or self.active or self.updating)


class State:
    """Jobs, tasks and updates. ``now`` is the time of the event at hand.

    ``touched_tasks`` and ``touched_jobs`` are what the event has changed so far; whoever acts on
    changes (timers, updates) empties them.
    """

    def __init__(self, snapshot: Snapshot, changes: Changes) -> None:
        self.now = 0.0
        self.changes = changes
        self.framework_id = snapshot.framework_id
        self.jobs: dict[JobKey, JobRecord] = {}
        self.tasks: dict[str, Task] = {}
        self.updates: dict[str, Update] = {}
        # The jobs with an active update.
        self.updating: dict[JobKey, None] = {}
        self.by_state: Counter[TaskState] = Counter()
        self.by_agent: dict[str, dict[str, None]] = {}
        self.live: dict[tuple[str, str], LiveJobs] = {}
        self.groups: dict[Group, None] = {}
        self.gangs: dict[str, Gang] = {}
        self.disks = DiskBook()
        self.touched_tasks: dict[str, None] = {}
        self.touched_jobs: dict[JobKey, None] = {}
        self._load(snapshot)

    def _load(self, snapshot: Snapshot) -> None:
        for job in snapshot.jobs:
            self.save_job(job)
        for task in sorted(snapshot.tasks, key=lambda t: (t.since, t.task_id)):
            self.save_task(task)
            self.now = max(self.now, task.since)
        # The active one, if there is one, is the newest.
        for update in sorted(snapshot.updates, key=lambda u: (u.is_active, u.created_at, u.update_id)):
            self.save_update(update)
            self.now = max(self.now, update.created_at)
        for record in self.jobs.values():
            record.announced = record.is_live
        self.changes.take(None)

    # -- jobs --

    def record(self, key: JobKey) -> JobRecord | None:
        """Returns what is kept of a job, None if there is none."""
        return self.jobs.get(key)

    def save_job(self, job: Job) -> JobRecord:
        """Puts a job in place of what was there."""
        key = job.spec.key
        record = self.jobs.get(key)
        if record is None:
            record = self.jobs[key] = JobRecord(job)
        record.job = job
        self.changes.jobs[key] = job
        self.touched_jobs[key] = None
        self._refresh(record)
        return record

    def drop_job(self, key: JobKey) -> None:
        """Forgets a job that has neither tasks nor updates."""
        record = self.jobs[key]
        if record.is_live or record.ended or record.updates:
            raise InvariantViolation(f"job {key} is to be deleted and still has tasks or updates")
        del self.jobs[key]
        self.changes.jobs[key] = None

    def _refresh(self, record: JobRecord) -> None:
        key = record.job.spec.key
        place = (key.cluster, key.role)
        keys = self.live.get(place)
        if record.is_live:
            if keys is None:
                keys = self.live[place] = LiveJobs()
            keys.add(key)
        elif keys is not None and key in keys:
            keys.remove(key)
            if not len(keys):
                del self.live[place]

    # -- tasks --

    def save_task(self, task: Task) -> None:
        """Puts a task in place of what was there, in every index."""
        record = self.jobs.get(task.key)
        if record is None:
            raise InvariantViolation(f"task {task.task_id} belongs to no job")
        before = self.tasks.get(task.task_id)
        if before is not None:
            self._unindex(record, before)
        self.tasks[task.task_id] = task
        self._index(record, task)
        self.changes.tasks[task.task_id] = task
        self.touched_tasks[task.task_id] = None
        self.touched_jobs[task.key] = None
        self._refresh(record)

    def drop_task(self, task: Task) -> None:
        """Forgets a task, in every index."""
        record = self.jobs[task.key]
        self._unindex(record, task)
        del self.tasks[task.task_id]
        self.changes.tasks[task.task_id] = None
        self.touched_tasks[task.task_id] = None
        self.touched_jobs[task.key] = None
        self._refresh(record)

    def _index(self, record: JobRecord, task: Task) -> None:
        self.by_state[task.state] += 1
        if task.state in TERMINAL:
            record.ended[task.task_id] = None
        if task.state in ACTIVE:
            other = record.active.setdefault(task.instance, task)
            if other.task_id != task.task_id:
                raise InvariantViolation(
                    f"instance {task.instance} of {task.key} has two active tasks: "
                    f"{other.task_id} ({other.state}) and {task.task_id} ({task.state})"
                )
            if task.disks or task.home:
                self.disks.add(task)
            if task.home and task.state not in ON_AGENT:
                record.homes[task.task_id] = task
        if task.state is TaskState.PENDING:
            self._await(record, task)
        if task.state in ON_AGENT and task.agent_id is not None:
            self.by_agent.setdefault(task.agent_id, {})[task.task_id] = None
            _more(record.crowd, task.agent_id)
            for tag in task.config.tags:
                _more(record.tagged.setdefault(tag, {}), task.agent_id)

    def _await(self, record: JobRecord, task: Task) -> None:
        """A task waits for a place, with its gang or in its group."""
        if task.gang:
            gang = record.gangs.get(task.gang)
            if gang is None:
                gang = record.gangs[task.gang] = self.gangs[task.gang] = Gang(task.key, gang=task.gang)
            gang.add(task)
            return
        group = record.groups.get((task.config, task.home))
        if group is None:
            group = Group(task.key, config=task.config, home=task.home)
            record.groups[task.config, task.home] = group
            self.groups[group] = None
        group.tasks[task.task_id] = task
        group.fresh = True

    def _await_no_more(self, record: JobRecord, task: Task) -> None:
        if task.gang:
            gang = record.gangs[task.gang]
            gang.remove(task)
            if not gang.tasks:
                del record.gangs[task.gang], self.gangs[task.gang]
            return
        group = record.groups[task.config, task.home]
        del group.tasks[task.task_id]
        if not group.tasks:
            del record.groups[task.config, task.home]
            del self.groups[group]

    def _unindex(self, record: JobRecord, task: Task) -> None:
        self.by_state[task.state] -= 1
        record.ended.pop(task.task_id, None)
        if task.state in ACTIVE:
            del record.active[task.instance]
            if (task.disks or task.home) and self.disks.remove(task):
                self._retry_disks()
            if record.homes.pop(task.task_id, None):
                self._retry_limited(record)
        if task.state is TaskState.PENDING:
            self._await_no_more(record, task)
        if task.state in ON_AGENT and task.agent_id is not None:
            for tag in task.config.tags:
                _fewer(record.tagged[tag], task.agent_id)
                if not record.tagged[tag]:
                    del record.tagged[tag]
            self._leave(record, task.task_id, task.agent_id)

    def _retry_disks(self) -> None:
        """A disk is no longer used, or kept; an offer held may have it."""
        everything: list[Waiting] = [*self.groups, *self.gangs.values()]
        for waiting in everything:
            waiting.fresh = waiting.fresh or waiting.disks

    def _leave(self, record: JobRecord, task_id: str, agent_id: str) -> None:
        tasks = self.by_agent[agent_id]
        del tasks[task_id]
        if not tasks:
            del self.by_agent[agent_id]
        _fewer(record.crowd, agent_id)
        self._retry_limited(record)

    def _retry_limited(self, record: JobRecord) -> None:
        """One fewer on an agent: a limit that held the group back may no longer do so."""
        of_job: list[Waiting] = [*record.groups.values(), *record.gangs.values()]
        for waiting in of_job:
            waiting.fresh = waiting.fresh or waiting.limited

    @property
    def has_pending(self) -> bool:
        """Whether any task waits for a place."""
        return bool(self.groups or self.gangs)

    def on_agents(self) -> Iterator[Task]:
        """Yields the tasks that hold resources of an agent, as far as is known."""
        for ids in self.by_agent.values():
            for task_id in ids:
                yield self.tasks[task_id]

    # -- updates --

    def save_update(self, update: Update) -> None:
        """Puts an update in place of what was there."""
        record = self.jobs.get(update.key)
        if record is None:
            raise InvariantViolation(f"update {update.update_id} belongs to no job")
        self.updates[update.update_id] = update
        record.updates[update.update_id] = None
        if update.is_active:
            if record.updating not in (None, update.update_id):
                raise InvariantViolation(f"job {update.key} has two active updates")
            record.updating = update.update_id
            self.updating[update.key] = None
        elif record.updating == update.update_id:
            record.updating = None
            del self.updating[update.key]
        self._refresh(record)
        self.changes.updates[update.update_id] = update
        self.touched_jobs[update.key] = None

    def drop_update(self, update: Update) -> None:
        """Forgets an update."""
        del self.updates[update.update_id]
        del self.jobs[update.key].updates[update.update_id]
        self.changes.updates[update.update_id] = None

    def active_update(self, key: JobKey) -> Update | None:
        """Returns the job's update that is not over, None if there is none."""
        record = self.jobs.get(key)
        if record is None or record.updating is None:
            return None
        return self.updates[record.updating]


def _more(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _fewer(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
