"""A lean HTTP/1.1 client: kept-alive connections, one request in flight on each, latencies."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

MakeRequest = Callable[[int], bytes]


def request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Returns the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body or method not in ("GET", "DELETE"):
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, 60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        self._received.clear()
        self.began = time.perf_counter()
        self.sock.sendall(data)

    def receive(self) -> int:
        """Returns the status of a complete answer, 0 while it is not complete."""
        data = self.sock.recv(1_048_576)
        if not data:
            raise RuntimeError("the server closed the connection")
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = bytes(self._received[:end])
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return int(head[9:12]) if len(self._received) >= end + 4 + length else 0

    @property
    def body(self) -> bytes:
        return bytes(self._received).partition(b"\r\n\r\n")[2]


class Load:
    """Sends requests to ``address`` (a URL) and remembers the latency of each, in seconds.

    ``make(n)`` returns the n-th request; ``expected`` is the status of every answer.
    """

    def __init__(self, address: str, make: MakeRequest, expected: int = 200) -> None:
        parts = urlsplit(address)
        self._address = (parts.hostname or "", parts.port or 80)
        self._make = make
        self._expected = expected
        self._number = 0
        self.latencies: list[float] = []

    def rate(self, connections: int, requests: int) -> float:
        """Returns requests per second, ``requests`` of them over ``connections`` connections."""
        open_ones = [_Connection(self._address) for _ in range(connections)]
        prepared = [self._make(self._number + n) for n in range(requests)]
        self._number += requests
        prepared.reverse()
        left = requests
        with selectors.DefaultSelector() as selector:
            began = time.perf_counter()
            for connection in open_ones:
                selector.register(connection.sock, selectors.EVENT_READ, connection)
                if prepared:
                    connection.send(prepared.pop())
            while left:
                for key, _ in selector.select(60):
                    connection = key.data
                    status = connection.receive()
                    if not status:
                        continue
                    self.latencies.append(time.perf_counter() - connection.began)
                    if status != self._expected:
                        raise RuntimeError(f"the answer is {status}: {connection.body[:300]!r}")
                    left -= 1
                    if prepared:
                        connection.send(prepared.pop())
            took = time.perf_counter() - began
        for connection in open_ones:
            connection.sock.close()
        return requests / took

    def one(self) -> bytes:
        """Sends one request and returns the body of its answer."""
        connection = _Connection(self._address)
        try:
            connection.send(self._make(self._number))
            while not (status := connection.receive()):
                pass
            if status != self._expected:
                raise RuntimeError(f"the answer is {status}: {connection.body[:300]!r}")
            return connection.body
        finally:
            connection.sock.close()
