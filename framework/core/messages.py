"""What goes into the core (events, commands among them) and what comes out (writes and actions).

Every event carries ``at``: seconds since the epoch, never decreasing. The core reads no clock.
"""

from __future__ import annotations

from typing import Any

import msgspec

from framework.model.cluster import Offer, StatusUpdate
from framework.model.jobs import JobKey, JobSpec, TaskConfig, UpdateSettings
from framework.model.tasks import Task
from framework.model.updates import Update


class Job(msgspec.Struct, frozen=True, gc=False):
    """The durable record of a job: its latest spec, and the config wanted for each instance.

    ``wanted`` is what should run now; a killed or finished instance is not in it. The record
    stays, with nothing wanted, until its history is pruned.
    """

    spec: JobSpec
    created_at: float
    created_by: str
    wanted: dict[int, TaskConfig]


# -- events ---------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the core is told; ``at``: when, in seconds since the epoch."""

    at: float


class Command(Event, frozen=True, kw_only=True):
    """A request of a user. The core refuses one by raising a GatewayError, with nothing changed."""

    user: str = "anonymous"


class CreateJob(Command, frozen=True, kw_only=True):
    """A new job; refused if there is one of its key."""

    spec: JobSpec


class CreateGang(Command, frozen=True, kw_only=True):
    """Creates a job whose instances differ, and are first placed together or not at all.

    ``configs`` by instance number; ``spec.instances`` and ``spec.config`` are only its summary.
    Result: the :class:`GangChange`.
    """

    spec: JobSpec
    configs: dict[int, TaskConfig]


class ResizeGang(Command, frozen=True, kw_only=True):
    """Adds instances to a job, placed together or not at all, and kills others.

    Instances in ``add`` must not be active, those in ``remove`` are ignored if they are not.
    Result: the :class:`GangChange`.
    """

    key: JobKey
    add: dict[int, TaskConfig] = {}
    remove: tuple[int, ...] = ()


class KillTasks(Command, frozen=True, kw_only=True):
    """``instances`` None: all of the job. Result: the instances that are being killed."""

    key: JobKey
    instances: tuple[int, ...] | None = None


class StartUpdate(Command, frozen=True, kw_only=True):
    """``instances`` None: all that differ. Result: the :class:`Update`, None if nothing differs."""

    spec: JobSpec
    update_id: str
    instances: tuple[int, ...] | None = None


class StartRestart(Command, frozen=True, kw_only=True):
    """``instances`` None: all active ones. Result: the :class:`Update` of kind restart."""

    key: JobKey
    update_id: str
    instances: tuple[int, ...] | None = None
    settings: UpdateSettings


class AbortUpdate(Command, frozen=True, kw_only=True):
    """Ends the active update or restart of a job where it stands. Result: the :class:`Update`."""

    key: JobKey


class PauseUpdate(Command, frozen=True, kw_only=True):
    """Stops the active update of a job between two instances. Result: the :class:`Update`."""

    key: JobKey


class ResumeUpdate(Command, frozen=True, kw_only=True):
    """Lets a paused update go on, in its direction. Result: the :class:`Update`."""

    key: JobKey


class WithholdDisks(Command, frozen=True, kw_only=True):
    """Says, by hostname, which data disks are given to no task from now on; replaces all said before.

    Not durable: whoever keeps the marks gives them to each new :class:`Scheduler`. A task that has such
    a disk keeps it.
    """

    disks: dict[str, tuple[str, ...]]


class Tick(Event, frozen=True, kw_only=True):
    """Time has passed; see ``Scheduler.next_deadline``."""


class Registered(Event, frozen=True, kw_only=True):
    """The master has accepted our SUBSCRIBE: earlier offers are void, reconciliation is due."""

    framework_id: str


class Disconnected(Event, frozen=True, kw_only=True):
    """The event stream to the master ended: its offers are void."""


class OffersReceived(Event, frozen=True, kw_only=True):
    """Mesos offers resources."""

    offers: tuple[Offer, ...]


class OfferRescinded(Event, frozen=True, kw_only=True):
    """Mesos has taken an offer back."""

    offer_id: str


class StatusReceived(Event, frozen=True, kw_only=True):
    """Mesos tells of a task; to be acknowledged once the effect is stored."""

    update: StatusUpdate


class AgentLost(Event, frozen=True, kw_only=True):
    """Mesos has removed the agent; updates for its tasks follow or reconciliation finds them."""

    agent_id: str


# -- writes: what must be durable before the actions are carried out and the result is given -------


class Write(msgspec.Struct, frozen=True):
    """Something to be stored."""


class SaveJob(Write, frozen=True):
    """The job as it is now."""

    job: Job


class DeleteJob(Write, frozen=True):
    """There is no such job any more."""

    key: JobKey


class SaveTask(Write, frozen=True):
    """The task as it is now."""

    task: Task


class DeleteTask(Write, frozen=True):
    """There is no such task any more."""

    task_id: str


class SaveUpdate(Write, frozen=True):
    """The update as it is now."""

    update: Update


