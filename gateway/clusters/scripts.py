"""Runs the orchestrator scripts of products: one process each, watched, within limits."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from framework.model.errors import Unavailable
from gateway.clusters import supervisor
from gateway.clusters.isolation import SCRIPTING, Confinement, Isolator, module_paths
from gateway.clusters.products import kind_of_script

Stream = Literal["stdout", "stderr"]
MOST_OUTPUT = 1024 * 1024
# What is longer is told in pieces.
_LONGEST_LINE = 4096
# So many lines of a stream are told as they come; what follows is in what is kept.
MOST_LINES = 10_000
_POLL_SECS = 0.2
# After that long without an answer the supervisor itself is ended.
_LAST_SECS = 15.0


class RunResult(msgspec.Struct, frozen=True):
    """How a run has ended. ``ended`` "itself": with ``code`` (128 + number for a signal); "timeout", or
    "cancelled". Of each stream the first mebibyte is kept; ``dropped`` are bytes that came after it."""

    code: int
    ended: Literal["itself", "timeout", "cancelled"]
    stdout: str
    stderr: str
    dropped: int = 0


class Script(msgspec.Struct, frozen=True):
    """A script as it is to be run. ``files`` (name, text) stand in its directory, for its eyes only;
    ``{directory}`` in a value of ``environment`` is that directory."""

    source: str
    environment: Mapping[str, str]
    files: Sequence[tuple[str, str]] = ()


class ScriptRunner:
    """Runs scripts in directories of their own below ``base`` (None: below the system's for
    temporary files), as ``isolator`` has it. Usable on any thread."""

    def __init__(self, isolator: Isolator, base: Path | None = None) -> None:
        self._isolator = isolator
        self._base = base

    def problem(self) -> str | None:
        """Returns why scripts cannot be run here, None if they can."""
        return self._isolator.problem()

    def run(
        self,
        script: Script,
        verb: str,
        *,
        timeout: float,
        on_line: Callable[[Stream, str], None],
        cancelled: Callable[[], bool],
    ) -> RunResult:
        """Runs the script with ``verb`` and returns how it ended; then nothing of it is left.

        ``on_line`` gets each line of output as it comes, without its end. ``timeout`` in seconds.
        Raises :class:`Unavailable` if it cannot be started.
        """
        directory = Path(tempfile.mkdtemp(prefix="orchestrator-", dir=self._base_directory()))
        try:
            argv = _prepare(directory, script, verb)
            with self._isolator.confine(directory) as confinement:
                order = _order(directory, argv, script.environment, confinement)
                return _supervise(order, timeout, on_line, cancelled)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _base_directory(self) -> Path:
        base = self._base or Path(tempfile.gettempdir()) / f"mesos-gateway-{os.geteuid()}"
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o711)
            if base.lstat().st_uid != os.geteuid() or base.is_symlink():
                raise Unavailable(f"the directory {base} for scripts belongs to somebody else")
            # Every script's user passes through it, whatever the umask is; what is in it is not listed.
            base.chmod(0o711)
        except OSError as error:
            raise Unavailable(f"the directory {base} for scripts cannot be made: {error}") from None
        return base.resolve()


def _prepare(directory: Path, script: Script, verb: str) -> list[str]:
    """Writes the files of a run; returns the words that start it."""
    (directory / "tmp").mkdir(mode=0o700)
    for name, text in script.files:
        _write(directory / name, text, 0o600)
    kind = kind_of_script(script.source)
    path = directory / ("fabfile.py" if kind == "fabfile" else "orchestrator")
    _write(path, script.source.replace("\r\n", "\n"), 0o700)
    # -S: libraries are found where the environment says, and the gateway's own code is not.
    python = [sys.executable, "-S", "-s"]
    if kind == "fabfile":
        return [*python, str(SCRIPTING / "run_fabfile.py"), str(path), verb]
    first = script.source.partition("\n")[0]
    return [*python, str(path), verb] if "python" in first else [str(path), verb]


def _write(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def _order(
    directory: Path, argv: list[str], environment: Mapping[str, str], confinement: Confinement
) -> bytes:
    """Returns what the supervisor is told; the script sees no other variables than these."""
    programs = [
        str(Path(sys.executable).parent),
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
        "/usr/sbin",
        "/sbin",
    ]
    variables = {
        "PATH": os.pathsep.join(programs),
        "HOME": str(directory),
        "TMPDIR": str(directory / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(module_paths()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for name, value in environment.items():
        variables[name] = value.replace("{directory}", str(directory))
    order = {"argv": argv, "directory": str(directory), "environment": variables}
    return json.dumps(order | msgspec.to_builtins(confinement)).encode() + b"\n"


def _supervise(
    order: bytes,
    timeout: float,
    on_line: Callable[[Stream, str], None],
    cancelled: Callable[[], bool],
) -> RunResult:
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"no process for the script can be started: {error.strerror}") from None
    with process:
        return _Watch(process, on_line).until(order, timeout, cancelled)


class _Watch:
    """Reads what a run puts out until it is over."""

    def __init__(self, process: subprocess.Popen[bytes], on_line: Callable[[Stream, str], None]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin = process.stdin
        self._readers: dict[int, _Output] = {
            process.stdout.fileno(): _Output("stdout", on_line),
            process.stderr.fileno(): _Output("stderr", on_line),
        }
        self._outputs = tuple(self._readers.values())

    def until(self, order: bytes, timeout: float, cancelled: Callable[[], bool]) -> RunResult:
        deadline = time.monotonic() + timeout
        ended: Literal["itself", "timeout", "cancelled"] = "itself"
        poll = select.poll()
        for descriptor in self._readers:
            poll.register(descriptor, select.POLLIN)
        try:
            self._stdin.write(order)
            self._stdin.flush()
            while self._goes_on(poll):
                if ended != "itself":
                    if time.monotonic() > deadline:
                        break
                elif cancelled() or time.monotonic() > deadline:
                    ended = "timeout" if time.monotonic() > deadline else "cancelled"
                    deadline = time.monotonic() + _LAST_SECS
                    self._stdin.write(b"end\n")
                    self._stdin.flush()
        except BrokenPipeError:
            pass  # the supervisor has ended; its status tells how
        finally:
            code = self._end()
        stdout, stderr = self._outputs
        dropped = stdout.dropped + stderr.dropped
        return RunResult(code, ended, stdout.text(), stderr.text(), dropped)

    def _goes_on(self, poll: select.poll) -> bool:
        """Waits a moment for output or the end; returns whether it has not ended."""
        if self._readers:
            self._read(poll, poll.poll(_POLL_SECS * 1000))
            return True
        # A script may have closed its output and go on.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_POLL_SECS)
        return self._process.poll() is None

    def _read(self, poll: select.poll, ready: list[tuple[int, int]]) -> None:
        for descriptor, _ in ready:
            data = os.read(descriptor, 65536)
            self._readers[descriptor].take(data)
            if not data:
                poll.unregister(descriptor)
                del self._readers[descriptor]

    def _end(self) -> int:
        """Ends the supervisor, which ends what is left of the script, and returns the status."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            code = self._process.wait(_LAST_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return code if code >= 0 else 128 - code


