"""What executors find: their environment, their sandbox, their files; and who may read them."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.local.files_api import read_text
from tests.framework.local.clusters import Cluster, until
from tests.framework.local.drivers import EXECUTOR
from tests.framework.local.wire import Framework, executor, get, task

Start = Callable[..., Cluster]


@pytest.fixture
def one(start_cluster: Start) -> Iterator[tuple[Cluster, Framework]]:
    cluster = start_cluster()
    framework = Framework(cluster.address, {"checkpoint": True})
    yield cluster, framework
    framework.close()


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_environment_is_as_recorded(
    shared: Path, start_cluster: Start, tmp_path: Path, checkpoint: bool
) -> None:
    name = "08-failover" if checkpoint else "02-launch-finish"
    recorded = json.loads((shared / "data" / "mesos-v1" / f"executor-env.{name}.json").read_text())
    cluster = start_cluster(
        1, "--executor-shutdown-grace-period=5", "--executor-reregistration-timeout=2"
    )
    framework = Framework(cluster.address, {"checkpoint": checkpoint})
    offer = framework.offer()
    given = executor("e", EXECUTOR)
    dump = tmp_path / "env.json"
    given["command"]["environment"] = {"variables": [{"name": "ENV_DUMP", "value": str(dump)}]}
    framework.accept(offer, [task("t", offer, executor=given)])
    framework.update("t", "TASK_RUNNING")
    live = json.loads(dump.read_text())
    own = {"ENV_DUMP"}
    assert live["env"].keys() - own == recorded["env"].keys()
    sandbox = cluster.sandbox("e").resolve()
    for key, value in recorded["env"].items():
        shown = value.replace(recorded["cwd"], str(sandbox)).replace(
            "127.0.0.1:5051", cluster.agent_address()
        )
        if key not in {"MESOS_EXECUTOR_ID", "MESOS_FRAMEWORK_ID", "MESOS_SLAVE_ID"}:
            assert live["env"][key] == shown, key
    assert live["cwd"] == str(sandbox)
    assert live["pgid"] == live["sid"] != os.getsid(0)
    parts = sandbox.parts[-8:]
    assert parts[::2] == ("slaves", "frameworks", "executors", "runs")
    framework.close()


def run(framework: Framework, task_id: str, command: dict[str, Any], end: str) -> dict[str, Any]:
    offer = framework.offer()
    framework.accept(offer, [task(task_id, offer, command=command)])
    for state in ("TASK_STARTING", "TASK_RUNNING"):
        framework.update(task_id, state)
    return framework.update(task_id, end)


def test_a_command_runs_as_it_is_given(one: tuple[Cluster, Framework], tmp_path: Path) -> None:
    cluster, framework = one
    (tmp_path / "data").write_text("fetched")
    command = {
        "shell": False,
        "value": "/bin/sh",
        "arguments": ["sh", "-c", "cat data; echo $0 $GREETING; echo err >&2", "hello"],
        "environment": {"variables": [{"name": "GREETING", "value": "world"}]},
        "uris": [{"value": str(tmp_path / "data")}],
    }
    run(framework, "t", command, "TASK_FINISHED")
    sandbox = cluster.sandbox("t")
    assert (sandbox / "stdout").read_text() == "fetchedhello world\n"
    assert (sandbox / "stderr").read_text() == "err\n"


def test_a_command_is_killed_with_its_children(one: tuple[Cluster, Framework]) -> None:
    cluster, framework = one
    offer = framework.offer()
    command = {"value": "trap '' TERM; sleep 1000 & echo $! > pid; wait; wait"}
    kill_policy = {"grace_period": {"nanoseconds": 300_000_000}}
    framework.accept(offer, [task("t", offer, command=command, kill_policy=kill_policy)])
    framework.update("t", "TASK_STARTING")
    framework.update("t", "TASK_RUNNING")
    pid = int(until(lambda: _text(cluster.sandbox("t") / "pid")))
    framework.call("KILL", {"task_id": {"value": "t"}})
    assert framework.update("t", "TASK_KILLED")["message"] == "Command terminated with signal Killed"
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


@pytest.mark.parametrize(
    ("command", "says", "reason"),
    [
        ({"value": "true", "user": "no-such-user"}, "no such user", "REASON_CONTAINER_LAUNCH_FAILED"),
        (
            {"value": "true", "uris": [{"value": "/no/such"}]},
            "Failed to fetch",
            "REASON_CONTAINER_LAUNCH_FAILED",
        ),
        (
            {"shell": False, "value": "/no/such/executor"},
            "Executor terminated",
            "REASON_EXECUTOR_TERMINATED",
        ),
    ],
)
def test_what_cannot_start_fails_with_a_reason(
    one: tuple[Cluster, Framework], command: dict[str, Any], says: str, reason: str
) -> None:
    _, framework = one
    offer = framework.offer()
    framework.accept(offer, [task("t", offer, executor=executor("e", "") | {"command": command})])
    failed = framework.update("t", "TASK_FAILED")
    assert says in failed["message"]
    assert failed["reason"] == reason
    framework.stream.wait_type("FAILURE")
    framework.offer(after=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_command_runs_as_the_user_it_names(one: tuple[Cluster, Framework]) -> None:
    cluster, framework = one
    os.chmod(cluster.root, 0o711)
    run(framework, "t", {"value": "id -un; touch mine", "user": "nobody"}, "TASK_FINISHED")
    sandbox = cluster.sandbox("t")
    assert (sandbox / "stdout").read_text() == "nobody\n"
    assert (sandbox / "mine").stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_files_are_read_piece_by_piece(one: tuple[Cluster, Framework]) -> None:
    cluster, framework = one
    run(
        framework,
        "t",
        {"value": "printf 'h\\303\\244llo'; mkdir sub; mkfifo pipe; ln -s /etc/passwd link"},
        "TASK_FINISHED",
    )
    address, sandbox = cluster.agent_address(), cluster.sandbox("t").resolve()
    listing = get(address, f"/files/browse?path={sandbox}").json
    assert [e["path"].rpartition("/")[2] for e in listing] == ["link", "pipe", "stderr", "stdout", "sub"]

    def read(query: str, path: str = "stdout") -> Any:
        return get(address, f"/files/read?path={sandbox}/{path}{query}")

    assert read("&offset=-1").json == {"data": "", "offset": 6}
    assert read("").json == {"data": "", "offset": 6}
    assert read("&offset=1&length=100").json == {"data": "ällo", "offset": 1}
    assert read("&offset=0&length=2").json == {"data": "h", "offset": 0}, "no character is cut"
    assert read("&offset=100").json == {"data": "", "offset": 100}
    virtual = f"/frameworks/{framework.id}/executors/t/runs/latest/stdout"
    assert get(address, f"/files/read?path={virtual}&offset=0").json["data"] == "hällo"
    assert get(address, f"/files/download?path={sandbox}/stdout").body == "hällo".encode()
    assert read("&offset=x").status == 400
    assert read("&offset=-2").status == 400
    assert get(address, "/files/read").status == 400
    outside = ["link", "pipe", "sub", "../../../x", "%00", "none"]
    assert [read("&offset=0", path).status for path in outside] == [404] * len(outside)
    for path in ("/etc/passwd", f"{sandbox}/../../../../../../../meta/agent.json", str(cluster.root)):
        assert get(address, f"/files/read?offset=0&path={path}").status == 404
        assert get(address, f"/files/browse?path={path}").status == 404
        assert get(address, f"/files/download?path={path}").status == 404


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        ("ä€😀".encode(), "ä€😀"),
        (b"\xff\xfex", "??x"),
        (b"a\xc3", "a"),  # the rest of the character may come with the next read
        (b"\xc3\xa4\xe2\x82", "ä"),
        (b"\xe2\x82", "??"),  # nothing else there: it would wait for ever
        (b"", ""),
    ],
)
def test_text_has_as_many_bytes_as_it_stands_for(data: bytes, text: str) -> None:
    assert read_text(data) == text
