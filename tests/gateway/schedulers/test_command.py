"""The backend over a command line, with a real command that behaves as an aurora client does."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.model.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    Invalid,
    NotSupported,
    Unavailable,
)
from framework.model.jobs import JobKey
from gateway.schedulers.aurora import Dialect
from gateway.schedulers.base import Submission
from gateway.schedulers.command import CommandBackend, run_command

KEY = JobKey("west", "www-data", "prod", "hello")
BODY = Submission(b"jobs = []  # \xc3\xa9\n")

CLIENT = f"""#!{sys.executable} -I
import json, os, sys, time
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[1:]
spec = next((w for w in words if w.endswith(".aurora")), None)
record = {{"words": [w for w in words if w != spec], "pid": os.getpid(), "stdin": sys.stdin.read()}}
if spec:
    record["spec"] = Path(spec).read_bytes().hex()
    record["mode"] = oct(os.stat(spec).st_mode & 0o777)
    record["path"] = spec
with open(here / "calls", "a") as calls:
    calls.write(json.dumps(record) + chr(10))
plan = json.loads((here / "plan").read_text())
if plan.get("child"):
    child = os.fork()
    if not child:
        time.sleep(600)
    (here / "child").write_text(str(child))
print(plan.get("errors", ""), file=sys.stderr, end="", flush=True)
print(plan.get("output", ""), end="", flush=True)
time.sleep(plan.get("seconds", 0))
sys.exit(plan.get("code", 0))
"""
OK = "INFO] Response from scheduler: OK (message: done)\n"


class Client:
    """The command, what it is to do next, and how it was called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "aurora"
        self.path.write_text(CLIENT)
        self.path.chmod(0o700)
        self.will(output=OK)

    def will(self, **plan: Any) -> None:
        (self.directory / "plan").write_text(json.dumps(plan))

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def inline(function: Any, *args: Any, timeout: float) -> Any:
    return function(*args)


def backend(client: Client, dialect: Dialect = "v1", timeout: float = 60.0) -> CommandBackend:
    return CommandBackend(str(client.path), dialect, "west", inline, timeout)


def test_a_create_hands_the_configuration_over_in_a_private_file(client: Client) -> None:
    backend(client).create_job(KEY, BODY, "me")
    (call,) = client.calls
    assert call["words"] == ["create", str(KEY)]
    assert bytes.fromhex(call["spec"]) == BODY.source
    assert call["mode"] == "0o600"
    assert call["stdin"] == ""
    assert not Path(call["path"]).exists()


def test_every_verb_of_both_dialects(client: Client) -> None:
    for dialect in ("v1", "v2"):
        made = backend(client, dialect)  # type: ignore[arg-type]
        made.update_job(KEY, BODY, (1, 2, 3), "me")
        made.cancel_update(KEY, None, "me")
        made.restart_job(KEY, None, (0,), "me")
        made.kill_job(KEY, None, None, "me")
        made.kill_job(KEY, None, (4, 6), "me")
    key = str(KEY)
    assert [call["words"] for call in client.calls] == [
        ["update", "--shards=1-3", key],
        ["cancel_update", key],
        ["restart", "--shards=0", key],
        ["killall", key],
        ["kill", "--shards=4,6", key],
        ["update", "start", f"{key}/1-3"],
        ["update", "abort", key],
        ["job", "restart", f"{key}/0"],
        ["job", "killall", key],
        ["job", "kill", f"{key}/4,6"],
    ]


def test_a_list_is_stdout_line_by_line(client: Client) -> None:
    client.will(output="west/ops/prod/b\n\nwest/ops/prod/a\n", errors="WARN] old client\n")
    assert backend(client).list_jobs("ops") == ["west/ops/prod/b", "west/ops/prod/a"]
    client.will(output="")
    assert backend(client).list_jobs("ops") == []


