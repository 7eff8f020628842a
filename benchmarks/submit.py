"""submit: PUT of a job, durable before 201, against a bare Tornado handler that commits one row."""

from __future__ import annotations

import concurrent.futures
import http.client
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import Report, compare
from tests.e2e.harness import Server, gateway, service

PEER = Path(__file__).with_name("peer_submit.py")
GOAL = "ratio >= 0.5"
GOAL_P99 = "p99 <= 50 ms"


class Load:
    """Sends PUTs over keep-alive connections and remembers each one's latency."""

    def __init__(self, address: str, path: str, body: bytes) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port
        self._path, self._body = path, body
        self._numbers = itertools.count()
        self.latencies: list[float] = []

    def _connection(self, requests: int) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        for _ in range(requests):
            number = next(self._numbers)
            path, body = self._path.format(n=number), self._body.replace(b"job-N", b"job-%d" % number)
            began = time.perf_counter()
            connection.request("PUT", path, body)
            answer = connection.getresponse()
            answer.read()
            self.latencies.append(time.perf_counter() - began)
            if answer.status != 201:
                raise RuntimeError(f"PUT {path}: {answer.status}")
        connection.close()

    def rate(self, connections: int, requests: int) -> float:
        """Requests per second of ``connections`` connections sending ``requests`` each."""
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(connections) as pool:
            for done in [pool.submit(self._connection, requests) for _ in range(connections)]:
                done.result()
        return connections * requests / (time.perf_counter() - began)


def run(report: Report, quick: bool) -> None:
    requests = 5 if quick else 100
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        body = service("job-N", "true")
        # No Mesos behind it: what is measured is the way from the body to the durable job.
        with gateway(directory, "--master=127.0.0.1:1", "--log-level=error") as server:
            peer = Server(
                [sys.executable, str(PEER), str(directory / "peer.db")],
                "listens on ",
                directory / "peer",
            )
            try:
                ours = Load(server.address, "/alpha/jobs/devcluster/www-data/prod/job-{n}", body)
                theirs = Load(peer.address, "/rows/{n}", body)
                for connections in (1, 16):
                    ours.latencies.clear()
                    each = max(1, requests // connections)
                    compare(
                        report,
                        "submit",
                        f"{connections} connection{'s' if connections > 1 else ''}",
                        "/s",
                        ours=lambda c=connections, n=each: ours.rate(c, n),  # type: ignore[misc]
                        peer=("bare handler", lambda c=connections, n=each: theirs.rate(c, n)),  # type: ignore[misc]
                        goal=GOAL,
                        holds=lambda value, ratio: ratio >= 0.5,
                    )
                    p99 = statistics.quantiles(ours.latencies, n=100)[98] * 1000
                    sys.stderr.write(f"  {connections}: p99 {p99:.1f} ms ({GOAL_P99})\n")
                    report.samples[f"submit/{connections}/latency_ms"] = [
                        round(latency * 1000, 3) for latency in ours.latencies
                    ]
            finally:
                peer.stop()
