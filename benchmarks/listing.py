"""list: GET of 10,000 jobs, of one, of a page of 100, against bare handlers that write the same.

The peer encodes the same value with msgspec at every request, and asks nobody for it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.load import Load, request
from benchmarks.measure import Report, Result, compare, quantile
from benchmarks.processes import Process, running
from gateway.auth.passwords import hash_token, new_token
from tests.e2e.harness import Server, gateway

TOKEN = new_token()
ALL = "/alpha/jobs/devcluster/www-data"


def run(report: Report) -> None:
    jobs = 200 if report.quick else 10_000
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with running("benchmarks.subject") as maker:
            maker.ask({"do": "prepare", "jobs": jobs, "instances": 1, "storage": f"{name}/state.db"})
        users = directory / "users.toml"
        users.write_text(
            f'[users.bench]\nroles = ["www-data"]\ntokens = [{{ hash = "{hash_token(TOKEN)}" }}]\n'
        )
        users.chmod(0o600)
        options = ("--auth=tokens", f"--auth-file={users}", "--log-level=error")
        with gateway(directory, "--master=127.0.0.1:1", *options) as server:
            paths = {"full": ALL, "one": f"{ALL}/prod/job-{jobs // 2}", "page": f"{ALL}?limit=100"}
            for what, path in paths.items():
                answer = Load(server.address, lambda n, p=path: _get(p)).one()
                (directory / f"{what}.json").write_bytes(answer)
            with running("benchmarks.peer_http", name) as peer:
                _full(report, server, peer, jobs)
                _one(report, server, peer, paths["one"])
                _page(report, server, peer, paths["page"])


def _get(path: str) -> bytes:
    return request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})


def _rate(
    report: Report,
    what: str,
    ours: Load,
    theirs: Load,
    requests: int,
    beside: str = "bare small handler",
    goal: float | None = 0.5,
) -> Result:
    """Compares how many of these requests a second both answer; ours are to reach ``goal`` of theirs."""
    return compare(
        report,
        "list",
        what,
        "/s",
        ours=lambda: ours.rate(1, requests),
        peer=(beside, lambda: theirs.rate(1, requests)),
        goal="" if goal is None else f"ratio >= {goal}",
        holds=None if goal is None else lambda value, ratio: ratio >= goal,
        repetitions=report.repetitions(),
    )


def _full(report: Report, server: Server, peer: Process, jobs: int) -> None:
    ours = Load(server.address, lambda n: _get(ALL))
    theirs = Load(peer.address, lambda n: _get("/full"))
    requests = 3 if report.quick else 30
    result = _rate(report, f"all {jobs:,} jobs", ours, theirs, requests, "bare handler, msgspec")
    row = 1e6 / result.value / jobs
    report.figure("list", "a row of all", row, "us", "<= 10 us", met=row <= 10)


def _one(report: Report, server: Server, peer: Process, path: str) -> None:
    ours = Load(server.address, lambda n: _get(path))
    theirs = Load(peer.address, lambda n: _get("/one"))
    _rate(report, "one job", ours, theirs, 20 if report.quick else 1000)


def _page(report: Report, server: Server, peer: Process, path: str) -> None:
    ours = Load(server.address, lambda n: _get(path))
    theirs = Load(peer.address, lambda n: _get("/page"))
    _rate(report, "a page of 100", ours, theirs, 20 if report.quick else 300, goal=None)
    latencies = [latency * 1000 for latency in ours.latencies]
    p99 = quantile(latencies, 0.99)
    report.figure(
        "list",
        "a page of 100, p99",
        p99,
        "ms",
        "<= 15 ms",
        met=p99 <= 15,
        samples=[round(latency, 3) for latency in latencies],
    )
