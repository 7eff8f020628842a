"""The tasks' directories below the executor's own: ``{MESOS_SANDBOX}/tasks/{task_id}``."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from executor.task import (
    TaskDocument,
    TaskPayload,
    bind,
    decode_task,
    resolve_portmap,
    run_time_bindings,
)

logger = logging.getLogger(__name__)

_TASK_ID = re.compile(r"(?!\.\.?$)[A-Za-z0-9_.-]{1,255}")
_BOUND_PARTS = ("task", "health_check_config", "lifecycle")


class Sandboxes:
    """Makes the sandboxes, and removes those of terminated tasks beyond the newest ``kept``.

    The agent's garbage collection takes the rest with the executor's sandbox.
    """

    def __init__(self, root: str, kept: int) -> None:
        self._root = root
        self._kept = max(0, kept)
        self._ended: deque[str] = deque()
        self._lock = threading.Lock()

    def path(self, task_id: str) -> str:
        """Returns the task's directory; raises ``ValueError`` for an id that is no file name."""
        if not _TASK_ID.fullmatch(task_id):
            raise ValueError(f"{task_id!r} is not a task id that a directory can be named after")
        return os.path.join(self._root, "tasks", task_id)

    def create(self, task_id: str) -> str:
        path = self.path(task_id)
        os.makedirs(path, mode=0o755, exist_ok=True)
        return path

    def ended(self, task_id: str) -> None:
        """The task is over; the oldest such sandboxes go."""
        with self._lock:
            self._ended.append(task_id)
            surplus = [self._ended.popleft() for _ in range(len(self._ended) - self._kept)]
        for old in surplus:
            try:
                shutil.rmtree(self.path(old))
            except OSError as error:
                logger.warning("the sandbox of %s stays: %s", old, error)


class _Announcer(msgspec.Struct, frozen=True):
    portmap: dict[str, str] = {}


def read_document(payload: TaskPayload) -> tuple[TaskPayload, TaskDocument]:
    """Returns the task inside the payload with its variables filled in.

    The payload that is returned with it has its ports under their announced names, too.
    Raises ``ValueError`` with a sentence: not JSON, a wrong field, a variable nobody knows.
    """
    try:
        raw = msgspec.json.decode(payload.executor_data.encode())
        if not isinstance(raw, dict):
            raise ValueError("it is not a JSON object")
        payload = _with_announced_ports(payload, raw.get("announce"))
        bindings = run_time_bindings(payload)
        bound = {part: _bind(raw[part], bindings) for part in _BOUND_PARTS if raw.get(part) is not None}
        return payload, decode_task(msgspec.json.encode(bound).decode())
    except RecursionError:
        raise ValueError("the task's executor data is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"the task's executor data cannot be read: {error}") from error


def _with_announced_ports(payload: TaskPayload, announce: Any) -> TaskPayload:
    announcer = msgspec.convert(announce, _Announcer | None)
    if announcer is None:
        return payload
    ports = dict(payload.ports)
    for name, target in resolve_portmap(announcer.portmap).items():
        if isinstance(target, int):
            ports[name] = target
        elif target in payload.ports:
            ports[name] = payload.ports[target]
    return msgspec.structs.replace(payload, ports=ports)


def _bind(value: Any, bindings: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return bind(value, bindings)
    if isinstance(value, list):
        return [_bind(item, bindings) for item in value]
    if isinstance(value, dict):
        return {key: _bind(item, bindings) for key, item in value.items()}
    return value
