"""The event stream: filters, resumption, keep-alive, readers that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from framework.core.messages import CreateJob, KillTasks, Publish
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.service import SchedulerService
from framework.storage import StoredEvent
from gateway.context import Gateway
from gateway.events import EventHub, Filter
from gateway.requests import Requests
from tests.gateway.api.conftest import JOB, KEY, Client, config, errors

pytestmark = pytest.mark.gen_test(timeout=120)


@pytest.fixture
def mode() -> Any:
    """Streams live on the event loop, whatever executes the requests."""
    return "thread"


@pytest.fixture(autouse=True)
def _serving(http_server: Any) -> None:
    """The port alone would be bound, and nobody behind it."""


class Reader:
    """An open event stream."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.comments = 0

    async def head(self) -> str:
        return (await self._reader.readuntil(b"\r\n\r\n")).decode()

    async def next(self) -> dict[str, Any]:
        """The next event: its fields, ``data`` read as JSON."""
        event: dict[str, Any] = {}
        while True:
            raw = await self._reader.readline()
            assert raw, "the stream has ended"
            line = raw.decode().rstrip("\n")
            if line.endswith("\r") or line == "":
                if "data" in event:
                    return event
                continue
            if line.startswith(":"):
                self.comments += 1
                continue
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                event[name] = json.loads(value) if name == "data" else value

    async def until(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]


@asynccontextmanager
async def stream(port: int, query: str = "", headers: str = "") -> AsyncIterator[Reader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /alpha/events{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    opened = Reader(reader)
    try:
        head = await opened.head()
        assert " 200 " in head
        assert "text/event-stream" in head
        yield opened
    finally:
        writer.close()


def spec(name: str, role: str = "www-data", instances: int = 1) -> JobSpec:
    task = TaskConfig(resources=Resources(0.1, 16, 16), executor_data="{}", service=True)
    return JobSpec(JobKey("devcluster", role, "prod", name), instances, task)


async def test_what_happens_is_told_in_order(
    client: Client, http_port: int, service: SchedulerService
) -> None:
    async with stream(http_port) as events:
        await client("PUT", JOB, config(instances=1))
        seen = await events.until(4)
    assert [event["event"] for event in seen] == ["job", "task", "task", "task"]
    assert [event["data"]["state"] for event in seen] == ["CREATED", "PENDING", "ASSIGNED", "RUNNING"]
    assert {event["data"]["key"] for event in seen} == {KEY}
    assert seen[3]["data"]["previous"] == "ASSIGNED"
    stored = service.events_after(0, 4)
    assert [int(event["id"]) for event in seen] == [e.sequence for e in stored]


async def test_a_reader_goes_on_where_it_was(client: Client, http_port: int) -> None:
    async with stream(http_port, "?after=0") as events:
        await client("PUT", JOB, config(instances=1))
        whole = await events.until(4)
    for position in (0, 2, 3):
        last = whole[position]["id"]
        for query, headers in ((f"?after={last}", ""), ("", f"Last-Event-ID: {last}\r\n")):
            async with stream(http_port, query, headers) as events:
                rest = whole[position + 1 :]
                assert await events.until(len(rest)) == rest
    # What comes later follows what was stored, with nothing twice and nothing left out.
    async with stream(http_port, f"?after={whole[1]['id']}") as events:
        await client("DELETE", JOB)
        seen = await events.until(4)
    assert [int(event["id"]) for event in seen] == [int(whole[1]["id"]) + n for n in (1, 2, 3, 4)]


async def test_only_new_events_without_a_position(
    client: Client, http_port: int, service: SchedulerService, gateway: Gateway
) -> None:
    service.submit(CreateJob(at=0.0, spec=spec("old"))).result(30)
    async with stream(http_port) as events:
        await asyncio.sleep(0)
        while not gateway.requests.streams:
            await asyncio.sleep(0.005)
        service.submit(CreateJob(at=0.0, spec=spec("new"))).result(30)
        while (event := await events.next())["data"]["state"] != "CREATED":
            assert event["data"]["key"].endswith("old")
        assert event["data"]["key"].endswith("/new")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("role=ops", {"devcluster/ops/prod/c"}),
        ("job=devcluster/www-data/prod/b", {"devcluster/www-data/prod/b"}),
        (
            "cluster=devcluster&role=www-data",
            {"devcluster/www-data/prod/a", "devcluster/www-data/prod/b"},
        ),
        ("cluster=elsewhere", set[str]()),
    ],
)
async def test_filters(http_port: int, service: SchedulerService, query: str, wanted: set[str]) -> None:
    jobs = [("a", "www-data"), ("b", "www-data"), ("c", "ops")]
    for name, role in jobs:
        service.submit(CreateJob(at=0.0, spec=spec(name, role))).result(30)

    def expected() -> list[str]:
        stored = service.events_after(0)
        return [str(e.sequence) for e in stored if str(e.event.key) in wanted]

    before = expected()
    assert bool(before) == bool(wanted)
    async with stream(http_port, f"?after=0&{query}") as events:
        assert [event["id"] for event in await events.until(len(before))] == before
        for name, role in jobs:
            key = JobKey("devcluster", role, "prod", name)
            service.submit(KillTasks(at=0.0, key=key)).result(30)
        after = expected()[len(before) :]
        assert [event["id"] for event in await events.until(len(after))] == after


