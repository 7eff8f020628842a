"""The peer of the submit benchmark: a bare Tornado handler that commits one row to SQLite."""

from __future__ import annotations

import sqlite3
import sys

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
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


def main() -> None:
    database = sqlite3.connect(sys.argv[1])
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, body BLOB)")
    server = HTTPServer(Application([(r"/rows/(\w+)", Row, {"database": database})]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    sys.stdout.write(f"listens on http://127.0.0.1:{sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    IOLoop.current().start()


if __name__ == "__main__":
    main()
