"""The backend that runs an aurora command line for every request (``--executor external``)."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import msgspec

from framework.core.messages import JobView, Plan
from framework.model.errors import NotSupported, Unavailable
from framework.model.jobs import JobKey
from gateway.schedulers import aurora
from gateway.schedulers.aurora import Dialect, Verb
from gateway.schedulers.base import Submission

# More output than this is not read by anybody; the rest is let go.
_MAX_OUTPUT = 1024 * 1024


class Finished(msgspec.Struct, frozen=True):
    """What a command left behind. ``code`` is negative for a signal, None if it took too long."""

    code: int | None
    output: str
    errors: str = ""

    @property
    def lines(self) -> list[str]:
        return [*self.output.splitlines(), *self.errors.splitlines()]


# Runs a function (possibly in a process of its own): function, its arguments, seconds at most.
Isolate = Callable[..., Any]


class CommandBackend:
    """Drives one cluster through ``command``, which finds the scheduler in its own clusters.json.

    ``isolate(function, *args, timeout=seconds)`` is where the command is started from, see
    :meth:`gateway.pool.Pool.isolated`.
    """

    reads_source = True

    def __init__(
        self,
        command: str,
        dialect: Dialect,
        cluster: str,
        isolate: Isolate,
        timeout: float = 300.0,
    ) -> None:
        self._command = command
        self._dialect: Dialect = dialect
        self._cluster = cluster
        self._isolate = isolate
        self._timeout = timeout

    # -- verbs -------------------------------------------------------------------------------------

    def list_jobs(self, role: str) -> list[str]:
        arguments = aurora.list_arguments(self._dialect, self._cluster, role)
        finished = self._run(arguments, merge=False)
        if finished.code != 0:
            raise aurora.failure("list", finished.code or 0, finished.lines)
        return [line.strip() for line in finished.output.splitlines() if line.strip()]

    def create_job(self, key: JobKey, submission: Submission, user: str) -> None:
        self._do("create", key, submission, None)

    def begin_create(self, key: JobKey, submission: Submission, user: str) -> None:
        return None

    def update_job(
        self, key: JobKey, submission: Submission, instances: tuple[int, ...] | None, user: str
    ) -> None:
        self._do("update", key, submission, instances)

    def cancel_update(self, key: JobKey, submission: Submission | None, user: str) -> None:
        self._do("cancel_update", key, submission, None)

    def restart_job(
        self,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
        user: str,
    ) -> None:
        self._do("restart", key, submission, instances)

    def kill_job(
        self,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
        user: str,
    ) -> None:
        self._do("kill", key, submission, instances)

    # -- what a command line does not tell ---------------------------------------------------------

    def list_roles(self) -> list[str]:
        raise _unsupported("listing the jobs of all roles")

    def glance_job(self, key: JobKey) -> None:
        return None

    def get_job(self, key: JobKey) -> JobView:
        raise _unsupported("reading one job")

    def plan(
        self, key: JobKey, submission: Submission, instances: tuple[int, ...] | None, creates: bool
    ) -> Plan:
        raise _unsupported("a dry run")

    def health(self) -> dict[str, Any]:
        problems = []
        if not os.access(self._command, os.X_OK):
            problems.append(f"the aurora command {self._command} cannot be executed")
        return {"ready": not problems, "problems": problems}

    # -- running -----------------------------------------------------------------------------------

    def _do(
        self,
        verb: Verb,
        key: JobKey,
        submission: Submission | None,
        instances: tuple[int, ...] | None,
    ) -> None:
        with _spec_file(submission) as spec:
            bindings = submission.bindings if submission else None
            finished = self._run(
                aurora.arguments(self._dialect, verb, key, instances, spec, bindings), merge=True
            )
        code = finished.code or 0
        if not aurora.succeeded(self._dialect, code, finished.lines):
            raise aurora.failure(verb, code, finished.lines)

    def _run(self, arguments: Sequence[str], merge: bool) -> Finished:
        command = [self._command, *arguments]
        try:
            # The outer limit only matters when the process that runs the command hangs itself.
            finished: Finished = self._isolate(
                run_command, command, self._timeout, merge, timeout=self._timeout + 30.0
            )
        except OSError as error:
            raise Unavailable(
                f"the aurora command {self._command} cannot be run: {error.strerror}", retry_after=30
            ) from None
        if finished.code is None:
            raise Unavailable(
                f"the aurora command has not ended within {self._timeout:g} s and was killed: "
                f"{' '.join(arguments[:2])}",
                *finished.lines,
                retry_after=30,
            )
        return finished


def run_command(command: Sequence[str], timeout: float, merge: bool) -> Finished:
    """Runs ``command`` (no shell, no stdin, a process group of its own) for ``timeout`` seconds.

    ``merge``: stderr goes where stdout goes. Past the timeout the whole group is killed. Raises
    ``OSError`` if the command cannot be started.
    """
    deadline = time.monotonic() + timeout
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else stderr,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        code: int | None
        try:
            output = _read(process.stdout, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            output = error.args[0] if isinstance(error, TimeoutError) else b""
            code = None
        finally:
            _kill_group(process)
        stderr.seek(0)
        errors = stderr.read(_MAX_OUTPUT)
    return Finished(code, output.decode(errors="replace"), errors.decode(errors="replace"))


def _read(stream: IO[bytes], deadline: float) -> bytes:
    """Returns the stream's bytes up to its end; raises ``TimeoutError`` of what there is by then."""
    kept = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(bytes(kept))
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return bytes(kept)
            kept += chunk[: _MAX_OUTPUT - len(kept)]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the command's process group, and collects the command itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _spec_file(submission: Submission | None) -> Iterator[str | None]:
    """Yields the path of a private file with the configuration, None if there is none."""
    if submission is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="mesos-gateway-", suffix=".aurora") as file:
        file.write(submission.source)
        file.flush()
        yield file.name


def _unsupported(what: str) -> NotSupported:
    return NotSupported(
        f"{what} needs the gateway's own scheduler (--executor internal); "
        "an aurora command line does not offer it"
    )
