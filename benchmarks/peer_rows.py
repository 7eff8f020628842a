"""The peer of recover: reads every row of a state and decodes its JSON; says how long that took."""

from __future__ import annotations

import sqlite3
import sys
import time

import msgspec


def main() -> None:
    began = time.perf_counter()
    database = sqlite3.connect(sys.argv[1])
    rows = 0
    for table in ("configs", "jobs", "tasks", "updates"):
        for (body,) in database.execute(f"SELECT body FROM scheduler_{table}"):
            msgspec.json.decode(body)
            rows += 1
    took = time.perf_counter() - began
    database.close()
    sys.stdout.write(f"listens on nothing\n{msgspec.json.encode([rows, took]).decode()}\n")


if __name__ == "__main__":
    main()
