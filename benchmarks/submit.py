"""submit: PUT of a job, durable before 201, against a bare handler that commits one row.

A job as programs send it (JSON) and as people write it (an ``.aurora`` file). No Mesos stands behind
it: what is measured is the way from the body to the durable job.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.load import Load, request
from benchmarks.measure import Contender, Report, contest, quantile
from benchmarks.processes import running
from tests.e2e.harness import gateway, service

_DOCUMENT = {
    "cluster": "devcluster",
    "role": "www-data",
    "environment": "prod",
    "name": "job-N",
    "service": True,
    "task": {
        "processes": [{"name": "web", "cmdline": "exec web --port {{thermos.ports[http]}}"}],
        "resources": {"cpu": 0.1, "ram": 32 * 2**20, "disk": 16 * 2**20},
    },
}
FORMATS = {"JSON": json.dumps(_DOCUMENT).encode(), ".aurora": service("job-N", "true")}


def run(report: Report) -> None:
    requests = 32 if report.quick else 480
    with (
        tempfile.TemporaryDirectory() as name,
        gateway(Path(name), "--master=127.0.0.1:1", "--log-level=error") as server,
        running("benchmarks.peer_http", name) as peer,
    ):
        theirs = Load(peer.address, lambda n: request("PUT", f"/rows/{n}", FORMATS["JSON"]), 201)
        ours = {kind: _load(server.address, kind) for kind in FORMATS}
        for connections in (1, 16):
            _measure(report, ours, theirs, connections, requests)


def _load(address: str, kind: str) -> Load:
    environment = kind.strip(".").lower()
    body = FORMATS[kind].replace(b"prod", environment.encode())

    def put(number: int) -> bytes:
        name = f"job-{number}"
        path = f"/alpha/jobs/devcluster/www-data/{environment}/{name}"
        return request("PUT", path, body.replace(b"job-N", name.encode()))

    return Load(address, put, 201)


def _measure(
    report: Report, ours: dict[str, Load], theirs: Load, connections: int, requests: int
) -> None:
    names = {kind: f"{kind}, {connections} connection{'s' * (connections > 1)}" for kind in ours}
    for load in ours.values():
        load.rate(16, min(requests, 64))  # the workers are there
        load.latencies.clear()
    contest(
        report,
        "submit",
        "/s",
        [
            Contender(
                names[kind],
                lambda load=load: load.rate(connections, requests),  # type: ignore[misc]
                "ratio >= 0.5",
                lambda value, ratio: ratio >= 0.5,
            )
            for kind, load in ours.items()
        ],
        ("bare handler, one row", lambda: theirs.rate(connections, requests)),
        repetitions=report.repetitions(),
    )
    for kind, load in ours.items():
        latencies = [latency * 1000 for latency in load.latencies]
        p99 = quantile(latencies, 0.99)
        report.figure(
            "submit",
            f"{names[kind]}, p99",
            p99,
            "ms",
            "<= 50 ms",
            met=p99 <= 50,
            samples=[round(latency, 3) for latency in latencies],
        )
