"""Results for people: a table for the terminal, the figures of docs/performance.md, a plot."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, Report, Result, machine

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- figures: written by bin/bench --docs -->", "<!-- figures: end -->"
_HEAD = ("name", "metric", "ours", "peer", "ratio", "goal", "met")
# Units of what is better the less it is.
_COSTS = ("ms", "s", "us", "MiB")


def cells(result: Result) -> tuple[str, ...]:
    """Returns a result as the texts of a row."""
    met = {True: "yes", False: "NO", None: "-"}[result.met]
    ours = f"{_number(result.value)} {result.unit}".rstrip()
    if not result.peer:
        return result.name, result.metric, ours, "-", "-", result.goal or "-", met
    peer = f"{_number(result.peer_value)} ({result.peer})"
    return result.name, result.metric, ours, peer, f"{result.ratio:.2f}", result.goal or "-", met


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(results: Sequence[Result]) -> str:
    """Returns a table for the terminal."""
    rows = [_HEAD, *map(cells, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(report: Report) -> str:
    """Returns the generated part of docs/performance.md."""
    ran = machine()
    rows = [_HEAD, ("---",) * len(_HEAD), *map(cells, report.results)]
    lines = [
        BEGIN,
        "",
        f"Run on {ran['at']} at commit `{ran['commit']}`: {ran['processors']} processors "
        f"({ran['processor']}), {ran['memory'] / 2**30:.0f} GiB, Linux {ran['kernel']}, "
        f"Python {ran['python']}; load before the run {report.load:.2f}.",
        "",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
        "",
        *(f"- {note}" for note in report.notes),
        "![speed beside the peer, and the goal](performance.svg)",
        "",
        END,
    ]
    return "\n".join(lines)


def rewrite(report: Report, page: Path = PAGE, plot: Path = PLOT) -> None:
    """Puts the report's figures between the markers of ``page``, and draws ``plot``.

    Raises ``ValueError`` if the markers are not there.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has lost its markers {BEGIN!r} and {END!r}")
    page.write_text(before + markdown(report) + after, encoding="utf-8")
    plot.write_text(svg(report.results), encoding="utf-8")


# -- the plot --------------------------------------------------------------------------------------

_ROW, _LEFT, _WIDTH, _TOP = 26, 300, 480, 46
_GREEN, _RED, _GREY = "#2e7d32", "#c62828", "#607d8b"


def speed(result: Result) -> float:
    """Returns how many times as fast as its peer we are."""
    return 1 / result.ratio if result.unit in _COSTS else result.ratio


def wanted(result: Result) -> float | None:
    """Returns the speed that the goal asks for, if it is one beside the peer's."""
    for pattern, invert in (
        (r"ratio >= ([\d.]+)", False),
        (r">= ([\d.]+)x faster", False),
        (r"<= ([\d.]+)x", True),
    ):
        if match := re.search(pattern, result.goal):
            return 1 / float(match[1]) if invert else float(match[1])
    return None


def svg(results: Sequence[Result]) -> str:
    """Returns bars of our speed beside the peer's (1), logarithmic, with a tick at each goal.

    Peers of another day are left out: beside them a figure says as much of the machine.
    """
    shown = [result for result in results if result.peer and not result.recorded]
    speeds = [speed(result) for result in shown] + [0.1, 10.0]
    low, high = math.log10(min(speeds)) - 0.05, math.log10(max(speeds)) + 0.05

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * _WIDTH

    height = _TOP + _ROW * len(shown) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="white"/>',
        '<text x="10" y="20" font-size="14">Speed beside the peer of the same run '
        "(1: as fast; black tick: the goal; green: met, red: missed, grey: none)</text>",
    ]
    for decade in range(math.ceil(low), math.floor(high) + 1):
        at = x(10.0**decade)
        parts.append(
            f'<line x1="{at:.1f}" y1="{_TOP - 12}" x2="{at:.1f}" y2="{height - 24}" stroke="#ddd"/>'
            f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">{10.0**decade:g}x</text>'
        )
    for row, result in enumerate(shown):
        parts.append(_bar(result, _TOP + row * _ROW, x))
    parts.append("</svg>\n")
    return "\n".join(parts)


def _bar(result: Result, y: float, x: object) -> str:
    assert callable(x)
    value, goal = speed(result), wanted(result)
    start, end = sorted((x(1.0), x(value)))
    colour = {True: _GREEN, False: _RED, None: _GREY}[result.met]
    label = html.escape(f"{result.name}: {result.metric}")
    drawn = [
        f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{label}</text>',
        f'<rect x="{start:.1f}" y="{y + 2}" width="{max(1.0, end - start):.1f}" height="15" '
        f'fill="{colour}"/>',
        f'<text x="{end + 5:.1f}" y="{y + 14}">{value:.2f}x</text>',
    ]
    if goal is not None:
        at = x(goal)
        drawn.append(
            f'<line x1="{at:.1f}" y1="{y - 2}" x2="{at:.1f}" y2="{y + 21}" stroke="black" '
            'stroke-width="2"/>'
        )
    return "".join(drawn)
