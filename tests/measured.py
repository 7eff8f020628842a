"""What tests measure, told together at the end of a run: the figures of docs/reliability.md.

A test asks for the fixture ``measured`` and calls ``measured("F13 drained after, s", 3.1)``; the name
begins with the fault, and ends with the unit. The values are properties of its report, so that
``--junit-xml`` has each of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator

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
