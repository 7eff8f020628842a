"""Connections: TLS as without it, handshakes that never come, readers that take nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.web import Application

from framework.model.errors import Invalid
from gateway import http_server as server_module
from gateway.context import Gateway
from gateway.http_server import MAX_HEADER, GatewayServer
from gateway.tls import Certificate
from tests.gateway.auth.conftest import bearer
from tests.gateway.auth.test_server import make_certificate

pytestmark = pytest.mark.gen_test(timeout=120)
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Sending = Callable[[bytes], tuple[bytes, list[bytes]]]
GET = b"GET /alpha/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def tls(tmp_path: Path) -> Certificate:
    return Certificate(*make_certificate(tmp_path, "here"))


@pytest.fixture
def secs() -> float:
    """How long connections may idle or stall, and a body may take."""
    return 30.0


@pytest.fixture
def http_server(
    app: Application,
    io_loop: IOLoop,
    _unused_port: Any,
    tls: Certificate | None,
    secs: float,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[GatewayServer]:
    monkeypatch.setattr(server_module, "IDLE_SECS", secs)
    monkeypatch.setattr(server_module, "BODY_SECS", secs)
    monkeypatch.setattr(server_module, "STALLED_SECS", secs)
    server = GatewayServer(app, ssl_options=tls.context if tls else None)
    server.add_socket(_unused_port[0])
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections)


async def ask(port: int, data: bytes, trusted: Path | None) -> tuple[int, Any]:
    """Returns status and JSON of the answer to these bytes, read to the connection's end."""
    context = ssl.create_default_context(cafile=str(trusted)) if trusted else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(data)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (GET, 200, None),
        (b"GARBAGE\r\n\r\n", 400, "not well-formed HTTP"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEADER + 10), 431, "are longer than"),
    ],
)
async def test_an_answer_over_tls_is_that_without_it(
    http_server: GatewayServer,
    http_port: int,
    tmp_path: Path,
    data: bytes,
    status: int,
    says: str | None,
) -> None:
    code, body = await ask(http_port, data, tmp_path / "cert.pem")
    assert code == status
    assert says is None or says in body["errors"][0]


