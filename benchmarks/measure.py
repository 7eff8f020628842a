"""Interleaved repetitions, medians, ratios: what every benchmark has in common."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPETITIONS = 5


@dataclass(frozen=True)
class Result:
    """One figure beside its peer's. ``goal`` is a sentence, ``met`` whether it holds (None: no goal)."""

    name: str
    metric: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float
    goal: str
    met: bool | None


@dataclass
class Report:
    """All figures of a run, with the raw samples they are medians of."""

    results: list[Result] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "results": [asdict(result) for result in self.results],
            "samples": self.samples,
            "machine": machine(),
        }


def machine() -> dict[str, Any]:
    """What it ran on: processors, memory (bytes), kernel, Python."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def compare(
    report: Report,
    name: str,
    metric: str,
    unit: str,
    *,
    ours: Callable[[], float],
    peer: tuple[str, Callable[[], float]],
    goal: str,
    holds: Callable[[float, float], bool],
    repetitions: int = REPETITIONS,
) -> Result:
    """Measures ``ours`` and the peer in turn and adds the medians and their ratio to ``report``.

    ``holds(value, ratio)`` decides whether the goal is met. One warm-up of each is not counted.
    """
    peer_name, peer_function = peer
    ours()
    peer_function()
    own: list[float] = []
    others: list[float] = []
    for _ in range(repetitions):
        own.append(ours())
        others.append(peer_function())
    value, peer_value = statistics.median(own), statistics.median(others)
    ratio = value / peer_value
    report.samples[f"{name}/{metric}"] = own
    report.samples[f"{name}/{metric}/peer"] = others
    result = Result(name, metric, value, unit, peer_name, peer_value, ratio, goal, holds(value, ratio))
    report.results.append(result)
    return result
