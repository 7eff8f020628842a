"""A PostgreSQL server of the tests' own: Debian's, in a directory that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg


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
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
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
        for _ in range(200):
            with contextlib.suppress(psycopg.Error), self._connect():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(0.05)
        raise AssertionError((self.directory / "log").read_text())

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=2)

    def send(self, number: signal.Signals) -> None:
        """To the server and the processes of its sessions, which lead sessions of their own."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children")
        for pid in (self._server.pid, *map(int, children.read_text().split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                if number is signal.SIGKILL:
                    self.send(number)
                else:
                    self._server.send_signal(number)
            self._server.wait(30)
            self._server = None

    def close(self) -> None:
        """Ends the server, and removes what it has stored."""
        with contextlib.suppress(ProcessLookupError):
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Returns the URL of a fresh database."""
        name = f"d{uuid.uuid4().hex}"
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)
