"""Tornado's HTTP server, with an answer in JSON where Tornado has a bare one or none at all."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Literal

from tornado.concurrent import Future
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, SSLIOStream, UnsatisfiableReadError
from tornado.web import Application

from gateway.api.http import json_text
from gateway.api.resource import DRAINED

log = logging.getLogger(__name__)

# What tornado.http1connection writes to whoever does not speak HTTP.
_BARE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
MAX_HEADER = 65536
# From the connection, or the last answer, to the end of the headers; the TLS handshake is in it.
IDLE_SECS = 30.0
BODY_SECS = 30.0
# An answer of which nothing is taken for so long is not wanted any more.
STALLED_SECS = 30.0


def _complete(status: str, sentence: str) -> bytes:
    body = json_text({"status": "failure", "errors": [sentence]})
    head = (
        f"HTTP/1.1 {status}\r\nServer: mesos-gateway\r\n"
        "Content-Type: application/json; charset=UTF-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


MALFORMED = _complete("400 Bad Request", "the request is not well-formed HTTP, or its body is not")
TOO_LONG = _complete(
    "431 Request Header Fields Too Large",
    f"the request line and headers are longer than {MAX_HEADER} bytes",
)

_Reason = (
    bool
    | BaseException
    | tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
    | None
)


class _Answering(IOStream):
    """A connection on which whoever is refused before there is a request learns why.

    A reader that takes nothing of an answer for STALLED_SECS is disconnected, and so is who does not
    send the head of a request within IDLE_SECS and its body within BODY_SECS. Tornado would do the
    latter two, too, with timers, futures and a task for each request; here a connection has one timer.
    """

    _watch: object = None
    # What is read now, since when that is so of its part of the request, and how long it may take.
    _reading: Future[bytes] | None = None
    _part: Literal["head", "body"] = "head"
    _since = 0.0
    _read_watch: object = None

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Future[bytes]:
        """How Tornado reads a head, and nothing else."""
        self._part, self._since = "head", self.io_loop.time()
        return self._timed(super().read_until_regex(regex, max_bytes))

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Future[bytes]:
        """How Tornado reads a body, or a chunk of it."""
        self._begin_body()
        return self._timed(super().read_bytes(num_bytes, partial))

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Future[bytes]:
        """How Tornado reads the length of a chunk."""
        self._begin_body()
        return self._timed(super().read_until(delimiter, max_bytes))

    def _begin_body(self) -> None:
        if self._part == "head":
            self._part, self._since = "body", self.io_loop.time()

    def _timed(self, read: Awaitable[bytes]) -> Future[bytes]:
        assert isinstance(read, Future)
        self._reading = read
        if self._read_watch is None and not read.done():
            self._read_watch = self.io_loop.call_later(self._left(), self._look_at_reading)
        return read

    def _left(self) -> float:
        """How many seconds the part of a request that is read now still has."""
        return self._since + (IDLE_SECS if self._part == "head" else BODY_SECS) - self.io_loop.time()

    def _look_at_reading(self) -> None:
        self._read_watch = None
        if self._reading is None or self._reading.done():
            return
        left = self._left()
        if left > 0:
            self._read_watch = self.io_loop.call_later(left, self._look_at_reading)
        else:
            self._say_why()
            self.close()

    def _say_why(self) -> None:
        """Nobody else logs a request whose body has not come; a connection that idles is none."""
        if self._part == "body":
            with contextlib.suppress(OSError):
                peer = self.socket.getpeername()[0]
                log.info("%s is disconnected: a body has not come within %g s", peer, BODY_SECS)

    def write(self, data: Any) -> Any:
        written = super().write(MALFORMED if data == _BARE else data)
        if self._watch is None and self.writing():
            self._watch_from(self._total_write_done_index)
        return written

    def _watch_from(self, done: int) -> None:
        self._watch = self.io_loop.call_later(STALLED_SECS, self._look, done)

    def _look(self, before: int) -> None:
        self._watch, done = None, self._total_write_done_index
        if self.closed() or not self.writing():
            return
        if done == before:
            self.close()
        else:
            self._watch_from(done)

    def close(self, exc_info: _Reason = False) -> None:
        if self._watch is not None:
            self.io_loop.remove_timeout(self._watch)
            self._watch = None
        if self._read_watch is not None:
            self.io_loop.remove_timeout(self._read_watch)
            self._read_watch = None
        error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
        if isinstance(error, UnsatisfiableReadError) and not self.closed():
            # The stream is given up; a short answer still fits into the socket's own buffer. In a body
            # it is the line before a chunk that has no end.
            with contextlib.suppress(OSError):
                self.socket.send(TOO_LONG if self._part == "head" else MALFORMED)
                self.socket.shutdown(socket.SHUT_WR)
                self._discard()
        super().close(exc_info)

    def _discard(self) -> None:
        """Reads what has arrived: closing before that would reset the connection, answer and all."""
        for _ in range(64):
            if not self.socket.recv(65536):
                return


class AnsweringStream(_Answering):
    """As it is without TLS."""


class AnsweringTLSStream(_Answering, SSLIOStream):
    """As it is with TLS."""


class GatewayServer(HTTPServer):
    """Limits: headers MAX_HEADER bytes within IDLE_SECS, a body within BODY_SECS."""

    def initialize(self, request_callback: Application, **kwargs: Any) -> None:  # type: ignore[override]
        super().initialize(
            request_callback,
            max_header_size=MAX_HEADER,
            max_body_size=DRAINED,
            **kwargs,
        )
        # The stream's part, as the time for bodies is.
        self.conn_params.header_timeout = None

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        # Nothing has been read or written yet, so the socket can change hands.
        kind: type[_Answering] = AnsweringStream
        if isinstance(stream, SSLIOStream):
            # This one already waits for the handshake.
            stream.io_loop.remove_handler(stream.fileno())
            kind = AnsweringTLSStream
        answering = kind(
            stream.socket,
            max_buffer_size=stream.max_buffer_size,
            read_chunk_size=stream.read_chunk_size,
        )
        super().handle_stream(answering, address)
