"""A scripted Mesos agent: the executor API on loopback, byte for byte as the recordings have it.

It answers as Mesos 1.11 does (200 and a chunked RecordIO stream to SUBSCRIBE, 202 to UPDATE, then
ACKNOWLEDGED) and can be told to be down, to refuse, to hold acknowledgements back.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.executor.harness import AGENT, PATIENCE
from tests.ports import free_port

Json = dict[str, Any]


def record(event: Json) -> bytes:
    """Returns an event as Mesos sends it: compact JSON, RecordIO, one HTTP chunk."""
    body = json.dumps(event, separators=(",", ":")).encode()
    framed = b"%d\n" % len(body) + body
    return b"%x\r\n" % len(framed) + framed + b"\r\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        agent = self.server.agent
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        agent.took(call, dict(self.headers))
        if call["type"] == "SUBSCRIBE":
            self._subscribe(agent, call)
            return
        status, text = agent.update_answer
        self._answer(status, text)
        if status == 202 and call["type"] == "UPDATE" and agent.acknowledges:
            agent.acknowledge(call["update"]["status"])

    def _subscribe(self, agent: ScriptedAgent, call: Json) -> None:
        self.close_connection = True
        status, text = agent.subscribe_answer
        if status != 200:
            self._answer(status, text)
            return
        self.send_response_only(200, "OK")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        gone = threading.Event()
        agent.opened(self.wfile.write, gone)
        if agent.acknowledges:
            for update in call["subscribe"]["unacknowledged_updates"]:
                agent.acknowledge(update["status"])
        gone.wait()

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response_only(status)
        if body:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    agent: ScriptedAgent

    def __init__(self, port: int, agent: ScriptedAgent) -> None:
        self.sockets: list[socket.socket] = []
        self.agent = agent
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the test has cut, or the executor has closed."""


class ScriptedAgent:
    """``calls`` is what came in, in order; ``headers`` those of each call."""

    def __init__(self, framework_id: str = "F-0000", executor_id: str = "e1") -> None:
        self.framework_id, self.executor_id = framework_id, executor_id
        self.acknowledges = True
        self.update_answer = (202, "")
        self.subscribe_answer = (200, "")
        self.calls: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self._changed = threading.Condition()
        self._write: Callable[[bytes], Any] | None = None
        self._gone: threading.Event | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        # It comes back to the same one, which must not be somebody else's meanwhile.
        self.port = free_port()
        self.start()

    # -- life --

    def start(self) -> None:
        self._server = _Server(self.port, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """What ``kill -9`` does: every connection is reset, the port refuses."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.shutdown()
        thread.join()
        server.server_close()
        if self._gone is not None:
            self._gone.set()
        for sock in server.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._write = None

    # -- out --

    @property
    def subscribed_event(self) -> Json:
        return {
            "type": "SUBSCRIBED",
            "subscribed": {
                "executor_info": {
                    "executor_id": {"value": self.executor_id},
                    "framework_id": {"value": self.framework_id},
                },
                "framework_info": {"user": "root", "name": "test", "id": {"value": self.framework_id}},
                "agent_info": {"hostname": "localhost", "id": {"value": AGENT}},
                "container_id": {"value": "c1"},
            },
        }

    def send(self, event: Json) -> None:
        self.send_bytes(record(event))

    def send_bytes(self, data: bytes) -> None:
        with self._changed:
            assert self._write is not None, "nobody is subscribed"
            self._write(data)

    def acknowledge(self, status: Json) -> None:
        self.send(
            {
                "type": "ACKNOWLEDGED",
                "acknowledged": {"task_id": status["task_id"], "uuid": status["uuid"]},
            }
        )

    def launch(self, task_id: str, data: str) -> None:
        task = {
            "name": task_id,
            "task_id": {"value": task_id},
            "agent_id": {"value": AGENT},
            "resources": [],
            "data": data,
        }
        self.send({"type": "LAUNCH", "launch": {"task": task}})

    # -- in --

    def took(self, call: Json, headers: dict[str, str]) -> None:
        with self._changed:
            self.calls.append(call)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self._changed.notify_all()

    def opened(self, write: Callable[[bytes], Any], gone: threading.Event) -> None:
        with self._changed:
            if self._gone is not None:
                self._gone.set()  # a second subscription silently ends the first
            self._write, self._gone = write, gone
            # Before anything that the test has to say.
            write(record(self.subscribed_event))
            self._changed.notify_all()

    def of(self, kind: str) -> list[Json]:
        with self._changed:
            return [c for c in self.calls if c["type"] == kind]

    @property
    def subscribed_at(self) -> list[float]:
        """The moments of the SUBSCRIBE calls."""
        with self._changed:
            return [t for t, c in zip(self.times, self.calls, strict=True) if c["type"] == "SUBSCRIBE"]

    def states(self, task_id: str) -> list[str]:
        """The states that were reported of a task, by UPDATE or in SUBSCRIBE, each uuid once."""
        seen: dict[str, str] = {}
        with self._changed:
            for status in self._statuses():
                if status["task_id"]["value"] == task_id:
                    seen.setdefault(status["uuid"], status["state"])
        return list(seen.values())

    def last(self, task_id: str) -> Json:
        """The last status of a task."""
        with self._changed:
            return [s for s in self._statuses() if s["task_id"]["value"] == task_id][-1]

    def _statuses(self) -> list[Json]:
        found = []
        for call in self.calls:
            if call["type"] == "UPDATE":
                found.append(call["update"]["status"])
            elif call["type"] == "SUBSCRIBE":
                found += [u["status"] for u in call["subscribe"]["unacknowledged_updates"]]
        return found

    def wait(self, holds: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Returns ``holds()`` once it is true; fails with what came in until then."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (value := holds()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout} s; calls: {self.calls}")
                self._changed.wait(left)
        return value

    def wait_subscribed(self, times: int = 1) -> None:
        self.wait(lambda: len(self.of("SUBSCRIBE")) >= times and self._write is not None)

    def wait_states(self, task_id: str, states: list[str], timeout: float = PATIENCE) -> None:
        try:
            self.wait(lambda: self.states(task_id) == states, timeout)
        except AssertionError:
            raise AssertionError(f"{task_id}: {self.states(task_id)}, wanted {states}") from None
