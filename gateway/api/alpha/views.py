"""Jobs, instances, updates and plans as JSON values. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from framework.core.messages import InstanceState, JobView, Plan
from framework.model.jobs import JobSpec, TaskConfig, format_instances
from framework.model.tasks import Task
from framework.model.updates import InstanceAction, Update
from gateway.operations import DryRun

_ENDED_WELL = {InstanceAction.INSTANCE_UPDATED, InstanceAction.INSTANCE_ROLLED_BACK}
_ENDED_BADLY = {InstanceAction.INSTANCE_UPDATE_FAILED, InstanceAction.INSTANCE_ROLLBACK_FAILED}


def job(view: JobView) -> dict[str, Any]:
    """All of one job; ``update`` is the active or else the last one, None if there never was any."""
    key = str(view.job.spec.key)
    return {
        "status": "success",
        "key": key,
        "count": len(view.instances),
        "job": key,
        "created_at": view.job.created_at,
        "created_by": view.job.created_by,
        "configuration": configuration(view.job.spec),
        "instances": [instance(state, view) for state in view.instances],
        "update": update(view.updates[0]) if view.updates else None,
    }


def configuration(spec: JobSpec) -> dict[str, Any]:
    """A job's configuration; ``executor_data`` is the job as its author wrote it."""
    return {
        "instances": spec.instances,
        **_config(spec.config),
        "update_config": msgspec.to_builtins(spec.update),
        "cron_schedule": spec.cron_schedule,
        "warnings": list(spec.warnings),
    }


def _config(config: TaskConfig) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(config)
    fields["constraints"] = [str(constraint) for constraint in config.constraints]
    fields["metadata"] = dict(config.metadata)
    fields["task_links"] = dict(config.task_links)
    # JSON already: it is not read here to be written again.
    fields["executor_data"] = msgspec.Raw(config.executor_data.encode())
    if config.node is not None:
        # The files of a node hold its host key, which is nobody's to read.
        fields["node"]["files"] = [file.path for file in config.node.files]
    return fields


def instance(state: InstanceState, view: JobView) -> dict[str, Any]:
    """One instance: its present or last task, what it waits for, its earlier tries.

    ``configuration`` is None where it is the job's.
    """
    present = state.task
    differs = present.config != view.job.spec.config
    earlier = [
        task
        for task in view.history
        if task.instance == present.instance and task.task_id != present.task_id
    ]
    return {
        **task(present),
        "pending": [
            {"reason": why.reason, "count": why.count, "agents": list(why.agents)}
            for why in state.pending
        ],
        "configuration": _config(present.config) if differs else None,
        "earlier": [task(one) for one in earlier],
    }


def task(one: Task) -> dict[str, Any]:
    return {
        "instance": one.instance,
        "task_id": one.task_id,
        "state": one.state.value,
        "host": one.hostname,
        "ports": one.ports,
        "restarts": one.restarts,
        "failures": one.failures,
        "sandbox": one.sandbox or None,
        "container": one.container_id or None,
        "history": [
            {"at": e.at, "state": e.state.value, "message": e.message, "source": e.source}
            for e in one.events
        ],
    }


def update(one: Update) -> dict[str, Any]:
    """A rolling update or restart with how far it is."""
    latest = {event.instance: event.action for event in one.instance_events}
    return {
        "update_id": one.update_id,
        "kind": one.kind,
        "status": one.status.value,
        "message": one.message,
        "user": one.user,
        "created_at": one.created_at,
        "instances": format_instances(one.scope),
        "progress": {
            "total": len(one.scope),
            "done": _count(latest.values(), _ENDED_WELL),
            "failed": _count(latest.values(), _ENDED_BADLY),
        },
        "events": [{"at": e.at, "status": e.status.value, "message": e.message} for e in one.events],
        "instance_events": [
            {"at": e.at, "instance": e.instance, "action": e.action.value, "message": e.message}
            for e in one.instance_events
        ],
    }


def _count(actions: Iterable[InstanceAction], among: set[InstanceAction]) -> int:
    return sum(action in among for action in actions)


def dry_run(key: str, result: DryRun) -> dict[str, Any]:
    """What would be done: instance numbers as ranges, and what changes in each group of them."""
    return {
        "status": "success",
        "key": key,
        "count": 1,
        "job": key,
        "dry_run": True,
        "plan": _plan(result.plan),
        "groups": [
            {
                "action": group.action,
                "instances": format_instances(group.instances),
                "diff": [{"field": c.field, "old": c.old, "new": c.new} for c in group.diff],
            }
            for group in result.groups
        ],
        "warnings": list(result.warnings),
    }


def _plan(plan: Plan) -> dict[str, str]:
    names = ("add", "update", "remove", "unchanged")
    return {name: format_instances(getattr(plan, name)) for name in names}