class TestWhoIdles:
    @pytest.fixture
    def secs(self) -> float:
        return 0.3

    @pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
    async def test_a_handshake_that_does_not_come_is_not_waited_for(
        self, http_server: GatewayServer, http_port: int, sent: bytes
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
        writer.write(sent)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


class TestWhoKeepsAConnection:
    @pytest.fixture
    def tls(self) -> None:
        return None

    @pytest.fixture
    def secs(self) -> float:
        return 1.0

    @pytest.mark.alone
    async def test_has_it_for_as_long_as_requests_come(
        self, http_server: GatewayServer, http_port: int, secs: float
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
        until = asyncio.get_running_loop().time() + 3 * secs
        async with asyncio.timeout(20):
            while asyncio.get_running_loop().time() < until:
                writer.write(GET.replace(b"Connection: close\r\n", b""))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                assert b"success" in await reader.readexactly(length)
            assert await reader.read() == b""
        writer.close()


PUT = b"PUT /alpha/jobs/devcluster/www-data/prod/slow HTTP/1.1\r\nHost: x\r\n"


def _token() -> bytes:
    return b"Authorization: " + bearer("alice")["Authorization"].encode() + b"\r\n"


def _fixed(body: bytes) -> tuple[bytes, list[bytes]]:
    """Returns the header, and the bytes one by one."""
    return b"Content-Length: %d\r\n" % len(body), [bytes([byte]) for byte in body]


def _chunked(body: bytes) -> tuple[bytes, list[bytes]]:
    chunks = [b"1\r\n%c\r\n" % byte for byte in body]
    return b"Transfer-Encoding: chunked\r\n", [*chunks, b"0\r\n\r\n"]


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Returns status and JSON of one answer on a connection that goes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


class TestWhoSendsABody:
    """Within its time, however it is sent; who does not is disconnected."""

    @pytest.fixture(params=["plain", "tls"])
    def tls(self, request: pytest.FixtureRequest, tmp_path: Path) -> Certificate | None:
        return Certificate(*make_certificate(tmp_path, "here")) if request.param == "tls" else None

    @pytest.fixture
    def secs(self) -> float:
        return 1.0

    @pytest.fixture
    def connect(
        self, http_server: GatewayServer, http_port: int, tls: Certificate | None, tmp_path: Path
    ) -> Connect:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem")) if tls else None
        return lambda: asyncio.open_connection("127.0.0.1", http_port, ssl=context)

    @pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
    @pytest.mark.parametrize("sending", [_fixed, _chunked])
    async def test_byte_by_byte_without_end_is_disconnected_in_time(
        self, connect: Connect, secs: float, sending: Sending, expects: bytes
    ) -> None:
        reader, writer = await connect()
        header, pieces = sending(b"x" * 1000)
        began = asyncio.get_running_loop().time()
        writer.write(PUT + _token() + expects + header + b"\r\n")

        async def send() -> None:
            for piece in pieces:
                writer.write(piece)
                # The sender's pace: all would take a hundred times as long as it may.
                await asyncio.sleep(secs / 10)

        sender = asyncio.create_task(send())
        async with asyncio.timeout(10 * secs):
            if expects:
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 (Continue)\r\n\r\n"
            # What was sent and not read any more may reset the connection.
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        sender.cancel()
        writer.close()
        assert asyncio.get_running_loop().time() - began >= secs * 0.9

    @pytest.mark.parametrize("sending", [_fixed, _chunked])
    async def test_no_further_than_half_way_is_disconnected_and_logged(
        self, connect: Connect, secs: float, sending: Sending, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        reader, writer = await connect()
        header, pieces = sending(b"x" * 1000)
        writer.write(PUT + _token() + header + b"\r\n" + b"".join(pieces[: len(pieces) // 2]))
        async with asyncio.timeout(10 * secs):
            assert await reader.read() == b""
        writer.close()
        assert "127.0.0.1 is disconnected: a body has not come within 1 s" in caplog.messages

    @pytest.mark.alone
    @pytest.mark.parametrize("sending", [_fixed, _chunked])
    async def test_has_all_of_the_time_for_each(
        self, connect: Connect, secs: float, sending: Sending
    ) -> None:
        """Three on one connection, which together take longer than one may."""
        reader, writer = await connect()
        header, pieces = sending(b"{}")
        for _ in range(3):
            writer.write(PUT + _token() + header + b"\r\n" + b"".join(pieces[:-1]))
            await asyncio.sleep(0.6 * secs)  # the sender's pace
            writer.write(pieces[-1])
            status, body = await _answer(reader)
            assert (status, body["status"]) == (400, "failure")
        # And two at once, the second of which is not there yet.
        head = PUT + _token() + header + b"\r\n"
        writer.write(head + b"".join(pieces) + head)
        assert (await _answer(reader))[0] == 400
        async with asyncio.timeout(10 * secs):
            assert await reader.read() == b""
        writer.close()

    @pytest.mark.alone
    async def test_loses_no_time_by_being_asked_who_it_is_from(
        self, connect: Connect, gateway: Gateway, secs: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by a Keystone that is slow."""
        admit = gateway.access.admit

        async def slowly(*args: Any) -> Any:
            await asyncio.sleep(1.5 * secs)
            return await admit(*args)

        monkeypatch.setattr(gateway.access, "admit", slowly)
        reader, writer = await connect()
        writer.write(PUT + _token() + b"Content-Length: 2\r\n\r\n{")
        await asyncio.sleep(2 * secs)  # the sender's pace
        writer.write(b"}")
        assert (await _answer(reader))[0] == 400
        writer.close()

    @pytest.mark.parametrize("secs", [30.0])
    @pytest.mark.parametrize("length", [b"z", b"1;" + b"x" * 70])
    async def test_with_a_chunk_that_is_none_learns_that(self, connect: Connect, length: bytes) -> None:
        reader, writer = await connect()
        writer.write(PUT + _token() + b"Transfer-Encoding: chunked\r\n\r\n" + length + b"\r\n")
        status, body = await _answer(reader)
        writer.close()
        assert status == 400
        assert "not well-formed HTTP, or its body is not" in body["errors"][0]


def arrived(peer: socket.socket) -> bool:
    """Whether something lies in a socket, which it is left in."""
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True  # and it has been disconnected already


class TestWhoTakesNothing:
    @pytest.fixture
    def tls(self) -> None:
        return None

    @pytest.fixture
    def secs(self) -> float:
        return 0.3

    async def test_is_disconnected(self, http_server: GatewayServer, http_port: int) -> None:
        asked = 200
        lazy = socket.socket()
        try:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect(("127.0.0.1", http_port))
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(lazy, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * asked)
            async with asyncio.timeout(20):
                # Until the first answer is there to be taken; it is only looked at.
                while not arrived(lazy):
                    await asyncio.sleep(0.01)
                while http_server._connections:
                    await asyncio.sleep(0.02)
            got = 0
            try:
                while data := await loop.sock_recv(lazy, 1 << 20):
                    got += data.count(b"HTTP/1.1 200")
            except ConnectionResetError:
                pass
            assert got < asked
        finally:
            lazy.close()

    @pytest.mark.alone
    async def test_who_takes_little_by_little_gets_all(
        self, http_server: GatewayServer, http_port: int
    ) -> None:
        """For longer than a stall may last: what counts is that it goes on."""
        slow = socket.socket()
        try:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", http_port))
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            asked, got, began = 300, 0, loop.time()
            await loop.sock_sendall(slow, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * asked)
            tail = b""
            while got < asked:
                data = await loop.sock_recv(slow, 1 << 16)
                assert data, f"disconnected after {got} answers"
                both = tail + data
                got += both.count(b"HTTP/1.1 200") - tail.count(b"HTTP/1.1 200")
                tail = both[-11:]
                # The reader's pace, not a wait for anything.
                await asyncio.sleep(max(0.0, got / asked * 1.0 - (loop.time() - began)))
            assert loop.time() - began >= 0.9
        finally:
            slow.close()


# -- the files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda cert, key: key.chmod(0o644),
            "--tls-key .* is open to others .mode 0644.*chmod g-w,o-rwx",
        ),
        (lambda cert, key: key.write_text("nothing"), "cannot be used: not PEM"),
        (lambda cert, key: key.write_text(""), "cannot be used: not PEM"),
        (lambda cert, key: cert.write_text(key.read_text()), "cannot be used"),
        (lambda cert, key: cert.unlink(), "cannot be used: No such file"),
        (lambda cert, key: key.unlink(), "cannot be read: No such file"),
        (
            lambda cert, key: key.write_text(make_certificate(other(key), "other")[1].read_text()),
            "the key is not that of the certificate",
        ),
        (
            lambda cert, key: key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "is encrypted, .* openssl pkey",
        ),
    ],
)
def test_files_that_are_wrong_say_so_and_change_nothing(tmp_path: Path, spoil: Any, says: str) -> None:
    files = make_certificate(tmp_path, "here")
    certificate = Certificate(*files)
    before = certificate.context
    spoil(*files)
    certificate.reload()
    assert certificate.context is before
    assert certificate.problem is not None
    assert certificate.problem.endswith("; the certificate read before stays in use")
    with pytest.raises(Invalid, match=says):
        Certificate(*files)
    for file in files:
        file.unlink(missing_ok=True)
    make_certificate(tmp_path, "again")
    certificate.reload()
    assert certificate.problem is None
    assert certificate.context is not before


def other(key: Path) -> Path:
    directory = key.parent / "other"
    directory.mkdir(exist_ok=True)
    return directory


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, "here")
    authorities = tmp_path / "ca.pem"
    authorities.write_text("nothing")
    with pytest.raises(Invalid, match=r"--tls-client-ca .* cannot be used: not PEM"):
        Certificate(*files, authorities)
