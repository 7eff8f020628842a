"""``bin/bench [NAME …] [--json FILE]``: runs the benchmarks and prints a table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import start, submit
from benchmarks.measure import Report, machine

BENCHMARKS: dict[str, Callable[[Report, bool], None]] = {
    "submit": submit.run,
    "start": start.run,
}


def table(report: Report) -> str:
    rows = [("name", "metric", "ours", "peer", "ratio", "goal", "met")]
    for r in report.results:
        met = {True: "yes", False: "NO", None: "-"}[r.met]
        ours = f"{r.value:,.1f} {r.unit}"
        peer = f"{r.peer_value:,.1f} ({r.peer})"
        rows.append((r.name, r.metric, ours, peer, f"{r.ratio:.2f}", r.goal, met))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results and samples")
    parser.add_argument("--quick", action="store_true", help="few operations: does it run at all?")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    report = Report()
    sys.stderr.write(f"{machine()}\n")
    for name in options.names or BENCHMARKS:
        sys.stderr.write(f"{name} …\n")
        BENCHMARKS[name](report, options.quick)
    sys.stdout.write(table(report) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
