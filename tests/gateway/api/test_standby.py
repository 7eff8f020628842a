"""A replica that does not lead: what it hands to the leader, how, and what it answers without one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders
from tornado.web import Application

from framework.model.errors import Unavailable
from gateway.app import make_app
from gateway.context import Gateway
from gateway.forward import FORWARDED, Forwarder
from gateway.http_server import GatewayServer
from gateway.tls import Certificate
from tests.gateway.api.conftest import JOB, Client, config, errors
from tests.gateway.auth.test_server import make_certificate

pytestmark = pytest.mark.gen_test(timeout=120)
ME = "http://standby.example:1"


class Standing:
    """How the election stands, as the test wants it; see :class:`gateway.forward.Standby`."""

    def __init__(self) -> None:
        self.url = ME
        self.leads = False
        self.leader: str | None = None

    def unavailable(self) -> Unavailable:
        return Unavailable("no answer can be given here: nobody leads", retry_after=2)


@pytest.fixture
def mode() -> Any:
    return "thread"


@pytest.fixture
def standing() -> Standing:
    return Standing()


@pytest.fixture
def app(gateway: Gateway, standing: Standing) -> Iterator[Application]:
    gateway.forwarder = Forwarder(standing)
    yield make_app(gateway)
    assert gateway.forwarder.flying == 0


@pytest.fixture(autouse=True)
def _serving(http_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port alone would be bound, and nobody behind it. The leader is on the same event loop: what
    holds this one up holds the leader up as well, and is not to be taken for its silence."""
    monkeypatch.setattr("gateway.forward._CONNECT_SECS", 30.0)


