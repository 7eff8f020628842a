"""submit: PUT of a job, durable before 201, against a bare handler that commits one row.

No Mesos stands behind it: what is measured is the way from the body to the durable job.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.load import Load, request
from benchmarks.measure import Report, compare, quantile
from benchmarks.processes import running
from tests.e2e.harness import gateway, service


def run(report: Report) -> None:
    requests = 32 if report.quick else 480
    body = service("job-N", "true")

    def put(number: int) -> bytes:
        name = f"job-{number}"
        path = f"/alpha/jobs/devcluster/www-data/prod/{name}"
        return request("PUT", path, body.replace(b"job-N", name.encode()))

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            gateway(directory, "--master=127.0.0.1:1", "--log-level=error") as server,
            running("benchmarks.peer_http", name) as peer,
        ):
            ours = Load(server.address, put, 201)
            theirs = Load(peer.address, lambda n: request("PUT", f"/rows/job-{n}", body), 201)
            for connections in (1, 16):
                _measure(report, ours, theirs, connections, requests)


def _measure(report: Report, ours: Load, theirs: Load, connections: int, requests: int) -> None:
    metric = f"{connections} connection{'s' if connections > 1 else ''}"
    ours.latencies.clear()
    compare(
        report,
        "submit",
        metric,
        "/s",
        ours=lambda: ours.rate(connections, requests),
        peer=("bare handler, one row", lambda: theirs.rate(connections, requests)),
        goal="ratio >= 0.5",
        holds=lambda value, ratio: ratio >= 0.5,
        repetitions=report.repetitions(),
    )
    latencies = [latency * 1000 for latency in ours.latencies]
    p99 = quantile(latencies, 0.99)
    report.figure(
        "submit",
        f"{metric}, p99",
        p99,
        "ms",
        "<= 50 ms",
        met=p99 <= 50,
        samples=[round(latency, 3) for latency in latencies],
    )
