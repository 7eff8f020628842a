"""Tornado's HTTP server, with an answer in JSON where Tornado has a bare one or none at all."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, SSLIOStream, UnsatisfiableReadError
from tornado.web import Application

from gateway.api.http import json_text
from gateway.api.resource import DRAINED

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

    A reader that takes nothing of an answer for STALLED_SECS is disconnected.
    """

    _watch: object = None

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
        error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
        if isinstance(error, UnsatisfiableReadError) and not self.closed():
            # The stream is given up; a short answer still fits into the socket's own buffer.
            with contextlib.suppress(OSError):
                self.socket.send(TOO_LONG)
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
            idle_connection_timeout=IDLE_SECS,
            body_timeout=BODY_SECS,
            max_body_size=DRAINED,
            **kwargs,
        )

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
