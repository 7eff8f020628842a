"""The subscription to an agent: a POST whose answer is an endless stream of events.

It takes the place of pymesos's connection, which waits with ``select()`` (1,024 descriptors at most)
and is quadratic in the size of an event.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Generator, Iterator
from typing import Any

import msgspec
from http_parser.http import HttpParser

from executor.recordio import ProtocolError, RecordDecoder
from executor.waker import Waker

_READ = 64 * 1024
# Events are rare (a heartbeat every 30 min), an answer to SUBSCRIBE is not.
ANSWER_TIMEOUT = 30.0


class StreamEnded(Exception):
    """The agent ended the stream, or went away."""


class Refused(Exception):
    """The agent answered SUBSCRIBE with ``status``; ``text`` is its explanation."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text.strip() or 'no text'}")
        self.status = status

    @property
    def is_final(self) -> bool:
        """Whether trying again is of no use: 404 is an agent that has not set its routes up yet."""
        return 400 <= self.status < 500 and self.status not in (404, 408, 429)


def events(endpoint: str, request: bytes, waker: Waker) -> Generator[dict[str, Any] | None, None, None]:
    """Sends ``request`` to ``endpoint`` (host:port); yields the events, and None when woken.

    Raises :class:`Refused`, :class:`StreamEnded` or ``OSError``. Closing the iterator closes the
    connection.
    """
    host, _, port = endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER_TIMEOUT) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.sendall(request)
        sock.setblocking(False)
        answer = _Answer(endpoint)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.register(waker.fileno(), selectors.EVENT_READ)
            while True:
                left = None if answer.accepted else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise StreamEnded(f"agent {endpoint} did not answer within {ANSWER_TIMEOUT:g} s")
                ready = {key.fd for key, _ in selector.select(left)}
                if waker.fileno() in ready:
                    waker.clear()
                    yield None
                if sock.fileno() in ready:
                    yield from answer.feed(_receive(sock, endpoint))


def _receive(sock: socket.socket, endpoint: str) -> bytes:
    try:
        data = sock.recv(_READ)
    except ConnectionError as error:
        raise StreamEnded(f"agent {endpoint}: {error}") from error
    if not data:
        raise StreamEnded(f"agent {endpoint} closed the connection")
    return data


class _Answer:
    """The answer to SUBSCRIBE as it arrives."""

    def __init__(self, endpoint: str) -> None:
        self.accepted = False
        self._endpoint = endpoint
        self._parser = HttpParser()
        self._records = RecordDecoder()
        self._refusal = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        if self._parser.execute(data, len(data)) != len(data):
            raise StreamEnded(f"agent {self._endpoint} does not answer in HTTP: {data[:60]!r}")
        if not self._parser.is_headers_complete():
            return
        self.accepted = self._parser.get_status_code() == 200
        body = self._parser.recv_body() if self._parser.is_partial_body() else b""
        if not self.accepted:
            self._refuse(body)
            return
        try:
            for record in self._records.feed(body):
                yield msgspec.json.decode(record, type=dict[str, Any])
        except (ProtocolError, msgspec.DecodeError) as error:
            raise StreamEnded(f"agent {self._endpoint} sent no event: {error}") from error
        if self._parser.is_message_complete():
            raise StreamEnded(f"agent {self._endpoint} ended the stream")

    def _refuse(self, body: bytes) -> None:
        self._refusal += body
        if self._parser.is_message_complete() or len(self._refusal) > _READ:
            text = self._refusal[:_READ].decode("utf-8", "replace")
            raise Refused(self._parser.get_status_code(), text)
