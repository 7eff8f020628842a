"""The one Tornado handler: every resource is an instance of it with the routes of its methods.

It does what all routes share: limits on the body, who may call from a browser, query parameters,
errors as JSON, streaming with back-pressure, counting.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import re
import urllib.parse
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
from tornado.concurrent import Future
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from framework.model.errors import Forbidden, GatewayError, NotFound, TooLarge, Unavailable
from gateway import audit, errors
from gateway.api.alpha import bodies
from gateway.api.http import JSON, Answer, Call, Failure, Route, Stream, json_text
from gateway.api.query import Query
from gateway.auth.access import Kind
from gateway.auth.identity import ANONYMOUS
from gateway.context import Gateway
from gateway.forward import FORWARDED

log = logging.getLogger(__name__)

# A body that is too large is read to its end, up to this, so that the client gets to see the answer.
DRAINED = 64 * 1024 * 1024
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_METHODS_IN_ORDER = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")


class Resource(RequestHandler):
    """One resource: ``routes`` by method. Without routes it is what does not exist; ``absent`` says of
    a path how that is. Requests that bring a body are a :class:`ResourceWithBody`'s."""

    def initialize(
        self,
        gateway: Gateway,
        routes: dict[str, Route],
        failure: Failure | None = None,
        absent: Callable[[str], GatewayError] | None = None,
    ) -> None:
        self.gateway = gateway
        self.routes = routes
        self._absent = absent or _nothing_at
        self._failure = failure or (next(iter(routes.values())).failure if routes else bodies.failed)
        self.label = next(iter(routes.values())).pattern if routes else "unknown"
        self._body = bytearray()
        self._too_large = False
        self._counted = False
        self._problem: errors.Problem | None = None
        self._pump: asyncio.Task[None] | None = None
        self.caller = ANONYMOUS

    # -- before the body ---------------------------------------------------------------------------

    async def prepare(self) -> None:
        self.gateway.requests.enter(self)
        self._counted = True
        refuse_foreign_pages(self.request.method or "", self.request.headers, self.gateway.access.asks)
        # Before the body: who may not call need not send one.
        self.caller = await self.gateway.access.admit(self.request.headers, self.remote, self._kind())
        encoding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise errors.UnsupportedEncoding(
                f"Content-Encoding {encoding[:40]!r} is not read here; send the body as it is"
            )
        self._expect_body()

    @functools.cached_property
    def remote(self) -> str:
        """The address that the request comes from, as proxies that are trusted have it."""
        forwarded = self.request.headers.get_list("X-Forwarded-For")
        return self.gateway.access.address(self.request.remote_ip or "", forwarded)

    @property
    def _base(self) -> str:
        """The server as the client names it, also where another replica has handed the request on."""
        host, scheme = self.request.host, self.request.protocol
        if FORWARDED in self.request.headers:
            host = self.request.headers.get("X-Forwarded-Host", host)
            scheme = self.request.headers.get("X-Forwarded-Proto", scheme)
        sound = _HOST.fullmatch(host) and scheme in ("http", "https")
        return f"{scheme}://{host}" if sound else ""

    def _kind(self) -> Kind:
        route = self.routes.get(self.request.method or "")
        return route.access if route else "open"

    def _expect_body(self) -> None:
        declared = self.request.headers.get("Content-Length", "0").split(",")[0].strip()
        length = int(declared) if declared.isascii() and declared.isdigit() else 0
        if length > self.gateway.max_body:
            waits = self.request.headers.get("Expect", "").lower() == "100-continue"
            if waits or length > DRAINED:
                raise self._larger()

    def _larger(self) -> TooLarge:
        limit = self.gateway.max_body
        return TooLarge(f"the body is larger than {limit} bytes, the limit that --max-body sets")

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) + len(chunk) > self.gateway.max_body:
            self._too_large = True
            self._body.clear()
        if not self._too_large:
            self._body += chunk

    # -- the call ----------------------------------------------------------------------------------

    async def _serve(self, *segments: str) -> None:
        try:
            answer = await self._answer(segments)
        except GatewayError as error:
            if not self._finished:
                self._fail(errors.describe(error))
            return
        if self._finished:
            return  # it was given up meanwhile
        if isinstance(answer, Stream):
            await self._stream(answer)
        else:
            self._write(answer)

    get = head = post = put = patch = delete = options = _serve

    async def _answer(self, segments: tuple[str, ...]) -> Answer | Stream:
        if not self.routes:
            raise self._absent(self.request.path)
        route = self.routes.get(self.request.method or "")
        if route is None:
            raise self._wrong_method()
        if self._too_large:
            raise self._larger()
        if self.caller.cluster is not None and not route.scripts:
            raise Forbidden(
                f"a script of {self.caller.cluster} has its cluster's registry and nodes, not this"
            )
        role = route.role_of(segments)
        if role is not None:
            self.gateway.access.check(self.caller, route.access, "/".join(segments[:4]), role)
        forwarder = self.gateway.forwarder
        if forwarder is not None and not route.local:
            leader = forwarder.target(self.request.headers)
            if leader is not None:
                sent = (self.request, bytes(self._body), self.request_id)
                return await forwarder.forward(leader, *sent)
        query = Query.read(self.request.query_arguments, route.query)
        body = bytes(self._body) if route.body else b""
        call = Call(
            self.gateway,
            query,
            body,
            self.request.headers,
            self.caller,
            self._base,
            route.pattern,
            self.remote,
        )
        return await route.handler(call, *segments)

    def _wrong_method(self) -> errors.MethodNotAllowed:
        allowed = [method for method in _METHODS_IN_ORDER if method in self.routes]
        return errors.MethodNotAllowed(
            f"{self.request.method} is not defined here; try {' or '.join(allowed)}", allowed
        )

    def _write(self, answer: Answer) -> None:
        self.set_status(answer.status)
        if isinstance(answer.body, dict | list):
            self.write(json_text(answer.body))
            self.set_header("Content-Type", JSON)
        elif answer.body:
            self.write(answer.body)
        if answer.content_type:
            self.set_header("Content-Type", answer.content_type)
        self._set_headers(answer.headers)

    def _set_headers(self, headers: tuple[tuple[str, str], ...]) -> None:
        """Sets what the answer brings along; a header that comes twice stays twice."""
        for name in {name for name, _ in headers}:
            self.clear_header(name)
        for name, value in headers:
            self.add_header(name, value)

    async def _stream(self, answer: Stream) -> None:
        """Sends chunks until they end, the reader goes away, falls behind or may not read any more, or
        the server stops."""
        self.set_status(answer.status)
        self.set_header("Content-Type", answer.content_type)
        self.set_header("Cache-Control", "no-store")
        self._set_headers(answer.headers)
        self._pump = asyncio.create_task(self._send(answer))
        revoked = asyncio.create_task(self.gateway.access.revoked(self.request.headers, self.caller))
        with self.gateway.requests.streaming(self._pump):
            await asyncio.wait({self._pump, revoked}, return_when=asyncio.FIRST_COMPLETED)
            if not self._pump.done():
                log.info("the stream of %s ends: its user may not read it any more", self.remote)
                self._pump.cancel()
                await asyncio.wait({self._pump})
        revoked.cancel()
        if self._pump.cancelled():
            return
        failed = self._pump.exception()
        if isinstance(failed, TimeoutError):
            log.info("%s is disconnected: it does not read its stream", self.remote)
            self._disconnect()
        elif failed is not None and not isinstance(failed, StreamClosedError):
            # Half of the answer is out: only a broken connection still tells that it is not whole.
            if not isinstance(failed, ConnectionError):
                errors.describe(failed)
            self._disconnect()

    async def _send(self, answer: Stream) -> None:
        async with contextlib.aclosing(answer.chunks) as chunks:
            await self.flush()
            async for chunk in chunks:
                self.write(chunk)
                async with asyncio.timeout(self.gateway.slow_reader_secs):
                    await self.flush()

    def _disconnect(self) -> None:
        if self.request.connection is not None:
            self.request.connection.stream.close()  # type: ignore[attr-defined]

    # -- the end -----------------------------------------------------------------------------------

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._pump is not None:
            self._pump.cancel()
        self._leave()

    def on_finish(self) -> None:
        self._leave()
        self.gateway.metrics.request(
            self.label, self.request.method or "", self.get_status(), self.request.request_time()
        )

    def finish(self, chunk: Any = None) -> Future[None]:
        """Whoever has the answer finds the line in the audit log."""
        if self._kind() in ("create", "change"):
            self._audit()
        return super().finish(chunk)

    def _audit(self) -> None:
        route = self.routes.get(self.request.method or "")
        known = route.query if route else ()
        entry = audit.Entry(
            time=audit.now(),
            request_id=self.request_id,
            user=self.caller.user,
            admin=self.caller.admin,
            remote=self.remote,
            method=self.request.method or "",
            route=self.label,
            path=audit.shown_path(self.request.path, self.request.query_arguments, known),
            status=self.get_status(),
        )
        self.gateway.audit.write(entry)

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self.gateway.requests.leave(self)

    def give_up(self) -> None:
        """Answers that the gateway ends before the request does; what comes of it later is not sent."""
        if not self._finished:
            late = "the gateway is stopping and this has not ended: look before you repeat it"
            self._fail(errors.describe(Unavailable(late)))

    # -- failures ----------------------------------------------------------------------------------

    def _fail(self, problem: errors.Problem) -> None:
        legacy = self.gateway.legacy_status and self._has_first_release and problem.status != 405
        shown = errors.legacy(problem) if legacy else problem
        shown = msgspec.structs.replace(shown, reference=self.request_id)
        self.set_status(shown.status)
        for name, value in shown.headers:
            self.set_header(name, value)
        route = self.routes.get(self.request.method or "")
        # A key has at most four parts, whatever follows them in the path.
        key = "/".join(getattr(self, "path_args", ())[:4])
        body = (route.failure if route else self._failure)(key[:1100], shown)
        if isinstance(body, str):
            self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(body)

    @property
    def _has_first_release(self) -> bool:
        """Whether the API is one whose first servers answered 500 to everything."""
        return bool(self.routes) and self._failure in (
            bodies.failed,
            bodies.job_failed,
            bodies.list_failed,
        )

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Tornado calls this once for what escapes: the moment to decide what is answered."""
        if isinstance(value, HTTPError):
            self._problem = self._of_tornado(value)
        elif value is not None:
            self._problem = errors.describe(value)

    def _of_tornado(self, error: HTTPError) -> errors.Problem:
        if error.status_code == 405:
            absent = None if self.routes else self._absent(self.request.path)
            return errors.describe(absent or self._wrong_method())
        return errors.of_http(error.status_code, error.get_message() or None)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self._fail(self._problem or errors.of_http(status_code, None))

    @functools.cached_property
    def request_id(self) -> str:
        """The id that the client gave (X-Request-Id), or a new one; the answer and the logs carry it."""
        given = self.request.headers.get("X-Request-Id", "")
        return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

    def set_default_headers(self) -> None:
        self.set_header("Server", "mesos-gateway")
        self.set_header("X-Request-Id", self.request_id)
        # The same for clients of OpenStack's APIs.
        self.set_header("X-Openstack-Request-Id", f"req-{self.request_id}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


@stream_request_body
class ResourceWithBody(Resource):
    """The same where a request has a body: who may not send it is told before, and so much of it is
    kept as is allowed. That costs the event loop three more rounds, which no GET has to pay."""


def _nothing_at(path: str) -> GatewayError:
    hint = ""
    if path.startswith(("/alpha/job/", "/alpha/jobs/")):
        hint = "; a job is /alpha/jobs/CLUSTER/ROLE/ENVIRONMENT/NAME"
    return NotFound(f"nothing is found at {path[:200]}{hint}")


def refuse_foreign_pages(method: str, headers: Any, asks: bool) -> None:
    """Raises :class:`Forbidden` where a web page from elsewhere makes a browser change something.

    A server that asks nobody who they are (``asks`` False) listens on loopback: whoever runs a browser
    on the same machine must not thereby run the jobs of the pages that it shows (names that are
    rebound to 127.0.0.1 included). One that asks must not take the password that a browser remembers
    from a page of another site. Clients other than browsers send neither header.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    origin = headers.get("Origin")
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Forbidden("a web page of another site may not change anything here")
    if origin is None or (asks and urllib.parse.urlsplit(origin).netloc == headers.get("Host")):
        return
    if not is_loopback(urllib.parse.urlsplit(origin).hostname or ""):
        raise Forbidden("a web page of another site may not change anything here")


def is_loopback(host: str) -> bool:
    """Returns whether ``host`` (a name or an address) can only be this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
