"""How master and agents talk: JSON messages over a Unix socket in the master's private directory.

Only the owner of the directory (mode 0700) can reach the socket, and each end checks that the other
runs as the same user, so nobody else can pose as agent or as master. A message is its length in four
bytes and its JSON; the order is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)

Json = dict[str, Any]
_LENGTH = struct.Struct(">I")
_MAX = 256 * 1024 * 1024
SOCKET_NAME = "agents.sock"


class Link:
    """One connection. ``on_message`` gets each message, ``on_close`` the end, both on the loop."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_message: Callable[[Link, Json], None],
        on_close: Callable[[Link], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_message = on_message
        self._on_close = on_close
        self.closed = False
        self._task = asyncio.get_running_loop().create_task(self._read())

    def send(self, message: Json) -> None:
        """Sends a message; after the end it is dropped, as on any broken connection."""
        if not self.closed:
            body = msgspec.json.encode(message)
            self._writer.write(_LENGTH.pack(len(body)) + body)

    def close(self) -> None:
        """Ends the connection; ``on_close`` is called unless it was before."""
        if not self.closed:
            self.closed = True
            self._writer.close()
            self._on_close(self)

    async def flush_and_close(self) -> None:
        """Ends the connection after what was sent has left."""
        with contextlib.suppress(OSError):
            await self._writer.drain()
        self.close()
        self._task.cancel()

    async def _read(self) -> None:
        try:
            while not self.closed:
                size = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))[0]
                if size > _MAX:
                    raise ConnectionError(f"a message of {size} bytes")
                message = msgspec.json.decode(await self._reader.readexactly(size))
                if not self.closed:
                    self._on_message(self, message)
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            log.debug("the peer has closed its link")
        finally:
            self.close()


def _same_user(peer: socket.socket) -> bool:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == os.geteuid())


class _Directory:
    """A way to name a socket whose directory's path may be longer than a socket address allows."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._fd}/{SOCKET_NAME}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


async def listen(
    directory: Path,
    accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
) -> asyncio.AbstractServer:
    """Listens in ``directory``, replacing what a dead master left there."""
    (directory / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with _Directory(directory) as address:
        listener.bind(address)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if _same_user(writer.get_extra_info("socket")):
            accept(reader, writer)
        else:
            log.warning("refused an agent that runs as another user")
            writer.close()

    return await asyncio.start_unix_server(connected, sock=listener)


async def connect(
    directory: Path,
    on_message: Callable[[Link, Json], None],
    on_close: Callable[[Link], None],
) -> Link:
    """Connects to the master that listens in ``directory``; raises ``OSError`` if there is none."""
    peer = socket.socket(socket.AF_UNIX)
    try:
        with _Directory(directory) as address:
            peer.connect(address)
        if not _same_user(peer):
            raise PermissionError("the master's socket belongs to another user")
        peer.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=peer)
    except BaseException:
        peer.close()
        raise
    return Link(reader, writer, on_message, on_close)
