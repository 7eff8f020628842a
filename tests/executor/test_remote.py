"""Commands beside running tasks, and nodes without an image: real processes on this machine."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.messages import Cancel, Fetch, Part, Reply, Run, decode, encode
from executor.runtimes.base import Options
from executor.runtimes.choice import Runtimes
from executor.task import DiskMount, Node, NodeFile
from tests.executor.agent import ScriptedAgent
from tests.executor.harness import (
    Bench,
    ExecutorProcess,
    encoded,
    eventually,
    marked,
    payload,
    process,
)
from tests.ports import free_port

FOR_EVER = process("while :; do sleep 0.1; done")


@pytest.fixture
def task(bench: Bench) -> str:
    """A task that runs until it is told to end."""
    bench.launch(payload("t1", FOR_EVER))
    bench.wait("t1", "TASK_RUNNING")
    return "t1"


def test_commands_run_in_the_sandbox_with_the_tasks_environment(bench: Bench, task: str) -> None:
    command = ("sh", "-c", 'pwd; echo "$MESOS_TASK_ID"; echo oops >&2; exit 3')
    final, out, err = bench.call(Run("c1", task, command))
    assert (final.code, final.problem) == (3, "")
    assert out.decode().split() == [str(bench.sandbox(task)), "t1"]
    assert err == b"oops\n"


def test_input_and_output_of_any_size_come_through(bench: Bench, task: str) -> None:
    data = os.urandom(1 << 20) * 3
    for offset in range(0, len(data), 1 << 19):
        bench.executor.message(encode(Part("c1", offset, data[offset : offset + (1 << 19)])))
    final, out, _ = bench.call(Run("c1", task, ("cat",), parts=len(data)))
    assert final.code == 0
    assert out == data
    final, _, _ = bench.call(Run("c2", task, ("true",), stdin=b"nobody reads this" * 10_000))
    assert final.code == 0


def test_a_repeated_run_is_carried_out_once(bench: Bench, task: str) -> None:
    run = Run("c1", task, ("sh", "-c", "echo x >> once; sleep 0.3"))
    for _ in range(5):
        bench.executor.message(encode(run))
    assert bench.call(run)[0].code == 0
    assert (bench.sandbox(task) / "once").read_text() == "x\n"


def test_a_command_that_takes_too_long_leaves_no_process(bench: Bench, task: str) -> None:
    mark = uuid.uuid4().hex
    # One in a session of its own, one that has lost its parent, one in the foreground.
    script = f"setsid sh -c 'sleep 300; : {mark}' & (sh -c 'sleep 301; : {mark}' &); sleep 302; : {mark}"
    begun = time.monotonic()
    final, _, _ = bench.call(Run("c1", task, ("sh", "-c", script), timeout=0.7))
    assert (final.code, final.problem) == (None, "the command did not end within 0.7 s, and was killed")
    assert time.monotonic() - begun >= 0.7
    eventually(lambda: not marked(mark))
    assert bench.states(task)[-1] == "TASK_RUNNING"


def test_a_cancelled_command_is_killed(bench: Bench, task: str) -> None:
    mark = uuid.uuid4().hex
    bench.executor.message(encode(Run("c1", task, ("sh", "-c", f"sleep 300; : {mark}"))))
    eventually(lambda: marked(mark))
    bench.executor.message(encode(Cancel("c1")))
    eventually(lambda: not marked(mark))


def test_what_a_command_leaves_running_runs_on_until_the_task_ends(bench: Bench, task: str) -> None:
    mark = uuid.uuid4().hex
    final, out, _ = bench.call(Run("c1", task, ("sh", "-c", f"sh -c 'sleep 300; : {mark}' & echo up")))
    assert (final.code, out) == (0, b"up\n")
    eventually(lambda: marked(mark))
    bench.executor.kill(task)
    bench.wait(task, "TASK_KILLED")
    # On a busy machine one that has been killed is still there for a moment.
    eventually(lambda: not marked(mark))


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (Run("c1", "none", ("true",)), "nothing can be run beside task none: it is none of this"),
        (Run("c1", "t1", ("no-such-command",)), "the command no-such-command does not exist"),
        (Run("c1", "t1", ("./absent",)), "cannot run ./absent: No such file or directory"),
        (Run("c1", "t1", ("true",), user="nobody"), "should run as user 'nobody', but the task runs as"),
    ],
)
def test_what_cannot_be_run_is_said_at_once(bench: Bench, task: str, run: Run, problem: str) -> None:
    final, _, _ = bench.call(run)
    assert problem in final.problem
    assert final.code in (None, 127)


def test_the_end_of_the_task_ends_its_commands(bench: Bench, task: str) -> None:
    mark = uuid.uuid4().hex
    bench.executor.message(encode(Run("c1", task, ("sh", "-c", f"sleep 300; : {mark}"))))
    eventually(lambda: marked(mark))
    bench.executor.kill(task)
    bench.wait(task, "TASK_KILLED")
    eventually(lambda: not marked(mark))
    final = eventually(lambda: next((r for r in bench.replies if r.final), None))
    assert (final.code, final.problem) == (None, "the task has ended, and the command with it")
    assert "is over" in bench.call(Run("c2", task, ("true",)))[0].problem


def test_messages_that_mean_nothing_harm_nobody(bench: Bench, task: str) -> None:
    for data in (b"", b"\x00\xffping", b"{}", b'{"type":"run"}', encode(Reply("c", 0))):
        bench.executor.message(data)
    assert bench.call(Run("c1", task, ("true",)))[0].code == 0


def test_calls_go_over_the_agents_connection(
    agent: ScriptedAgent, start_executor: Callable[..., ExecutorProcess]
) -> None:
    start_executor()
    agent.wait_subscribed()
    agent.launch("t1", encoded(payload("t1", FOR_EVER)))
    agent.wait(lambda: "TASK_RUNNING" in agent.states("t1"))

    def heard() -> dict[int, Reply]:
        found = [decode(b64decode(c["message"]["data"])) for c in agent.of("MESSAGE")]
        return {r.number: r for r in found if isinstance(r, Reply)}

    def say(data: bytes) -> None:
        agent.send({"type": "MESSAGE", "message": {"data": b64encode(data).decode()}})

    say(b"\x00\xffping")
    say(encode(Run("c1", "t1", ("echo", "hello"))))
    agent.wait(lambda: any(r.final for r in heard().values()))
    assert heard()[1].data == b"hello\n"
    assert heard()[2] == Reply("c1", 2, final=True, code=0)
    call = agent.of("MESSAGE")[0]
    assert call["executor_id"] == {"value": "e1"}
    assert call["framework_id"] == {"value": "F-0000"}
    before = len(agent.of("MESSAGE"))
    say(encode(Fetch("c1", 2)))
    agent.wait(lambda: len(agent.of("MESSAGE")) > before)


# -- nodes without an image --


def test_a_node_without_an_image_finds_its_things_in_its_sandbox(bench: Bench, tmp_path: Path) -> None:
    disk = tmp_path / "data" / "disk1"
    disk.parent.mkdir()
    node = Node(
        "db0",
        hosts=(("db0", "10.9.0.5"), ("db1", "10.9.0.6")),
        disks=(DiskMount("/var/lib/db"),),
        files=(NodeFile("/root/.ssh/key", "secret", 0o600),),
        environment=(("ROLE", "primary"),),
    )
    command = "echo $NODE_HOSTNAME $ROLE $NODE_DISK_1; cat hosts root/root/.ssh/key; echo x > disks/1/y"
    end = bench.run(payload("n1", process(command), node=node, disk_paths=(str(disk),)))
    assert end["state"] == "TASK_FINISHED", end["message"]
    assert bench.log("n1").splitlines() == [
        f"db0 primary {disk}",
        "127.0.0.1\tlocalhost",
        "10.9.0.5\tdb0",
        "10.9.0.6\tdb1",
        "secret",
    ]
    assert (disk / "y").read_text() == "x\n"
    assert stat.S_IMODE((bench.sandbox("n1") / "root/root/.ssh/key").stat().st_mode) == 0o600


def test_a_disk_that_the_agent_does_not_have_is_named(bench: Bench, tmp_path: Path) -> None:
    node = Node("db0", disks=(DiskMount("/d"),))
    path = tmp_path / "absent" / "disk1"
    end = bench.run(payload("n1", process("true"), node=node, disk_paths=(str(path),)))
    assert end["state"] == "TASK_FAILED"
    assert f"the agent has no {path.parent} for the data disk disk1: make it" in end["message"]


def test_a_node_is_running_once_all_of_its_ports_are_listened_on(bench: Bench) -> None:
    first, second = socket.socket(), socket.socket()
    with first, second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        first.listen()
        node = Node("db0", check_ports=(first.getsockname()[1], second.getsockname()[1]))
        bench.launch(payload("n1", FOR_EVER, node=node))
        bench.wait("n1", "TASK_STARTING")
        # The first port has been asked for: so has the second, which nobody listens on.
        first.accept()[0].close()
        first.accept()[0].close()
        assert bench.states("n1") == ["TASK_STARTING"]
        second.listen()
        bench.wait("n1", "TASK_RUNNING")
    # That nobody listens any more changes nothing: this only gates the beginning.
    settled = threading.Event()
    assert not settled.wait(1.2)
    assert bench.states("n1") == ["TASK_STARTING", "TASK_RUNNING"]


def test_a_port_that_is_not_listened_on_in_time_fails_the_node(
    tmp_path: Path, runtimes: Runtimes
) -> None:
    bench = Bench(tmp_path, runtimes, Options(ports_patience=1.5))
    port = free_port()
    end = bench.run(payload("n1", FOR_EVER, node=Node("db0", check_ports=(port,))))
    assert (end["state"], end["message"]) == (
        "TASK_FAILED",
        f"port {port} of node db0 is not listened on after 1.5 s",
    )
    assert bench.states("n1") == ["TASK_STARTING", "TASK_FAILED"]
    bench.close()


def test_a_healthy_node_listens_first_and_is_asked_for_its_health_then(bench: Bench) -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    port = server.getsockname()[1]
    check = {
        "health_checker": {"shell": {"shell_command": "echo asked >> asked; test -e well"}},
        "interval_secs": 0.1,
        "initial_interval_secs": 60,
        "timeout_secs": 5,
    }
    node = Node("db0", check_ports=(port,))
    task = payload("n1", FOR_EVER, document={"health_check_config": check}, node=node)
    bench.launch(task)
    bench.wait("n1", "TASK_STARTING")
    asked = bench.sandbox("n1") / "asked"
    assert not asked.exists()
    with server:
        server.listen()
        eventually(asked.exists)
        assert bench.states("n1") == ["TASK_STARTING"]
        (bench.sandbox("n1") / "well").touch()
        assert bench.wait("n1", "TASK_RUNNING")["healthy"] is True
