"""status: status updates made durable and acknowledged per second, 10,000 tasks becoming RUNNING.

The peer is pymesos with implicit acknowledgement, which stores nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measure import Report, compare
from benchmarks.mesos_json import agent_id
from benchmarks.processes import Master, fake_master, running
from tests.e2e.harness import eventually

_AGENTS = 1000


def run(report: Report) -> None:
    tasks = 500 if report.quick else 10_000
    with tempfile.TemporaryDirectory() as directory:
        template = Path(directory) / "template.db"
        with running("benchmarks.subject") as maker:
            order = {"do": "prepare", "jobs": tasks // 100, "instances": 100, "state": "STARTING"}
            maker.ask({**order, "agents": _AGENTS, "storage": str(template)})
            names = maker.ask({"do": "tasks"})
        compare(
            report,
            "status",
            f"{tasks:,} tasks to RUNNING",
            "updates/s",
            ours=lambda: ours(template, names),
            peer=("pymesos, nothing stored", lambda: peer(tasks)),
            goal="ratio >= 0.5",
            holds=lambda value, ratio: ratio >= 0.5,
            repetitions=report.repetitions(),
        )


def ours(template: Path, tasks: list[tuple[str, str]]) -> float:
    """Returns updates per second; each repetition begins with a copy of the same state."""
    with fake_master() as master, running("benchmarks.subject") as subject:
        state = template.with_name(f"status-{subject.pid}.db")
        shutil.copyfile(template, state)
        subject.ask({"do": "start", "storage": str(state), "master": master.address})
        rate = _measure(master, tasks)
        eventually(
            lambda: subject.ask({"do": "status"})["counts"]["tasks"]["RUNNING"],
            lambda number: bool(number == len(tasks)),
        )
        return rate


def peer(tasks: int) -> float:
    """Returns updates per second of plain pymesos."""
    names = [(f"task-{n}", agent_id(n % _AGENTS)) for n in range(tasks)]
    with fake_master() as master, running("benchmarks.peer_mesos") as process:
        process.ask({"do": "start", "master": master.address})
        return _measure(master, names)


def _measure(master: Master, tasks: list[tuple[str, str]]) -> float:
    master.order("wait")
    answer = master.order("updates", tasks=tasks)
    return len(tasks) / (answer["ended"] - answer["written"])
