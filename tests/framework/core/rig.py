"""A scheduler on the bench: values to feed it, a store for its writes, and time under control."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from framework.core import messages as m
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.core.tasks import TRANSITIONS
from framework.model.cluster import Offer, PortRange, StatusUpdate
from framework.model.jobs import Constraint, JobKey, JobSpec, Resources, TaskConfig, UpdateSettings
from framework.model.tasks import TERMINAL, Task, TaskState
from framework.model.updates import Update

KEY = JobKey("devcluster", "www-data", "prod", "hello")
START = 1_700_000_000.0
A = TypeVar("A", bound=m.Action)


def config(
    version: str = "1", *, constraints: Iterable[tuple[str, str]] = (), **fields: Any
) -> TaskConfig:
    """A service's config; whatever is a resource's name goes to its resources.

    ``limit_among``: a tag of which there may be one task per host.
    """
    amounts = {"cpus": 1.0, "mem_mb": 128, "disk_mb": 64}
    fields.setdefault("data_disks", len(fields.get("disk_names", ())))
    for name in Resources.__struct_fields__:
        if name in fields:
            amounts[name] = fields.pop(name)
    fields.setdefault("service", True)
    among = fields.pop("limit_among", "")
    limits = [Constraint("host", "limit", limit=1, among=among)] if among else []
    return TaskConfig(
        resources=Resources(**amounts),
        executor_data=f'{{"version": "{version}"}}',
        constraints=(*(Constraint.parse(a, text) for a, text in constraints), *limits),
        **fields,
    )


def spec(
    instances: int = 1,
    version: str = "1",
    *,
    key: JobKey = KEY,
    update: UpdateSettings = UpdateSettings(watch_secs=30),  # noqa: B008 - frozen
    **fields: Any,
) -> JobSpec:
    return JobSpec(key=key, instances=instances, config=config(version, **fields), update=update)


def offer(number: int = 0, agent: str = "a0", **fields: Any) -> Offer:
    defaults: dict[str, Any] = {
        "cpus": 4.0,
        "mem_mb": 4096.0,
        "disk_mb": 4096.0,
        "ports": (PortRange(31000, 31009),),
        "has_executor": True,
        "hostname": f"{agent}.example",
        "agent_address": f"{agent}.example:5051",
    }
    return Offer(offer_id=f"o{number}-{agent}", agent_id=agent, **{**defaults, **fields})


class Store:
    """What a storage would hold: the writes applied, each checked against what was there."""

    def __init__(self) -> None:
        self.jobs: dict[JobKey, m.Job] = {}
        self.tasks: dict[str, Task] = {}
        self.updates: dict[str, Update] = {}
        self.framework_id: str | None = None
        self.published: list[m.Publish] = []

    def apply(self, writes: Iterable[m.Write]) -> None:
        for write in writes:
            match write:
                case m.SaveJob():
                    self.jobs[write.job.spec.key] = write.job
                case m.DeleteJob():
                    del self.jobs[write.key]
                case m.SaveTask():
                    self._save(write.task)
                case m.DeleteTask():
                    self.tasks.pop(write.task_id, None)
                case m.SaveUpdate():
                    self.updates[write.update.update_id] = write.update
                case m.DeleteUpdate():
                    self.updates.pop(write.update_id, None)
                case m.SaveFrameworkId():
                    self.framework_id = write.framework_id
                case m.Publish():
                    self.published.append(write)
                case _:
                    raise AssertionError(f"unknown write {write!r}")

    def _save(self, task: Task) -> None:
        """A task's history only grows, along the table, and a terminated one does not move."""
        before = self.tasks.get(task.task_id)
        if before is not None:
            assert task.events[: len(before.events)] == before.events, "a task's history was rewritten"
            assert before.state not in TERMINAL or task.state is before.state
        states = [TaskState.INIT, *(event.state for event in task.events)]
        for pair in itertools.pairwise(states):
            assert pair in TRANSITIONS, f"{task.task_id}: {pair}"
        self.tasks[task.task_id] = task

    def snapshot(self) -> m.Snapshot:
        return m.Snapshot(
            jobs=tuple(self.jobs.values()),
            tasks=tuple(self.tasks.values()),
            updates=tuple(self.updates.values()),
            framework_id=self.framework_id,
        )


def ids() -> Any:
    counter = itertools.count()
    return lambda: f"id{next(counter)}"


