"""What the bodies of answers look like, as JSON Schema, by name. Tests compare real answers."""

from __future__ import annotations

from typing import Any

from framework.model.jobs import SEGMENT
from framework.model.tasks import TaskState
from framework.model.updates import InstanceAction, UpdateStatus

Schema = dict[str, Any]


def text(about: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": about} if about else {}), **more}


def integer(about: str = "", **more: Any) -> Schema:
    return {"type": "integer", **({"description": about} if about else {}), **more}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def record(**properties: Schema) -> Schema:
    """An object with all of these properties, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def without(names: tuple[str, ...], schema: Schema) -> Schema:
    """The same object, which may lack ``names``."""
    return {**schema, "required": [name for name in schema["required"] if name not in names]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {}
_MAP: Schema = {"type": "object"}
_SUCCESS = text(const="success")
_FAILURE = text(const="failure")
_TIME: Schema = {"type": "number", "description": "seconds since 1970-01-01, UTC"}
_RANGES = text("instance numbers as ranges: 0-2,5")
_DONE = {"status": _SUCCESS, "key": text(), "count": integer(), "job": text()}
_ERRORS = {"type": "array", "items": text(), "minItems": 1}

SEGMENT_SCHEMA = text(pattern=f"^{SEGMENT.pattern}$", maxLength=255)

_HISTORY = record(
    at=_TIME, state=text(enum=[state.value for state in TaskState]), message=text(), source=text()
)
_TASK = {
    "instance": integer(minimum=0),
    "task_id": text(),
    "state": text(enum=[state.value for state in TaskState]),
    "host": nullable(text()),
    "ports": {"type": "object", "additionalProperties": integer()},
    "restarts": integer("how often the instance was started anew", minimum=0),
    "failures": integer(minimum=0),
    "sandbox": nullable(text("the task's directory on the agent")),
    "container": nullable(text("Docker's id of its container")),
    "history": listed(_HISTORY),
}
_CONFIG = {
    "resources": record(
        cpus=_NUMBER, mem_mb=integer(), disk_mb=integer(), gpus=integer(), ports=listed(text())
    ),
    "executor_data": {"description": "the job as its author wrote it"},
    "constraints": listed(text()),
    "container": nullable(_MAP),
    "service": _FLAG,
    "production": _FLAG,
    "priority": integer(),
    "tier": nullable(text()),
    "max_task_failures": integer(),
    "contact": nullable(text()),
    "metadata": {"type": "object", "additionalProperties": text()},
    "task_links": {"type": "object", "additionalProperties": text()},
    "partition_policy": nullable(_MAP),
    "sla_policy": nullable(_MAP),
    "executor_name": text(),
}
_PROGRESS = record(total=integer(), done=integer(), failed=integer())

SCHEMAS: dict[str, Schema] = {
    "Version": record(status=_SUCCESS, version=text()),
    "Failure": record(status=_FAILURE, errors=_ERRORS),
    "JobFailure": record(
        status=_FAILURE,
        key=text(),
        count=integer(const=0),
        job={"type": "array", "maxItems": 0},
        errors=_ERRORS,
    ),
    "ListFailure": record(
        status=_FAILURE,
        key=text(),
        count=integer(const=0),
        jobs={"type": "object", "maxProperties": 0},
        errors=_ERRORS,
    ),
    "Listing": without(
        ("next",),
        record(
            status=_SUCCESS,
            key=text(),
            count=integer(minimum=0),
            jobs={
                "type": "object",
                "description": "keys of jobs by their position, from 1",
                "additionalProperties": text(),
            },
            next=text("the marker of the next page"),
        ),
    ),
    "Done": record(**_DONE),
    "Task": record(**_TASK),
    "Instance": record(
        **_TASK,
        pending=listed(record(reason=text(), count=integer(), agents=listed(text()))),
        configuration=nullable(record(**_CONFIG)),
        earlier=listed(ref("Task")),
    ),
    "Update": record(
        update_id=text(),
        kind=text(enum=["update", "restart"]),
        status=text(enum=[status.value for status in UpdateStatus]),
        message=text(),
        user=text(),
        created_at=_TIME,
        instances=_RANGES,
        progress=_PROGRESS,
        events=listed(record(at=_TIME, status=text(), message=text())),
        instance_events=listed(
            record(
                at=_TIME,
                instance=integer(),
                action=text(enum=[action.value for action in InstanceAction]),
                message=text(),
            )
        ),
    ),
    "Configuration": record(
        instances=integer(),
        **_CONFIG,
        update_config=_MAP,
        cron_schedule=nullable(text()),
        warnings=listed(text()),
    ),
    "Job": record(
        **_DONE,
        created_at=_TIME,
        created_by=text(),
        configuration=ref("Configuration"),
        instances=listed(ref("Instance")),
        update=nullable(ref("Update")),
    ),
    "OneInstance": record(**_DONE, instance=ref("Instance")),
    "OneUpdate": record(**_DONE, update=ref("Update")),
    "DryRun": record(
        **_DONE,
        dry_run={"const": True},
        plan=record(add=_RANGES, update=_RANGES, remove=_RANGES, unchanged=_RANGES),
        groups=listed(
            record(
                action=text(enum=["add", "update", "remove"]),
                instances=_RANGES,
                diff=listed(record(field=text(), old=_ANY, new=_ANY)),
            )
        ),
        warnings=listed(text()),
    ),
    "Health": without(
        ("problems", "clusters", "warnings", "replica"),
        record(
            status=text(enum=["success", "failure"]),
            ready=_FLAG,
            problems=listed(text()),
            clusters=_MAP,
            version=text(),
            warnings=listed(text()),
            replica=_MAP,
        ),
    ),
    "HealthOrLive": {"anyOf": [ref("Health"), ref("Live")]},
    "Live": record(status=_SUCCESS, live={"const": True}, version=text()),
    "OpenApi": _MAP,
}
