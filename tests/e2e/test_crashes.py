"""kill -9 of each part in the middle of the main job: nothing answered with 2xx is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.harness import (
    Client,
    eventually,
    gateway,
    key_of,
    local_mesos,
    processes,
    service,
    start_gateway,
)

RUNNING = "RUNNING"
# Of this run: others may be under way on the same machine.
MARK = f"crash-mark-{uuid.uuid4().hex[:12]}"
RESOURCES = "--resources=cpus:4;mem:2048;disk:4096;ports:[31000-31099]"


def marked(name: str, instances: int = 2) -> bytes:
    """A service whose processes can be found by the run and the job in their environment or command."""
    return service(name, f"echo $$; while true; do sleep 1; done; : {MARK}-{name}", instances=instances)


def running(name: str) -> list[int]:
    """Pids of the shells of a marked service."""
    found = {}
    for pid in processes(f"{MARK}-{name}"):
        words = command_of(pid)
        if f"{MARK}-{name}".encode() in words and b"sh\0" in words[:16]:
            found[pid] = parent_of(pid)
    # What a shell has forked is for a moment like itself.
    return [pid for pid, parent in found.items() if parent is not None and parent not in found]


def command_of(pid: int) -> bytes:
    """The command line of a process, b"" of one that has ended: others of this machine come and go."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return None


@contextlib.contextmanager
def serving(directory: Path, name: str) -> Iterator[Client]:
    """A gateway over a Mesos of one agent, where a marked service of two instances runs."""
    with (
        local_mesos(directory, "--agents=1", RESOURCES) as mesos,
        gateway(directory, f"--master={mesos.address}") as server,
    ):
        client = Client(server.address)
        assert client.call("PUT", f"/alpha/jobs/{key_of(name)}", marked(name)).status == 201
        client.wait_states(key_of(name), {0: RUNNING, 1: RUNNING})
        yield client


def test_tasks_survive_the_gateway_and_are_adopted(tmp_path: Path) -> None:
    name = "survivor"
    key = key_of(name)
    with local_mesos(tmp_path, "--agents=2", RESOURCES) as mesos:
        first = start_gateway(tmp_path, f"--master={mesos.address}")
        client = Client(first.address)
        assert client.call("PUT", f"/alpha/jobs/{key}", marked(name)).status == 201
        client.wait_states(key, {0: RUNNING, 1: RUNNING})
        tasks, pids = client.tasks(key), running(name)
        assert len(pids) == 2
        first.kill()
        with gateway(tmp_path, f"--master={mesos.address}") as second:
            client = Client(second.address)
            eventually(lambda: client.call("GET", "/health").status, lambda status: status == 200)
            assert client.states(key) == {0: RUNNING, 1: RUNNING}
            assert client.tasks(key) == tasks
            assert running(name) == pids
            # Reconciliation has been through: a kill now reaches the adopted tasks.
            assert client.call("DELETE", f"/alpha/jobs/{key}").status == 200
            eventually(lambda: running(name), lambda left: not left)
            client.wait_states(key, {0: "KILLED", 1: "KILLED"})


def test_a_job_accepted_just_before_the_kill_is_started_once(tmp_path: Path) -> None:
    name = "promised"
    key = key_of(name)
    with local_mesos(tmp_path, "--agents=2", RESOURCES) as mesos:
        first = start_gateway(tmp_path, f"--master={mesos.address}")
        answer = Client(first.address).call("PUT", f"/alpha/jobs/{key}", marked(name, 4))
        first.kill()
        assert answer.status == 201
        with gateway(tmp_path, f"--master={mesos.address}") as second:
            client = Client(second.address)
            client.wait_states(key, dict.fromkeys(range(4), RUNNING))
            eventually(lambda: len(running(name)), lambda count: count == 4)
            client.call("DELETE", f"/alpha/jobs/{key}")
            eventually(lambda: running(name), lambda left: not left)


def test_a_killed_executor_loses_no_instance_and_leaves_no_process(tmp_path: Path) -> None:
    name = "executorless"
    key = key_of(name)
    with serving(tmp_path, name) as client:
        tasks, before = client.tasks(key), running(name)
        executors = [
            pid for pid in processes(f"MESOS_DIRECTORY={tmp_path}") if b"executor" in command_of(pid)
        ]
        assert executors
        for pid in executors:
            # The executor's own helpers end with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: (client.states(key), client.tasks(key)),
            lambda seen: (
                set(seen[0].values()) == {RUNNING} and not set(seen[1].values()) & set(tasks.values())
            ),
        )
        eventually(lambda: running(name), lambda now: len(now) == 2 and not set(now) & set(before))


def test_tasks_survive_an_agent_that_is_killed(tmp_path: Path) -> None:
    name = "agentless"
    key = key_of(name)
    with serving(tmp_path, name) as client:
        tasks, before = client.tasks(key), running(name)
        agents = [
            pid
            for pid in processes("framework.local.agent")
            if str(tmp_path).encode() in command_of(pid)
        ]
        assert len(agents) == 1
        os.kill(agents[0], signal.SIGKILL)
        # The agent is back, and its executor with it, when a new instance's task runs there.
        other = key_of("afterwards")
        assert client.call("PUT", f"/alpha/jobs/{other}", marked("afterwards", 1)).status == 201
        client.wait_states(other, {0: RUNNING})
        assert client.states(key) == {0: RUNNING, 1: RUNNING}
        assert client.tasks(key) == tasks
        assert running(name) == before
