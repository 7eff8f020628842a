"""One subscription to a master: a POST whose answer is an endless stream of events.

pymesos's own connection reads 4 KiB at a time, is quadratic in the size of an event and waits with
``select()``; this one takes its place.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import msgspec
from http_parser.http import HttpParser

from executor.recordio import ProtocolError, RecordDecoder
from executor.waker import Waker
from framework.mesos.masters import Address

_READ = 256 * 1024
_MAX_REFUSAL = 64 * 1024


class StreamEnded(Exception):
    """The subscription is over; the sentence says why."""


class Silent(StreamEnded):
    """The master, or the way to it, hangs: nothing came for too long, not even a heartbeat."""


class Refused(Exception):
    """The master answered SUBSCRIBE with another status than 200.

    ``location`` is where a 307 points, ``text`` the body (Mesos explains itself in text/plain).
    """

    def __init__(self, status: int, text: str, location: str | None) -> None:
        super().__init__(f"HTTP {status}: {text.strip() or 'no text'}")
        self.status = status
        self.text = text
        self.location = location


class EventStream:
    """Connects to ``address``, sends ``request``, gives the events.

    ``answer_timeout`` (seconds) bounds the connect and the wait for the first event; from then on
    ``patience`` (set by the caller, who learns the heartbeat's interval) bounds every silence.
    """

    def __init__(self, address: Address, request: bytes, waker: Waker, answer_timeout: float) -> None:
        self.stream_id = ""
        self.patience = answer_timeout
        self._address = address
        self._request = request
        self._waker = waker
        self._answer_timeout = answer_timeout
        self._parser = HttpParser()
        self._records = RecordDecoder()
        self._refusal = bytearray()
        self._accepted = False
        self._sock: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(waker.fileno(), selectors.EVENT_READ)
        self._deadline = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._selector.close()
        if self._sock is not None:
            self._sock.close()

    def events(self) -> Iterator[Mapping[str, Any] | None]:
        """Yields the events as they come, and None whenever the waker interrupts.

        Raises :class:`Refused`, :class:`StreamEnded`, :class:`ProtocolError` or ``OSError``.
        """
        sock = self._connect()
        self._extend(self._answer_timeout)
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise Silent(self._silence())
            ready = {key.fd: mask for key, mask in self._selector.select(left)}
            if self._waker.fileno() in ready:
                self._waker.clear()
                yield None
            mask = ready.get(sock.fileno(), 0)
            if mask & selectors.EVENT_WRITE:
                self._write(sock)
            if mask & selectors.EVENT_READ:
                yield from self._read(sock)

    def _connect(self) -> socket.socket:
        last: OSError = OSError(f"{self._address} has no address")
        host, port = self._address.host, self._address.port
        for family, kind, protocol, _, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                self._connect_one(sock, target)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                last = error
                continue
            self._sock = sock
            return sock
        raise last

    def _connect_one(self, sock: socket.socket, target: Any) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        error = sock.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, os.strerror(error))
        self._selector.register(sock, selectors.EVENT_WRITE)
        ready = self._selector.select(self._answer_timeout)
        if any(key.fd == self._waker.fileno() for key, _ in ready):
            # Whoever woke us wants to stop, or to go elsewhere; the flag he set is still there.
            raise StreamEnded("interrupted while connecting")
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
        if error:
            self._selector.unregister(sock)
            raise OSError(error, f"{os.strerror(error)} ({self._address})")
        self._selector.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _write(self, sock: socket.socket) -> None:
        sent = sock.send(self._request)
        self._request = self._request[sent:]
        if not self._request:
            self._selector.modify(sock, selectors.EVENT_READ)

    def _read(self, sock: socket.socket) -> Iterator[Mapping[str, Any]]:
        try:
            data = sock.recv(_READ)
        except BlockingIOError:
            return
        if not data:
            raise StreamEnded(f"master {self._address} closed the connection")
        if self._parser.execute(data, len(data)) != len(data):
            raise ProtocolError(f"{self._address} does not answer in HTTP: {data[:60]!r}")
        if not self._parser.is_headers_complete():
            return
        self._judge_head()
        if self._parser.is_partial_body():
            body = self._parser.recv_body()
            for record in self._records.feed(body):
                yield _decode(record)
                self._extend(self.patience)
        if self._parser.is_message_complete():
            raise StreamEnded(f"master {self._address} ended the stream of events")

    def _judge_head(self) -> None:
        """Raises :class:`Refused`, once its text is complete, unless the subscription is accepted."""
        if self._accepted:
            return
        status = self._parser.get_status_code()
        headers = {name.lower(): value for name, value in self._parser.get_headers().items()}
        if status == 200:
            if not self._parser.is_chunked():
                raise ProtocolError(f"{self._address} answers SUBSCRIBE with 200, but with no stream")
            self._accepted = True
            self.stream_id = headers.get("mesos-stream-id", "")
            return
        if self._parser.is_partial_body():
            self._refusal += self._parser.recv_body()
        if self._parser.is_message_complete() or len(self._refusal) > _MAX_REFUSAL:
            text = self._refusal[:_MAX_REFUSAL].decode("utf-8", "replace")
            raise Refused(status, text, headers.get("location"))

    def _extend(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def _silence(self) -> str:
        if self._accepted:
            return f"master {self._address} was silent for {self.patience:g} s"
        return f"master {self._address} did not answer within {self._answer_timeout:g} s"


def _decode(record: bytes) -> Mapping[str, Any]:
    try:
        event = msgspec.json.decode(record)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"an event is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise ProtocolError(f"an event is not a JSON object: {record[:60]!r}")
    return event
