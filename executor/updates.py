"""What the agent has not acknowledged yet: tasks and status updates, in memory and on disk.

The file is a log of JSON lines in the executor's sandbox. It is written without fsync: it has to
outlive this process, not the machine (whose end is the end of all tasks).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

logger = logging.getLogger(__name__)

_COMPACT_AFTER = 1000

Json = dict[str, Any]


class UpdateLog:
    """The unacknowledged tasks (TaskInfo by id) and updates (``Call.Update`` by uuid), in order.

    Usable from several threads. ``path`` None keeps it in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._tasks: dict[str, Json] = {}
        self._updates: dict[str, Json] = {}
        self._sent: set[str] = set()
        self._lines = 0
        self._fd = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            for record in _read(path):
                self._apply(record)
            self._compact()

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    # -- reading --

    @property
    def tasks(self) -> list[Json]:
        with self._lock:
            return list(self._tasks.values())

    @property
    def updates(self) -> list[Json]:
        with self._lock:
            return list(self._updates.values())

    def next_unsent(self) -> tuple[str, Json] | None:
        """Returns uuid and body of the oldest update not sent since :meth:`subscribing`."""
        with self._lock:
            for uuid, update in self._updates.items():
                if uuid not in self._sent:
                    return uuid, update
        return None

    # -- writing --

    def launched(self, task: Json) -> None:
        self._record({"task": task})

    def made(self, status: Json) -> None:
        """Adds a status update; ``status`` carries its ``uuid``."""
        self._record({"update": {"status": status}})

    def sent(self, uuid: str) -> None:
        with self._lock:
            self._sent.add(uuid)

    def subscribing(self) -> tuple[list[Json], list[Json]]:
        """Returns what SUBSCRIBE carries; these updates count as sent by it."""
        with self._lock:
            self._sent = set(self._updates)
            return list(self._tasks.values()), list(self._updates.values())

    def acknowledged(self, task_id: str, uuid: str) -> None:
        """Forgets the update, and the task: the agent knows of both now."""
        self._record({"ack": {"task_id": task_id, "uuid": uuid}})

    def rejected(self, uuid: str) -> None:
        """Forgets an update that the agent refuses for good."""
        self._record({"ack": {"task_id": "", "uuid": uuid}})

    # -- the file --

    def _record(self, record: Json) -> None:
        with self._lock:
            self._apply(record)
            if self._fd < 0:
                return
            try:
                os.write(self._fd, msgspec.json.encode(record) + b"\n")
                self._lines += 1
                if self._lines >= _COMPACT_AFTER + 2 * (len(self._tasks) + len(self._updates)):
                    self._compact()
            except OSError as error:
                # A full disk must not stop the updates themselves: they are in memory.
                logger.warning("cannot write %s: %s", self._path, error)

    def _apply(self, record: Json) -> None:
        if "task" in record:
            self._tasks[record["task"]["task_id"]["value"]] = record["task"]
        elif "update" in record:
            self._updates[record["update"]["status"]["uuid"]] = record["update"]
        elif "ack" in record:
            self._tasks.pop(record["ack"]["task_id"], None)
            self._updates.pop(record["ack"]["uuid"], None)
            self._sent.discard(record["ack"]["uuid"])

    def _compact(self) -> None:
        if self._path is None:
            return
        records = [{"task": t} for t in self._tasks.values()]
        records += [{"update": u} for u in self._updates.values()]
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, b"".join(msgspec.json.encode(r) + b"\n" for r in records))
        os.replace(fresh, self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._lines = fd, len(records)


def _read(path: Path) -> Iterator[Json]:
    """Yields the records of the file; a last line that was cut off by a crash is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=Json)
        except msgspec.DecodeError:
            continue
