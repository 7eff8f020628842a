"""What a replica that does not lead does with a request: it hands it to the one that does.

The client's credentials travel as they are, and the leader decides. A request is handed on once; two
replicas that each believe the other leads do not pass it to and fro.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.parse
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from framework.model.errors import Unavailable
from gateway.api.http import Answer, Stream
from gateway.tls import Certificate

FORWARDED = "X-Mesos-Gateway-Forwarded"
_CONNECT_SECS = 2.0
# Longer than a leader takes to say that it cannot say anything.
_HEAD_SECS = 60.0
_MOST = 1000
# What belongs to one connection (RFC 9110, 7.6.1), or is made anew for the next one.
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_ANEW = {"expect", "host", "content-length"}
_OURS = {"server", "date", "content-length", "x-content-type-options"}
_SAFE = ("GET", "HEAD", "OPTIONS")


class Standby(Protocol):
    """What is used of :class:`framework.replica.Replica`."""

    @property
    def url(self) -> str: ...

    @property
    def leads(self) -> bool: ...

    @property
    def leader(self) -> str | None: ...

    def unavailable(self) -> Unavailable: ...


class Forwarder:
    """Hands requests to the leader of ``replica``; belongs to the event loop."""

    def __init__(self, replica: Standby, certificate: Certificate | None = None) -> None:
        self._replica = replica
        self._certificate = certificate
        # Made once: it reads all authorities that the system trusts (and SSL_CERT_FILE).
        self._plain = ssl.create_default_context()
        self._flights: dict[_Flight, str] = {}

    @property
    def flying(self) -> int:
        """How many requests are at the leader, or streams come from there."""
        return len(self._flights)

    def target(self, headers: HTTPHeaders) -> str | None:
        """Returns the URL of who has to answer, None: this replica itself.

        Raises :class:`Unavailable` when nobody can answer now.
        """
        replica = self._replica
        if replica.leads:
            return None
        leader = replica.leader
        if FORWARDED in headers or leader in (None, replica.url):
            raise replica.unavailable()
        return leader

    def _tls(self) -> ssl.SSLContext:
        return self._plain if self._certificate is None else self._certificate.outward

    def changed(self) -> None:
        """There may be another leader: what the former one has not answered yet, it never will."""
        leader = self._replica.leader
        for flight, target in tuple(self._flights.items()):
            if leader is not None and target != leader:
                flight.close()

    async def forward(
        self, leader: str, request: HTTPServerRequest, body: bytes, request_id: str
    ) -> Answer | Stream:
        """Returns the leader's answer; raises :class:`Unavailable` if it gives none.

        ``request_id`` is the one that both audit logs will know the request by.
        """
        if len(self._flights) >= _MOST:
            raise Unavailable(f"{_MOST} requests wait for the leader already", retry_after=1)
        flight = _Flight(
            leader, request.method or "", self._tls(), lambda: self._flights.pop(flight, None)
        )
        self._flights[flight] = leader
        handed_over = False
        try:
            headers = self._headers(request, body)
            headers["X-Request-Id"] = request_id
            await flight.send(request.uri or "/", headers, body)
            status, headers = await flight.head()
            kept = _kept(headers, _OURS)
            if "Content-Length" in headers or status in (204, 304):
                whole = b"".join([chunk async for chunk in flight.chunks()])
                return Answer(whole, status=status, headers=kept)
            handed_over = True
            return Stream(flight.chunks(), headers.get("Content-Type", ""), status=status, headers=kept)
        except ConnectionError:
            raise flight.unanswered() from None
        finally:
            if not handed_over:
                flight.close()

    def _headers(self, request: HTTPServerRequest, body: bytes) -> HTTPHeaders:
        """The request's own headers, what a proxy adds, and the mark that ends a loop."""
        headers = HTTPHeaders()
        for name, value in _kept(request.headers, _ANEW):
            headers.add(name, value)
        way = (request.headers.get("X-Forwarded-For"), request.remote_ip)
        headers["X-Forwarded-For"] = ", ".join(address for address in way if address)
        headers["X-Forwarded-Host"] = request.host
        headers["X-Forwarded-Proto"] = request.protocol
        headers[FORWARDED] = self._replica.url
        headers["Connection"] = "close"
        if body or request.method not in _SAFE:
            headers["Content-Length"] = str(len(body))
        return headers


