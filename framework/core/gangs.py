"""The commands for gangs: jobs whose instances differ and are placed together or not at all."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from framework.core.commands import CommandDesk, check_config, check_spec
from framework.core.lifecycle import Lifecycle
from framework.core.messages import CreateGang, GangChange, ResizeGang
from framework.core.state import JobRecord, State
from framework.model.errors import Conflict, Invalid
from framework.model.jobs import JobKey, TaskConfig, format_instances
from framework.model.tasks import TaskState

# Numbers of instances may have gaps, so they may be larger than a job's size; Aurora has 32 bits.
_MOST = 2**31 - 1


def check_configs(key: JobKey, configs: Mapping[int, TaskConfig]) -> None:
    """Raises :class:`Invalid` for instance numbers or configs that cannot be."""
    for instance, config in configs.items():
        if not 0 <= instance <= _MOST:
            raise Invalid(f"job {key} has no instance {instance}: the numbers go from 0 to {_MOST}")
        check_config(key, config)


class GangDesk:
    """Carries these commands out; raises a GatewayError, with nothing changed, if one is refused."""

    def __init__(self, lifecycle: Lifecycle, desk: CommandDesk) -> None:
        self._lifecycle = lifecycle
        self._desk = desk
        self._state: State = lifecycle.state
        self._settings = lifecycle.settings

    def create(self, command: CreateGang) -> GangChange:
        configs = dict(sorted(command.configs.items()))
        key = command.spec.key
        if not configs:
            raise Invalid(f"job {key} has no instances; a gang has at least one")
        spec = msgspec.structs.replace(command.spec, instances=len(configs))
        check_spec(spec, self._settings)
        check_configs(key, configs)
        self._desk.begin_job(spec, configs, command)
        return GangChange(*self._add(key, configs, f"created by {command.user}"))

    def resize(self, command: ResizeGang) -> GangChange:
        key = command.key
        record = self._desk.active(key)
        add = dict(sorted(command.add.items()))
        self._check_resize(record, command, add)
        removed = tuple(i for i in sorted(set(command.remove)) if i in record.active)
        if record.updating is not None:
            self._desk.interrupt(self._state.updates[record.updating], {*removed, *add}, command.user)
        going = {i: record.active[i] for i in removed}
        self._lifecycle.want(key, {**dict.fromkeys(removed), **add})
        for task in going.values():
            self._lifecycle.retire(task, TaskState.KILLING, f"killed by {command.user}")
        gang, tasks = self._add(key, add, f"added by {command.user}")
        job = record.job
        if job.wanted and len(job.wanted) != job.spec.instances:
            spec = msgspec.structs.replace(job.spec, instances=len(job.wanted))
            self._state.save_job(msgspec.structs.replace(job, spec=spec))
        return GangChange(gang, tasks, removed)

    def _check_resize(
        self, record: JobRecord, command: ResizeGang, add: Mapping[int, TaskConfig]
    ) -> None:
        key = command.key
        if not add and not command.remove:
            raise Invalid(f"the change of {key} names no instances: neither to add nor to remove")
        check_configs(key, add)
        active = sorted(i for i in add if i in record.active)
        if active:
            raise Conflict(
                f"job {key}: instance {format_instances(active)} is active already "
                f"({record.active[active[0]].state}); choose numbers that are free, or kill it first"
            )
        if add and not record.job.wanted:
            raise Conflict(f"job {key} is being killed; wait for that, then create it")
        left = len(record.job.wanted.keys() - set(command.remove)) + len(add)
        if left > self._settings.max_instances:
            raise Invalid(
                f"job {key} would have {left} instances; "
                f"a job has at most {self._settings.max_instances}"
            )

    def _add(
        self, key: JobKey, configs: Mapping[int, TaskConfig], message: str
    ) -> tuple[str, dict[int, str]]:
        """Starts these instances; returns the id of their gang, and those of the tasks."""
        if not configs:
            return "", {}
        gang = self._lifecycle.new_gang()
        tasks = {
            instance: self._lifecycle.create(key, instance, config, message=message, gang=gang)
            for instance, config in configs.items()
        }
        return gang, {instance: task.task_id for instance, task in tasks.items()}