class Rig:
    """One scheduler, registered, whose every outcome is stored and whose state is checked each time."""

    def __init__(self, settings: Settings | None = None, *, registered: bool = True) -> None:
        self.settings = settings or Settings(executor_cpus=0.0, executor_mem_mb=0.0)
        self.store = Store()
        self.now = START
        self.new_id = ids()
        self.scheduler = Scheduler(self.settings, new_id=self.new_id)
        self.outcome = m.Outcome()
        self._numbers = itertools.count(1)
        if registered:
            self.register()

    # -- events --

    def send(self, event: m.Event) -> m.Outcome:
        self.outcome = self.scheduler.handle(event)
        self.store.apply(self.outcome.writes)
        self.scheduler.validate()
        return self.outcome

    def register(self) -> m.Outcome:
        return self.send(m.Registered(at=self.now, framework_id="f1"))

    def disconnect(self) -> m.Outcome:
        return self.send(m.Disconnected(at=self.now))

    def create(self, job: JobSpec) -> m.Outcome:
        return self.send(m.CreateJob(at=self.now, spec=job, user="ann"))

    def gang(self, *configs: TaskConfig, key: JobKey = KEY) -> m.GangChange:
        """Creates a gang with these configs for the instances from 0 on."""
        summary = JobSpec(key=key, instances=len(configs), config=configs[0])
        event = m.CreateGang(at=self.now, spec=summary, configs=dict(enumerate(configs)), user="ann")
        result: m.GangChange = self.send(event).result
        return result

    def resize(
        self, add: dict[int, TaskConfig] | None = None, *remove: int, key: JobKey = KEY
    ) -> m.GangChange:
        event = m.ResizeGang(at=self.now, key=key, add=add or {}, remove=remove, user="ann")
        result: m.GangChange = self.send(event).result
        return result

    def withhold(self, **disks: tuple[str, ...]) -> m.Outcome:
        """By the names of agents."""
        hosts = {f"{agent}.example": names for agent, names in disks.items()}
        return self.send(m.WithholdDisks(at=self.now, disks=hosts, user="ann"))

    def kill(self, *instances: int, key: JobKey = KEY) -> Any:
        chosen = instances or None
        return self.send(m.KillTasks(at=self.now, key=key, instances=chosen, user="ann")).result

    def update(self, job: JobSpec, *instances: int) -> Any:
        number = f"u{next(self._numbers)}"
        event = m.StartUpdate(at=self.now, spec=job, update_id=number, instances=instances or None)
        return self.send(event).result

    def restart(self, *instances: int, settings: UpdateSettings | None = None) -> Any:
        number = f"r{next(self._numbers)}"
        chosen = settings or UpdateSettings(watch_secs=30)
        event = m.StartRestart(
            at=self.now, key=KEY, update_id=number, instances=instances or None, settings=chosen
        )
        return self.send(event).result

    def abort(self) -> Any:
        return self.send(m.AbortUpdate(at=self.now, key=KEY, user="ann")).result

    def offers(self, *offers: Offer) -> m.Outcome:
        return self.send(m.OffersReceived(at=self.now, offers=offers))

    def status(self, task_id: str, state: str, *, uuid: str | None = "", **fields: Any) -> m.Outcome:
        """An update of the executor; ``uuid`` None: one that the master made."""
        if uuid == "":
            uuid = f"uuid{next(self._numbers)}"
        task = self.store.tasks.get(task_id)
        fields.setdefault("agent_id", task.agent_id if task else "a0")
        fields.setdefault("source", "SOURCE_EXECUTOR" if uuid else "SOURCE_MASTER")
        update = StatusUpdate(task_id=task_id, state=f"TASK_{state}", uuid=uuid, **fields)
        return self.send(m.StatusReceived(at=self.now, update=update))

    def wait(self, seconds: float) -> list[m.Action]:
        """Lets time pass, with a Tick at each deadline; returns all actions."""
        end = self.now + seconds
        actions: list[m.Action] = []
        for _ in range(10_000):
            deadline = self.scheduler.next_deadline()
            if deadline is None or deadline > end:
                break
            assert deadline >= self.now or self.outcome is not None
            self.now = max(self.now, deadline)
            actions += self.send(m.Tick(at=self.now)).actions
        else:
            raise AssertionError("the deadlines do not move on")
        self.now = end
        actions += self.send(m.Tick(at=end)).actions
        return actions

    def reload(self) -> None:
        """The process dies and comes back with what was stored; not registered yet."""
        self.scheduler = Scheduler(self.settings, self.store.snapshot(), new_id=self.new_id)
        self.scheduler.validate()

    # -- looks --

    def actions(self, kind: type[A]) -> list[A]:
        return [action for action in self.outcome.actions if isinstance(action, kind)]

    def task(self, instance: int = 0, key: JobKey = KEY) -> Task:
        """The present or last task of an instance."""
        views = self.scheduler.get_job(key).instances
        return next(view.task for view in views if view.task.instance == instance)

    def states(self, key: JobKey = KEY) -> dict[int, str]:
        """The states of the active tasks, by instance."""
        views = self.scheduler.get_job(key).instances
        return {v.task.instance: str(v.task.state) for v in views if v.task.is_active}

    def last_update(self, key: JobKey = KEY) -> Update:
        return self.scheduler.get_job(key).updates[0]

    def reasons(self, instance: int = 0) -> list[str]:
        return [r.reason for r in self.scheduler.pending_reasons(self.task(instance).task_id)]

    # -- shortcuts --

    def place(self, number: int = 0) -> None:
        """Offers plenty, so that everything pending is assigned."""
        n = next(self._numbers) * 1000 + number
        self.offers(offer(n, "a0", cpus=64.0, mem_mb=65536.0, ports=(PortRange(31000, 31999),)))

    def run(self, *instances: int, key: JobKey = KEY) -> None:
        """Places what is pending and has the given (or all assigned) tasks report RUNNING."""
        self.place()
        for instance, state in self.states(key).items():
            if state == "ASSIGNED" and (not instances or instance in instances):
                self.status(self.task(instance, key).task_id, "RUNNING")

    def running(self, job: JobSpec) -> None:
        self.create(job)
        self.run(key=job.key)

    def end(self, instance: int, state: str = "KILLED") -> None:
        self.status(self.task(instance).task_id, state)


def equal_state(store: Store, scheduler: Scheduler) -> bool:
    """Whether what was written is all that the scheduler knows."""
    state = scheduler._state
    return (
        store.tasks == state.tasks
        and store.updates == state.updates
        and store.jobs == {key: record.job for key, record in state.jobs.items()}
    )


def at_once(**fields: Any) -> UpdateSettings:
    return msgspec.structs.replace(UpdateSettings(watch_secs=0), **fields)
