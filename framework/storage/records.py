"""How the scheduler's values lie in the tables. Pure.

Bodies are JSON. A :class:`TaskConfig` is often the same for thousands of tasks and large, so each
lies once in the table of configs under the hash of its JSON; jobs, tasks and updates refer to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from framework.core.messages import (
    DeleteJob,
    DeleteTask,
    DeleteUpdate,
    Job,
    Publish,
    SaveFrameworkId,
    SaveJob,
    SaveTask,
    SaveUpdate,
    Write,
)
from framework.model.jobs import TaskConfig
from framework.model.tasks import Task
from framework.model.updates import Update

# The kinds of things that have a row each.
JOB, TASK, UPDATE = "job", "task", "update"
Owner = tuple[str, str]  # kind, id
Row = dict[str, Any]


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """A line of the public event stream; a reader resumes after the ``sequence`` he has seen."""

    sequence: int
    event: Publish


class Batch(msgspec.Struct):
    """Writes, folded: per kind the rows to write and the ids to delete, each thing once.

    ``owners`` maps what was written to the hashes of the configs it refers to.
    """

    rows: dict[str, dict[str, Row]] = {}
    deleted: dict[str, set[str]] = {}
    configs: dict[str, str] = {}
    owners: dict[tuple[str, str], frozenset[str]] = {}
    published: list[Publish] = []
    framework_id: str | None = None

    def put(self, kind: str, row: Row, used: frozenset[str]) -> None:
        self.rows.setdefault(kind, {})[row["id"]] = row
        self.deleted.setdefault(kind, set()).discard(row["id"])
        self.owners[kind, row["id"]] = used

    def drop(self, kind: str, row_id: str) -> None:
        self.rows.setdefault(kind, {}).pop(row_id, None)
        self.deleted.setdefault(kind, set()).add(row_id)
        self.owners[kind, row_id] = frozenset()


def fold(writes: Sequence[Write]) -> Batch:
    """Returns the net effect of ``writes``, in the order given."""
    batch = Batch()
    packer = _Packer(batch.configs)
    for write in writes:
        match write:
            case SaveTask(task=task):
                body, used = packer.task(task)
                row: Row = {"job": str(task.key), "instance": task.instance, "state": task.state.value}
                batch.put(TASK, {"id": task.task_id, "body": body, **row}, used)
            case SaveJob(job=job):
                body, used = packer.job(job)
                batch.put(JOB, {"id": str(job.spec.key), "body": body}, used)
            case SaveUpdate(update=update):
                body, used = packer.update(update)
                row = {"job": str(update.key), "status": update.status.value}
                batch.put(UPDATE, {"id": update.update_id, "body": body, **row}, used)
            case DeleteTask(task_id=task_id):
                batch.drop(TASK, task_id)
            case DeleteJob(key=key):
                batch.drop(JOB, str(key))
            case DeleteUpdate(update_id=update_id):
                batch.drop(UPDATE, update_id)
            case Publish():
                batch.published.append(write)
            case SaveFrameworkId(framework_id=framework_id):
                batch.framework_id = framework_id
            case _:
                raise TypeError(f"no table holds a {type(write).__name__}")
    # What was replaced or deleted by a later one of the writes has no use any more.
    used = frozenset[str]().union(*batch.owners.values())
    batch.configs = {key: body for key, body in batch.configs.items() if key in used}
    return batch


def event_row(sequence: int, event: Publish) -> Row:
    """Returns an event as a row of its table."""
    return {
        "sequence": sequence,
        "at": event.at,
        "cluster": event.key.cluster,
        "role": event.key.role,
        "job": str(event.key),
        "body": _json(event),
    }


def read_event(sequence: int, body: str) -> StoredEvent:
    """Returns the event that a row holds."""
    return StoredEvent(sequence, msgspec.json.decode(body, type=Publish))


# -- bodies ---------------------------------------------------------------------------------------


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _fields(value: msgspec.Struct, **replaced: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__} | replaced


class _Packer:
    """Writes bodies, with hashes where configs were; fills ``configs`` with hash -> JSON."""

    def __init__(self, configs: dict[str, str]) -> None:
        self._configs = configs
        self._hashes: dict[int, tuple[TaskConfig, str]] = {}  # by identity, the config kept alive

    def _hash(self, config: TaskConfig) -> str:
        known = self._hashes.get(id(config))
        if known is None:
            body = msgspec.json.encode(config)
            known = (config, hashlib.sha256(body).hexdigest())
            self._hashes[id(config)] = known
            self._configs[known[1]] = body.decode()
        return known[1]

    def _by_instance(self, wanted: Mapping[int, TaskConfig]) -> dict[int, str]:
        return {instance: self._hash(config) for instance, config in wanted.items()}

    def task(self, task: Task) -> tuple[str, frozenset[str]]:
        config = self._hash(task.config)
        return _json(_fields(task, config=config)), frozenset((config,))

    def job(self, job: Job) -> tuple[str, frozenset[str]]:
        config, wanted = self._hash(job.spec.config), self._by_instance(job.wanted)
        body = _json(_fields(job, spec=_fields(job.spec, config=config), wanted=wanted))
        return body, frozenset((config, *wanted.values()))

    def update(self, update: Update) -> tuple[str, frozenset[str]]:
        initial, desired = self._by_instance(update.initial), self._by_instance(update.desired)
        body = _json(_fields(update, initial=initial, desired=desired))
        return body, frozenset((*initial.values(), *desired.values()))


class Unpacker:
    """Reads bodies back. ``configs`` maps hash to JSON; equal configs become one object.

    Every method returns the value and the hashes that it refers to. Raises ``ValueError`` (msgspec's
    errors are such) or ``KeyError`` for a body that this release cannot read.
    """

    def __init__(self, configs: Mapping[str, str]) -> None:
        decode = msgspec.json.Decoder(TaskConfig).decode
        self._configs = {key: decode(body) for key, body in configs.items()}

    def job(self, body: str) -> tuple[Job, frozenset[str]]:
        raw, used = msgspec.json.decode(body), set[str]()
        raw["spec"]["config"] = self._config(raw["spec"]["config"], used)
        raw["wanted"] = self._by_instance(raw["wanted"], used)
        return msgspec.convert(raw, Job, str_keys=True), frozenset(used)

    def task(self, body: str) -> tuple[Task, frozenset[str]]:
        raw, used = msgspec.json.decode(body), set[str]()
        raw["config"] = self._config(raw["config"], used)
        return msgspec.convert(raw, Task, str_keys=True), frozenset(used)

    def update(self, body: str) -> tuple[Update, frozenset[str]]:
        raw, used = msgspec.json.decode(body), set[str]()
        raw["initial"] = self._by_instance(raw["initial"], used)
        raw["desired"] = self._by_instance(raw["desired"], used)
        return msgspec.convert(raw, Update, str_keys=True), frozenset(used)

    def _config(self, key: str, used: set[str]) -> TaskConfig:
        used.add(key)
        return self._configs[key]

    def _by_instance(self, raw: Mapping[str, str], used: set[str]) -> dict[int, TaskConfig]:
        return {int(instance): self._config(key, used) for instance, key in raw.items()}
