"""kill -9 of an executor: what it ran is gone, at once or after the next executor's sweep."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.identity import owner_of
from executor.sweep import OWNER_VARIABLE, kill_orphans, value_in
from executor.task import Container
from tests.executor.agent import ScriptedAgent
from tests.executor.harness import (
    ExecutorProcess,
    containers,
    encoded,
    eventually,
    long_sleep,
    marked,
    payload,
    process,
)

Start = Callable[..., ExecutorProcess]
RUNNING = ["TASK_STARTING", "TASK_RUNNING"]


def test_no_process_outlives_an_executor_that_is_killed(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    mark = long_sleep()
    executor = start_executor()
    agent.wait_subscribed()
    deaf = f"trap '' TERM; (setsid sleep {mark} &); sleep {mark} & wait"
    for n in range(3):
        agent.launch(f"t{n}", encoded(payload(f"t{n}", process(deaf))))
        agent.wait_states(f"t{n}", RUNNING)
    eventually(lambda: len(marked(f"sleep\0{mark}")) == 6)
    executor.kill()
    eventually(lambda: not marked(mark))


def test_no_process_outlives_the_whole_of_an_executor(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    """Everything of the executor is killed at the same moment, as an agent does that cleans up."""
    mark = long_sleep()
    executor = start_executor()
    agent.wait_subscribed()
    hidden = f"(setsid env -u X sleep {mark} &); exec sleep {mark}"
    agent.launch("t1", encoded(payload("t1", process(hidden))))
    agent.wait_states("t1", RUNNING)
    eventually(lambda: len(marked(f"sleep\0{mark}")) == 2)
    own = [pid for pid in _tree(executor.process.pid) if pid not in marked(mark)]
    # Who is killed first must not be missed by the others, which would end by themselves.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in own:
            os.kill(pid, number)
    executor.process.wait()
    # What was its direct child dies with its parent; the rest is for the next executor.
    start_executor(MESOS_DIRECTORY=str(executor.sandbox), MESOS_EXECUTOR_ID="e1")
    agent.wait_subscribed(2)
    eventually(lambda: not marked(mark))


def _tree(root: int) -> list[int]:
    found = [root]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == root:
                found += _tree(int(entry.name))
    return found


@pytest.mark.docker
def test_the_next_executor_removes_the_containers_of_one_that_was_killed(
    agent: ScriptedAgent, start_executor: Start, image: str
) -> None:
    import docker

    client = docker.from_env()
    executor = start_executor()
    agent.wait_subscribed()
    task_id = f"crash-{os.getpid()}"
    box = Container(image)
    agent.launch(task_id, encoded(payload(task_id, process("exec sleep 1000"), container=box)))
    agent.wait_states(task_id, RUNNING)

    def left() -> list[str]:
        return [c.id for c in containers(client, task_id)]

    # Not after the kill: whichever executor of this machine sweeps next removes it.
    assert len(left()) == 1
    executor.kill()
    start_executor(MESOS_EXECUTOR_ID="e2")
    eventually(lambda: not left())
    client.close()


@pytest.mark.alone
def test_the_sweep_spares_what_has_a_living_executor_or_none() -> None:
    dead = subprocess.Popen(["sleep", "100"])
    owner = owner_of(dead.pid)
    dead.kill()
    dead.wait()
    children = {
        "orphan": subprocess.Popen(["sleep", "100"], env={**os.environ, OWNER_VARIABLE: owner}),
        "owned": subprocess.Popen(
            ["sleep", "100"], env={**os.environ, OWNER_VARIABLE: owner_of(os.getpid())}
        ),
        "other": subprocess.Popen(["sleep", "100"]),
        "foreign": subprocess.Popen(["sleep", "100"], env={**os.environ, OWNER_VARIABLE: "x/y/1/2"}),
    }
    try:
        # Between fork and exec a child has its parent's environment.
        eventually(lambda: kill_orphans() == 1)
        assert children["orphan"].wait(10) == -signal.SIGKILL
        assert all(children[c].poll() is None for c in ("owned", "other", "foreign"))
    finally:
        for child in children.values():
            child.kill()
            child.wait()


def test_the_owner_is_read_from_an_environment() -> None:
    assert value_in(b"A=1\0MESOS_GATEWAY_EXECUTOR=b/n/1/2\0", OWNER_VARIABLE) == "b/n/1/2"
    assert value_in(b"XMESOS_GATEWAY_EXECUTOR=b/n/1/2\0", OWNER_VARIABLE) is None
