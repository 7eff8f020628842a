"""A fast stand-in for a Mesos master, in a process of its own: v1 HTTP, one thread, no framework.

It answers what a scheduler calls, counts it, and is told what to offer by a POST to ``/bench`` on the
same port. A body there is a :class:`Order`; the answer comes when the order is carried out.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from benchmarks import mesos_json
from benchmarks.machines import Machines
from benchmarks.mesos_json import Agents, record

_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Mesos-Stream-Id: 0b6a5c9e-bench\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class _Value(msgspec.Struct, frozen=True):
    value: str = ""


class _TaskId(msgspec.Struct):
    task_id: _Value
    agent_id: _Value = _Value()


class _Scalar(msgspec.Struct):
    value: float


class _Resource(msgspec.Struct):
    name: str
    scalar: _Scalar | None = None


class _Executor(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...] = ()


class _TaskInfo(_TaskId):
    resources: tuple[_Resource, ...] = ()
    executor: _Executor = _Executor()


class _Launch(msgspec.Struct):
    task_infos: list[_TaskInfo] = []


class _Operation(msgspec.Struct):
    launch: _Launch | None = None


class _Accept(msgspec.Struct):
    operations: list[_Operation] = []
    offer_ids: list[_Value] = []


class _Filters(msgspec.Struct, frozen=True):
    refuse_seconds: float = 5.0


class _Decline(msgspec.Struct):
    offer_ids: list[_Value] = []
    filters: _Filters = _Filters()


class _Reconcile(msgspec.Struct):
    tasks: list[_TaskId] = []


class _Call(msgspec.Struct):
    """What is looked at of a scheduler's call."""

    type: str
    accept: _Accept | None = None
    decline: _Decline | None = None
    reconcile: _Reconcile | None = None


class Order(msgspec.Struct, kw_only=True):
    """``do``: ``offers`` (of ``agents``, ``per_event`` in one event; answered when ``until`` tasks
    have been launched), ``updates`` (RUNNING for ``tasks``: ids and agents; answered when as many
    acknowledgements have come), ``run`` (from now on ``agents`` are there, offer what they have, and
    run what they are given), ``wait`` (until subscribed), ``counts``.
    """

    do: str
    agents: Agents = Agents(0)
    per_event: int = 100
    until: int = 0
    tasks: list[tuple[str, str]] = []


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.unsent = bytearray()
        self.streaming = False


