"""Keeps the agents' processes running: starts them, adopts those that are there, restarts the dead.

An agent that leaves on purpose (exit status 0) stays away. Agents are asked to end, never killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import tornado

from framework.local.journal import JOURNALS, kill_recorded
from framework.local.processes import Identity, Watch, identify, send_signal
from framework.local.registry import replace_file
from framework.local.settings import AgentConfig

log = logging.getLogger(__name__)

PROCESS_FILE = "process.json"
CONFIG_FILE = "config.json"
LOG_FILE = "agent.log"


class _Agent:
    """One supervised agent process."""

    def __init__(self, config: AgentConfig, restart_delay: float) -> None:
        self._config = config
        self._dir = Path(config.work_dir)
        self._restart_delay = restart_delay
        self._child: subprocess.Popen[bytes] | None = None
        self._who: Identity | None = None
        self._watch: Watch | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._stopping = False
        self.gone = asyncio.Event()

    def start(self) -> None:
        """Adopts the agent that runs on this directory, or starts one.

        One that was started otherwise, or that will end with its own master, ends first.
        """
        self._restart = None
        who = self._running()
        if who is None:
            who = self._spawn()
        elif self._fits():
            log.info("%s runs as process %d: adopted", self._config.name, who.pid)
        else:
            log.info("%s runs with other settings: ended first", self._config.name)
            send_signal(who, signal.SIGTERM)
        self._who = who
        self._watch = Watch(who, self._ended)

    def _running(self) -> Identity | None:
        try:
            who = msgspec.json.decode((self._dir / PROCESS_FILE).read_bytes(), type=Identity)
        except (OSError, msgspec.MsgspecError):
            return None
        return who if identify(who.pid) == who else None

    def _fits(self) -> bool:
        """Whether the agent that runs would be started just so today."""
        try:
            theirs = msgspec.json.decode((self._dir / CONFIG_FILE).read_bytes(), type=AgentConfig)
        except (OSError, msgspec.MsgspecError):
            return False
        same = msgspec.structs.replace(theirs, master_pid=self._config.master_pid)
        return same == self._config and not theirs.die_with_master

    def _spawn(self) -> Identity:
        (self._dir / "meta").mkdir(parents=True, exist_ok=True)
        replace_file(self._dir / CONFIG_FILE, msgspec.json.encode(self._config))
        with open(self._dir / LOG_FILE, "ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "framework.local.agent_main", str(self._dir)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=python_environment(),
                start_new_session=True,
            )
        return identify(self._child.pid) or Identity(self._child.pid, -1)

    def _ended(self) -> None:
        self._watch = None
        status = self._child.wait() if self._child is not None else None
        self._child = None
        if self._stopping or status == 0:
            self.gone.set()
            return
        log.warning("%s died (status %s): started again", self._config.name, status)
        self._restart = asyncio.get_running_loop().call_later(self._restart_delay, self.start)

    def stop(self) -> None:
        """Asks the agent to end; ``gone`` is set when it has."""
        self._stopping = True
        if self._restart is not None:
            self._restart.cancel()
            self.gone.set()
        elif self._who is not None and not self.gone.is_set():
            send_signal(self._who, signal.SIGTERM)

    def sweep(self) -> None:
        """Kills the executors of an agent that is gone; blocks."""
        if self._running() is None:
            kill_recorded(self._dir / JOURNALS)


class Supervisor:
    """All agents of one master."""

    def __init__(self, configs: list[AgentConfig], restart_delay: float = 1.0) -> None:
        self._agents = [_Agent(config, restart_delay) for config in configs]

    def start(self) -> None:
        for agent in self._agents:
            agent.start()

    async def stop(self, patience: float) -> bool:
        """Ends every agent; returns whether all were gone within ``patience`` seconds.

        What agents that died, and were not started again, left behind is killed.
        """
        for agent in self._agents:
            agent.stop()
        waits = [asyncio.ensure_future(agent.gone.wait()) for agent in self._agents]
        if not waits:
            return True
        _, pending = await asyncio.wait(waits, timeout=patience)
        for wait in pending:
            wait.cancel()
        for agent in self._agents:
            await asyncio.get_running_loop().run_in_executor(None, agent.sweep)
        return not pending


def python_environment() -> dict[str, str]:
    """Returns an environment in which a child finds this package and what it needs.

    Also where they are not installed: in a source tree, or in a single-file executable.
    """
    own = Path(__file__).resolve().parents[2]
    needed = [Path(str(m.__file__)).resolve().parents[1] for m in (msgspec, tornado)]
    paths = dict.fromkeys(str(p) for p in (own, *needed))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
