"""What readers may ask of the scheduler; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator

from framework.core.arranging import arrange, batches
from framework.core.commands import CommandDesk, check_spec, plan
from framework.core.disks import by_number
from framework.core.lifecycle import Lifecycle
from framework.core.messages import Counts, DiskUse, InstanceState, JobView, PendingReason, Plan
from framework.core.offers import OfferBook
from framework.core.pending import Gang, shape
from framework.core.placing import Placer
from framework.core.reasons import out_of_turn, placement, together, waiting
from framework.core.reconciliation import Reconciler
from framework.core.state import JobRecord, State
from framework.core.tasks import tell
from framework.core.turns import Turns
from framework.core.wants import CrowdSource, Wants
from framework.model.errors import NotFound
from framework.model.jobs import JobKey, JobSpec
from framework.model.tasks import ON_AGENT, Home, Task, TaskState

# The reasons of tasks that are alike, found once.
_Known = dict[object, tuple[PendingReason, ...]]

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
        wants: Wants,
        turns: Turns,
    ) -> None:
        self._lifecycle = lifecycle
        self._state: State = lifecycle.state
        self._book = book
        self._placer = placer
        self._reconciler = reconciler
        self._desk = desk
        self._wants = wants
        self._turns = turns

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
        known: _Known = {}
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
            if (record.groups or record.gangs) and len(self._book.agents) > _GLANCE:
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
        task = self.get_task(task_id)
        return self._reasons(self._state.jobs[task.key], task, {})

    def get_task(self, task_id: str) -> Task:
        """Returns a task, also one that has ended. Raises :class:`NotFound`."""
        task = self._state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        return task

    def _reasons(self, record: JobRecord, task: Task, known: _Known) -> tuple[PendingReason, ...]:
        reasons = waiting(task, self._state.now, task.instance in record.job.wanted)
        if reasons is not None:
            return reasons or self._held_up(task)
        alike = shape(task), task.config.priority, task.gang
        if alike not in known:
            known[alike] = (
                *self._together(record.gangs.get(task.gang), known),
                *self._out_of_turn(record, task),
                *self._placement(task),
            )
        return known[alike]

    def _held_up(self, task: Task) -> tuple[PendingReason, ...]:
        """Why a container does not start, as far as that is known of its agent."""
        trouble = self._book.troubles.get(task.agent_id or "")
        if task.state is not TaskState.STARTING or task.config.container is None or trouble is None:
            return ()
        if trouble.at <= self._state.now - _TROUBLE_SECS:
            return ()
        return (PendingReason(f"waiting on its agent: {trouble.text}", 1, (trouble.host,)),)

    def _placement(self, task: Task) -> tuple[PendingReason, ...]:
        source = CrowdSource(self._lifecycle, self._book, strict=False)
        crowd = source.of(task.key, (task.config,), task.home)
        return placement(self._wants.ask(task), self._book.agents, crowd, self._lifecycle.connected)

    def _together(self, gang: Gang | None, known: _Known) -> tuple[PendingReason, ...]:
        """Why a gang waits, as far as it is one."""
        if gang is None:
            return ()
        if gang.gang not in known:
            parts = batches(gang.tasks.values(), self._wants.ask)
            source = CrowdSource(self._lifecycle, self._book, strict=False)
            crowd = source.of(gang.key, [task.config for task in gang.tasks.values()])
            rooms = [agent.room for agent in self._book.agents.values()]
            running = self._state.jobs[gang.key].crowd
            found = arrange(parts, rooms, crowd, running, whole=False)
            known[gang.gang] = together(len(gang.tasks), len(found.places))
        return known[gang.gang]

    def _out_of_turn(self, record: JobRecord, task: Task) -> tuple[PendingReason, ...]:
        """That the offers are for a gang that has waited longer, if that is so."""
        favoured = self._turns.favoured()
        if favoured is None or favoured.gang == task.gang:
            return ()
        own = record.gangs.get(task.gang) or record.groups[task.config, task.home]
        if own.rank < favoured.rank:
            return ()
        return out_of_turn(favoured.key, self._turns.ends() - self._state.now)

    def disks(self) -> dict[str, tuple[DiskUse, ...]]:
        """Returns by hostname the data disks of the agents, in order, and who has which."""
        found: dict[str, dict[tuple[str, str], DiskUse]] = {}
        for use in (*self._disks_seen(), *self._disks_had()):
            found.setdefault(use.host, {})[use.name, use.agent_id] = use
        return {
            host: tuple(sorted(uses.values(), key=lambda use: (by_number(use.name), use.agent_id)))
            for host, uses in sorted(found.items())
        }

    def _disks_seen(self) -> Iterator[DiskUse]:
        for agent_id, agent in self._book.agents.items():
            host = agent.room.hostname
            withheld = self._book.withheld.get(host, ())
            for name in agent.disks:
                yield DiskUse(host=host, name=name, agent_id=agent_id, withheld=name in withheld)

    def _disks_had(self) -> Iterator[DiskUse]:
        for task_id in self._state.disks.holders:
            task = self._state.tasks[task_id]
            agent_id, host, disks = task.agent_id or "", task.hostname or "", task.disks
            if task.state not in ON_AGENT and task.home is not None:
                agent_id, host, disks = self._agent_of(task.home), task.home.hostname, task.home.disks
            withheld = self._book.withheld.get(host, ())
            for name in disks:
                yield DiskUse(
                    host=host,
                    name=name,
                    agent_id=agent_id,
                    task_id=task_id,
                    key=task.key,
                    instance=task.instance,
                    state=str(task.state),
                    withheld=name in withheld,
                )

    def _agent_of(self, home: Home) -> str:
        """Returns the agent that has a home's disks now: it may have come back as another one."""
        agents = self._book.agents
        if home.agent_id in agents:
            return home.agent_id
        there = (i for i, agent in agents.items() if agent.room.hostname == home.hostname)
        return next((i for i in there if agents[i].disks.issuperset(home.disks)), home.agent_id)

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
            clusters=tuple(sorted({cluster for cluster, _ in state.live})),
        )

    def story(self, about: str | JobKey) -> tuple[str, ...]:
        """Returns what has happened to a task (by its id) or a job, a line per transition.

        A task's own history comes first, whole; then what this process has seen.
        """
        task = self._state.tasks.get(about) if isinstance(about, str) else None
        own = tell(task) if task is not None else ()
        return (*own, *(str(line) for line in self._lifecycle.log if about in (line.task_id, line.key)))
