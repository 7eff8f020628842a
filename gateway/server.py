"""The server's life: build, listen, serve until SIGTERM or SIGINT, drain, end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import gc
import logging
import os
import signal
import socket
import sys
from typing import NoReturn

from tornado.netutil import bind_sockets

from framework.model.errors import GatewayError
from gateway import standby
from gateway.app import make_app
from gateway.components import build
from gateway.context import VERSION, Gateway
from gateway.http_server import GatewayServer
from gateway.options import Options

log = logging.getLogger(__name__)

# For the requests; what is ended after them has the rest of ten seconds.
DRAIN_SECS = 6.0


class CannotListen(GatewayError):
    """The address or the port cannot be had."""

    code = "cannot_listen"


def serve(options: Options) -> int:
    """Runs a gateway in this process until it is told to stop; returns the exit code.

    Says where it listens in one line on stdout. Raises GatewayErrors for what does not start.
    """
    sockets = listen(options.address, options.port)
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.callback(one.close)
        return asyncio.run(_run(options, sockets))


def listen(address: str, port: int) -> list[socket.socket]:
    """Returns listening sockets; raises :class:`CannotListen` with what is in the way."""
    try:
        return bind_sockets(port, address)
    except OSError as error:
        hint = (
            "; is another gateway running? --port chooses another"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise CannotListen(f"cannot listen on {address}:{port}: {error.strerror}{hint}") from None


async def _run(options: Options, sockets: list[socket.socket]) -> int:
    stopping, hung_up = _signals(), asyncio.Event()
    # What others are told; 0 was a free one.
    options = dataclasses.replace(options, port=sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    # Whoever rotates logs does not know that it only starts; unheard, the signal would end it.
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    with contextlib.ExitStack() as stack:
        # In a thread: signals are heard while the embedded Mesos starts.
        gateway = await loop.run_in_executor(None, build, options, stack)
        if stopping.is_set():
            return 0
        # What is here now stays: a collection that looks through all of it costs tens of milliseconds.
        gc.collect()
        gc.freeze()
        gateway.events.start()
        gateway.metrics.start()
        certificate = gateway.certificate
        server = GatewayServer(
            make_app(gateway), ssl_options=certificate.context if certificate else None
        )
        standby.follow(gateway)
        server.add_sockets(sockets)

        def reload() -> None:
            gateway.reload()
            if certificate is not None:
                server.ssl_options = certificate.context

        loop.add_signal_handler(signal.SIGHUP, reload)
        if hung_up.is_set():
            reload()
        announce(options.address, sockets[0].getsockname()[1], "https" if certificate else "http")
        await stopping.wait()
        log.info("stopping: no new connections; running requests may end")
        await drain(gateway, server)
        gateway.metrics.stop()
        gateway.files.close()
        await loop.run_in_executor(None, stack.close)
    log.info("stopped")
    if gateway.pool.abandoned:
        leave(0)
    return 0


def leave(code: int) -> NoReturn:
    """Ends the process now: Python would wait for its threads, for minutes if it comes to that.

    Everything that is to be kept has been, and a request that was given up has been told so.
    """
    log.warning("requests that have not ended are given up")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _signals() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping


def announce(address: str, port: int, scheme: str = "http") -> None:
    """Says on stdout where the server listens: who has started it waits for that."""
    host = f"[{address}]" if ":" in address else address
    sys.stdout.write(f"mesos-gateway {VERSION} listens on {scheme}://{host}:{port}\n")
    sys.stdout.flush()


async def drain(gateway: Gateway, server: GatewayServer, seconds: float = DRAIN_SECS) -> None:
    """Ends the streams, lets requests end for ``seconds``, then closes every connection."""
    server.stop()
    if not await gateway.requests.drain(seconds):
        log.warning("%d requests have not ended within %g s", gateway.requests.running, seconds)
        for request in gateway.requests.unfinished():
            request.give_up()
    await server.close_all_connections()
