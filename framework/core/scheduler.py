"""The scheduler as a pure machine: events in; writes, actions and a result out.

No clock, no I/O, no thread, no chance but the ids it is given. The caller makes the writes durable
before it carries the actions out, and passes a :class:`Tick` at :meth:`Scheduler.next_deadline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from framework.core import invariants
from framework.core.changes import Changes
from framework.core.commands import CommandDesk
from framework.core.gangs import GangDesk
from framework.core.history import prune
from framework.core.lifecycle import Lifecycle, StoryLine
from framework.core.market import Market
from framework.core.messages import (
    AbortUpdate,
    AgentLost,
    Counts,
    CreateGang,
    CreateJob,
    Disconnected,
    DiskUse,
    Event,
    JobView,
    KillTasks,
    OfferRescinded,
    OffersReceived,
    Outcome,
    PauseUpdate,
    PendingReason,
    Plan,
    Publish,
    Registered,
    ResizeGang,
    ResumeUpdate,
    Snapshot,
    StartRestart,
    StartUpdate,
    StatusReceived,
    Tick,
    WithholdDisks,
)
from framework.core.offers import Agent, OfferBook
from framework.core.placing import Placer
from framework.core.reconciliation import Reconciler
from framework.core.settings import Settings
from framework.core.state import InvariantViolation, State
from framework.core.statuses import StatusDesk
from framework.core.tasks import ENDING
from framework.core.timing import Timers, deadline, expiry
from framework.core.turns import Turns
from framework.core.updates import UpdateEngine
from framework.core.views import Views
from framework.core.wants import CrowdSource, Wants
from framework.model.cluster import Offer
from framework.model.errors import GatewayError
from framework.model.jobs import JobKey, JobSpec
from framework.model.tasks import ON_AGENT, Task, TaskState

_NOTHING = Snapshot()


class Session(msgspec.Struct, frozen=True):
    """What a scheduler knows that is not durable: the connection, its offers, the agents seen.

    For :meth:`Scheduler.adopt_session` of the same process only.
    """

    registered: bool
    framework_id: str | None
    now: float
    offers: tuple[Offer, ...]
    agents: dict[str, Agent]
    alive: frozenset[str]
    cursors: dict[str, int]
    story: tuple[StoryLine, ...]
    withheld: dict[str, frozenset[str]]


class Scheduler:
    """One framework's jobs and tasks. Not thread-safe: one caller at a time, reads included.

    ``snapshot`` is the durable state to go on from; ``new_id`` returns a new unique text (a UUID);
    ``withheld`` are data disks that are given to no task, as in :class:`WithholdDisks`.
    Raises :class:`InvariantViolation` for a snapshot that contradicts itself.
    """

    def __init__(
        self,
        settings: Settings,
        snapshot: Snapshot = _NOTHING,
        *,
        new_id: Callable[[], str],
        withheld: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.settings = settings
        self._changes = Changes()
        self._state = State(snapshot, self._changes)
        self._lifecycle = Lifecycle(settings, self._state, new_id)
        self._book = OfferBook()
        self._book.withhold(withheld or {})
        wants = Wants(self._lifecycle, self._book)
        turns = Turns(self._lifecycle, self._book, wants)
        self._reconciler = Reconciler(settings)
        self._engine = UpdateEngine(self._lifecycle, self._reconciler)
        self._statuses = StatusDesk(self._lifecycle, self._book, self._reconciler)
        self._desk = CommandDesk(self._lifecycle, self._engine)
        self._gangs = GangDesk(self._lifecycle, self._desk)
        self._placer = Placer(self._lifecycle, self._book, wants, turns)
        self._market = Market(self._lifecycle, self._book, turns)
        self._views = Views(
            self._lifecycle, self._book, self._placer, self._reconciler, self._desk, wants, turns
        )
        self._timers = Timers()
        self._registered_at: float | None = None
        self._prune_at = self._state.now + settings.prune_interval_secs
        self._state.touched_tasks.clear()
        self._state.touched_jobs.clear()
        for task in self._state.tasks.values():
            self._arm(task.task_id)
            if task.ports and task.agent_id is not None:
                cursor = self._book.cursors.get(task.agent_id, 0)
                self._book.cursors[task.agent_id] = max(cursor, *(p + 1 for p in task.ports.values()))

    # -- the machine --

    def handle(self, event: Event) -> Outcome:
        """Takes an event in; returns what to write, then to do, and a command's result.

        Raises a :class:`GatewayError` for a command that is refused, with nothing changed. After any
        other exception the scheduler must be discarded.
        """
        self._state.now = max(self._state.now, event.at)
        try:
            result = self._dispatch(event)
        except GatewayError as refusal:
            if not self._changes.is_empty:
                raise InvariantViolation(f"refused, and something has changed: {event}") from refusal
            raise
        self._settle()
        return self._changes.take(result)

    def next_deadline(self) -> float | None:
        """Returns when a :class:`Tick` is wanted (seconds since the epoch), if nothing comes before."""
        moments = (
            self._timers.next(),
            self._engine.timers.next(),
            self._reconciler.next(),
            self._market.next(),
            self._prune_at,
        )
        return min(moment for moment in moments if moment is not None)

    def validate(self) -> None:
        """Raises :class:`InvariantViolation` if anything contradicts itself. Costs all of the state."""
        invariants.check_state(self._state)
        invariants.check_offers(self._book)
        invariants.check_reconciler(self._reconciler, self._state)

    def _dispatch(self, event: Event) -> Any:
        match event:
            case StatusReceived():
                return self._statuses.receive(event.update)
            case OffersReceived():
                return self._market.receive(event.offers)
            case OfferRescinded():
                return self._book.rescind(event.offer_id)
            case Tick():
                return None
            case CreateJob():
                return self._desk.create(event)
            case CreateGang():
                return self._gangs.create(event)
            case ResizeGang():
                return self._gangs.resize(event)
            case WithholdDisks():
                return self._book.withhold(event.disks)
            case KillTasks():
                return self._desk.kill(event)
            case StartUpdate():
                return self._desk.update(event)
            case StartRestart():
                return self._desk.restart(event)
            case AbortUpdate():
                return self._desk.abort(event)
            case PauseUpdate():
                return self._desk.pause(event)
            case ResumeUpdate():
                return self._desk.resume(event)
            case Registered():
                return self._connect(event.framework_id)
            case Disconnected():
                return self._disconnect()
            case AgentLost():
                return self._lose_agent(event.agent_id)
        raise TypeError(f"the scheduler does not know the event {event!r}")

    # -- the connection --

    def _connect(self, framework_id: str | None) -> None:
        """Everything that may have been lost with the last connection is asked or said again."""
        state = self._state
        if framework_id is not None and framework_id != state.framework_id:
            state.framework_id = state.changes.framework_id = framework_id
        self._book.void()
        self._market.open()
        self._lifecycle.connected = True
        self._registered_at = state.now
        tasks = list(state.on_agents())
        for call in self._reconciler.start(state.now, tasks):
            state.changes.act(call)
        for task in tasks:
            if task.state in ENDING:
                self._lifecycle.kill(task)
        state.touched_tasks.update((task.task_id, None) for task in tasks)
        state.touched_jobs.update(state.updating)

    def _disconnect(self) -> None:
        self._book.void()
        self._lifecycle.connected = False
        self._registered_at = None
        self._reconciler.stop()

    def _lose_agent(self, agent_id: str) -> None:
        self._book.forget(agent_id)
        if self._lifecycle.connected:
            ids = self._state.by_agent.get(agent_id, ())
            for call in self._reconciler.doubt(self._state.now, [self._state.tasks[i] for i in ids]):
                self._changes.act(call)

    def session(self) -> Session:
        """Returns what is known of the connection, for a successor made from storage."""
        return Session(
            registered=self._lifecycle.connected,
            framework_id=self._state.framework_id,
            now=self._state.now,
            offers=self._book.offers(),
            agents=dict(self._book.agents),
            alive=frozenset(self._book.alive),
            cursors=dict(self._book.cursors),
            story=tuple(self._lifecycle.log),
            withheld=dict(self._book.withheld),
        )

    def adopt_session(self, session: Session) -> Outcome:
        """Goes on with the connection of a scheduler that was discarded because a commit failed.

        Whatever its last actions were, they are worked out anew: kills are repeated, tasks are
        reconciled, updates that were not acknowledged come again. Only the offers of launches that
        were not carried out are gone until the master takes them back, as it does when we subscribe
        again; a caller who does that passes a session that is not ``registered``.
        Returns what to write and do, like :meth:`handle`.
        """
        state = self._state
        state.now = max(state.now, session.now)
        self._book.agents.update(session.agents)
        self._book.cursors.update(session.cursors)
        self._book.withheld = dict(session.withheld)
        self._lifecycle.log.extendleft(reversed(session.story))
        if session.registered:
            self._connect(session.framework_id)
            self._book.hold(session.offers, state.now)
            self._book.alive |= session.alive
        self._settle()
        return self._changes.take(None)

    # -- what follows from an event --

    def _settle(self) -> None:
        """Does whatever the event, or the time, has made possible, until nothing more follows."""
        state = self._state
        changed: dict[JobKey, None] = {}
        self._follow(changed)
        if self._lifecycle.connected:
            for call in self._reconciler.due(state.now, state.on_agents, state.tasks):
                state.changes.act(call)
            self._placer.place(CrowdSource(self._lifecycle, self._book, self._is_new_here()))
            self._follow(changed)
        self._market.settle()
        for key in changed:
            self._announce(key)
        if self._prune_at <= state.now:
            self._prune_at = state.now + self.settings.prune_interval_secs
            prune(self._lifecycle)
            self._follow(changed)

    def _follow(self, changed: dict[JobKey, None]) -> None:
        """Timers, ends counted by updates, and steps of updates, each of which may lead to others."""
        state = self._state
        ended = self._lifecycle.ended
        while True:
            for task_id in self._timers.due(state.now):
                if task_id in state.tasks:
                    self._expire(state.tasks[task_id])
            for update_id in self._engine.timers.due(state.now):
                state.touched_jobs[state.updates[update_id].key] = None
            if not (state.touched_tasks or state.touched_jobs or ended):
                return
            while ended:
                self._engine.count(ended.pop(0))
            tasks, state.touched_tasks = state.touched_tasks, {}
            for task_id in tasks:
                self._arm(task_id)
            keys, state.touched_jobs = state.touched_jobs, {}
            for key in keys:
                self._engine.step(key)
            changed.update(keys)

    def _arm(self, task_id: str) -> None:
        task = self._state.tasks.get(task_id)
        if task is None or task.state not in ON_AGENT:
            self._reconciler.answered(task_id)
        at = None
        if task is not None:
            at = deadline(task, self._state.now, self._registered_at, self.settings)
        self._timers.set(task_id, at)

    def _expire(self, task: Task) -> None:
        """A task's time has come, if the connection has not changed what its time is."""
        now = self._state.now
        end = expiry(task, self._registered_at, self.settings)
        if task.state is TaskState.THROTTLED:
            self._lifecycle.move(task, TaskState.PENDING, "the throttling is over")
        elif end is not None and end <= now:
            if task.state is TaskState.KILLING:
                self._lifecycle.kill(task)
            waited = now - task.since
            message = f"nothing has been heard of it for {waited:.0f} s in {task.state}"
            blameless = task.state is TaskState.PARTITIONED
            self._lifecycle.move(task, TaskState.LOST, message, blameless=blameless)
        else:
            if task.state in ENDING:
                self._lifecycle.kill(task)
            self._state.touched_tasks[task.task_id] = None

    def _is_new_here(self) -> bool:
        """Whether agents that hold our tasks may not have made an offer yet."""
        since = self._registered_at
        return since is not None and self._state.now < since + self.settings.attributes_grace_secs

    def _announce(self, key: JobKey) -> None:
        record = self._state.record(key)
        if record is None or record.announced is record.is_live:
            return
        record.announced = record.is_live
        if not record.is_live:
            self._changes.publish(
                Publish(at=self._state.now, kind="job", key=key, state="ENDED", previous="CREATED")
            )

    # -- reads --

    def list_jobs(self, cluster: str, role: str) -> list[JobKey]:
        """Returns the role's jobs that want something or have an active task, sorted."""
        return self._views.list_jobs(cluster, role)

    def job_names(self, cluster: str, role: str) -> tuple[str, ...]:
        """Returns the same jobs as texts, sorted as texts; cheap while they stay the same."""
        return self._views.job_names(cluster, role)

    def is_live(self, key: JobKey) -> bool:
        """Whether the job wants something or has an active task."""
        return self._views.is_live(key)

    def list_roles(self, cluster: str) -> list[str]:
        """Returns the roles that have such jobs, sorted."""
        return self._views.list_roles(cluster)

    def get_job(self, key: JobKey) -> JobView:
        """Returns all there is of a job; raises :class:`NotFound`."""
        return self._views.get_job(key)

    def glance(self, key: JobKey) -> JobView | None:
        """Returns what :meth:`get_job` does if that is a matter of microseconds, else None."""
        return self._views.glance(key)

    def plan(self, spec: JobSpec, instances: tuple[int, ...] | None = None) -> Plan:
        """Returns what an update to ``spec`` (a create, if there is no such job) would do.

        Raises what that command would raise, except for an update being active.
        """
        return self._views.plan(spec, instances)

    def get_task(self, task_id: str) -> Task:
        """Returns a task, also one that has ended; raises :class:`NotFound`."""
        return self._views.get_task(task_id)

    def pending_reasons(self, task_id: str) -> tuple[PendingReason, ...]:
        """Returns why a task does not run yet, empty if that is not so; raises :class:`NotFound`."""
        return self._views.pending_reasons(task_id)

    def disks(self) -> dict[str, tuple[DiskUse, ...]]:
        """Returns by hostname the data disks of the agents, in order, and who has which."""
        return self._views.disks()

    def counts(self) -> Counts:
        """Returns how much there is of what, for metrics."""
        return self._views.counts()

    def story(self, about: str | JobKey) -> tuple[str, ...]:
        """Returns what has happened to a task (by its id) or a job, a line per transition."""
        return self._views.story(about)
