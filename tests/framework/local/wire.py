"""A client of the v1 API made of plain sockets, so that tests see what is on the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
# Only a root agent can start an executor as somebody else.
ME = pwd.getpwuid(os.geteuid()).pw_name
PATIENCE = 60.0


class Answer:
    """One answer: status, reason, headers as pairs, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.reason = response.reason
        self.headers = response.getheaders()
        self.body = response.read()

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A keep-alive connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=PATIENCE)

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = headers if headers is not None else {"Content-Type": "application/json"}
        self._connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in given.items():
            self._connection.putheader(name, value)
        if data is not None:
            self._connection.putheader("Content-Length", str(len(data)))
        self._connection.endheaders(data)
        return Answer(self._connection.getresponse())

    def close(self) -> None:
        self._connection.close()


def get(address: str, path: str) -> Answer:
    with contextlib.closing(Connection(address)) as connection:
        return connection.request("GET", path, headers={})


def post(address: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
    with contextlib.closing(Connection(address)) as connection:
        return connection.request("POST", path, body, headers)


class Stream:
    """A subscription: its raw bytes, its headers, and its events as they come."""

    def __init__(
        self, address: str, path: str, body: Json, headers: dict[str, str] | None = None
    ) -> None:
        host, port = address.split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        data = json.dumps(body).encode()
        given = headers or {"Content-Type": "application/json", "Accept": "application/json"}
        lines = [f"POST {path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(data)}"]
        lines += [f"{k}: {v}" for k, v in given.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        self._file = self._socket.makefile("rb")
        status = self._file.readline().decode().split(" ", 2)
        self.status, self.reason = int(status[1]), status[2].strip()
        self.headers: list[tuple[str, str]] = []
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            self.headers.append((name, value))
        self.events: list[Json] = []
        self.ended: str | None = None
        self.text = ""
        self._changed = threading.Condition()
        if self.header("Transfer-Encoding") != "chunked":
            self.text = self._file.read(int(self.header("Content-Length") or 0)).decode()
            self.ended = "no stream"
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def _read(self) -> None:
        why = "closed"
        try:
            while self.ended is None:
                size = self._file.readline()
                if not size:
                    break
                chunk = self._file.read(int(size, 16))
                assert self._file.read(2) == b"\r\n"
                if not chunk:
                    why = "end"
                    break
                length, _, record = chunk.partition(b"\n")
                assert int(length) == len(record), "one record to a chunk"
                with self._changed:
                    self.events.append(json.loads(record))
                    self._changed.notify_all()
        except (OSError, ValueError) as error:
            why = repr(error)
        with self._changed:
            self.ended = self.ended or why
            self._changed.notify_all()

    def wait(self, wanted: Callable[[Json], bool], *, after: int = 0, timeout: float = PATIENCE) -> Json:
        """Returns the first event from position ``after`` on that is wanted; fails after ``timeout``."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for event in self.events[after:]:
                    if wanted(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or self.ended is not None:
                    raise AssertionError(
                        f"no such event ({self.ended or 'timeout'}): {self.events[after:]}"
                    )
                self._changed.wait(left)

    def wait_type(self, kind: str, *, after: int = 0, timeout: float = PATIENCE) -> Json:
        return self.wait(lambda e: e["type"] == kind, after=after, timeout=timeout)

    def wait_end(self, timeout: float = PATIENCE) -> str:
        """Returns how the stream ended: ``end`` with the last chunk, or ``closed``."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.ended is None:
                left = deadline - time.monotonic()
                assert left > 0, f"the stream has not ended: {self.events}"
                self._changed.wait(left)
        return self.ended or ""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._file.close()
        self._socket.close()


def scalar(name: str, value: float) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


RESOURCES = [scalar("cpus", 0.1), scalar("mem", 32)]


class Framework:
    """A scheduler by hand. Updates are acknowledged by :meth:`update` unless told otherwise."""

    def __init__(self, address: str, info: Json | None = None, framework_id: str | None = None) -> None:
        self.address = address
        self.info = {"user": ME, "name": "test", "failover_timeout": 60.0, **(info or {})}
        body: Json = {"type": "SUBSCRIBE", "subscribe": {"framework_info": self.info}}
        if framework_id is not None:
            self.info["id"] = {"value": framework_id}
            body["framework_id"] = {"value": framework_id}
        self.stream = Stream(address, "/api/v1/scheduler", body)
        self._calls = Connection(address)
        self.id = framework_id or ""
        if self.stream.status == 200 and framework_id is None:
            self.id = self.stream.wait_type("SUBSCRIBED")["subscribed"]["framework_id"]["value"]

    def call(self, kind: str, body: Json | None = None, **more: Any) -> Answer:
        call: Json = {"type": kind, "framework_id": {"value": self.id}}
        if body is not None:
            call[kind.lower()] = body
        headers = {
            "Content-Type": "application/json",
            "Mesos-Stream-Id": self.stream.header("Mesos-Stream-Id") or "",
        }
        return self._calls.request("POST", "/api/v1/scheduler", call | more, headers)

    def offer(self, *, after: int = 0, agent_id: str | None = None, timeout: float = PATIENCE) -> Json:
        """Returns the first offer from event ``after`` on (of an agent)."""

        def fits(offer: Json) -> bool:
            return agent_id is None or offer["agent_id"]["value"] == agent_id

        event = self.stream.wait(
            lambda e: e["type"] == "OFFERS" and any(map(fits, e["offers"]["offers"])),
            after=after,
            timeout=timeout,
        )
        return next(o for o in event["offers"]["offers"] if fits(o))

    def accept(self, offer: Json, tasks: list[Json], refuse: float = 0.0) -> Answer:
        launch = {"type": "LAUNCH", "launch": {"task_infos": tasks}}
        body = {
            "offer_ids": [offer["id"]],
            "operations": [launch],
            "filters": {"refuse_seconds": refuse},
        }
        return self.call("ACCEPT", body)

    def update(
        self,
        task_id: str,
        state: str,
        *,
        after: int = 0,
        acknowledge: bool = True,
        timeout: float = PATIENCE,
    ) -> Json:
        """Returns the status of the first such update; acknowledges it."""
        event = self.stream.wait(
            lambda e: (
                e["type"] == "UPDATE"
                and e["update"]["status"]["task_id"]["value"] == task_id
                and e["update"]["status"]["state"] == state
            ),
            after=after,
            timeout=timeout,
        )
        status: Json = event["update"]["status"]
        if acknowledge and "uuid" in status:
            self.acknowledge(status)
        return status

    def acknowledge(self, status: Json) -> Answer:
        return self.call("ACKNOWLEDGE", {k: status[k] for k in ("agent_id", "task_id", "uuid")})

    def mark(self) -> int:
        """The number of events so far, for ``after``."""
        return len(self.stream.events)

    def close(self) -> None:
        self._calls.close()
        self.stream.close()


def task(task_id: str, offer: Json, **more: Any) -> Json:
    return {
        "task_id": {"value": task_id},
        "name": f"task {task_id}",
        "agent_id": offer["agent_id"],
        "resources": RESOURCES,
        **more,
    }


def executor(executor_id: str, command: str, **more: Any) -> Json:
    return {
        "executor_id": {"value": executor_id},
        "name": "minimal",
        "source": "test",
        "command": {"value": command},
        "resources": RESOURCES,
        **more,
    }
