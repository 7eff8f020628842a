"""A client in a process of its own that measures: ``python -m tests.faults.probe URL PATH …``.

It asks for the paths in turn, one request at a time on one connection, until its stdin ends; then it
writes ``{path: [seconds, …]}``. Its first line says that it is at work. Any answer but 200 ends it.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time


def main(address: str, paths: list[str]) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    took: dict[str, list[float]] = {path: [] for path in paths}
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        for path in paths:
            began = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            took[path].append(time.perf_counter() - began)
            if response.status != 200:
                raise SystemExit(f"{path}: {response.status}")
        if len(took[paths[0]]) == 1:
            print("at work", flush=True)
        time.sleep(0.005)
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
