"""The output of a task's processes: ``{sandbox}/.logs/{process}/{run}/{stdout,stderr}``, rotated.

The sandbox belongs to the task's user, this process may be root: no symbolic link in it is followed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import sys
from collections.abc import Callable

from executor.task import Logger, ProcessSpec, RotatePolicy

logger = logging.getLogger(__name__)

STREAMS = ("stdout", "stderr")
# A process that names no logger must not fill the disk; one that asks for "standard" may.
DEFAULT = Logger(mode="rotate")
# A line this long is cut when its file is full.
_LONGEST_LINE = 64 * 1024
_TAIL = 400

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_directory(path: str, *parts: str) -> int:
    """Makes ``path/part/part/…`` where missing and returns a descriptor of the last one.

    Raises ``OSError`` if one of the parts is a symbolic link or no directory.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=fd)
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


class RotatingFile:
    """One stream's file; when it is full it becomes ``.1``, what was ``.1`` becomes ``.2``, ….

    Lines stay whole. ``policy`` None: it grows without limit.
    """

    def __init__(self, directory: int, name: str, policy: RotatePolicy | None) -> None:
        self._directory = os.dup(directory)
        self._name = name
        self._limit = max(1, policy.log_size) if policy else None
        self._backups = max(0, policy.backups) if policy else 0
        self._fd = -1
        self._open()

    def write(self, data: bytes) -> None:
        """Appends ``data``; raises ``OSError`` when the disk is full."""
        while data:
            room = len(data) if self._limit is None else self._limit - self._size
            fits = data if len(data) <= room else self._cut(data, room)
            self._write_all(fits)
            data = data[len(fits) :]
            if data:
                self._rotate()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        if self._directory >= 0:
            os.close(self._directory)
        self._fd = self._directory = -1

    def _cut(self, data: bytes, room: int) -> bytes:
        """Returns the part of ``data``, which is longer than ``room``, that belongs into this file."""
        inside = data.rfind(b"\n", 0, max(0, room)) + 1
        if inside:
            return data[:inside]
        beyond = room + _LONGEST_LINE
        if self._size and (self._at_line_start or beyond <= 0):
            return b""
        # Either the file ends inside a line, whose rest comes first, or one line alone fills it.
        end = data.find(b"\n") + 1 or len(data)
        return data[: min(end, beyond)]

    def _write_all(self, data: bytes) -> None:
        if self._fd < 0:
            self._open()
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            view = view[written:]
        if data:
            self._size += len(data)
            self._at_line_start = data.endswith(b"\n")

    def _open(self) -> None:
        self._fd = os.open(self._name, _APPEND, 0o644, dir_fd=self._directory)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(self._fd)
            self._fd = -1
            raise OSError(errno.EPERM, f"{self._name} is not a file of its own")
        self._size = found.st_size
        self._at_line_start = True

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd, here = -1, self._directory
        for number in range(self._backups, 0, -1):
            older = f"{self._name}.{number - 1}" if number > 1 else self._name
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, f"{self._name}.{number}", src_dir_fd=here, dst_dir_fd=here)
        if not self._backups:
            os.unlink(self._name, dir_fd=self._directory)
        self._open()


class ProcessLog:
    """Where the two streams of one run of a process go, as its ``Logger`` says.

    A write never raises: what cannot be written (a full disk) is dropped, and said once.
    """

    def __init__(self, sandbox: str, process: ProcessSpec, run: int) -> None:
        policy = process.logger or DEFAULT
        self._files: dict[str, RotatingFile] = {}
        self._consoles: dict[str, Callable[[bytes], object]] = {}
        self._tails = dict.fromkeys(STREAMS, b"")
        self._complained = False
        self._name = f"{process.name} run {run}"
        if policy.destination in ("file", "both"):
            rotate = policy.rotate if policy.mode == "rotate" else None
            directory = open_directory(sandbox, ".logs", process.name, str(run))
            try:
                self._files = {s: RotatingFile(directory, s, rotate) for s in STREAMS}
            finally:
                os.close(directory)
        if policy.destination in ("console", "both"):
            self._consoles = {"stdout": _console(1), "stderr": _console(2)}

    def write(self, stream: str, data: bytes) -> None:
        self._tails[stream] = (self._tails[stream] + data)[-_TAIL:]
        try:
            if stream in self._files:
                self._files[stream].write(data)
            if stream in self._consoles:
                self._consoles[stream](data)
        except OSError as error:
            if not self._complained:
                logger.warning("output of %s is lost: %s", self._name, error)
                self._complained = True

    def last_words(self) -> str:
        """Returns the last line of stderr, for the message of a failure; empty if there is none."""
        lines = self._tails["stderr"].decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return "".join(c if c.isprintable() else " " for c in last)[:200]

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}


def _console(fd: int) -> Callable[[bytes], object]:
    stream = sys.stdout if fd == 1 else sys.stderr

    def write(data: bytes) -> None:
        stream.buffer.write(data)
        stream.buffer.flush()

    return write
