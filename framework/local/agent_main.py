"""The process of one agent: ``python -m framework.local.agent_main DIRECTORY``, started by the master.

SIGTERM and SIGINT end it with its executors; SIGUSR1 too, as in Mesos, where the agent then unregisters.
SIGKILL leaves the executors to the agent that the master starts in its place.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from framework.local import agent_api, attributes, link
from framework.local.agent import Agent
from framework.local.executor_api import ExecutorHandler
from framework.local.http import NotFound
from framework.local.processes import Watch, identify
from framework.local.registry import replace_file
from framework.local.settings import DATA_DISKS, AgentConfig
from framework.local.supervisor import CONFIG_FILE, PROCESS_FILE

log = logging.getLogger("framework.local.agent")

_RECONNECT = 0.1
_RECONNECT_MAX = 1.0


class Main:
    """Wires one agent to its HTTP port, its master and its signals."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._root = Path(config.work_dir)
        self._stop = asyncio.Event()
        self._link_lost = asyncio.Event()

    async def run(self) -> None:
        """Serves until a signal, or until the master has been gone for too long."""
        known = self._known()
        sockets = bind_sockets(known.get("port") or self._config.port, self._config.address)
        config = msgspec.structs.replace(self._config, port=sockets[0].getsockname()[1])
        command = [sys.executable, "-I", str(Path(__file__).with_name("command_executor.py"))]
        agent = Agent(config, attributes.parse(config.attributes), command)
        for disk in agent.total.items(DATA_DISKS):
            (Path(config.disks_dir) / disk).mkdir(0o755, parents=True, exist_ok=True)
        self._adopt_past(agent, known)
        server = HTTPServer(self._application(agent))
        server.add_sockets(sockets)
        who = identify(os.getpid())
        replace_file(self._root / PROCESS_FILE, msgspec.json.encode(who))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(number, self._stop.set)
        watch = self._follow_master()
        connection = loop.create_task(self._stay_connected(agent))
        await self._stop.wait()
        log.info("ending")
        connection.cancel()
        agent.unregister()
        await agent.endings.end_all()
        await agent.close()
        server.stop()
        await server.close_all_connections()
        if watch is not None:
            watch.cancel()
        (self._root / PROCESS_FILE).unlink(missing_ok=True)

    def _known(self) -> dict[str, Any]:
        """What an earlier agent wrote down here: its id and its port."""
        try:
            known = msgspec.json.decode((self._root / "meta" / "agent.json").read_bytes(), type=dict)
        except FileNotFoundError:
            return {}
        return dict(known)

    def _adopt_past(self, agent: Agent, known: dict[str, Any]) -> None:
        if not known:
            return
        same = known["resources"] == agent.config.resources
        if same:
            agent.id = str(known["agent_id"])
        else:
            log.warning("the resources changed: this is a new agent, what ran on the old one ends")
        agent.endings.recover(keep=same)

    def _application(self, agent: Agent) -> Application:
        routes = [(r"(?:/slave\(1\))?/api/v1/executor", ExecutorHandler, {"agent": agent})]
        return Application(
            [*routes, *agent_api.routes(agent)],
            default_handler_class=NotFound,
            log_function=lambda handler: log.debug("%d %s", handler.get_status(), handler.request.uri),
        )

    def _follow_master(self) -> Watch | None:
        """Ends with the master's process, if it was started to do so."""
        if not self._config.die_with_master:
            return None
        master = identify(self._config.master_pid)
        if master is None or os.getppid() != self._config.master_pid:
            self._stop.set()
            return None
        return Watch(master, self._stop.set)

    async def _stay_connected(self, agent: Agent) -> None:
        """Keeps a link to the master; ends the agent when there has been none for too long."""
        loop = asyncio.get_running_loop()
        delay, lost_at = _RECONNECT, loop.time()

        def link_lost(gone: link.Link) -> None:
            agent.disconnected(gone)
            self._link_lost.set()

        while True:
            try:
                current = await link.connect(
                    Path(self._config.master_dir),
                    lambda _, message: agent.master_message(message),
                    link_lost,
                )
            except OSError:
                if loop.time() - lost_at > self._config.times.orphan:
                    log.error("no master for %g s: ending", self._config.times.orphan)
                    self._stop.set()
                    return
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RECONNECT_MAX)
                continue
            self._link_lost.clear()
            agent.connected(current)
            await self._link_lost.wait()
            delay, lost_at = _RECONNECT, loop.time()


def main() -> None:
    """Runs the agent whose directory is the first argument, until it is ended."""
    root = Path(sys.argv[1])
    config = msgspec.json.decode((root / CONFIG_FILE).read_bytes(), type=AgentConfig)
    logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # One agent per directory: the lock is held until the process ends.
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another agent runs in {root}")
    asyncio.run(Main(config).run())


if __name__ == "__main__":
    main()
