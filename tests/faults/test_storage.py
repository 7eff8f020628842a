"""F9: the storage fails under a gateway that serves. Nothing is promised, lost or restarted.

Each fault: a job runs; the storage is struck; a PUT is a 503 that says when to come again, and reads go
on; the storage heals; the PUT succeeds, the tasks that ran are the ones that run, and the job that was
answered with 503 exists only if somebody asked again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Client, eventually, gateway, key_of, service
from tests.measured import Measured
from tests.postgres import Postgres

# Longer than the gateway's patience with the storage, and its pause before it looks again, also on a
# machine that has other things to do.
PATIENCE = 120.0
JOB, OTHER = key_of("steady"), key_of("later")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


@contextlib.contextmanager
def running(directory: Path, place: str) -> Iterator[Client]:
    """A gateway on its own Mesos with one job that runs."""
    with gateway(
        directory, "--master=local", "--local-agents=1", f"--state={place}", "--application=thread"
    ) as server:
        client = Client(server.address)
        assert client.call("PUT", f"/alpha/jobs/{JOB}", service("steady", "sleep 600")).status == 201
        client.wait_states(JOB, {0: "RUNNING"})
        yield client


def is_refused(client: Client) -> bool:
    answer = client.call("PUT", f"/alpha/jobs/{OTHER}", service("later", "sleep 600"), timeout=60)
    if answer.status == 503:
        assert int(answer.headers["Retry-After"]) >= 1
        assert "secret" not in str(answer.json)
        return True
    # Not struck yet, or healed: then it is a promise.
    assert answer.status in (201, 409), answer
    return False


def survives(
    client: Client, strike: Callable[[], None], heal: Callable[[], None], measured: Measured, fault: str
) -> None:
    """Goes through one fault from its beginning to its end."""
    before = client.tasks(JOB)
    strike()
    began = time.monotonic()
    try:
        assert is_refused(client)
        measured(f"F9 {fault}: refused after, s", time.monotonic() - began)
        assert client.call("GET", "/alpha/version").status == 200
        assert client.call("GET", f"/alpha/jobs/{JOB}").status in (200, 503)
        eventually(lambda: client.call("GET", "/health").status, lambda status: status == 503)
    finally:
        heal()
    began = time.monotonic()
    eventually(lambda: client.call("GET", "/health").status, lambda s: s == 200, PATIENCE)
    measured(f"F9 {fault}: ready again after, s", time.monotonic() - began)
    # Refused is refused: nothing has come of the PUT meanwhile.
    assert client.call("GET", f"/alpha/jobs/{OTHER}").status == 404
    eventually(lambda: is_refused(client), lambda refused: not refused, PATIENCE)
    client.wait_states(OTHER, {0: "RUNNING"})
    assert client.tasks(JOB) == before
    assert client.states(JOB) == {0: "RUNNING"}


class TestSqlite:
    def test_another_process_holds_the_lock(
        self, tmp_path: Path, place: str, measured: Measured
    ) -> None:
        with running(tmp_path, place) as client:
            blocker = sqlite3.connect(place, isolation_level=None, timeout=30)
            survives(
                client,
                lambda: blocker.execute("BEGIN IMMEDIATE").close(),
                lambda: blocker.execute("ROLLBACK").close(),
                measured,
                "SQLite locked",
            )
            blocker.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
    def test_the_disk_is_full(self, tmp_path: Path, measured: Measured) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
        try:
            with running(tmp_path, str(disk / "state.db")) as client:
                ballast = disk / "ballast"
                survives(client, lambda: _fill(ballast), ballast.unlink, measured, "disk full")
        finally:
            # Who is about to end may still have a file open there.
            subprocess.run(["umount", "--lazy", disk], check=True)

    @pytest.mark.skipif(not (shutil.which("gcc") or os.environ.get("CI")), reason="needs gcc")
    def test_fsync_fails(
        self, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, measured: Measured
    ) -> None:
        flag, library = tmp_path / "broken", tmp_path / "fsync.so"
        source = Path(__file__).with_name("fsync.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("FSYNC_FAILS_WHILE", str(flag))
        with running(tmp_path, place) as client:
            survives(client, flag.touch, flag.unlink, measured, "fsync EIO")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


class TestPostgres:
    @pytest.fixture
    def server(self, postgres_programs: None) -> Iterator[Postgres]:
        """A server that may be harmed."""
        server = Postgres()
        server.start()
        yield server
        server.close()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_the_server_is_restarted(
        self, tmp_path: Path, server: Postgres, number: signal.Signals, measured: Measured
    ) -> None:
        place = server.new_database().replace("@", ":secret@")
        with running(tmp_path, place) as client:
            fault = f"PostgreSQL, {number.name}"
            survives(client, lambda: server.stop(number), server.start, measured, fault)
        assert "secret" not in (tmp_path / "gateway.log").read_text()

    def test_the_server_hangs(self, tmp_path: Path, server: Postgres, measured: Measured) -> None:
        with running(tmp_path, server.new_database()) as client:
            survives(
                client,
                server.freeze,
                server.thaw,
                measured,
                "PostgreSQL hangs",
            )