class Request:
    """What arrived at the leader, and the connection that it came on."""

    def __init__(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line, _, headers = head.decode().partition("\r\n")
        self.line = line
        self.headers = HTTPHeaders.parse(headers)
        self.body, self.reader, self.writer = body, reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Script = Callable[[Request], Awaitable[None]]


@asynccontextmanager
async def leader(
    standing: Standing, script: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[Request]]:
    """A leader that answers as ``script`` does, byte by byte; ``standing`` names it."""
    requests: list[Request] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(
                HTTPHeaders.parse(head.decode().partition("\r\n")[2]).get("Content-Length", "0")
            )
            requests.append(Request(head, await reader.readexactly(length), reader, writer))
            await script(requests[-1])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    standing.leader = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield requests
    finally:
        server.close()


def says(text: str) -> Script:
    async def script(request: Request) -> None:
        await request.say(text.replace("\n", "\r\n").encode())

    return script


OK = (
    "HTTP/1.1 201 Created\nContent-Type: application/json\nX-Of: a\nX-Of: b\n"
    'Content-Length: 9\n\n{"a": 12}'
)


async def test_a_request_arrives_as_it_was_sent(client: Client, standing: Standing) -> None:
    credentials = "Basic " + base64.b64encode(b"ann:secret").decode()
    headers = {
        "Authorization": credentials,
        "X-Forwarded-For": "192.0.2.7",
        "X-Request-Id": "abc-1",
        "Connection": "X-Private",
        "X-Private": "of this connection",
        "Expect": "",
    }
    async with leader(standing, says(OK)) as requests:
        path = f"{JOB}/update?shards=1&bind=a%2Fb=%C3%A9"
        answer = await client("PUT", path, b"body \x00 \r\n", headers=headers)
        assert (answer.code, answer.body) == (201, b'{"a": 12}')
        assert answer.headers.get_list("X-Of") == ["a", "b"]
        assert answer.headers["X-Request-Id"] == "abc-1"
        request = requests[0]
        assert request.line == f"PUT {path} HTTP/1.1"
        assert request.body == b"body \x00 \r\n"
        assert request.headers["Authorization"] == credentials
        assert request.headers["X-Forwarded-For"] == "192.0.2.7, 127.0.0.1"
        assert request.headers["X-Request-Id"] == "abc-1"
        assert request.headers[FORWARDED] == ME
        assert request.headers["Host"] == standing.leader.removeprefix("http://")
        assert not {"X-Private", "Expect"} & set(request.headers)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_a_body(client: Client, standing: Standing, status: str) -> None:
    async with leader(standing, says(f'HTTP/1.1 {status}\nEtag: "x"\n\n')):
        answer = await client("GET", JOB)
        assert answer.code == int(status[:3])
        assert answer.body == b""


async def test_a_failure_is_the_leader_s_own(client: Client, standing: Standing) -> None:
    text = "HTTP/1.1 429 Too Many Requests\nRetry-After: 7\nContent-Length: 2\n\n{}"
    async with leader(standing, says(text)):
        answer = await client("GET", JOB)
        assert (answer.code, answer.headers["Retry-After"], answer.body) == (429, "7", b"{}")


async def test_what_each_replica_answers_for_itself(client: Client, standing: Standing) -> None:
    for path in ("/alpha/version", "/health", "/health?live", "/metrics"):
        assert (await client("GET", path)).code == 200
    missing = await client("GET", "/nowhere")
    assert missing.code == 404


async def test_without_a_leader(client: Client, standing: Standing) -> None:
    for method, path in (("GET", JOB), ("PUT", JOB), ("GET", "/alpha/events"), ("GET", "/alpha/jobs/x")):
        answer = await client(method, path, b"x" if method == "PUT" else None)
        assert (answer.code, answer.headers["Retry-After"]) == (503, "2")
        assert errors(answer) == ["no answer can be given here: nobody leads"]


async def test_one_that_leads_answers_itself(client: Client, standing: Standing) -> None:
    standing.leads = True
    assert (await client("PUT", JOB, config())).code == 201
    assert (await client("GET", JOB)).code == 200


async def test_two_that_each_believe_the_other_leads(
    client: Client, standing: Standing, http_port: int
) -> None:
    standing.leader = f"http://127.0.0.1:{http_port}"  # itself, by another name
    answer = await client("GET", JOB)
    assert answer.code == 503
    standing.leader = ME
    assert (await client("GET", JOB)).code == 503


async def test_a_leader_that_is_gone(client: Client, standing: Standing) -> None:
    with socket.socket() as held:
        # Nobody listens there, and nobody else gets the port meanwhile.
        held.bind(("127.0.0.1", 0))
        standing.leader = f"http://127.0.0.1:{held.getsockname()[1]}"
        answer = await client("PUT", JOB, config())
    assert (answer.code, answer.headers["Retry-After"]) == (503, "2")
    assert "does not answer" in errors(answer)[0]
    assert errors(answer)[0].endswith("nothing has been done")


@pytest.mark.parametrize(
    "answer", ["", "HTTP/1.1 20", "HTTP/1.1 201 Created\nContent-Length: 9\n\n{", "what?\n\n"]
)
async def test_a_leader_that_ends_before_its_answer(
    client: Client, standing: Standing, answer: str
) -> None:
    async with leader(standing, says(answer)):
        changed = await client("PUT", JOB, config())
        assert changed.code == 503
        assert "look before you repeat it" in errors(changed)[0]
        read = await client("GET", JOB)
        assert read.code == 503
        assert "repeat" not in errors(read)[0]


async def test_a_request_that_waits_for_a_former_leader(
    client: Client, standing: Standing, gateway: Gateway
) -> None:
    asked = asyncio.Event()

    async def silence(request: Request) -> None:
        asked.set()
        await request.reader.read()

    async with leader(standing, silence):
        waiting = asyncio.ensure_future(client("PUT", JOB, config()))
        await asked.wait()
        assert gateway.forwarder is not None
        # Nobody known to lead is no reason to give up; another leader is.
        present, standing.leader = standing.leader, None
        gateway.forwarder.changed()
        standing.leader = present
        gateway.forwarder.changed()
        assert not waiting.done()
        assert gateway.forwarder.flying == 1
        standing.leader = "http://127.0.0.1:1"
        gateway.forwarder.changed()
        answer = await waiting
        assert answer.code == 503
        assert "look before you repeat it" in errors(answer)[0]


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_leader_with_tls(
    client: Client,
    standing: Standing,
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,
) -> None:
    """Credentials are sent to nobody whose certificate is not trusted."""
    certificate, key = make_certificate(tmp_path, "leader")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert gateway.forwarder is not None
    gateway.forwarder = Forwarder(standing)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate, key)
    async with leader(standing, says(OK), served) as requests:
        answer = await client("PUT", JOB, config(), headers={"Authorization": "Bearer t"})
        assert answer.code == (201 if trusted else 503)
        assert len(requests) == (1 if trusted else 0)
        if not trusted:
            assert "nothing has been done" in errors(answer)[0]


