"""growth: the cost and the memory of a task at 10,000 agents and 100,000 tasks, and at a tenth of it.

Placed over the v1 API without storage, as in *place*; the peer of the large cluster is the small one.
"""

from __future__ import annotations

from benchmarks.measure import Report, compare
from benchmarks.mesos_json import Agents
from benchmarks.place import LIMIT, PER_EVENT, PER_JOB
from benchmarks.processes import fake_master, running

TASKS_PER_AGENT = 10


def run(report: Report) -> None:
    small, large = (50, 200) if report.quick else (1_000, 10_000)
    memory: dict[int, list[float]] = {0: [], small: [], large: []}
    compare(
        report,
        "place",
        f"a task of {large * TASKS_PER_AGENT:,} on {large:,} agents",
        "us",
        ours=lambda: place(large, memory),
        peer=(f"of {small * TASKS_PER_AGENT:,} on {small:,}", lambda: place(small, memory)),
        goal="cost <= 1.5x",
        holds=lambda value, ratio: ratio <= 1.5,
        repetitions=report.repetitions(),
        warm=False,
    )
    for agents, samples in memory.items():
        middle = sorted(samples)[len(samples) // 2]
        report.figure(
            "place", f"RSS with {agents * TASKS_PER_AGENT:,} tasks", middle, "MiB", samples=samples
        )


def place(agents: int, memory: dict[int, list[float]]) -> float:
    """Returns microseconds per task; adds the resident memory before the first and with all tasks."""
    tasks = agents * TASKS_PER_AGENT
    with fake_master() as master, running("benchmarks.subject") as subject:
        memory[0].append(subject.rss())
        subject.ask({"do": "prepare", "jobs": tasks // PER_JOB, "instances": PER_JOB, "limit": LIMIT})
        subject.ask({"do": "start", "master": master.address})
        master.order("wait")
        answer = master.order(
            "offers",
            agents=Agents(agents, cpus=TASKS_PER_AGENT + 2.0),
            per_event=min(PER_EVENT, agents),
            until=tasks,
        )
        memory[agents].append(subject.rss())
        return float(answer["ended"] - answer["written"]) / tasks * 1e6