class _Output:
    """One stream: its lines are told, its beginning is kept."""

    def __init__(self, stream: Stream, on_line: Callable[[Stream, str], None]) -> None:
        self._stream: Stream = stream
        self._on_line = on_line
        self._kept = bytearray()
        self._line = b""
        self._told = 0
        self.dropped = 0

    def take(self, data: bytes) -> None:
        """``data`` empty: the stream has ended."""
        room = MOST_OUTPUT - len(self._kept)
        self._kept += data[:room]
        self.dropped += max(0, len(data) - room)
        if self._told > MOST_LINES:
            return  # nothing more of it is told
        *lines, self._line = (self._line + data).split(b"\n")
        if not data and self._line:
            lines.append(self._line)
            self._line = b""
        for line in lines:
            for start in range(0, max(1, len(line)), _LONGEST_LINE):
                self._tell(_text(line[start : start + _LONGEST_LINE]).rstrip("\r"))
        while len(self._line) > _LONGEST_LINE:
            self._tell(_text(self._line[:_LONGEST_LINE]))
            self._line = self._line[_LONGEST_LINE:]

    def _tell(self, line: str) -> None:
        if self._told < MOST_LINES:
            self._on_line(self._stream, line)
        elif self._told == MOST_LINES:
            self._on_line(self._stream, f"… more than {MOST_LINES} lines")
        self._told += 1

    def text(self) -> str:
        return _text(bytes(self._kept))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "�")