async def test_a_leader_that_asks_for_a_certificate_is_shown_ours(
    client: Client,
    standing: Standing,
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replicas with --tls-client-ca are each other's clients; a renewed certificate is shown, too."""
    certificate, key = make_certificate(tmp_path, "first")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    authorities = tmp_path / "ca.pem"
    shutil.copy(certificate, authorities)
    served = Certificate(certificate, key, authorities)
    gateway.forwarder = Forwarder(standing)
    async with leader(standing, says(OK), served.context):
        assert (await client("GET", JOB)).code == 503
        gateway.forwarder = Forwarder(standing, served)
        assert (await client("GET", JOB)).code == 201
    make_certificate(tmp_path, "second")
    shutil.copy(certificate, authorities)
    renewed = Certificate(certificate, key, authorities)
    async with leader(standing, says(OK), renewed.context):
        assert (await client("GET", JOB)).code == 503
        served.reload()
        assert (await client("GET", JOB)).code == 201


# -- streams -----------------------------------------------------------------------------------------

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_a_stream_comes_as_it_is_written_and_ends_with_its_reader(
    standing: Standing, http_port: int
) -> None:
    more, ended = asyncio.Event(), asyncio.Event()

    async def script(request: Request) -> None:
        await request.say(STREAM + chunk(b"data: 1\n\n"))
        await more.wait()
        await request.say(chunk(b"data: 2\n\n"))
        assert await request.reader.read() == b""
        ended.set()

    async with leader(standing, script) as requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
        writer.write(b"GET /alpha/events?role=a HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 41\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"Content-Type: text/event-stream" in head
        await reader.readuntil(b"data: 1\n\n")
        assert requests[0].headers["Last-Event-ID"] == "41"
        more.set()
        await reader.readuntil(b"data: 2\n\n")
        writer.close()
        await asyncio.wait_for(ended.wait(), 30)


async def test_a_stream_that_breaks_off_is_not_ended_in_order(
    standing: Standing, http_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    read = asyncio.Event()

    async def script(request: Request) -> None:
        await request.say(STREAM + chunk(b"half") + b"ff\r\nand no more")
        await read.wait()

    async with leader(standing, script):
        reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
        writer.write(b"GET /alpha/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"half")
        read.set()
        rest = await reader.read()
        assert not rest.endswith(b"0\r\n\r\n")
        writer.close()
    assert "internal error" not in caplog.text


async def test_a_stream_ends_when_it_ends(standing: Standing, client: Client) -> None:
    async def script(request: Request) -> None:
        await request.say(STREAM + chunk(b"one ") + chunk(b"two") + b"0\r\n\r\n")

    async with leader(standing, script):
        answer = await client("GET", f"{JOB}/instances/0/logs?follow=true")
        assert (answer.code, answer.body) == (200, b"one two")


async def test_a_reader_that_does_not_read_holds_the_leader_up_and_is_cut_off(
    standing: Standing, http_port: int, gateway: Gateway
) -> None:
    """No more is taken from the leader than the way to the reader holds."""
    sent, ended = 0, asyncio.Event()
    gateway.slow_reader_secs = 0.5

    async def script(request: Request) -> None:
        nonlocal sent
        try:
            await request.say(STREAM)
            while sent < 10**9:
                await request.say(chunk(b"x" * 65536))
                sent += 65536
        finally:
            ended.set()

    async with leader(standing, script):
        _, writer = await asyncio.open_connection("127.0.0.1", http_port)
        writer.write(b"GET /alpha/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(ended.wait(), 60)
        assert 0 < sent < 64 * 2**20
        writer.close()


async def test_json_of_a_real_leader_is_unchanged(
    client: Client, standing: Standing, gateway: Gateway, http_port: int
) -> None:
    leading = Standing()
    leading.leads = True
    before, gateway.forwarder = gateway.forwarder, Forwarder(leading)
    created = await client("PUT", JOB, config())
    assert created.code == 201
    direct = await client("GET", JOB)
    other = GatewayServer(make_app(dataclasses.replace(gateway)))
    gateway.forwarder = before
    other.listen(0, "127.0.0.1")
    try:
        port = next(iter(other._sockets.values())).getsockname()[1]
        standing.leader = f"http://127.0.0.1:{port}"
        handed = await client("GET", JOB)
        assert json.loads(handed.body).keys() == json.loads(direct.body).keys()
        assert handed.headers["Content-Type"] == direct.headers["Content-Type"]
        # The job may still be on its way to RUNNING: then there is news between the two.
        for _ in range(100):
            handed = await client("GET", JOB)
            again = await client("GET", JOB, headers={"If-None-Match": handed.headers["Etag"]})
            if again.code == 304:
                break
        assert again.code == 304
        twice = await client("PUT", JOB, config())
        assert twice.code == 409
    finally:
        other.stop()
        await other.close_all_connections()
