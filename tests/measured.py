"""What tests measure, told together at the end of a run: the figures of docs/reliability.md.

A test asks for the fixture ``measured`` and calls ``measured("F13 drained after, s", 3.1)``; the name
begins with the fault, and ends with the unit. The values are properties of its report, so that
``--junit-xml`` has each of them.

What is promised of times is promised of a machine that has time: a :class:`Stopwatch` tells how much of
what has passed was this one's own lack of it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

PROPERTY = "measured"
Measured = Callable[[str, float], None]


def recorder(record_property: Callable[[str, object], None]) -> Measured:
    """Makes the ``measured`` of one test of pytest's ``record_property``."""
    return lambda what, value: record_property(PROPERTY, (what, float(value)))


def summary(reports: Iterable[object]) -> Iterator[str]:
    """Yields a line for everything that was measured: how often, the median, the worst, the sum."""
    found: dict[str, list[float]] = {}
    for report in reports:
        if isinstance(report, pytest.TestReport) and report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    what, figure = value
                    found.setdefault(what, []).append(figure)
    width = max(map(len, found), default=0)
    for what, values in sorted(found.items()):
        yield f"{what:{width}}  {_told(values)}"


def _told(values: list[float]) -> str:
    if min(values) == max(values):
        return f"{len(values)} times {values[0]:.6g}"
    return (
        f"{len(values)} times, least {min(values):.4g}, median {statistics.median(values):.4g}, "
        f"most {max(values):.4g}, sum {sum(values):.6g}"
    )


class Stopwatch:
    """Seconds since it was made, or until :meth:`stop`: ``passed``, and of them ``own``, to hold against
    a promise.

    The rest are those in which somebody on this machine waited for a processor or a disk, by the
    kernel's account of pressure, or its processors did the work of other machines. Where the kernel
    keeps no such account, nothing is held against anybody while other tests run beside this one.
    """

    def __init__(self) -> None:
        self._began = _now()
        self._end: tuple[float, float | None] | None = None

    def stop(self) -> Stopwatch:
        self._end = _now()
        return self

    @property
    def passed(self) -> float:
        return (self._end or _now())[0] - self._began[0]

    @property
    def own(self) -> float:
        end = self._end or _now()
        passed = end[0] - self._began[0]
        if self._began[1] is None or end[1] is None:
            return 0.0 if "PYTEST_XDIST_WORKER" in os.environ else passed
        return max(0.0, passed - (end[1] - self._began[1]))


def _now() -> tuple[float, float | None]:
    """The time, and how many seconds this machine has lost since it was started."""
    return time.monotonic(), _lost()


def _lost() -> float | None:
    """None where nobody counts them."""
    lost = 0.0
    try:
        for what in ("cpu", "io"):
            some = Path(f"/proc/pressure/{what}").read_text().partition("\n")[0]
            lost += int(some.rpartition("total=")[2]) / 1e6
    except OSError:
        return None
    with contextlib.suppress(OSError, IndexError):
        stolen = Path("/proc/stat").read_text().split()[8]
        lost += int(stolen) / os.sysconf("SC_CLK_TCK")
    return lost
