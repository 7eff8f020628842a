"""GET /alpha/events: what happens to jobs, tasks and updates, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from framework.model.errors import Invalid
from framework.model.jobs import JobKey, check_segment
from framework.storage import StoredEvent
from gateway.api.alpha import bodies
from gateway.api.http import Call, Route, Stream
from gateway.context import Gateway
from gateway.events import Filter

_LARGEST = 2**63 - 1
_RECONNECT = b"retry: 2000\n\n"
_KEEP_ALIVE = b": nothing new\n\n"


async def read_events(call: Call) -> Stream:
    """From now on, or after the event that ``Last-Event-ID`` or ``after`` names."""
    gateway = call.gateway
    after = _position(call)
    gateway.events.check()
    gateway.requests.admit_stream()
    return Stream(_lines(gateway, after, _filter(call)), "text/event-stream; charset=UTF-8")


async def _lines(gateway: Gateway, after: int | None, wanted: Filter) -> AsyncGenerator[bytes, None]:
    yield _RECONNECT
    async for events in gateway.events.read(after, wanted, gateway.keep_alive_secs):
        yield b"".join(as_text(event) for event in events) or _KEEP_ALIVE


def as_text(stored: StoredEvent) -> bytes:
    """Returns one event as the stream writes it: its number, its kind, a line of JSON."""
    event = stored.event
    data = {
        "at": event.at,
        "kind": event.kind,
        "key": str(event.key),
        "role": event.key.role,
        "state": event.state,
        "previous": event.previous or None,
        "instance": event.instance,
        "task_id": event.task_id or None,
        "update_id": event.update_id or None,
        "message": event.message,
    }
    return f"id: {stored.sequence}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n".encode()


def _position(call: Call) -> int | None:
    if call.query.one("after") is not None:
        return call.query.integer("after", 0, 0, _LARGEST)
    header = call.headers.get("Last-Event-ID", "").strip()
    if not header:
        return None
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= _LARGEST):
        raise Invalid(f"Last-Event-ID {header[:60]!r} is not the number of an event")
    return int(header)


def _filter(call: Call) -> Filter:
    role, cluster, job = (call.query.one(name) for name in ("role", "cluster", "job"))
    for what, name in (("role", role), ("cluster", cluster)):
        if name is not None:
            check_segment(what, name)
    key = None if job is None else JobKey.parse(job)
    return Filter(cluster, role, key, call.visible_roles())


ROUTES = (
    Route(
        "GET",
        "/alpha/events",
        read_events,
        "What happens, as server-sent events; resumable with Last-Event-ID",
        bodies.failed,
        query=("after", "cluster", "role", "job"),
        answers=((200, "text/event-stream"),),
    ),
)
