"""A gateway whose wall clock can be set: ``python -m tests.faults.jumping FILE …``.

FILE holds the seconds by which the clock is wrong; what follows are the gateway's own arguments. The
monotonic clocks go on, as they do when somebody sets the time of a machine.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_right = time.time


def main(file: Path, arguments: list[str]) -> int:
    def wrong() -> float:
        return _right() + float(file.read_text() or 0.0)

    # Before anything has taken hold of the right one.
    time.time = wrong
    from gateway.__main__ import main

    return main(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
