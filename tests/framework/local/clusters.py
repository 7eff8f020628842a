"""A local Mesos as the tests use it: with short times, and with ways to hurt it."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from framework.local.launcher import LocalMesos
from framework.local.processes import Identity, alive
from framework.local.supervisor import PROCESS_FILE
from tests.framework.local.wire import PATIENCE, get
from tests.ports import free_port

RESOURCES = "cpus:2;mem:1024;disk:1024;ports:[31000-31099]"
ATTRIBUTES = "rack:r1;zone:z1"
FAST = (
    "--agent-restart-delay=0.2",
    "--executor-shutdown-grace-period=2",
    "--executor-registration-timeout=60",
)


def until(condition: Callable[[], Any], what: str = "", timeout: float = PATIENCE) -> Any:
    """Waits until ``condition`` returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"timeout: {what}"
        time.sleep(0.01)
    return value


class Cluster:
    """A running master with agents."""

    def __init__(
        self,
        agents: int = 1,
        *options: str,
        attributes: Sequence[str] = (ATTRIBUTES,),
        resources: str = RESOURCES,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="mesos-test-")
        self.root = Path(self._directory.name)
        # Agents that are killed come back to theirs, which must not be somebody else's meanwhile.
        ports = [f"--agent-ports={','.join(str(free_port()) for _ in range(agents))}"] if agents else []
        self.local = LocalMesos(
            agents, resources, list(attributes), self.root, options=[*FAST, *ports, *options]
        )
        self.address = ""
        self._count = agents
        self._killed: set[Identity] = set()

    def start(self) -> None:
        self.address = self.local.start(PATIENCE)

    def stop(self) -> None:
        """Ends it; nothing that ran in its directory may still run."""
        self.local.stop()
        left = processes_in(self.root)
        self._directory.cleanup()
        assert left == [], "processes were left behind"

    def agent_process(self, number: int = 1) -> Identity:
        path = self.root / "agents" / str(number) / PROCESS_FILE
        return msgspec.json.decode(path.read_bytes(), type=Identity)

    def tell_agent(self, number: int, agent: int = 1) -> None:
        os.kill(self.agent_process(agent).pid, number)

    def kill_agent(self, agent: int = 1) -> None:
        """Ends an agent's process with SIGKILL."""
        who = self.agent_process(agent)
        self._killed.add(who)
        os.kill(who.pid, signal.SIGKILL)
        until(lambda: not alive(who), "the agent ends")

    def await_acknowledged(self) -> None:
        """Waits until the agent has the framework's acknowledgement of an update."""

        def arrived() -> bool:
            journals = self.root.glob("agents/*/meta/executors/*.journal")
            return any(b'"ack"' in p.read_bytes() for p in journals)

        until(arrived, "the acknowledgement arrives")

    def await_agents(self) -> None:
        """Waits until all agents are there, those that were killed as new processes."""

        def back() -> bool:
            there = [self.agent_process(n + 1) for n in range(self._count)]
            return not self._killed & set(there) and self.state()["activated_slaves"] == self._count

        until(back, "the agents are there")

    def agent_address(self, number: int = 1) -> str:
        """Where the n-th agent listens, as the master knows it."""
        hostname = f"127.0.0.{number}"
        slave = next(s for s in self.state()["slaves"] if s["hostname"] == hostname)
        return f"{hostname}:{slave['port']}"

    def state(self) -> Any:
        return get(self.address, "/state").json

    def sandbox(self, executor_id: str) -> Path:
        """The newest sandbox of an executor."""
        found = list(
            self.root.glob(f"agents/*/slaves/*/frameworks/*/executors/{executor_id}/runs/latest")
        )
        return max(found, key=lambda p: p.lstat().st_mtime, default=self.root / "none" / "none")


def processes_in(root: Path) -> list[str]:
    """The command lines of the processes whose directory or command line lies under ``root``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            where = os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(root) in command or where.startswith(str(root)):
            found.append(f"{entry.name}: {command} ({where})")
    return found
