"""The commands of users: each is checked whole, then done. A refusal changes nothing."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from framework.core.lifecycle import Lifecycle
from framework.core.messages import (
    AbortUpdate,
    Command,
    CreateJob,
    Job,
    KillTasks,
    PauseUpdate,
    Plan,
    Publish,
    ResumeUpdate,
    StartRestart,
    StartUpdate,
)
from framework.core.rollout import is_back
from framework.core.settings import Settings
from framework.core.state import JobRecord, State
from framework.core.updates import UpdateEngine
from framework.model.errors import Conflict, Invalid, NotFound, NotSupported
from framework.model.jobs import JobKey, JobSpec, TaskConfig, UpdateSettings, format_instances
from framework.model.tasks import TaskState
from framework.model.updates import Update, UpdateEvent, UpdateStatus

_S = UpdateStatus


# -- what a spec must be --------------------------------------------------------------------------


def check_spec(spec: JobSpec, settings: Settings) -> None:
    """Raises :class:`Invalid` or :class:`NotSupported` unless jobs like ``spec`` can run here."""
    if spec.cron_schedule is not None:
        raise NotSupported(
            f"job {spec.key} has a cron_schedule; this release runs services and batch jobs only: "
            "leave cron_schedule out"
        )
    if not 1 <= spec.instances <= settings.max_instances:
        raise Invalid(
            f"job {spec.key} asks for {spec.instances} instances; "
            f"a job has 1 to {settings.max_instances}"
        )
    check_config(spec.key, spec.config)


def check_config(key: JobKey, config: TaskConfig) -> None:
    """Raises :class:`Invalid` for resources or constraints that make no sense."""
    need = config.resources
    amounts = {"cpus": need.cpus, "mem": need.mem_mb, "disk": need.disk_mb, "gpus": need.gpus}
    for what, amount in amounts.items():
        if not 0 <= amount < float("inf"):
            raise Invalid(f"job {key} asks for {what} {amount}; it has to be 0 or more")
    if not need.cpus or not need.mem_mb:
        raise Invalid(
            f"job {key} asks for no {'mem' if need.cpus else 'cpus'}; a task needs some of each"
        )
    check_disks(key, config)
    if len(set(need.ports)) != len(need.ports):
        raise Invalid(f"job {key} names a port twice: {', '.join(need.ports)}")
    if config.max_task_failures < 1 and config.max_task_failures != -1:
        raise Invalid(
            f"job {key} has max_task_failures {config.max_task_failures}; "
            "write a number from 1 on, or -1 for no limit"
        )
    for constraint in config.constraints:
        if constraint.attribute != "dedicated":
            continue
        value = constraint.values[0] if constraint.values else ""
        one_value = constraint.kind == "value" and len(constraint.values) == 1
        if not one_value or constraint.negated or "/" not in value:
            raise Invalid(
                f"job {key}: the constraint {constraint} is wrong: "
                f"dedicated takes exactly one value, '{key.role}/…' or '*/…'"
            )
        if value.split("/", 1)[0] not in (key.role, "*"):
            raise Invalid(
                f"job {key}: only role {value.split('/', 1)[0]} may use {constraint}; "
                f"for role {key.role} write '{key.role}/…' or '*/…'"
            )


def check_disks(key: JobKey, config: TaskConfig) -> None:
    """Raises :class:`Invalid` unless what is said of data disks agrees."""
    need = config.resources
    names = ", ".join(need.disk_names)
    if need.data_disks < 0:
        raise Invalid(f"job {key} asks for {need.data_disks} data disks; it has to be 0 or more")
    if len(set(need.disk_names)) != len(need.disk_names):
        raise Invalid(f"job {key} names a data disk twice: {names}")
    if need.disk_names and len(need.disk_names) != need.data_disks:
        raise Invalid(
            f"job {key} asks for {need.data_disks} data disks and names {len(need.disk_names)}: "
            f"{names}; name each of them, or none"
        )
    if config.node is not None and len(config.node.disks) != need.data_disks:
        raise Invalid(
            f"job {key}: node {config.node.hostname} mounts {len(config.node.disks)} data disks "
            f"and asks for {need.data_disks}"
        )


def check_update_settings(spec: JobSpec, settings: Settings) -> None:
    """Raises :class:`Invalid` or :class:`NotSupported` unless such an update can be carried out."""
    if not spec.config.service:
        raise Invalid(
            f"Updates are not supported for non-service tasks. Job {spec.key} is not a service: "
            "kill it and create it anew"
        )
    update = spec.update
    if update.max_per_instance_failures * spec.instances > settings.max_update_failures:
        raise Invalid(
            f"the update of {spec.key} allows {update.max_per_instance_failures} failures of each of "
            f"{spec.instances} instances; the product may be {settings.max_update_failures} at most"
        )
    if update.pulse_interval_secs:
        raise NotSupported(
            "updates that wait for pulses (pulse_interval_secs) are not supported by this release"
        )
    if update.sla_aware:
        raise NotSupported("SLA-aware updates (sla_aware) are not supported by this release")


# -- what a change would do -----------------------------------------------------------------------


def plan(record: JobRecord | None, spec: JobSpec, instances: tuple[int, ...] | None) -> Plan:
    """Returns what bringing a job to ``spec`` would do, to these instances only if they are given.

    Raises :class:`NotFound` for instances that neither exist nor would.
    """
    have = record.job.wanted if record is not None else {}
    want = dict.fromkeys(range(spec.instances), spec.config)
    among = set(have) | set(want)
    if instances is not None:
        known(spec.key, instances, among)
        among &= set(instances)
    ordered = sorted(among)
    return Plan(
        add=tuple(i for i in ordered if i not in have),
        update=tuple(i for i in ordered if i in have and i in want and have[i] != want[i]),
        remove=tuple(i for i in ordered if i not in want),
        unchanged=tuple(i for i in ordered if i in have and i in want and have[i] == want[i]),
    )


def known(key: JobKey, instances: Iterable[int], existing: Iterable[int]) -> None:
    """Raises :class:`NotFound` naming those of ``instances`` that are not among ``existing``."""
    there = sorted(existing)
    missing = sorted(set(instances) - set(there))
    if missing:
        has = f"it has {format_instances(there)}" if there else "it has none"
        raise NotFound(f"job {key} has no instance {format_instances(missing)}; {has}")


class CommandDesk:
    """Carries commands out. Every method returns the command's result or raises a GatewayError."""

    def __init__(self, lifecycle: Lifecycle, engine: UpdateEngine) -> None:
        self._lifecycle = lifecycle
        self._engine = engine
        self._state: State = lifecycle.state
        self._settings = lifecycle.settings

    def create(self, command: CreateJob) -> None:
        """Makes a job and a task for each instance; raises :class:`Conflict` if it is there."""
        spec = command.spec
        check_spec(spec, self._settings)
        wanted = dict.fromkeys(range(spec.instances), spec.config)
        self.begin_job(spec, wanted, command)
        message = f"created by {command.user}"
        for instance, config in wanted.items():
            self._lifecycle.create(spec.key, instance, config, message=message)

    def begin_job(self, spec: JobSpec, wanted: dict[int, TaskConfig], command: Command) -> None:
        """Writes a new job down, still without tasks; raises :class:`Conflict` if there is one."""
        record = self._state.record(spec.key)
        if record is not None and record.is_live:
            raise self._exists(record)
        self._state.save_job(
            Job(spec=spec, created_at=command.at, created_by=command.user, wanted=wanted)
        )
        self._state.changes.publish(
            Publish(
                at=self._state.now,
                kind="job",
                key=spec.key,
                state="CREATED",
                message=f"{spec.instances} instances, by {command.user}",
            )
        )

    def kill(self, command: KillTasks) -> tuple[int, ...]:
        """Ends instances, wanted no more; returns which. Raises :class:`Conflict` during an update."""
        record = self.active(command.key)
        if command.instances is not None:
            if not command.instances:
                raise Invalid(f"no instances of {command.key} are named; leave them out to kill all")
            known(command.key, command.instances, record.active)
        update = self._state.active_update(command.key)
        if update is not None:
            concerned = update.scope if command.instances is None else command.instances
            self.interrupt(update, concerned, command.user)
        named = record.active if command.instances is None else command.instances
        instances = tuple(sorted(set(named)))
        self._lifecycle.want(command.key, dict.fromkeys(instances))
        for instance in instances:
            task = record.active[instance]
            self._lifecycle.retire(task, TaskState.KILLING, f"killed by {command.user}")
        return instances

    def interrupt(self, update: Update, instances: Iterable[int], user: str) -> None:
        """Instances are about to be killed: ends a restart of them; :class:`Conflict` for an update."""
        if update.kind == "update":
            raise self._busy(update)
        if not set(instances).isdisjoint(update.scope):
            self._engine.change(update, _S.ABORTED, f"instances were killed by {user}")

    def update(self, command: StartUpdate) -> Update | None:
        """Begins an update; None: nothing is to change. Raises :class:`Conflict` during another."""
        spec = command.spec
        record, what = self.plan_update(spec, command.instances)
        scope = sorted((*what.add, *what.update, *what.remove))
        if not scope:
            return None
        wanted = record.job.wanted
        return self._begin(
            command.at,
            Update(
                update_id=command.update_id,
                key=spec.key,
                kind="update",
                status=_S.ROLLING_FORWARD,
                settings=spec.update,
                scope=tuple(scope),
                initial={i: wanted[i] for i in scope if i in wanted},
                desired={i: spec.config for i in scope if i < spec.instances},
                user=command.user,
                created_at=command.at,
            ),
        )

    def plan_update(self, spec: JobSpec, instances: tuple[int, ...] | None) -> tuple[JobRecord, Plan]:
        """Returns the job's record and what an update would do; raises what the update would raise."""
        check_spec(spec, self._settings)
        check_update_settings(spec, self._settings)
        record = self.active(spec.key)
        if not record.job.wanted and record.updating is None:
            raise self._exists(record)
        if not record.job.spec.config.service:
            raise Invalid(
                f"Updates are not supported for non-service tasks. Job {spec.key} runs as a batch job: "
                "kill it and create it anew"
            )
        if instances is not None and not instances:
            raise Invalid(f"no instances of {spec.key} are named; leave them out to update all")
        what = plan(record, spec, instances)
        update = self._state.active_update(spec.key)
        if update is not None:
            raise self._busy(update)
        return record, what

    def restart(self, command: StartRestart) -> Update:
        """Begins to replace instances by new tries. Raises :class:`Conflict` during an update."""
        record = self.active(command.key)
        wanted = record.job.wanted
        if command.instances is not None:
            if not command.instances:
                raise Invalid(f"no instances of {command.key} are named; leave them out to restart all")
            known(command.key, command.instances, wanted)
        update = self._state.active_update(command.key)
        if update is not None:
            raise self._busy(update)
        scope = sorted(set(command.instances if command.instances is not None else wanted))
        if not scope:
            raise NotFound(f"job {command.key} is being killed: it has no instance to restart")
        configs = {i: wanted[i] for i in scope}
        settings: UpdateSettings = command.settings
        return self._begin(
            command.at,
            Update(
                update_id=command.update_id,
                key=command.key,
                kind="restart",
                status=_S.ROLLING_FORWARD,
                settings=settings,
                scope=tuple(scope),
                initial=configs,
                desired=configs,
                user=command.user,
                created_at=command.at,
            ),
        )

    def abort(self, command: AbortUpdate) -> Update:
        """Ends the active update where it is; raises :class:`NotFound` if there is none."""
        update = self._updating(command.key)
        return self._engine.change(update, _S.ABORTED, f"aborted by {command.user}")

    def pause(self, command: PauseUpdate) -> Update:
        """Has the active update go no further; raises :class:`NotFound` if there is none."""
        update = self._updating(command.key)
        status = _S.ROLL_BACK_PAUSED if is_back(update) else _S.ROLL_FORWARD_PAUSED
        return self._engine.change(update, status, f"paused by {command.user}")

    def resume(self, command: ResumeUpdate) -> Update:
        """Has a paused update go on, in the direction it had."""
        update = self._updating(command.key)
        status = _S.ROLLING_BACK if is_back(update) else _S.ROLLING_FORWARD
        return self._engine.change(update, status, f"resumed by {command.user}")

    def _begin(self, at: float, update: Update) -> Update:
        if update.update_id in self._state.updates:
            raise Conflict(f"there is an update {update.update_id} already: use a new id")
        started = UpdateEvent(at=at, status=update.status, message=f"started by {update.user}")
        self._engine.start(msgspec.structs.replace(update, events=(started,)))
        return self._state.updates[update.update_id]

    def active(self, key: JobKey) -> JobRecord:
        """Returns the job's record; raises :class:`NotFound` unless something of it is active."""
        record = self._state.record(key)
        if record is None:
            raise NotFound(f"there is no job {key}")
        if not record.is_live:
            raise NotFound(f"job {key} has no active tasks: it has ended, or was killed")
        return record

    def _updating(self, key: JobKey) -> Update:
        update = self._state.active_update(key)
        if update is None:
            raise NotFound(f"job {key} has no active update")
        return update

    def _exists(self, record: JobRecord) -> Conflict:
        key = record.job.spec.key
        if not record.job.wanted and record.updating is None:
            return Conflict(
                f"Job {key} is being killed, {len(record.active)} of its tasks have not ended yet; "
                "wait for that, then create it"
            )
        return Conflict(
            f"Job {key} already exists. To change it, update it "
            "(PUT …/update); to start afresh, kill it first (DELETE)"
        )

    def _busy(self, update: Update) -> Conflict:
        if update.kind == "restart":
            return Conflict(
                f"Job {update.key} is currently restarting ({update.update_id}); "
                "wait for it, or cancel it first with DELETE …/update"
            )
        return Conflict(
            f"Job {update.key} is currently updating ({update.update_id}, {update.status}); "
            "wait for it, or cancel it first with DELETE …/update"
        )