def _kept(headers: HTTPHeaders, dropped: set[str]) -> tuple[tuple[str, str], ...]:
    """Returns the headers without those of the one connection, and those ``dropped``."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    out = _HOP | dropped | named
    return tuple((name, value) for name, value in headers.get_all() if name.lower() not in out)


class _Flight:
    """One request on its way to the leader and back, on a connection of its own."""

    def __init__(
        self, leader: str, method: str, tls: ssl.SSLContext, landed: Callable[[], object]
    ) -> None:
        self._leader = leader
        self._method = method
        self._tls = tls
        self._landed = landed
        self._stream: IOStream | None = None
        self._receiver = _Receiver()
        self._reading: asyncio.Future[bool] | None = None

    async def send(self, uri: str, headers: HTTPHeaders, body: bytes) -> None:
        where = urllib.parse.urlsplit(self._leader)
        tls = self._tls if where.scheme == "https" else None
        port = where.port or (443 if tls else 80)
        headers["Host"] = where.netloc
        try:
            client = TCPClient()
            self._stream = await client.connect(
                where.hostname or "", port, ssl_options=tls, timeout=_CONNECT_SECS
            )
        except (OSError, TimeoutError, StreamClosedError) as error:
            why = f"the leader {self._leader} does not answer: {error or 'not in time'}"
            raise Unavailable(f"{why}; nothing has been done", retry_after=2) from None
        # There is no limit to what a stream brings in its life.
        limits = HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=2**62)
        connection = HTTP1Connection(self._stream, True, limits)
        with contextlib.suppress(StreamClosedError):  # which the reading finds out, too
            await connection.write_headers(RequestStartLine(self._method, uri, ""), headers, body)
        connection.finish()
        self._reading = asyncio.ensure_future(connection.read_response(self._receiver))
        self._reading.add_done_callback(self._receiver.over)

    async def head(self) -> tuple[int, HTTPHeaders]:
        """Returns the status and the headers; raises ``ConnectionError`` if they do not come."""
        try:
            async with asyncio.timeout(_HEAD_SECS):
                return await self._receiver.head
        except TimeoutError:
            raise ConnectionError(f"no answer for {_HEAD_SECS:g} s") from None

    def unanswered(self) -> Unavailable:
        """Returns what the client is told when the leader has got the request, and said nothing."""
        fate = "" if self._method in _SAFE else "; it may be carried out: look before you repeat it"
        return Unavailable(
            f"the leader {self._leader} has not answered the request{fate}", retry_after=2
        )

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it comes; raises ``ConnectionError`` if its end does not come."""
        try:
            while (chunk := await self._receiver.next()) is not None:
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Ends it wherever it is; whoever waits is told."""
        self._landed()
        if self._reading is not None:
            self._reading.cancel()
        if self._stream is not None:
            self._stream.close()


class _Receiver(HTTPMessageDelegate):
    """Takes an answer in, no faster than it is read."""

    def __init__(self) -> None:
        self.head: asyncio.Future[tuple[int, HTTPHeaders]] = asyncio.get_running_loop().create_future()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._complete = False
        self._taken = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, ResponseStartLine)
        if start_line.code >= 200 and not self.head.done():
            self.head.set_result((start_line.code, headers))

    async def data_received(self, chunk: bytes) -> None:
        self._chunks.put_nowait(chunk)
        await self._chunks.join()

    def finish(self) -> None:
        self._complete = True

    def on_connection_close(self) -> None:
        """:meth:`over` follows."""

    def over(self, reading: asyncio.Future[bool]) -> None:
        """Nothing more comes, for whatever reason."""
        if not reading.cancelled():
            reading.exception()  # it has no more to say than that the answer is not complete
        if not self.head.done():
            self.head.set_exception(ConnectionError("the connection ended before the answer"))
            self.head.exception()  # nobody may be waiting any more
        self._chunks.put_nowait(None)

    async def next(self) -> bytes | None:
        """Returns the next part of the body, None at its end."""
        if self._taken:
            self._chunks.task_done()
        self._taken = True
        chunk = await self._chunks.get()
        if chunk is None and not self._complete:
            raise ConnectionError("the answer of the leader broke off")
        return chunk
