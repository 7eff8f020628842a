"""Interleaved repetitions, medians, ratios: what every benchmark has in common."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPETITIONS = 5
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Result:
    """One figure beside its peer's. ``goal`` is a sentence, ``met`` whether it holds (None: no goal).

    ``ratio`` is ``value / peer_value``; both are 0 for a figure that has no peer. ``recorded``: the
    peer's figure is not of this run.
    """

    name: str
    metric: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float
    goal: str
    met: bool | None
    recorded: bool = False


@dataclass
class Report:
    """All figures of a run, with the raw samples they are medians of. ``notes``: what was left out."""

    quick: bool = False
    results: list[Result] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def as_json(self) -> dict[str, Any]:
        return {
            "results": [asdict(result) for result in self.results],
            "samples": self.samples,
            "machine": {**machine(), "load": round(self.load, 2)},
            "notes": self.notes,
        }

    def repetitions(self, wanted: int = REPETITIONS) -> int:
        """Returns how often to measure; a quick run only shows that it can be done."""
        return 1 if self.quick else max(REPETITIONS, wanted)

    def note(self, text: str) -> None:
        self.notes.append(text)
        sys.stderr.write(f"  {text}\n")

    def figure(
        self,
        name: str,
        metric: str,
        value: float,
        unit: str,
        goal: str = "",
        *,
        met: bool | None = None,
        samples: list[float] | None = None,
    ) -> None:
        """Adds a figure that has no peer."""
        self.samples[f"{name}/{metric}"] = samples or [value]
        self.results.append(Result(name, metric, value, unit, "", 0.0, 0.0, goal, met))

    def recorded(self, result: Result, metric: str, peer: tuple[str, float], least: float) -> None:
        """Adds a figure once more as ``metric``, beside a peer's that was measured at another time: one
        that cannot be run here. The goal is ``least`` times the peer's rate."""
        self.samples[f"{result.name}/{metric}"] = self.samples[f"{result.name}/{result.metric}"]
        ratio = result.value / peer[1]
        goal = f"ratio >= {least:g}"
        self.results.append(
            Result(
                result.name, metric, result.value, result.unit, *peer, ratio, goal, ratio >= least, True
            )
        )


def machine() -> dict[str, Any]:
    """What it ran on: processors, memory (bytes), kernel, Python; the commit and the time."""
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
        "commit": commit(),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def commit() -> str:
    """Returns the commit that is checked out, with ``+`` if code differs from it; "" without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--", "gateway", "framework", "executor", "benchmarks/*.py")
    return f"{name}+" if name and changed else name


Holds = Callable[[float, float], bool]


@dataclass(frozen=True)
class Contender:
    """One of our sides of a comparison: ``holds(value, ratio)`` decides whether the goal is met."""

    metric: str
    measure: Callable[[], float]
    goal: str = ""
    holds: Holds | None = None


def contest(
    report: Report,
    name: str,
    unit: str,
    contenders: list[Contender],
    peer: tuple[str, Callable[[], float]],
    *,
    repetitions: int = REPETITIONS,
    warm: bool = True,
) -> list[Result]:
    """Measures every contender and the peer in turn, ``repetitions`` times; adds medians and ratios.

    ``warm``: one round before the first is not counted.
    """
    peer_name, peer_measure = peer
    measures: Mapping[str, Callable[[], float]] = {
        **{c.metric: c.measure for c in contenders},
        "peer": peer_measure,
    }
    samples: dict[str, list[float]] = {metric: [] for metric in measures}
    if warm and not report.quick:
        for measure in measures.values():
            measure()
    for _ in range(repetitions):
        for metric, measure in measures.items():
            samples[metric].append(measure())
    peer_value = statistics.median(samples["peer"])
    results = []
    for contender in contenders:
        own = samples[contender.metric]
        value = statistics.median(own)
        ratio = value / peer_value
        report.samples[f"{name}/{contender.metric}"] = own
        report.samples[f"{name}/{contender.metric}/peer"] = samples["peer"]
        result = Result(
            name,
            contender.metric,
            value,
            unit,
            peer_name,
            peer_value,
            ratio,
            contender.goal,
            contender.holds(value, ratio) if contender.holds else None,
        )
        report.results.append(result)
        results.append(result)
    return results


def compare(
    report: Report,
    name: str,
    metric: str,
    unit: str,
    *,
    ours: Callable[[], float],
    peer: tuple[str, Callable[[], float]],
    goal: str,
    holds: Holds | None,
    repetitions: int = REPETITIONS,
    warm: bool = True,
) -> Result:
    """Measures ``ours`` and the peer in turn; see :func:`contest`."""
    contender = Contender(metric, ours, goal, holds)
    return contest(report, name, unit, [contender], peer, repetitions=repetitions, warm=warm)[0]


def quantile(values: list[float], part: float) -> float:
    """Returns the value below which ``part`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
