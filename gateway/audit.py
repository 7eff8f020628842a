"""The audit log: one line of JSON for every change that was asked for, whatever became of it."""

from __future__ import annotations

import datetime
import logging
import os
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from framework.model.errors import Invalid

log = logging.getLogger(__name__)

_LONGEST_PATH = 2000


class Entry(msgspec.Struct, frozen=True):
    """``time`` in UTC; ``user`` None: nobody was asked, or they could not say; ``path`` as it came, with
    those parameters that the route knows (see :func:`shown_path`)."""

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
    """Where entries go; ``problem`` is why they do not go where they should, None: they do."""

    @property
    def problem(self) -> str | None: ...

    def write(self, entry: Entry) -> None:
        """Keeps a line."""

    def reopen(self) -> None:
        """The file has been moved away: begins a new one."""

    def close(self) -> None:
        """Nothing is written any more."""


class Nowhere:
    """Without ``--audit-log``."""

    problem: None = None

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
        # Whether the file ends within a line: the disk was full there.
        self._torn = False
        self._lost: str | None = None
        self._not_opened: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with the file since it was last opened, or with the last line."""
        return self._not_opened or self._lost

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
            rest = b"\n" + line if self._torn else line
            try:
                # A disk that gets full takes a part of it, and says so only to who goes on.
                while rest:
                    rest = rest[os.write(self._file, rest) :]
                    self._torn = bool(rest)
                self._lost = None
            except OSError as error:
                # The change is made and answered; what is left is to say so where somebody looks.
                self._lost = f"the audit log {self._target} cannot be written: {error.strerror}"
                log.error("%s; what it lacks is %s", self._lost, line.decode().rstrip())

    def reopen(self) -> None:
        """After a rotation: the name stands for a new file. One that cannot be had changes nothing."""
        try:
            fresh = self._open()
        except Invalid as error:
            self._not_opened = f"{error}; the file opened before is written on"
            log.error("%s", self._not_opened)
            return
        with self._lock:
            old, self._file, self._torn = self._file, fresh, False
            self._not_opened = None
            os.close(old)

    def close(self) -> None:
        with self._lock:
            os.close(self._file)


def shown_path(path: str, arguments: Mapping[str, Sequence[bytes]], known: Collection[str]) -> str:
    """Returns a path with its parameters: ``shards`` tells what of a job was killed. Those that are not
    known, and refused, may be anything, secrets too, and are left out."""
    given = [(name, value) for name in arguments if name in known for value in arguments[name]]
    return (f"{path}?{urlencode(given)}" if given else path)[:_LONGEST_PATH]


def now() -> str:
    """Returns the time as lines of the audit log have it: ISO 8601, UTC, milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
