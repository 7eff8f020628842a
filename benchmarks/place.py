"""place: tasks placed per second over the v1 API, against a bare pymesos first-fit scheduler.

The time runs from the master's first OFFERS event to the ACCEPT with the last task. The rack
limit lets 6 tasks of a job on each of 20 racks; an agent takes 7 tasks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import Contender, Report, contest
from benchmarks.mesos_json import Agents
from benchmarks.processes import Master, fake_master, running

PER_JOB = 100
LIMIT = 6
TASKS_PER_AGENT = 4
PER_EVENT = 100


def run(report: Report) -> None:
    agents = 50 if report.quick else 1000
    with tempfile.TemporaryDirectory() as directory:
        contest(
            report,
            "place",
            "tasks/s",
            [
                Contender(
                    "in memory",
                    lambda: ours(agents),
                    "ratio >= 0.5",
                    lambda value, ratio: ratio >= 0.5,
                ),
                Contender(
                    "durable",
                    lambda: ours(agents, Path(directory)),
                    "ratio >= 0.10 and >= 1,000/s",
                    lambda value, ratio: ratio >= 0.1 and value >= 1000,
                ),
            ],
            ("pymesos first-fit", lambda: peer(agents)),
            repetitions=report.repetitions(),
        )


def ours(agents: int, directory: Path | None = None) -> float:
    """Returns tasks per second; durable if a directory for the state is given."""
    with fake_master() as master, running("benchmarks.subject") as subject:
        storage = str(directory / f"place-{subject.pid}.db") if directory else ""
        subject.ask({"do": "prepare", "storage": storage, **_work(agents)})
        subject.ask({"do": "start", "master": master.address})
        return _measure(master, agents)


def peer(agents: int) -> float:
    """Returns tasks per second of the bare scheduler."""
    with fake_master() as master, running("benchmarks.peer_mesos") as process:
        process.ask({"do": "start", "master": master.address, **_work(agents)})
        return _measure(master, agents)


def _work(agents: int) -> dict[str, int]:
    return {"jobs": agents * TASKS_PER_AGENT // PER_JOB, "instances": PER_JOB, "limit": LIMIT}


def _measure(master: Master, agents: int) -> float:
    tasks = agents * TASKS_PER_AGENT // PER_JOB * PER_JOB
    master.order("wait")
    answer = master.order("offers", agents=Agents(agents), per_event=min(PER_EVENT, agents), until=tasks)
    distinct = master.order("counts")["distinct"]
    if distinct != tasks:
        raise RuntimeError(f"{distinct} tasks were launched, {tasks} were wanted")
    return tasks / (answer["ended"] - answer["written"])
