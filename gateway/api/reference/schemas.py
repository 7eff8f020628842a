"""What the bodies of answers look like, as JSON Schema, by name. Tests compare real answers."""

from __future__ import annotations

from framework.model.jobs import SEGMENT
from framework.model.tasks import TaskState
from framework.model.updates import InstanceAction, UpdateStatus
from gateway.api.reference.cluster_schemas import CLUSTER_SCHEMAS
from gateway.api.reference.openstack_schemas import OPENSTACK_SCHEMAS
from gateway.api.reference.sahara_cluster_schemas import SAHARA_CLUSTER_SCHEMAS
from gateway.api.reference.sahara_schemas import SAHARA_SCHEMAS
from gateway.api.reference.shapes import (
    ANY,
    FLAG,
    MAP,
    NUMBER,
    TIME,
    Schema,
    integer,
    listed,
    nullable,
    record,
    ref,
    text,
    without,
)

_SUCCESS = text(const="success")
_FAILURE = text(const="failure")
_RANGES = text("instance numbers as ranges: 0-2,5")
_DONE = {"status": _SUCCESS, "key": text(), "count": integer(), "job": text()}
_ERRORS = {"type": "array", "items": text(), "minItems": 1}

SEGMENT_SCHEMA = text(pattern=f"^{SEGMENT.pattern}$", maxLength=255)

_HISTORY = record(
    at=TIME, state=text(enum=[state.value for state in TaskState]), message=text(), source=text()
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
        cpus=NUMBER, mem_mb=integer(), disk_mb=integer(), gpus=integer(), ports=listed(text())
    ),
    "executor_data": {"description": "the job as its author wrote it"},
    "constraints": listed(text()),
    "container": nullable(MAP),
    "service": FLAG,
    "production": FLAG,
    "priority": integer(),
    "tier": nullable(text()),
    "max_task_failures": integer(),
    "contact": nullable(text()),
    "metadata": {"type": "object", "additionalProperties": text()},
    "task_links": {"type": "object", "additionalProperties": text()},
    "partition_policy": nullable(MAP),
    "sla_policy": nullable(MAP),
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
        created_at=TIME,
        instances=_RANGES,
        progress=_PROGRESS,
        events=listed(record(at=TIME, status=text(), message=text())),
        instance_events=listed(
            record(
                at=TIME,
                instance=integer(),
                action=text(enum=[action.value for action in InstanceAction]),
                message=text(),
            )
        ),
    ),
    "Configuration": record(
        instances=integer(),
        **_CONFIG,
        update_config=MAP,
        cron_schedule=nullable(text()),
        warnings=listed(text()),
    ),
    "Job": record(
        **_DONE,
        created_at=TIME,
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
                diff=listed(record(field=text(), old=ANY, new=ANY)),
            )
        ),
        warnings=listed(text()),
    ),
    "Health": without(
        ("problems", "clusters", "warnings", "replica"),
        record(
            status=text(enum=["success", "failure"]),
            ready=FLAG,
            problems=listed(text()),
            clusters=MAP,
            version=text(),
            warnings=listed(text()),
            replica=MAP,
        ),
    ),
    "HealthOrLive": {"anyOf": [ref("Health"), ref("Live")]},
    "Live": record(status=_SUCCESS, live={"const": True}, version=text()),
    "OpenApi": MAP,
    **CLUSTER_SCHEMAS,
    **SAHARA_SCHEMAS,
    **OPENSTACK_SCHEMAS,
    **SAHARA_CLUSTER_SCHEMAS,
}
