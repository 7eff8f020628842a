"""A master on loopback for tests: real HTTP, answers taken from the recordings of a real Mesos."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from framework.mesos.guarded import Timing
from tests.ports import reserve

# Quick is what it does by itself; for the answers of others it waits as long as a busy machine may take.
QUICK = Timing(
    answer_timeout=30.0,
    call_timeout=30.0,
    first_pause=0.02,
    longest_pause=0.2,
    settled_after=1.0,
    flush=30.0,
)

SCHEDULER = "/api/v1/scheduler"


def eventually(predicate: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Waits until ``predicate`` gives something true, and returns it."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"did not come to pass within {timeout} s"
        time.sleep(0.005)
    return value


class Recording:
    """One file of ``data/mesos-v1``; see its README for the format."""

    def __init__(self, shared: Path, name: str) -> None:
        text = (shared / "data" / "mesos-v1" / f"{name}.jsonl").read_text()
        self.lines = [json.loads(line) for line in text.splitlines()]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type, as the scheduler got them."""
        return [
            line["json"]
            for line in self.lines
            if line["kind"] == "event"
            and line["link"].startswith("scheduler")
            and line["json"].get("type") == kind
        ]

    def requests(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of one type of call."""
        return [
            line["json"]
            for line in self.lines
            if line["kind"] == "request"
            and line["link"].startswith("scheduler")
            and isinstance(line.get("json"), dict)
            and line["json"].get("type") == kind
        ]

    def answers(self, status: int) -> list[bytes]:
        """The bytes of every answer with this status, as they were on the wire."""
        return [
            raw_answer(line)
            for line in self.lines
            if line["kind"] == "response" and line["line"].split()[1] == str(status)
        ]


def raw_answer(line: Mapping[str, Any]) -> bytes:
    head = line["line"] + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in line["headers"])
    body = line.get("text", line.get("body", ""))
    if "json" in line:
        body = json.dumps(line["json"], separators=(",", ":"))
    return f"{head}\r\n{body}".encode()


class Request:
    def __init__(self, head: bytes, body: bytes, connection: Connection) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.path = lines[0].split()[1]
        self.headers = {
            k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:]) if k
        }
        self.json: dict[str, Any] = json.loads(body) if body else {}
        self.connection = connection
        self.at = time.monotonic()

    @property
    def kind(self) -> str:
        return str(self.json.get("type", ""))


class Connection:
    """One accepted connection; answers are written as bytes or as a stream of events.

    Any thread may write: what is given at once arrives in one piece.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._writing = threading.Lock()
        self.closed = threading.Event()

    def send(self, data: bytes) -> None:
        with self._writing:
            self._sock.sendall(data)

    def reply(self, status: str, text: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.send(f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(text)}\r\n\r\n{text}".encode())

    def open_stream(self, stream_id: str, *events: Mapping[str, Any]) -> None:
        """Begins the stream, with its first events in the same piece."""
        head = (
            b"HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 15:35:01 GMT\r\nTransfer-Encoding: chunked\r\n"
            b"Mesos-Stream-Id: " + stream_id.encode() + b"\r\nContent-Type: application/json\r\n\r\n"
        )
        self.send(head + b"".join(map(_chunk, events)))

    def event(self, event: Mapping[str, Any]) -> None:
        self.send(_chunk(event))

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self.closed.set()


def _chunk(event: Mapping[str, Any]) -> bytes:
    body = json.dumps(event, separators=(",", ":")).encode()
    record = str(len(body)).encode() + b"\n" + body
    return f"{len(record):x}\r\n".encode() + record + b"\r\n"


class Master:
    """Accepts every subscription and every call, unless ``subscribe`` or ``call`` say otherwise.

    ``subscribe(request)`` and ``call(request)`` answer on ``request.connection``; they return False
    to leave the request to the default. Everything received stands in ``requests``.
    """

    framework_id = "484eb951-1e67-46e9-ad7e-21863ac42330-0000"

    def __init__(self, port: int = 0, listener: socket.socket | None = None) -> None:
        self.requests: list[Request] = []
        self.subscriptions: list[Request] = []
        self.connections: list[Connection] = []
        self.subscribe: Callable[[Request], bool] = lambda request: False
        self.call: Callable[[Request], bool] = lambda request: False
        self.heartbeat = 15.0
        self._threads: list[threading.Thread] = []
        self._reserved = reserve() if not port and listener is None else None
        if self._reserved is not None:
            port = self._reserved.getsockname()[1]
        self._listener = listener or socket.create_server(("127.0.0.1", port))
        self._closing = False
        self._spawn(self._accept)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def stream(self) -> Connection:
        return self.subscriptions[-1].connection

    def calls(self, kind: str) -> list[dict[str, Any]]:
        return [request.json for request in self.requests if request.kind == kind]

    def subscribed(self) -> dict[str, Any]:
        """The SUBSCRIBED event, as in recording 17."""
        info = {
            "framework_id": {"value": self.framework_id},
            "heartbeat_interval_seconds": self.heartbeat,
        }
        return {"type": "SUBSCRIBED", "subscribed": {**info, "master_info": {"version": "1.11.0"}}}

    def accept_subscription(self, request: Request) -> None:
        # In one piece: who has read the first event may have a test write on this connection, too.
        stream_id = f"stream-{len(self.subscriptions)}"
        request.connection.open_stream(stream_id, self.subscribed(), {"type": "HEARTBEAT"})

    def shut(self) -> None:
        """Refuses connections and cuts those that stand, until :meth:`reopen`."""
        self._closing = True
        self._port = self._listener.getsockname()[1]
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def reopen(self) -> None:
        """Listens again, where it did."""
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._spawn(self._accept)

    def close(self) -> None:
        if not self._closing:
            self.shut()
        if self._reserved is not None:
            self._reserved.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(sock)
            self.connections.append(connection)
            if self._closing:  # whoever closes the connections may have missed it
                connection.close()
            self._spawn(self._serve, connection, sock)

    def _serve(self, connection: Connection, sock: socket.socket) -> None:
        buffer = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                length = int(dict(_headers(head)).get("content-length", "0"))
                while len(buffer) < length:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                body, buffer = buffer[:length], buffer[length:]
                self._answer(Request(head, body, connection))
        except OSError:
            pass
        finally:
            connection.close()

    def _answer(self, request: Request) -> None:
        if request.kind == "SUBSCRIBE":
            self.subscriptions.append(request)
        self.requests.append(request)
        if request.kind == "SUBSCRIBE":
            if not self.subscribe(request):
                self.accept_subscription(request)
        elif not self.call(request):
            request.connection.reply("202 Accepted")


def _headers(head: bytes) -> Iterable[tuple[str, str]]:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()
