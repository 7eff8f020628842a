"""A PostgreSQL server of the tests' own: Debian's, in a directory that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.ports import reserve

# For a server that shares its processor with twenty other processes, and its disk.
PATIENCE = 120.0


def program(name: str) -> str | None:
    """Returns where a program of PostgreSQL is: on the PATH, or where Debian puts it."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


class Postgres:
    """One server, on a free port of 127.0.0.1. As root it runs as the user postgres."""

    def __init__(self) -> None:
        # Not below pytest's directories, which only their owner may enter.
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-test-"))
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._reserved = reserve()
        self.port = self._reserved.getsockname()[1]
        self._server: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
        self._run("initdb", "--no-sync", "--auth=trust", "-D", str(self.directory / "data"))

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [program(name) or name, *arguments], check=True, capture_output=True, cwd="/", **self._who()
        )

    def _who(self) -> dict[str, str]:
        return {"user": "postgres"} if os.geteuid() == 0 else {}

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "60",
        }
        words = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [program("postgres") or "postgres", "-D", str(self.directory / "data"), *words],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._who(),  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + PATIENCE
        while self._server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.Error), self._connect():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(0.05)
        raise AssertionError((self.directory / "log").read_text())

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=int(PATIENCE))

    def freeze(self) -> None:
        """SIGSTOP to the server and the processes of its sessions, which lead sessions of their own."""
        assert self._server is not None
        self._stop_still(self._server.pid)
        # It forks no more.
        for pid in self._children():
            self._stop_still(pid)

    def thaw(self) -> None:
        assert self._server is not None
        for pid in (*self._children(), self._server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown; SIGKILL is for all of its processes."""
        if self._server is None:
            return
        if number is signal.SIGKILL and self._server.poll() is None:
            self._stop_still(self._server.pid)
            children = self._children()
            for pid in (self._server.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            # As long as one is still there, no other server may have their memory.
            _until(lambda: all(_state(pid) in "ZX" for pid in children))
        else:
            self._server.send_signal(number)
        self._server.wait(PATIENCE)
        self._server = None

    def _children(self) -> list[int]:
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    @staticmethod
    def _stop_still(pid: int) -> None:
        """SIGSTOP; whoever is within a system call stands still only after it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        _until(lambda: _state(pid) in "TZX")

    def close(self) -> None:
        """Ends the server, and removes what it has stored."""
        self.stop(signal.SIGKILL)
        self._reserved.close()
        shutil.rmtree(self.directory)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Returns the URL of a fresh database."""
        name = f"d{uuid.uuid4().hex}"
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


def _state(pid: int) -> str:
    """The letter that /proc has for the state of a process; X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "a process of PostgreSQL does not stop"
        time.sleep(0.01)
