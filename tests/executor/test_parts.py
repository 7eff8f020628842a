"""The small parts: environment, RecordIO, the log of updates, identity."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from executor.environment import BadEnvironment, parse_duration, parse_environment
from executor.identity import owner_of, state_of
from executor.runtimes.base import Exited, explain_exit
from executor.updates import UpdateLog


def recorded(shared: Path, name: str) -> dict[str, str]:
    return json.loads((shared / f"data/mesos-v1/executor-env.{name}.json").read_text())["env"]


def test_recorded_environments_are_read(shared: Path) -> None:
    checkpointing = parse_environment(recorded(shared, "11-agent-restart"))
    assert checkpointing.agent_endpoint == "127.0.0.1:5051"
    assert checkpointing.checkpoint
    assert checkpointing.recovery_timeout == 900
    assert checkpointing.backoff_max == 2
    assert checkpointing.shutdown_grace == 5
    assert checkpointing.run_id == "4cc2d91d-75c0-45f6-8714-db7a9d91fa32"
    assert not parse_environment(recorded(shared, "20-agent-killed-no-checkpoint")).checkpoint


def test_every_recorded_environment_is_understood(shared: Path) -> None:
    for path in sorted((shared / "data/mesos-v1").glob("executor-env.*.json")):
        environment = parse_environment(json.loads(path.read_text())["env"])
        assert environment.directory


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15mins", 900), ("2secs", 2), ("1.5hrs", 5400), ("100ms", 0.1), ("1days", 86400), ("5ns", 5e-9)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "secs", "5", "5 parsecs", "-1secs", "1secs2"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MESOS_AGENT_ENDPOINT", ""),
        ("MESOS_AGENT_ENDPOINT", "localhost"),
        ("MESOS_AGENT_ENDPOINT", ":5051"),
        ("MESOS_AGENT_ENDPOINT", "h:99999"),
        ("MESOS_FRAMEWORK_ID", ""),
        ("MESOS_RECOVERY_TIMEOUT", "soon"),
    ],
)
def test_a_wrong_environment_is_named(shared: Path, name: str, value: str) -> None:
    with pytest.raises(BadEnvironment, match=name):
        parse_environment({**recorded(shared, "11-agent-restart"), name: value})


def status(uuid: str, task: str = "t") -> dict:
    return {"uuid": uuid, "task_id": {"value": task}, "state": "TASK_RUNNING"}


def launched(task: str) -> dict:
    return {"task_id": {"value": task}, "data": "e30="}


def test_updates_survive_in_order_until_they_are_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "x" / "updates.jsonl"
    log = UpdateLog(path)
    log.launched(launched("t"))
    for uuid in "abc":
        log.made(status(uuid))
    log.acknowledged("t", "b")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"update": {"sta')  # cut off by a crash
    again = UpdateLog(path)
    assert [u["status"]["uuid"] for u in again.updates] == ["a", "c"]
    assert again.tasks == []
    again.made(status("d"))
    again.close()
    last = UpdateLog(path)
    assert [u["status"]["uuid"] for u in last.updates] == ["a", "c", "d"]
    last.close()


def test_what_a_subscription_carries_is_not_sent_again_by_itself() -> None:
    log = UpdateLog(None)
    log.made(status("a"))
    assert log.next_unsent() == ("a", {"status": status("a")})
    tasks, updates = log.subscribing()
    assert (tasks, updates) == ([], [{"status": status("a")}])
    log.made(status("b"))
    unsent = log.next_unsent()
    assert unsent is not None
    assert unsent[0] == "b"
    log.sent("b")
    assert log.next_unsent() is None


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "updates.jsonl"
    log = UpdateLog(path)
    for n in range(5000):
        log.made(status(str(n)))
        log.acknowledged("t", str(n))
    assert len(path.read_bytes().splitlines()) < 2000
    log.close()


def test_an_owner_is_alive_until_it_is_not() -> None:
    child = subprocess.Popen(["sleep", "100"])
    owner = owner_of(child.pid)
    assert state_of(owner) == "alive"
    child.kill()
    child.wait()
    assert state_of(owner) == "dead"
    own = owner_of(os.getpid())
    place = own.rsplit("/", 2)[0]
    assert state_of(f"{place}/{os.getpid()}/1") == "dead"  # the pid, but another start
    for foreign in ("", "x", "boot/1/2/3", f"{place}/x/y"):
        assert state_of(foreign) == "unknown"


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (Exited("p", 0, 3), "exited with code 3"),
        (Exited("p", 0, 137), "exited with code 137 (SIGKILL)"),
        (Exited("p", 0, None, 15), "was ended by SIGTERM"),
        (Exited("p", 0, None, detail="gone"), "was lost: gone"),
    ],
)
def test_an_end_is_described(ended: Exited, text: str) -> None:
    assert ended.describe() == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("/bin/sh: foo: not found", "the command foo does not exist"),
        ("bash: line 1: foo: command not found", "the command foo does not exist"),
        (
            "[FATAL tini (7)] exec /foo failed: No such file or directory",
            "the command /foo does not exist",
        ),
        ("sh: 1: /foo: No such file or directory", "the command /foo does not exist"),
        ("something else", "something else"),
    ],
)
def test_a_missing_command_is_named(words: str, text: str) -> None:
    assert explain_exit(127, words) == text
    assert explain_exit(0, words) == ""
