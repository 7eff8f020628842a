"""The audit log: one line of JSON for every change that was asked for, whatever became of it."""

from __future__ import annotations

import datetime
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Protocol

import msgspec

from framework.model.errors import Invalid

log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """``time`` in UTC; ``user`` None: nobody was asked, or they could not say; ``path`` as it came."""

    time: str
    request_id: str
    user: str | None
    admin: bool
    remote: str
    method: str
    route: str
    path: str
    status: int


class Sink(Protocol):
    """Where entries go."""

    def write(self, entry: Entry) -> None: ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class Nowhere:
    """Without ``--audit-log``."""

    def write(self, entry: Entry) -> None:
        """Nothing is kept."""

    def reopen(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


class Lines:
    """Appends to a file, a line in one write; ``-`` is stderr. Usable from several threads."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._file = self._open()

    def _open(self) -> int:
        if self._target == "-":
            return os.dup(sys.stderr.fileno())
        try:
            return os.open(
                Path(self._target), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640
            )
        except OSError as error:
            raise Invalid(f"--audit-log {self._target} cannot be written: {error.strerror}") from None

    def write(self, entry: Entry) -> None:
        line = msgspec.json.encode(entry) + b"\n"
        with self._lock:
            try:
                os.write(self._file, line)
            except OSError as error:
                # The change is made and answered; what is left is to say so where somebody looks.
                log.error("the audit log %s cannot be written (%s): %s", self._target, error, line)

    def reopen(self) -> None:
        """After a rotation: the name stands for a new file. One that cannot be had changes nothing."""
        try:
            fresh = self._open()
        except Invalid as error:
            log.error("%s", error)
            return
        with self._lock:
            old, self._file = self._file, fresh
            os.close(old)

    def close(self) -> None:
        with self._lock:
            os.close(self._file)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
