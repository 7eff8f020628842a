"""A kept-alive HTTP/1.1 connection for calls to the master.

``http.client`` spends more on the headers of an empty ``202 Accepted`` than Mesos on the call; a busy
scheduler makes thousands of them in a second.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import msgspec

from framework.mesos.masters import Address

_MAX_TEXT = 64 * 1024
_MAX_LINE = 65_536
_MAX_HEADERS = 100


class Answer(msgspec.Struct, frozen=True):
    """What a master has answered; ``location``: where it sends us instead."""

    status: int
    text: str = ""
    location: str | None = None


class Connection:
    """``timeout`` (seconds) bounds every wait for the master. One call at a time, from one thread."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.calls = 0
        self._timeout = timeout
        self._host = str(address).encode()
        self._sock: socket.socket | None = None
        self._answers: BinaryIO | None = None
        self._poll = select.poll()

    def is_stale(self) -> bool:
        """Whether the master has closed its side, or sent what nobody asked for."""
        return self._sock is None or bool(self._poll.poll(0))

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends one call and returns its answer; raises like :meth:`write` and :meth:`read`."""
        self.write(path, [body], headers)
        return self.read()

    def write(self, path: str, bodies: Sequence[bytes], headers: Mapping[str, str]) -> None:
        """Sends calls, one behind the other; :meth:`read` gives the answer of each.

        Raises ``OSError``.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\n%b" % (
            path.encode(),
            self._host,
            lines.encode("latin-1"),
        )
        requests = [b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body) for body in bodies]
        if self._sock is None:
            self._connect()
        assert self._sock is not None
        self._sock.sendall(b"".join(requests))

    def read(self) -> Answer:
        """Returns the next answer.

        Raises ``OSError``, or ``http.client.HTTPException`` for what is not HTTP.
        """
        if self._sock is None:
            raise http.client.RemoteDisconnected("the master closed the connection after an answer")
        answer = self._read()
        self.calls += 1
        return answer

    def cut(self) -> None:
        """Makes a :meth:`post` under way in another thread fail now."""
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it is closed already
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._answers, self._sock):
            if end is not None:
                end.close()
        self._answers = self._sock = None

    def _connect(self) -> None:
        sock = socket.create_connection((self.address.host, self.address.port), self._timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._answers = sock.makefile("rb")
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)

    # -- the answer -------------------------------------------------------------------------------

    def _read(self) -> Answer:
        status, version = self._status()
        while status == 100:
            self._headers()
            status, version = self._status()
        headers = self._headers()
        body, whole = self._body(status, headers)
        kept = headers.get("connection", "").lower()
        if not whole or kept == "close" or (version == b"HTTP/1.0" and kept != "keep-alive"):
            self.close()
        return Answer(status, body.decode("utf-8", "replace"), headers.get("location"))

    def _line(self) -> bytes:
        assert self._answers is not None
        line = self._answers.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise http.client.LineTooLong("an answer's header")
        return line

    def _status(self) -> tuple[int, bytes]:
        line = self._line()
        if not line:
            raise http.client.RemoteDisconnected("the master closed the connection without an answer")
        version, _, rest = line.partition(b" ")
        code = rest[:3]
        if not version.startswith(b"HTTP/1.") or not code.isdigit() or len(code) != 3:
            raise http.client.BadStatusLine(repr(line[:100]))
        return int(code), version

    def _headers(self) -> dict[str, str]:
        """Returns the headers, their names in lower case."""
        headers: dict[str, str] = {}
        for _ in range(_MAX_HEADERS):
            line = self._line()
            if line in (b"\r\n", b"\n"):
                return headers
            if not line:
                raise http.client.IncompleteRead(b"")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        raise http.client.HTTPException(f"an answer with more than {_MAX_HEADERS} headers")

    def _body(self, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """Returns the body, at most _MAX_TEXT of it, and whether it was read to its end."""
        if status in (204, 304):
            return b"", True
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._chunks()
        declared = headers.get("content-length")
        if declared is None:
            return self._some(_MAX_TEXT), False
        if not declared.isascii() or not declared.isdigit():
            raise http.client.HTTPException(f"an answer of {declared[:40]!r} bytes")
        length = int(declared)
        return self._exactly(min(length, _MAX_TEXT)), length <= _MAX_TEXT

    def _chunks(self) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        length = 0
        while True:
            digits = self._line().split(b";")[0].strip()
            try:
                size = int(digits, 16)
            except ValueError:
                raise http.client.HTTPException(f"a chunk of {digits[:40]!r} bytes") from None
            if size == 0:
                self._headers()
                return b"".join(parts), True
            if length + size > _MAX_TEXT:
                return b"".join(parts), False
            parts.append(self._exactly(size))
            self._line()
            length += size

    def _exactly(self, length: int) -> bytes:
        data = self._some(length) if length else b""
        if len(data) < length:
            raise http.client.IncompleteRead(data, length - len(data))
        return data

    def _some(self, length: int) -> bytes:
        assert self._answers is not None
        return self._answers.read(length)
