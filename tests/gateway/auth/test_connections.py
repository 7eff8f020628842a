"""Connections: TLS as without it, handshakes that never come, readers that take nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.web import Application

from framework.model.errors import Invalid
from gateway import http_server as server_module
from gateway.http_server import MAX_HEADER, GatewayServer
from gateway.tls import Certificate
from tests.gateway.auth.test_server import make_certificate

pytestmark = pytest.mark.gen_test(timeout=30)
GET = b"GET /alpha/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def tls(tmp_path: Path) -> Certificate:
    return Certificate(*make_certificate(tmp_path, "here"))


@pytest.fixture
def secs() -> float:
    """How long connections may idle, or stall."""
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
                while not http_server._connections:
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
