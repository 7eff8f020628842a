"""What bad input costs: a real server, every body against every resource that takes one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.harness import Client, gateway
from tests.gateway.api.test_bad_input import BODIES, NAMES, RESOURCES
from tests.measured import Measured

ROUNDS = 3
# A configuration that burns its time is refused at the end of that time, in a process of its own.
SLOW = {"a power", "large"}


def rss(pid: int) -> float:
    """MiB of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.alone
def test_bad_input_is_refused_fast_and_leaves_nothing(tmp_path: Path, measured: Measured) -> None:
    with gateway(tmp_path, "--master=127.0.0.1:9", "--application=thread") as server:
        client = Client(server.address)
        calls = [
            (method, path.format("devcluster") if "{}" in path else path, body)
            for method, path in RESOURCES
            for name, body in BODIES.items()
            if method != "GET" and name not in SLOW
        ]
        calls += [
            (method, path.format(name), None)
            for method, path in RESOURCES
            if "{}" in path
            for name in NAMES.values()
        ]
        for method, path, body in calls:  # the first round fills caches, and starts workers
            assert client.call(method, path, body).status < 500 or path.startswith("/health")
        before, took = rss(server.process.pid), []
        for _ in range(ROUNDS):
            for method, path, body in calls:
                began = time.monotonic()
                client.call(method, path, body)
                took.append(time.monotonic() - began)
        grown = rss(server.process.pid) - before
        took.sort()
        p99 = took[len(took) * 99 // 100]
        measured("bad input: requests", len(took))
        measured("bad input: answer p99, ms", 1000 * p99)
        measured("bad input: memory grew by, MiB", grown)
        assert grown < 50
        assert p99 < 0.1
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()
