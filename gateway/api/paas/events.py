"""What has happened to a cluster: its steps, and what its scripts have put out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

from framework.model.errors import Invalid, NotFound, Unavailable
from gateway.api.http import Answer, Call, Stream
from gateway.api.paas import bodies
from gateway.api.paas.routing import CLUSTER, own_cluster, route
from gateway.clusters.model import Cluster, ClusterEvent
from gateway.store.sessions import Change

_LARGEST = 2**63 - 1
_MOST = 1000
_PAGE = 500
_TEXT = "text/plain; charset=UTF-8"
_EVENTS = "text/event-stream"
_RECONNECT = b"retry: 2000\n\n"
_KEEP_ALIVE = b": nothing new\n\n"


async def read_cluster_events(call: Call, *segments: str) -> Answer | Stream:
    """A list; or, if that is what is accepted, server-sent events until the cluster is gone."""
    after = _position(call)
    limit = call.query.integer("limit", _MOST, 1, _MOST)
    cluster = await call.run(own_cluster, call, *segments)
    if _EVENTS in call.headers.get("Accept", ""):
        call.gateway.requests.admit_stream()
        return Stream(_lines(call, cluster.cluster_id, after), f"{_EVENTS}; charset=UTF-8")
    events = await call.run(call.clusters.service.events, cluster.cluster_id, after, limit)
    following = events[-1].sequence if len(events) == limit else None
    return Answer({"events": [bodies.event(one) for one in events], "next": following})


async def _lines(call: Call, cluster_id: str, after: int) -> AsyncGenerator[bytes, None]:
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def hear(change: Change) -> None:
        if change.id == cluster_id and not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    yield _RECONNECT
    unsubscribe = call.clusters.store.subscribe(hear)
    try:
        while True:
            news.clear()
            try:
                # In this order: what a cluster has had happen before its end is read to the end.
                gone = await call.run(_is_gone, call, cluster_id)
                events = await call.run(call.clusters.service.events, cluster_id, after, _PAGE)
            except Unavailable:
                gone, events = False, []
            if events:
                after = events[-1].sequence
                yield b"".join(_as_text(event) for event in events)
            elif gone:
                return
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(call.gateway.keep_alive_secs):
                        await news.wait()
                if not news.is_set():
                    yield _KEEP_ALIVE
    finally:
        unsubscribe()


def _is_gone(call: Call, cluster_id: str) -> bool:
    try:
        return call.clusters.service.get(cluster_id).is_gone
    except NotFound:
        return True


def _as_text(event: ClusterEvent) -> bytes:
    data = json.dumps(bodies.event(event))
    return f"id: {event.sequence}\nevent: {event.kind}\ndata: {data}\n\n".encode()


async def read_stdout(call: Call, *segments: str) -> Answer:
    return await _output(call, "stdout", segments)


async def read_stderr(call: Call, *segments: str) -> Answer:
    return await _output(call, "stderr", segments)


async def _output(call: Call, stream: str, segments: tuple[str, ...]) -> Answer:
    """What the cluster's scripts have put out, as far as it is kept."""

    def collect() -> str:
        cluster = own_cluster(call, *segments)
        return "".join(f"{event.text}\n" for event in _all(call, cluster) if event.stream == stream)

    return Answer(await call.run(collect), content_type=_TEXT)


def _all(call: Call, cluster: Cluster) -> list[ClusterEvent]:
    found: list[ClusterEvent] = []
    after = 0
    while events := call.clusters.service.events(cluster.cluster_id, after, _MOST):
        found += [event for event in events if event.kind == "output"]
        after = events[-1].sequence
    return found


def _position(call: Call) -> int:
    header = call.headers.get("Last-Event-ID", "").strip()
    if call.query.one("after") is not None or not header:
        return call.query.integer("after", 0, 0, _LARGEST)
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= _LARGEST):
        raise Invalid(f"Last-Event-ID {header[:60]!r} is not the number of an event")
    return int(header)


ROUTES = (
    route(
        "GET",
        CLUSTER + "/events",
        read_cluster_events,
        "What has happened to a cluster; as server-sent events with Accept: text/event-stream",
        200,
        "ClusterEvents",
        query=("after", "limit"),
        also=((200, _EVENTS),),
    ),
    route(
        "GET",
        CLUSTER + "/orchestrator_stdout",
        read_stdout,
        "What its scripts have written to stdout",
        200,
        "text/plain",
    ),
    route(
        "GET",
        CLUSTER + "/orchestrator_stderr",
        read_stderr,
        "What its scripts have written to stderr",
        200,
        "text/plain",
    ),
)