async def test_a_reader_from_before_a_restored_backup_hears_what_happens_from_now_on(
    http_port: int, service: SchedulerService, gateway: Gateway
) -> None:
    """The number it has seen last is higher than any that the state, and so the stream, has now."""
    for name in ("first", "second", "third"):
        last = max((event.sequence for event in service.events_after(0)), default=0)
        key = f"devcluster/ops/prod/{name}"
        async with stream(http_port, f"?after={last + 1000}&job={key}") as events:
            reading = asyncio.ensure_future(events.next())
            # The first keep-alive says that the stream has looked where it is.
            while not events.comments:
                await asyncio.sleep(0.02)
            await asyncio.wrap_future(service.submit(CreateJob(at=0.0, spec=spec(name, "ops"))))
            seen = await asyncio.wait_for(reading, 30)
        assert (seen["data"]["key"], seen["data"]["state"]) == (key, "CREATED")
        if name == "second":
            gateway.events.reset()  # nothing is known, as after a start


class Restored:
    """A source whose numbers go back."""

    def __init__(self) -> None:
        self.tell: Callable[[StoredEvent], None] = lambda event: None

    def subscribe(self, listener: Callable[[StoredEvent], None]) -> Callable[[], None]:
        self.tell = listener
        return lambda: None

    def events_after(self, sequence: int, limit: int = 1000, **among: Any) -> list[StoredEvent]:
        return []


async def test_a_reader_goes_on_when_the_state_is_restored_while_it_reads() -> None:
    source, told = Restored(), JobKey.parse(KEY)
    hub = EventHub(source)
    hub.start()
    reading = hub.read(None, Filter(), 0.01)
    try:
        await anext(reading)
        for number in (7, 8, 3, 4):
            source.tell(StoredEvent(number, Publish(0.0, "job", told, "CREATED")))
            seen: Sequence[StoredEvent] = ()
            async with asyncio.timeout(10):
                while not seen:
                    seen = await anext(reading)
            assert [event.sequence for event in seen] == [number]
    finally:
        hub.stop()


async def test_silence_is_kept_alive(http_port: int, client: Client) -> None:
    async with stream(http_port, "?role=nobody") as events:
        waiting = asyncio.ensure_future(events.next())
        while events.comments < 2:
            await asyncio.sleep(0.02)
        waiting.cancel()


async def test_silence_is_kept_alive_also_while_others_hear_something(
    http_port: int, service: SchedulerService
) -> None:
    """Events that this reader does not want, one after the other: its connection is not idle."""
    async with stream(http_port, "?role=ops") as events:
        reading = asyncio.ensure_future(events.next())
        for n in range(1000):
            await asyncio.wrap_future(service.submit(CreateJob(at=0.0, spec=spec(f"job{n}"))))
            if events.comments > 1:
                break
        assert events.comments > 1
        await asyncio.wrap_future(service.submit(CreateJob(at=0.0, spec=spec("mine", "ops"))))
        assert (await reading)["data"]["role"] == "ops"


async def test_many_old_events_come_in_pages(http_port: int, service: SchedulerService) -> None:
    service.submit(CreateJob(at=0.0, spec=spec("many", instances=400))).result(30)
    while service.query(lambda core: core.counts().tasks.get("RUNNING")).result(30) != 400:
        await asyncio.sleep(0.02)
    stored = service.events_after(0, 5000)
    assert len(stored) > 1000
    async with stream(http_port, "?after=0") as events:
        seen = await events.until(len(stored))
    assert [int(event["id"]) for event in seen] == [event.sequence for event in stored]


async def test_a_reader_that_does_not_read_is_disconnected(
    http_port: int, service: SchedulerService, gateway: Gateway
) -> None:
    gateway.slow_reader_secs = 0.3
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    lazy.connect(("127.0.0.1", http_port))
    try:
        lazy.sendall(b"GET /alpha/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        while not gateway.requests.streams:
            await asyncio.sleep(0.005)
        round_ = 0
        while gateway.requests.streams:
            job = spec(f"job{round_}", instances=1000)
            await asyncio.wrap_future(service.submit(CreateJob(at=0.0, spec=job)))
            round_ += 1
            assert round_ < 50
        assert gateway.requests.running == 0
    finally:
        lazy.close()


async def test_a_reader_that_leaves_is_forgotten(
    http_port: int, client: Client, gateway: Gateway
) -> None:
    async with stream(http_port):
        while not gateway.requests.streams:
            await asyncio.sleep(0.005)
    while gateway.requests.streams or gateway.requests.running:
        await asyncio.sleep(0.005)


class TestWithoutAScheduler:
    @pytest.fixture
    def source(self) -> Any:
        return None

    async def test_there_are_no_events(self, client: Client) -> None:
        response = await client("GET", "/alpha/events")
        assert response.code == 501
        assert errors(response)


async def test_there_are_no_more_streams_than_there_may_be(client: Client, gateway: Gateway) -> None:
    await client("PUT", JOB, config(instances=1))
    gateway.requests = Requests(max_streams=0)
    for path in ("/alpha/events", JOB + "/instances/0/logs?follow=true"):
        refused = await client("GET", path)
        assert refused.code == 503
        assert refused.headers["Retry-After"] == "30"
        assert errors(refused) == ["0 streams are open already"]