class FakeMaster:
    """``counts``: calls by type, and tasks launched."""

    def __init__(self, listener: socket.socket) -> None:
        self.counts: dict[str, int] = {"tasks": 0}
        self.launched: dict[str, str] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._listener = listener
        self._stream: _Connection | None = None
        self._waiting: list[tuple[_Connection, Callable[[], dict[str, Any] | None]]] = []
        self._call = msgspec.json.Decoder(_Call)
        self._order = msgspec.json.Decoder(Order)
        self._numbers = itertools.count(1)
        self._machines: Machines | None = None

    def run(self) -> None:
        while True:
            for key, mask in self._selector.select(self._patience()):
                if key.fileobj is self._listener:
                    self._accept()
                    continue
                connection = key.data
                if mask & selectors.EVENT_READ:
                    self._read(connection)
                if mask & selectors.EVENT_WRITE and connection.sock.fileno() >= 0:
                    self._flush(connection)
            self._offer()

    # -- connections ------------------------------------------------------------------------------

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(262_144)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        while (request := _take_request(connection.received)) is not None:
            self._answer(connection, *request)

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection is self._stream:
            self._stream = None

    def _send(self, connection: _Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent += data
            return
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            connection.unsent += data[sent:]
            self._selector.modify(
                connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection
            )

    def _flush(self, connection: _Connection) -> None:
        sent = connection.sock.send(memoryview(connection.unsent)[:1_048_576])
        del connection.unsent[:sent]
        if not connection.unsent:
            self._selector.modify(connection.sock, selectors.EVENT_READ, connection)

    # -- requests ---------------------------------------------------------------------------------

    def _answer(self, connection: _Connection, path: bytes, body: bytes) -> None:
        if path == b"/api/v1/scheduler":
            self._scheduler_call(connection, body)
        elif path == b"/bench":
            self._carry_out(connection, self._order.decode(body))
        elif path == b"/version":
            self._send(connection, _json_answer({"version": "1.11.0"}))
        else:
            self._send(connection, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _scheduler_call(self, connection: _Connection, body: bytes) -> None:
        call = self._call.decode(body)
        self.counts[call.type] = self.counts.get(call.type, 0) + 1
        if call.type == "SUBSCRIBE":
            self._stream = connection
            self._send(connection, _STREAM + record(mesos_json.subscribed_event()))
            self._settle()
            return
        self._send(connection, _ACCEPTED)
        if call.accept is not None:
            for operation in call.accept.operations:
                infos = operation.launch.task_infos if operation.launch else []
                self.launched.update((i.task_id.value, i.agent_id.value) for i in infos)
                self.counts["tasks"] += len(infos)
        if self._machines is not None:
            self._with_machines(self._machines, call)
        if call.reconcile is not None and self._stream is not None:
            events = (
                mesos_json.reconciled_event(t.task_id.value, t.agent_id.value)
                for t in call.reconcile.tasks
            )
            self._send(self._stream, b"".join(map(record, events)))
        if self._waiting:
            self._settle()

    # -- orders -----------------------------------------------------------------------------------

    def _carry_out(self, connection: _Connection, order: Order) -> None:
        began = time.monotonic()
        if order.do == "offers":
            done = self._make_offers(order)
        elif order.do == "updates":
            done = self._make_updates(order)
        elif order.do == "run":
            self._machines = Machines(order.agents, began)
            done = dict
        elif order.do == "wait":
            done = lambda: {} if self._stream is not None else None  # noqa: E731
        else:
            done = lambda: {"counts": self.counts, "distinct": len(self.launched)}  # noqa: E731

        def answer() -> dict[str, Any] | None:
            result = done()
            return None if result is None else {"began": began, "ended": time.monotonic(), **result}

        self._waiting.append((connection, answer))
        self._settle()

    def _make_offers(self, order: Order) -> Callable[[], dict[str, Any] | None]:
        assert self._stream is not None, "nobody has subscribed"
        numbers = range(0, order.agents.count, order.per_event)
        events = [
            record(
                mesos_json.offers_event(order.agents, n, min(order.per_event, order.agents.count - n))
            )
            for n in numbers
        ]
        target = self.counts["tasks"] + order.until
        written = time.monotonic()
        for event in events:
            self._send(self._stream, event)
        return lambda: {"written": written} if self.counts["tasks"] >= target else None

    def _make_updates(self, order: Order) -> Callable[[], dict[str, Any] | None]:
        assert self._stream is not None, "nobody has subscribed"
        events = [
            record(mesos_json.update_event(task, agent, "TASK_RUNNING", next(self._numbers)))
            for task, agent in order.tasks
        ]
        target = self.counts.get("ACKNOWLEDGE", 0) + len(events)
        written = time.monotonic()
        self._send(self._stream, b"".join(events))
        return lambda: {"written": written} if self.counts.get("ACKNOWLEDGE", 0) >= target else None

    # -- agents that run what they are given ------------------------------------------------------

    def _with_machines(self, machines: Machines, call: _Call) -> None:
        now = time.monotonic()
        if call.type == "REVIVE":
            machines.revive(now)
        elif call.type == "SUPPRESS":
            machines.suppress()
        elif call.decline is not None:
            offers = [offer.value for offer in call.decline.offer_ids]
            machines.decline(offers, now, call.decline.filters.refuse_seconds)
        elif call.accept is not None:
            offers = [offer.value for offer in call.accept.offer_ids]
            launches = [o.launch.task_infos for o in call.accept.operations if o.launch is not None]
            for infos in filter(None, launches):
                tasks = [_amounts(info.resources) for info in infos]
                executor = _amounts(infos[0].executor.resources)
                machines.launch(offers, infos[0].agent_id.value, tasks, executor, now)
                self._tell_running(infos)

    def _tell_running(self, infos: list[_TaskInfo]) -> None:
        assert self._stream is not None
        events = (
            mesos_json.update_event(
                i.task_id.value, i.agent_id.value, "TASK_RUNNING", next(self._numbers)
            )
            for i in infos
        )
        self._send(self._stream, b"".join(map(record, events)))

    def _offer(self) -> None:
        if self._machines is not None and self._stream is not None:
            offers = self._machines.take_offers(time.monotonic())
            if offers:
                self._send(self._stream, record(mesos_json.event_of(offers)))

    def _patience(self) -> float | None:
        due = self._machines.next() if self._machines is not None and self._stream else None
        return None if due is None else max(0.0, due - time.monotonic())

    def _settle(self) -> None:
        """Answers the orders that have come to pass."""
        still = []
        for connection, read in self._waiting:
            result = read()
            if result is None:
                still.append((connection, read))
            else:
                self._send(connection, _json_answer(result))
        self._waiting = still


def _take_request(received: bytearray) -> tuple[bytes, bytes] | None:
    """Returns path and body of the first complete request, and takes it out; None: there is none."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end])
    at = head.lower().find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    if len(received) < end + 4 + length:
        return None
    body = bytes(received[end + 4 : end + 4 + length])
    del received[: end + 4 + length]
    return head.split(b" ", 2)[1], body


def _amounts(resources: Iterable[_Resource]) -> dict[str, float]:
    """Returns how much there is of each scalar."""
    found: dict[str, float] = {}
    for resource in resources:
        if resource.scalar is not None:
            found[resource.name] = found.get(resource.name, 0.0) + resource.scalar.value
    return found


def _json_answer(value: dict[str, Any]) -> bytes:
    body = msgspec.json.encode(value)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    sys.stdout.write(f"listens on 127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    FakeMaster(listener).run()


if __name__ == "__main__":
    main()
