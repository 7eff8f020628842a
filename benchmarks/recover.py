"""recover: a gateway starts over 10,000 running tasks; the peer only reads and decodes the rows.

*Serving*: from the start of the process until it answers GET of a job. *Reconciled*: until Mesos has
answered for every task. Nothing may be launched or killed meanwhile.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.measure import Contender, Report, contest
from benchmarks.processes import fake_master, rss, running
from tests.e2e.harness import Client, eventually, gateway

_PER_JOB = 100
_PATIENCE = 60.0


def run(report: Report) -> None:
    tasks = 500 if report.quick else 10_000
    with tempfile.TemporaryDirectory() as name:
        template = Path(name) / "template.db"
        with running("benchmarks.subject") as maker:
            order = {"do": "prepare", "jobs": tasks // _PER_JOB, "instances": _PER_JOB}
            maker.ask({**order, "state": "RUNNING", "agents": tasks // 10, "storage": str(template)})
        recoveries: list[tuple[float, float, float]] = []

        def serving() -> float:
            recoveries.append(recover(template, tasks))
            return recoveries[-1][0]

        contest(
            report,
            "recover",
            "s",
            [Contender(f"{tasks:,} tasks, serving", serving, "<= 3 s", lambda value, ratio: value <= 3)],
            ("reading and decoding the rows", lambda: decode(template)),
            repetitions=report.repetitions(),
            warm=False,
        )
        reconciled = sorted(r[1] for r in recoveries)
        memory = sorted(r[2] for r in recoveries)
        middle = len(recoveries) // 2
        report.figure(
            "recover",
            "reconciled",
            reconciled[middle],
            "s",
            "<= 10 s, nothing started twice",
            met=reconciled[middle] <= 10,
            samples=reconciled,
        )
        report.figure(
            "recover",
            "RSS",
            memory[middle],
            "MiB",
            "<= 300 MiB",
            met=memory[-1] <= 300,
            samples=memory,
        )


def decode(state: Path) -> float:
    """Returns the seconds in which a process reads and decodes every row."""
    with running("benchmarks.peer_rows", str(state)) as process:
        _, took = msgspec.json.decode(process.line())
        return float(took)


def recover(template: Path, tasks: int) -> tuple[float, float, float]:
    """Returns seconds until serving, seconds until reconciled, and the resident memory in MiB."""
    directory = Path(tempfile.mkdtemp(dir=template.parent))
    shutil.copyfile(template, directory / "state.db")
    with fake_master() as master:
        began = time.perf_counter()
        options = (f"--master={master.address}", "--executor-command=/bin/executor", "--log-level=error")
        with gateway(directory, *options) as server:
            client = Client(server.address)
            answer = client.call("GET", "/alpha/jobs/devcluster/www-data/prod/job-1")
            serving = time.perf_counter() - began
            if answer.status != 200 or len(answer.json["instances"]) != _PER_JOB:
                raise RuntimeError(f"job-1 was not recovered: {answer}")
            eventually(lambda: _unanswered(client, master.order("counts")), lambda n: n == 0, _PATIENCE)
            reconciled = time.perf_counter() - began
            memory = rss(server.process.pid)
            states = _gauges(client, "mesos_gateway_tasks{")
            counts = master.order("counts")["counts"]
    if counts["tasks"] or counts.get("KILL") or states.get('state="RUNNING"') != tasks:
        raise RuntimeError(f"not the same tasks as before: {counts}, {states}")
    return serving, reconciled, memory


def _unanswered(client: Client, answer: dict[str, object]) -> float:
    """Returns how many tasks Mesos has not answered for; -1 before it was asked."""
    counts = answer["counts"]
    assert isinstance(counts, dict)
    connected = _gauges(client, "mesos_gateway_driver_connected")
    if not counts.get("RECONCILE") or not connected.get("", 0):
        return -1
    return _gauges(client, "mesos_gateway_tasks_unanswered").get("", -1)


def _gauges(client: Client, name: str) -> dict[str, float]:
    """Returns the values of a metric by their labels."""
    found = {}
    for line in client.call("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name) and not line.startswith("#"):
            labels, _, value = line.rpartition(" ")
            found[labels[labels.find("{") + 1 : -1] if "{" in labels else ""] = float(value)
    return found
