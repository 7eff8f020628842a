"""offers: one OFFERS event of 10,000 offers, from the master's write to the callback.

Ours is measured twice: at pymesos's callback (the JSON is there), and where the scheduler gets the
offers as values, which includes reading every resource.
"""

from __future__ import annotations

import json
import time

from benchmarks import mesos_json
from benchmarks.measure import Contender, Report, contest
from benchmarks.mesos_json import Agents
from benchmarks.processes import fake_master, running

_PADDING = 3  # attributes; an offer has about 1,000 bytes then


def run(report: Report) -> None:
    agents = Agents(500 if report.quick else 10_000, padding=_PADDING)
    event = mesos_json.offers_event(agents, 0, agents.count)
    repetitions = report.repetitions()

    def loads() -> float:
        began = time.perf_counter()
        json.loads(event)
        return (time.perf_counter() - began) * 1000

    size = f"{len(event) / 1e6:.1f} MB"
    contest(
        report,
        "offers",
        "ms",
        [
            Contender(
                f"{size} to the callback",
                lambda: _delay("benchmarks.offers_subject", agents, "callback"),
                "<= 2.5x json.loads",
                lambda value, ratio: ratio <= 2.5,
            ),
            Contender(
                f"{size} to the scheduler",
                lambda: _delay("benchmarks.offers_subject", agents, "sink"),
            ),
        ],
        ("json.loads", loads),
        repetitions=repetitions,
    )
    contest(
        report,
        "offers",
        "ms",
        [
            Contender(
                f"{size} to the callback, once more",
                lambda: _delay("benchmarks.offers_subject", agents, "callback"),
                ">= 10x faster than pymesos",
                lambda value, ratio: ratio <= 0.1,
            )
        ],
        ("plain pymesos", lambda: _delay("benchmarks.peer_mesos", agents, "callback")),
        repetitions=repetitions,
        warm=False,
    )


def _delay(module: str, agents: Agents, where: str) -> float:
    """Returns milliseconds between the master's write and the callback of ``module``."""
    with fake_master() as master, running(module) as process:
        process.ask({"do": "start", "master": master.address, "state": where})
        master.order("wait")
        written = master.order("offers", agents=agents, per_event=agents.count)["written"]
        while not (called := process.ask({"do": "offers"})):
            time.sleep(0.05)
        return float(called - written) * 1000
