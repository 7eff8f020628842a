"""``python -m framework``, as a person starts it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from framework.core.messages import CreateJob, SaveFrameworkId
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.storage import Storage
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import Request, eventually
from tests.framework.victim import SPEC

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "framework", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # it has ended, unless the test fails


def remember(state: Path, framework_id: str) -> None:
    storage = Storage(str(state))
    storage.commit([SaveFrameworkId(framework_id)], storage.claim_epoch())
    storage.close()


def remembered(state: Path) -> str | None:
    """Not as a storage: to open one takes the lock that a commit of the process may hold for long."""
    connection = sqlite3.connect(state)
    found: str | None = connection.execute("select framework_id from scheduler_leader").fetchone()[0]
    connection.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_stop(cluster: Cluster, state: Path, number: int) -> None:
    options = ["--master", cluster.address, "--state", str(state), "--executor-command", "/opt/executor"]
    with start(*options, "--role", "gw", "--name", "mine", "--user", "nobody") as process:
        eventually(lambda: cluster.subscriptions)
        eventually(lambda: remembered(state))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    info = cluster.subscriptions[0].json["subscribe"]["framework_info"]
    assert (info["role"], info["name"], info["user"]) == ("gw", "mine", "nobody")
    assert remembered(state) == cluster.framework_id
    assert cluster.calls("TEARDOWN") == []
    assert "Traceback" not in said


def test_teardown_ends_the_framework_and_forgets_it(cluster: Cluster, state: Path) -> None:
    remember(state, cluster.framework_id)

    def end(request: Request) -> bool:
        request.connection.reply("202 Accepted")
        cluster.stream.end_stream()
        return True

    cluster.call = lambda request: request.kind == "TEARDOWN" and end(request)
    with start("--master", cluster.address, "--state", str(state), "--teardown") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert len(cluster.calls("TEARDOWN")) == 1
    assert remembered(state) is None


def test_a_removed_framework_stays_fatal_until_an_operator_begins_anew(
    cluster: Cluster, state: Path
) -> None:
    remember(state, "gone-0000")
    accept = cluster.subscribe

    def removed(request: Request) -> bool:
        if "framework_id" not in request.json:
            return accept(request)
        request.connection.open_stream("s")
        request.connection.event({"type": "ERROR", "error": {"message": "Framework has been removed"}})
        request.connection.end_stream()
        return True

    cluster.subscribe = removed
    options = ["--master", cluster.address, "--state", str(state), "--executor-command", "x"]
    with start(*options) as process:
        assert process.stderr is not None
        assert any("Mesos has removed framework gone-0000" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)  # it is still there to be asked: no crash loop
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(cluster.subscriptions) == 1
    assert remembered(state) == "gone-0000"
    with start(*options, "--new-framework") as process:
        eventually(lambda: remembered(state) == cluster.framework_id)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert len(cluster.subscriptions) == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--executor-command", "x", "--master", "http://x"], 2, "write host:port"),
        (["--executor-command", "x", "--state", "nonsense://"], 2, "give the path of a SQLite file"),
        (["--executor-command", "x", "--principal", "p"], 2, "belong together"),
        (["--executor-command", "x", "--secret-file", "/nonexistent"], 2, "cannot be read from"),
        ([], 2, "how to start the executor"),
        (["--teardown"], 2, "there is nothing to tear down"),
        (["--teardown", "--new-framework"], 2, "not allowed with"),
        (["--no-such-option"], 2, "unrecognized arguments"),
    ],
)
def test_options_that_cannot_be(state: Path, options: list[str], code: int, words: str) -> None:
    given = ["--master", "127.0.0.1:1", "--state", str(state), *options]
    with start(*given) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert words in said
    assert "Traceback" not in said


def test_it_runs_what_the_state_says(cluster: Cluster, state: Path) -> None:
    """Jobs that a gateway has stored run also while only the framework does."""
    core = Scheduler(Settings(), new_id=lambda: "id-1")
    storage = Storage(str(state))
    outcome = core.handle(CreateJob(at=1.0, spec=msgspec.structs.replace(SPEC, instances=1)))
    storage.commit(outcome.writes, storage.claim_epoch())
    storage.close()
    options = ["--master", cluster.address, "--state", str(state), "--executor-command", "x"]
    with start(*options) as process:
        eventually(lambda: cluster.instances() == ["0"])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
