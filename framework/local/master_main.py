"""The process of the master: its HTTP port, its agents' processes, its signals, its end."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.web import Application

from framework.local import link, operator_api
from framework.local.agents import Agents
from framework.local.http import NotFound
from framework.local.link import Link
from framework.local.master import Master
from framework.local.options import Options
from framework.local.processes import Watch, identify
from framework.local.registry import Registry
from framework.local.supervisor import Supervisor

log = logging.getLogger("framework.local.master")

# Bodies larger than any call; Tornado answers 400 beyond it.
_MAX_BODY = 100 * 1024 * 1024
# How long one that was left behind may take to end, with its executors; in seconds.
_ENDING_SECS = 15.0


class StartFailed(Exception):
    """The cluster cannot start; the text says why."""


class Main:
    """One master and its agents, from start to end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stop = asyncio.Event()
        self._orphaned = False
        self._links: set[Link] = set()
        self._master: Master
        self._agents: Agents
        self._told_ready = False

    async def run(self, work_dir: Path) -> bool:
        """Serves until a signal or the parent's end; returns whether it was the parent's end."""
        options = self._options
        sockets = self._bind()
        config = options.master(work_dir)
        loop = asyncio.get_running_loop()
        try:
            registry = Registry(Path(config.work_dir) / "registry.json")
        except OSError as error:
            raise StartFailed(str(error)) from error
        self._master = Master(config, registry, loop)
        self._master.port = sockets[0].getsockname()[1]
        self._agents = Agents(self._master)
        server = self._serve(sockets)
        agents = await link.listen(Path(config.work_dir), self._agent_connected)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        watch = self._follow_parent()
        configs = options.agent_configs(work_dir, os.getpid(), self._master.port)
        supervisor = Supervisor(configs, options.restart_delay)
        pings = PeriodicCallback(self._agents.ping, config.times.agent_ping_timeout * 1000)
        pings.start()
        if not self._stop.is_set():
            supervisor.start()
        self._tell_ready()
        log.info("master on %s:%d, %d agents", options.address, self._master.port, options.agents)
        await self._stop.wait()
        log.info("ending")
        pings.stop()
        await self._end(server, supervisor)
        agents.close()
        if watch is not None:
            watch.cancel()
        return self._orphaned

    def _bind(self) -> list[socket.socket]:
        options = self._options
        try:
            return bind_sockets(options.port, options.address)
        except OSError as error:
            where = f"{options.address}:{options.port}"
            raise StartFailed(f"cannot listen on {where}: {error.strerror or error}") from error

    def _serve(self, sockets: list[socket.socket]) -> HTTPServer:
        application = Application(
            operator_api.routes(self._master),
            default_handler_class=NotFound,
            log_function=lambda handler: log.debug(
                "%d %s %s", handler.get_status(), handler.request.method, handler.request.uri
            ),
        )
        server = HTTPServer(application, max_body_size=_MAX_BODY, max_buffer_size=_MAX_BODY)
        server.add_sockets(sockets)
        return server

    def _agent_connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def message(link: Link, body: dict[str, object]) -> None:
            self._agents.message(link, body)
            if body["type"] == "register":
                self._tell_ready()

        def closed(link: Link) -> None:
            self._links.discard(link)
            self._agents.disconnected(link)

        self._links.add(Link(reader, writer, message, closed))

    def _tell_ready(self) -> None:
        """Writes the one line that says that all agents are there."""
        if self._told_ready or len(self._agents.names) < self._options.agents:
            return
        self._told_ready = True
        log.info("ready")
        fd = self._options.ready_fd
        if fd is None:
            return
        about = {"master": f"{self._options.address}:{self._master.port}", "agents": self._agents.names}
        try:
            os.write(fd, json.dumps(about).encode() + b"\n")
            os.close(fd)
        except OSError as error:
            log.warning("cannot tell that the cluster is ready: %s", error)

    def _follow_parent(self) -> Watch | None:
        parent = self._options.parent
        if parent is None:
            return None
        who = identify(os.getppid())
        if who is None or (parent and who.pid != parent):
            self._parent_gone()
            return None
        return Watch(who, self._parent_gone)

    def _parent_gone(self) -> None:
        log.info("the process that started this cluster is gone")
        self._orphaned = True
        self._stop.set()

    async def _end(self, server: HTTPServer, supervisor: Supervisor) -> None:
        """Frameworks first, so that they see a master that is gone, not lost tasks; then the agents."""
        server.stop()
        for framework in self._master.frameworks.values():
            session, framework.session, framework.active = framework.session, None, False
            if session is not None:
                session.end()
        patience = self._options.agent_times.executor_shutdown_grace + 10
        if not await supervisor.stop(patience):
            log.error("not all agents ended within %g s", patience)
        for one in list(self._links):
            one.close()
        await server.close_all_connections()


def main(options: Options) -> int:
    """Runs a cluster to its end; returns the exit status."""
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    temporary = options.work_dir is None
    work_dir = options.work_dir or Path(tempfile.mkdtemp(prefix="local-mesos-"))
    orphaned = False
    try:
        # Whoever starts again after it was killed finds the one that it has left ending.
        lock = _prepare(work_dir, 0.0 if options.parent is None else _ENDING_SECS)
        orphaned = asyncio.run(Main(options).run(work_dir))
        os.close(lock)
    except StartFailed as error:
        sys.stderr.write(f"local-mesos: {error}\n")
        return 1
    finally:
        if temporary or (orphaned and options.ephemeral):
            shutil.rmtree(work_dir, ignore_errors=True)
    return 0


def _prepare(work_dir: Path, patience: float) -> int:
    """Makes the directories; returns the lock that keeps a second master off. One that is there has
    ``patience`` seconds to end."""
    try:
        # Executors may run as other users: they pass through, but only the owner looks around.
        work_dir.mkdir(parents=True, exist_ok=True)
        work_dir.chmod(work_dir.stat().st_mode | 0o711)
        (work_dir / "master").mkdir(mode=0o700, exist_ok=True)
        (work_dir / "master").chmod(0o700)
        lock = os.open(work_dir / "master" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartFailed(f"cannot use the work directory: {error}") from error
    give_up = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() >= give_up:
                os.close(lock)
                raise StartFailed(f"another master runs on {work_dir}") from None
            time.sleep(0.1)
