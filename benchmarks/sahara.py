"""sahara: the API of data clusters, one client on one connection, beside 1,000 clusters of 3 nodes.

The clusters are launched first, see :mod:`benchmarks.sahara_launch`, and stay. A Sahara 19 answers about
200 reads and 13 to 120 writes a second beside 2 cores; it cannot be run here, so that is a figure of
another day, and not told which write is the slow one. Machines differ from day to day, too, and from
minute to minute: where that was seen, a bare Tornado handler answered 6,400 requests a second and more.
So the recorded figures are scaled by what a bare handler does in between, repetition by repetition. The
bare handlers that stand beside ours encode the same value with msgspec at each request, or commit one
row to SQLite.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import sahara_launch
from benchmarks.load import Load, request
from benchmarks.measure import Report, Result, compare
from benchmarks.mesos_json import Agents
from benchmarks.processes import Process, fake_master, running
from benchmarks.sahara_launch import BASE, CATALOGUE, cluster_body, node_group
from tests.e2e.harness import gateway

# What a Sahara 19 does in a second.
READS, WRITES, SLOW_WRITES = 200.0, 120.0, 13.0
# What a bare handler did there.
BARE = 6400.0
TIMES = 5.0
_HEADERS = {"Content-Type": "application/json"}
_TEMPLATE = {**node_group("template-N", 1), "plugin_name": "fake", "hadoop_version": "0.1"}
del _TEMPLATE["count"]


def run(report: Report) -> None:
    clusters = 20 if report.quick else 1000
    with tempfile.TemporaryDirectory() as name, fake_master() as master:
        directory = Path(name)
        catalogue = directory / "catalogue.toml"
        catalogue.write_text(CATALOGUE)
        options = ("--executor-command=/bin/executor", f"--catalogue={catalogue}", "--log-level=error")
        with gateway(directory, f"--master={master.address}", *options) as server:
            master.order("wait")
            master.order("run", agents=Agents(100, cpus=64.0, mem=262_144.0, disk=1_048_576.0))
            ids = sahara_launch.run(report, server, clusters)
            made = _post(server.address, "/node-group-templates", _TEMPLATE).one()
            template = json.loads(made)["node_group_template"]["id"]
            paths = {
                "plugins": "/plugins",
                "template": f"/node-group-templates/{template}",
                "cluster": f"/clusters/{ids[len(ids) // 2]}",
                "page": "/clusters?limit=20",
                "list": "/clusters",
            }
            sizes = {}
            for what, path in paths.items():
                answer = _get(server.address, BASE + path).one()
                (directory / f"{what}.json").write_bytes(answer)
                sizes[what] = len(answer)
            with running("benchmarks.peer_http", name) as peer:
                bare = Bare(peer.address)
                _reads(report, server.address, peer, paths, bare)
                _list(report, server.address, peer, clusters, sizes["list"])
                _writes(report, server.address, peer, bare)
                rate = statistics.median(bare.rates)
                report.figure(
                    "sahara", "a bare handler, recorded: 6,400/s", rate, "/s", samples=bare.rates
                )


def _get(address: str, path: str) -> Load:
    return Load(address, lambda n: request("GET", path))


def _post(address: str, path: str, body: dict[str, Any]) -> Load:
    """POSTs ``body``; what it has in the place of N is another text each time."""
    text = json.dumps(body).encode()

    def make(number: int) -> bytes:
        numbered = text.replace(b"-N", b"-%d" % number)
        return request("POST", BASE + path, numbered, _HEADERS)

    return Load(address, make, 202)


class Bare:
    """A bare handler, asked in between: ``rates`` are what it has done."""

    def __init__(self, address: str) -> None:
        self._load = _get(address, "/template")
        self.rates: list[float] = []

    def before(self, measure: Callable[[], float], requests: int) -> Callable[[], float]:
        """Returns what measures the bare handler, and then ``measure``."""

        def both() -> float:
            self.rates.append(self._load.rate(1, requests))
            return measure()

        return both


def _reads(report: Report, address: str, peer: Process, paths: dict[str, str], bare: Bare) -> None:
    requests = 20 if report.quick else 500
    rows = {
        "plugins": "plugins",
        "template": "a template",
        "cluster": "a cluster",
        "page": "20 clusters",
    }
    for what, shown in rows.items():
        ours, theirs = _get(address, BASE + paths[what]), _get(peer.address, f"/{what}")
        _compare(report, f"GET {shown}", ours, theirs, requests, (READS, bare))


def _list(report: Report, address: str, peer: Process, clusters: int, size: int) -> None:
    requests = 2 if report.quick else 10
    ours, theirs = _get(address, f"{BASE}/clusters"), _get(peer.address, "/list")
    metric = f"GET all {clusters:,} clusters"
    result = _compare(report, metric, ours, theirs, requests)
    report.figure("sahara", f"{metric}, {size / 1e6:.1f} MB", result.value * size / 1e6, "MB/s")


def _writes(report: Report, address: str, peer: Process, bare: Bare) -> None:
    requests = 16 if report.quick else 200
    template, cluster = {**_TEMPLATE, "name": "bench-N"}, cluster_body("one-N")
    # Clusters that are created are launched, too, while others are.
    for what, path, body, recorded, count in (
        ("a template", "/node-group-templates", template, WRITES, requests),
        ("a cluster", "/clusters", cluster, SLOW_WRITES, requests // 4),
    ):
        text = json.dumps(body).encode()
        theirs = Load(peer.address, lambda n, t=text: request("PUT", f"/rows/{n}", t), 201)
        ours = _post(address, path, body)
        _compare(report, f"POST {what}", ours, theirs, count, (recorded, bare), "bare handler, one row")


def _compare(
    report: Report,
    metric: str,
    ours: Load,
    theirs: Load,
    requests: int,
    recorded: tuple[float, Bare] | None = None,
    peer: str = "bare handler, msgspec",
) -> Result:
    """Measures one client's rate; ``recorded`` is what a Sahara 19 did in a second where it was seen and
    the bare handler that scales it; None: nobody knows."""

    def rate(load: Load) -> Callable[[], float]:
        return lambda: load.rate(1, requests)

    first = 0 if recorded is None else len(recorded[1].rates)
    result = compare(
        report,
        "sahara",
        f"{metric}, beside a bare handler" if recorded else metric,
        "/s",
        ours=recorded[1].before(rate(ours), requests) if recorded else rate(ours),
        peer=(peer, rate(theirs)),
        goal="",
        holds=None,
        repetitions=report.repetitions(),
    )
    if recorded:
        there, bare = recorded
        scale = statistics.median(bare.rates[first:]) / BARE
        report.recorded(result, metric, ("Sahara 19, recorded, scaled", there * scale), TIMES)
    return result
