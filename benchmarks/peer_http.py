"""The peers of the HTTP rows: bare Tornado handlers.

``PUT /rows/NAME`` commits one row to SQLite, as durable as our own state; ``GET /full`` and
``GET /one`` encode a value with msgspec each time; ``GET /small`` answers a few bytes.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler


class Row(RequestHandler):
    def initialize(self, database: sqlite3.Connection) -> None:
        self.database = database

    def put(self, name: str) -> None:
        with self.database:
            self.database.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?)", (name, self.request.body))
        self.set_status(201)
        self.write({"status": "success"})


class Value(RequestHandler):
    """``value`` is what the real server answers, decoded."""

    def initialize(self, value: Any) -> None:
        self.value = value

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.write(msgspec.json.encode(self.value))


def routes_of(database: sqlite3.Connection, values: Path) -> list[Any]:
    return [
        (r"/rows/([\w-]+)", Row, {"database": database}),
        *(
            (f"/{path.stem}", Value, {"value": msgspec.json.decode(path.read_bytes())})
            for path in values.glob("*.json")
        ),
    ]


async def serve(routes: list[Any]) -> None:
    server = HTTPServer(Application(routes))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    sys.stdout.write(f"listens on http://127.0.0.1:{sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    directory = Path(sys.argv[1])
    database = sqlite3.connect(directory / "peer.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, body BLOB)")
    asyncio.run(serve(routes_of(database, directory)))


if __name__ == "__main__":
    main()
