"""Waking a thread that waits for a socket. Shared with the framework, like :mod:`executor.recordio`."""

from __future__ import annotations

import selectors
import socket


class Waker:
    """Interrupts whoever waits for its descriptor, or in :meth:`wait`, from any thread."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            pass  # it is full: the waiter will wake up anyway
        except OSError:
            pass  # it is closed: nobody waits any more

    def clear(self) -> None:
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            pass

    def wait(self, seconds: float) -> None:
        """Returns when woken, or after ``seconds``."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            if selector.select(max(0.0, seconds)):
                self.clear()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
