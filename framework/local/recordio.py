"""Streams of events: RecordIO records in the HTTP chunks of one endless response.

The connection is taken over from Tornado, so that the bytes are those of Mesos: one chunk per record
``<length>\\n<json>``, no Connection header, chunk ``0`` at the end (raw-bytes.txt of the recordings).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import msgspec
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream, StreamBufferFullError, StreamClosedError

log = logging.getLogger(__name__)

Json = dict[str, Any]
# A subscriber that reads nothing is cut off when this much waits for it.
MAX_BUFFERED = 64 * 1024 * 1024


def encode(event: Json) -> bytes:
    """Returns one record."""
    body = msgspec.json.encode(event)
    return b"%d\n%s" % (len(body), body)


class EventStream:
    """The sending end of one subscription. ``on_close`` is called once, when the peer is gone."""

    def __init__(self, stream: IOStream, on_close: Callable[[EventStream], None]) -> None:
        self._stream = stream
        self._on_close = on_close
        self._heartbeat: PeriodicCallback | None = None
        self.ended = False
        self.sent: dict[str, int] = {}
        stream.max_write_buffer_size = MAX_BUFFERED

    def open(self, headers: Mapping[str, str]) -> None:
        """Sends the status line and the headers."""
        lines = ["HTTP/1.1 200 OK", f"Date: {formatdate(usegmt=True)}", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._write("\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode())
        self._stream.set_close_callback(self._closed)

    def send(self, event: Json) -> None:
        """Sends one event; nothing happens after the end."""
        if self.ended:
            return
        kind = event["type"]
        self.sent[kind] = self.sent.get(kind, 0) + 1
        record = encode(event)
        self._write(b"%x\r\n%s\r\n" % (len(record), record))

    def heartbeats(self, interval: float, *, at_once: bool) -> None:
        """Sends HEARTBEAT every ``interval`` seconds."""
        if at_once:
            self.send({"type": "HEARTBEAT"})
        self._heartbeat = PeriodicCallback(lambda: self.send({"type": "HEARTBEAT"}), interval * 1000)
        self._heartbeat.start()

    def end(self) -> None:
        """Ends the stream with the terminating chunk; ``on_close`` is not called."""
        if self.ended:
            return
        self._finish()
        if self._stream.closed():
            return
        try:
            flushed = self._stream.write(b"0\r\n\r\n")
        except (StreamClosedError, StreamBufferFullError):
            self._stream.close()
            return
        flushed.add_done_callback(lambda _: self._stream.close())

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except StreamClosedError:
            pass  # the close callback tells
        except StreamBufferFullError:
            log.warning("a subscriber does not read its events: cut off")
            self._stream.close()

    def _closed(self) -> None:
        if not self.ended:
            self._finish()
            self._on_close(self)

    def _finish(self) -> None:
        self.ended = True
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
