"""``bin/bench [NAME …]``: runs the benchmarks and prints a table.

Each figure is the median of at least five repetitions, interleaved with those of a peer in the same
run, and the ratio of the two: machines are shared and noisy, ratios travel.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import docs, growth, listing, offers, place, recover, sahara, start, status, submit
from benchmarks.measure import Report, machine

BENCHMARKS: dict[str, tuple[Callable[[Report], None], ...]] = {
    "place": (place.run, growth.run),
    "offers": (offers.run,),
    "status": (status.run,),
    "list": (listing.run,),
    "submit": (submit.run,),
    "start": (start.run,),
    "recover": (recover.run,),
    "sahara": (sahara.run,),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results and samples")
    parser.add_argument("--quick", action="store_true", help="few operations: does it run at all?")
    parser.add_argument(
        "--docs", action="store_true", help="rewrite the figures in docs/performance.md, and its plot"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.docs and (options.quick or options.names):
        parser.error("--docs takes a whole run: leave --quick and the names out")
    report = Report(quick=options.quick)
    sys.stderr.write(f"{machine()}\n")
    for name in dict.fromkeys(options.names) or BENCHMARKS:
        began = time.monotonic()
        for run in BENCHMARKS[name]:
            run(report)
        sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")
    sys.stdout.write(docs.table(report.results) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    if options.docs:
        docs.rewrite(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