class DeleteUpdate(Write, frozen=True):
    """There is no such update any more."""

    update_id: str


class SaveFrameworkId(Write, frozen=True):
    """What Mesos has named the framework."""

    framework_id: str


class Publish(Write, frozen=True):
    """A line of the public event stream, stored so that a reader can resume where it stopped.

    ``kind`` is task, job or update; ``state`` and ``previous`` the states of that thing's machine.
    """

    at: float
    kind: str
    key: JobKey
    state: str
    previous: str = ""
    instance: int | None = None
    task_id: str = ""
    update_id: str = ""
    message: str = ""


# -- actions: what the Mesos driver is asked to do -------------------------------------------------


class Action(msgspec.Struct, frozen=True):
    """Something to be done towards Mesos, after the writes are stored."""


class Launch(Action, frozen=True):
    """ACCEPT: the offers of one agent, whole, and the tasks (all ASSIGNED) to launch on it."""

    offer_ids: tuple[str, ...]
    agent_id: str
    tasks: tuple[Task, ...]


class Decline(Action, frozen=True):
    """Gives offers back; their like is not wanted for ``refuse_seconds``."""

    offer_ids: tuple[str, ...]
    refuse_seconds: float


class Kill(Action, frozen=True):
    """Has Mesos end a task."""

    task_id: str
    agent_id: str | None = None


class Suppress(Action, frozen=True):
    """No offers are wanted until a :class:`Revive`."""


class Revive(Action, frozen=True):
    """Offers are wanted again, also those that were declined."""


class Acknowledge(Action, frozen=True):
    """Tells Mesos that it need not send this update again."""

    update: StatusUpdate


class Reconcile(Action, frozen=True):
    """Pairs of task id and agent id (None if unknown); empty: implicit reconciliation of all."""

    tasks: tuple[tuple[str, str | None], ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What one event led to. ``result`` answers a command."""

    writes: tuple[Write, ...] = ()
    actions: tuple[Action, ...] = ()
    result: Any = None


class Snapshot(msgspec.Struct, frozen=True):
    """The durable state, as storage gives it back."""

    jobs: tuple[Job, ...] = ()
    tasks: tuple[Task, ...] = ()
    updates: tuple[Update, ...] = ()
    framework_id: str | None = None

    @property
    def latest(self) -> float:
        """The latest time that anything here was stamped with; 0.0 if there is nothing."""
        moments = [task.since for task in self.tasks]
        moments += [job.created_at for job in self.jobs]
        moments += [event.at for update in self.updates for event in update.events]
        return max(moments, default=0.0)


class PendingReason(msgspec.Struct, frozen=True):
    """Why a task is not placed: ``reason`` for people, and how many agents gave it.

    ``agents`` names up to five of them.
    """

    reason: str
    count: int
    agents: tuple[str, ...] = ()


class InstanceState(msgspec.Struct, frozen=True):
    """The present or the last task of an instance, and what it waits for, on an agent or for one."""

    task: Task
    pending: tuple[PendingReason, ...] = ()


class JobView(msgspec.Struct, frozen=True):
    """All that a reader may want of one job. ``history`` are the terminated tasks, newest first."""

    job: Job
    instances: tuple[InstanceState, ...]
    history: tuple[Task, ...] = ()
    updates: tuple[Update, ...] = ()


class GangChange(msgspec.Struct, frozen=True):
    """What became of a CreateGang or ResizeGang.

    ``gang`` is the id that the new tasks share ("": there are none), ``tasks`` their ids by instance,
    ``removed`` the instances that are being killed.
    """

    gang: str
    tasks: dict[int, str]
    removed: tuple[int, ...] = ()


class DiskUse(msgspec.Struct, frozen=True):
    """A data disk of a host, and the task that has it, if there is one.

    ``state`` is that task's; PENDING or THROTTLED: it is kept for the task, which had it before.
    ``agent_id`` is "" if no agent with the disk has made an offer yet.
    """

    host: str
    name: str
    agent_id: str = ""
    task_id: str | None = None
    key: JobKey | None = None
    instance: int | None = None
    state: str = ""
    withheld: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What a create or an update would do, per instance numbers (a dry run)."""

    add: tuple[int, ...] = ()
    update: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()
    unchanged: tuple[int, ...] = ()


class AgentTrouble(msgspec.Struct, frozen=True):
    """What keeps an agent from running tasks: "the Docker daemon does not answer: …", ``at`` last."""

    host: str
    text: str
    at: float


class Counts(msgspec.Struct, frozen=True):
    """How much there is of what. ``tasks`` by state, each of them, those of the history included.

    ``jobs`` are those with something wanted or an active task, ``clusters`` what their keys begin with,
    ``updates`` the active ones;
    ``looks`` is how often a config has been matched with an agent since the start.
    """

    tasks: dict[str, int]
    jobs: int
    updates: int
    offers: int
    agents: int
    registered: bool
    unanswered: int = 0
    placed: int = 0
    looks: int = 0
    troubles: tuple[AgentTrouble, ...] = ()
    clusters: tuple[str, ...] = ()