def test_a_list_that_fails_is_no_empty_list(client: Client) -> None:
    client.will(output="half\n", errors="could not connect\n", code=7)
    with pytest.raises(Unavailable) as error:
        backend(client, "v2").list_jobs("ops")
    assert error.value.messages == ("Error reported by aurora client:", "half", "could not connect")


def test_v1_succeeds_only_if_the_scheduler_says_so(client: Client) -> None:
    client.will(output="INFO] nothing to see\n")
    with pytest.raises(GatewayError) as error:
        backend(client).create_job(KEY, BODY, "me")
    assert error.value.messages == ("Error reported by aurora client:", "INFO] nothing to see")
    backend(client, "v2").create_job(KEY, BODY, "me")


@pytest.mark.parametrize(("code", "kind"), [(3, Invalid), (30, Forbidden), (7, Unavailable)])
def test_exit_codes_become_errors(client: Client, code: int, kind: type[GatewayError]) -> None:
    client.will(output="one\n", errors="two\n", code=code)
    with pytest.raises(kind) as error:
        backend(client, "v2").create_job(KEY, BODY, "me")
    assert sorted(error.value.messages[1:]) == ["one", "two"]


def test_the_text_tells_what_the_code_does_not(client: Client) -> None:
    client.will(output="Response from scheduler: INVALID_REQUEST (message: already exists)\n", code=1)
    with pytest.raises(Conflict):
        backend(client).create_job(KEY, BODY, "me")


def test_output_without_end_is_cut(client: Client) -> None:
    client.will(output="x" * 3_000_000 + "\n" + OK)
    finished = run_command([str(client.path)], 60.0, True)
    assert finished.code == 0
    assert len(finished.output) == 1024 * 1024


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if not alive(pid):
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


class Clock:
    """Its time is past as soon as the command has said something, and ``ready`` returns."""

    def __init__(self, ready: Callable[[], object] = lambda: None) -> None:
        self._looks = 0
        self._ready = ready

    def monotonic(self) -> float:
        self._looks += 1
        if self._looks <= 2:  # when it is started, and while it has said nothing
            return 0.0
        self._ready()
        return 1000.0


def test_past_its_time_the_command_is_killed_with_its_children(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.will(output="working\n", child=True, seconds=600)
    monkeypatch.setattr("gateway.schedulers.command.time", Clock())
    with pytest.raises(Unavailable, match="has not ended within 60 s") as error:
        backend(client).create_job(KEY, BODY, "me")
    assert error.value.messages[1:] == ("working",)
    (call,) = client.calls
    assert gone(call["pid"])
    assert gone(int((client.directory / "child").read_text()))


def test_a_child_that_stays_behind_is_killed_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.will(output=OK, child=True)
    monkeypatch.setattr("gateway.schedulers.command.time", Clock(lambda: gone(client.calls[0]["pid"])))
    with pytest.raises(Unavailable):
        # It keeps stdout open, so nobody knows whether all has been said.
        backend(client).create_job(KEY, BODY, "me")
    assert gone(int((client.directory / "child").read_text()))


def test_a_command_that_dies_by_a_signal_has_failed(client: Client) -> None:
    finished = run_command(["/bin/sh", "-c", "kill -9 $$"], 60.0, True)
    assert finished.code == -signal.SIGKILL


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    missing = CommandBackend(str(tmp_path / "none"), "v1", "west", inline)
    with pytest.raises(Unavailable, match="cannot be run"):
        missing.list_jobs("ops")
    assert missing.health()["ready"] is False


def test_what_a_command_line_cannot_tell(client: Client) -> None:
    made = backend(client)
    for ask in (
        made.list_roles,
        lambda: made.get_job(KEY),
        lambda: made.plan(KEY, BODY, None, True),
        lambda: made.create_job(KEY, Submission(b"x", {"tag": "v"}), "me"),
    ):
        with pytest.raises(NotSupported):
            ask()
    assert client.calls == []
    assert made.health() == {"ready": True, "problems": []}
