"""A server of the key-value interface alone, as small as it can be: for clients of the registry."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web

from framework.model.errors import Forbidden, GatewayError, NotFound
from gateway.api.registry.kv import _entry as document
from gateway.auth.identity import ANONYMOUS
from gateway.clusters.kv import KeyValues, Reader


class KvHandler(tornado.web.RequestHandler):
    """``X-Auth-Token`` is a cluster's key: what signs tokens is tested elsewhere."""

    def initialize(self, values: KeyValues, tokens: dict[str, Reader]) -> None:
        self.values, self.tokens = values, tokens

    @property
    def reader(self) -> Reader:
        token = self.request.headers.get("X-Auth-Token")
        return self.tokens[token] if token and self.tokens else ANONYMOUS

    def has(self, name: str) -> bool:
        return name in self.request.query_arguments

    async def get(self, key: str) -> None:
        ask = self.values.list if self.has("recurse") else self.values.get
        loop = asyncio.get_running_loop()
        if self.has("keys"):
            separator = self.get_query_argument("separator", "")
            names, _ = await loop.run_in_executor(None, self.values.keys, self.reader, key, separator)
            self.set_status(200 if names else 404)
            self.finish(json.dumps(names))
            return
        answer = await loop.run_in_executor(None, ask, self.reader, key)
        self.set_header("X-Consul-Index", str(answer.index))
        if not answer.entries:
            self.set_status(404)
        elif self.has("raw"):
            self.write(answer.entries[0].value)
        else:
            self.write(json.dumps([document(entry) for entry in answer.entries]))

    async def put(self, key: str) -> None:
        cas = int(self.get_query_argument("cas")) if self.has("cas") else None
        self.write(json.dumps(self.values.put(self.reader, key, self.request.body, cas=cas)))

    async def delete(self, key: str) -> None:
        self.write(json.dumps(self.values.delete(self.reader, key, recurse=self.has("recurse"))))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1]
        if isinstance(error, GatewayError):
            known = {NotFound: 404, Forbidden: 403}
            self.set_status(known.get(type(error), 400))
            self.finish({"message": str(error)})

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        if not isinstance(value, GatewayError):
            super().log_exception(kind, value, trace)


@contextmanager
def serving(
    values: KeyValues,
    tokens: dict[str, Reader] | None = None,
    more: Any = (),
    tls: Any = None,
    bound: socket.socket | None = None,
) -> Iterator[str]:
    """Serves on a thread; gives the URL of the gateway, to which ``/v1/kv`` is to be added. ``bound``
    is the socket of a port that is known already, which is closed in the end."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        found["loop"], found["stop"] = asyncio.get_running_loop(), asyncio.Event()
        route = (r"/v1/kv/(.*)", KvHandler, {"values": values, "tokens": tokens or {}})
        sockets = [bound] if bound else tornado.netutil.bind_sockets(0, "127.0.0.1")
        for one in sockets:
            one.listen()
            one.setblocking(False)
        server = tornado.httpserver.HTTPServer(tornado.web.Application([route, *more]), ssl_options=tls)
        server.add_sockets(sockets)
        found["port"] = sockets[0].getsockname()[1]
        started.set()
        await found["stop"].wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(30)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{found['port']}"
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(30)
