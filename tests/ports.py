"""Ports for what a test starts, which nobody else is given meanwhile."""

from __future__ import annotations

import secrets
import socket

# Below those that the kernel gives to whoever asks for any, or connects to somebody (32768 and more on
# Linux): a port from among them may be gone again before it is listened on. The tests' agents offer
# those from 31000 on.
_LOWEST, _COUNT = 20_000, 10_000


def reserve() -> socket.socket:
    """Returns a socket that keeps a port of 127.0.0.1 for who knows it, until it is closed.

    Connections to the port are refused as long as nobody listens there; a server may be made there, and
    made anew, and no other program is given the port meanwhile.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def free_port() -> int:
    """Returns a port that nobody listens on, at any address of this machine."""
    while True:
        port = _LOWEST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
