"""/v1/kv: the registry in Consul's protocol, blocking queries included."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from framework.model.errors import Invalid
from gateway.api.http import JSON, Answer, Call, Route, json_text
from gateway.clusters.kv import Answer as Found
from gateway.errors import Problem
from gateway.store.entries import Entry

_KV = "/v1/kv/{key_path}"
_TEXT = "text/plain; charset=UTF-8"
_LARGEST = 2**63 - 1
_MOST_FLAGS = 2**64 - 1
# As Go writes durations, or seconds: what is more than the most is the most.
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
_PART = rf"({_NUMBER})(ns|us|µs|ms|s|m|h)"
_WAIT = re.compile(rf"(?:{_PART}){{1,7}}")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WAIT_SECS = 300.0
_MOST_WAIT_SECS = 600.0


def failed(key: str, problem: Problem) -> str:
    """A failure is a sentence, as Consul has it."""
    return "; ".join(problem.messages) + "\n"


async def read_key(call: Call, key: str) -> Answer:
    """One entry; all below a prefix (``recurse``); names (``keys``); a value alone (``raw``)."""
    query, registry, caller = call.query, call.clusters.registry, call.caller
    names, recurse = query.flag("keys"), query.flag("recurse")
    raw, separator = query.flag("raw"), query.one("separator") or ""
    if names:
        listed, index = await _settled(
            call, key, True, lambda: registry.keys(caller, key, separator), lambda found: found[1]
        )
        return _answer(json_text(list(listed)), index, bool(listed))
    read: Callable[[], Found] = (
        (lambda: registry.list(caller, key)) if recurse else (lambda: registry.get(caller, key))
    )
    found = await _settled(call, key, recurse, read, lambda found: found.index)
    if raw and found.entries:
        headers = _headers(found.index)
        return Answer(found.entries[0].value, content_type=_TEXT, headers=headers)
    # All below a key may be many megabytes: others are not to wait while that is written.
    written = await call.run(_written, found.entries) if recurse else _written(found.entries)
    return _answer(written, found.index, bool(found.entries))


async def _settled(
    call: Call, key: str, tree: bool, read: Callable[[], Any], index_of: Callable[[Any], int]
) -> Any:
    """Returns what ``read`` finds; with ``index``, once its index is higher or the time is over."""
    seen = call.query.integer("index", 0, 0, _LARGEST)
    patience = _seconds(call.query.one("wait"))
    if not seen:
        return await call.run(read)
    requests = call.gateway.requests
    requests.admit_stream()
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        # The change may be told after the loop has ended.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(news.set)

    until = loop.time() + patience
    with call.clusters.registry.watching(key, tree, wake):
        while True:
            news.clear()
            found = await call.run(read)
            left = until - loop.time()
            if index_of(found) > seen or left <= 0:
                return found
            waiting = asyncio.ensure_future(news.wait())
            # A server that stops ends the wait, not the answer.
            with requests.streaming(waiting):
                await asyncio.wait({waiting}, timeout=left)
            if waiting.cancelled():
                return found
            waiting.cancel()


async def write_key(call: Call, key: str) -> Answer:
    flags = call.query.integer("flags", 0, 0, _MOST_FLAGS)
    registry = call.clusters.registry
    stored = await call.run(registry.put, call.caller, key, call.body, flags=flags, cas=_compared(call))
    return _truth(stored)


async def delete_key(call: Call, key: str) -> Answer:
    recurse = call.query.flag("recurse")
    registry = call.clusters.registry
    removed = await call.run(registry.delete, call.caller, key, recurse=recurse, cas=_compared(call))
    return _truth(removed)


def _compared(call: Call) -> int | None:
    return None if call.query.one("cas") is None else call.query.integer("cas", 0, 0, _LARGEST)


def _seconds(text: str | None) -> float:
    """Returns how long ``wait`` is: ``10s``, ``1m30s``, ``500ms``; raises :class:`Invalid`."""
    if text is None:
        return _WAIT_SECS
    text = f"{text}s" if re.fullmatch(_NUMBER, text) else text
    if _WAIT.fullmatch(text) is None:
        raise Invalid(f"wait={text[:60]!r} is not a time; write 10s or 5m")
    parts = re.findall(_PART, text)
    return min(_MOST_WAIT_SECS, sum(float(number) * _UNITS[unit] for number, unit in parts))


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "LockIndex": 0,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": base64.b64encode(entry.value).decode() if entry.value else None,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    }


def _written(entries: Iterable[Entry]) -> bytes:
    return json_text([_entry(one) for one in entries])


def _answer(text: bytes, index: int, there: bool) -> Answer:
    if not there:
        return Answer("", status=404, content_type=_TEXT, headers=_headers(index))
    return Answer(text, content_type=JSON, headers=_headers(index))


def _headers(index: int) -> tuple[tuple[str, str], ...]:
    return (
        ("X-Consul-Index", str(index)),
        ("X-Consul-KnownLeader", "true"),
        ("X-Consul-LastContact", "0"),
    )


def _truth(value: bool) -> Answer:
    return Answer(b"true" if value else b"false", content_type=JSON)


_READING = ("recurse", "keys", "separator", "raw", "index", "wait")
_EVERYWHERE = ("dc", "consistent", "stale")


def _route(
    method: str, handler: Any, summary: str, query: tuple[str, ...], *answers: tuple[int, str]
) -> Route:
    return Route(
        method,
        _KV,
        handler,
        summary,
        failed,
        query=(*query, *_EVERYWHERE),
        body=method == "PUT",
        scripts=True,
        answers=answers,
        accepts=("text", "text/plain", "application/octet-stream") if method == "PUT" else (),
        failures="text/plain",
    )


ROUTES = (
    _route(
        "GET",
        read_key,
        "An entry of the registry, or all that begin with a prefix",
        _READING,
        (200, "KvAnswer"),
        (200, "text/plain"),
        (404, "text/plain"),
    ),
    _route("PUT", write_key, "Stores a value", ("flags", "cas"), (200, "KvDone")),
    _route("DELETE", delete_key, "Removes keys", ("recurse", "cas"), (200, "KvDone")),
)
