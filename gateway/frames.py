"""Messages over a stream socket: four bytes of length, then the message."""

from __future__ import annotations

import socket
import struct
import time

_LENGTH = struct.Struct("!I")
_LARGEST = 256 * 1024 * 1024


def send_frame(connection: socket.socket, message: bytes) -> None:
    """Sends one message; raises ``OSError`` (``TimeoutError`` after the socket's timeout)."""
    if len(message) > _LARGEST:
        raise ValueError(f"a message of {len(message)} bytes is too large for a worker")
    connection.sendall(_LENGTH.pack(len(message)) + message)


def receive_frame(connection: socket.socket, deadline: float | None = None) -> bytes:
    """Returns the next message; raises ``EOFError`` at the end, ``TimeoutError`` after ``deadline``.

    ``deadline`` is in seconds of ``time.monotonic()``; None leaves the socket's own timeout.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, deadline))
    return _exactly(connection, length, deadline)


def _exactly(connection: socket.socket, length: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise EOFError("the connection ended")
        parts += part
    return bytes(parts)
