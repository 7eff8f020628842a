"""Durations as Mesos writes and reads them: ``5secs``, ``15mins``, ``1.5hrs``."""

from __future__ import annotations

import re

_UNITS = {"weeks": 604800.0, "days": 86400.0, "hrs": 3600.0, "mins": 60.0, "secs": 1.0, "ms": 1e-3}


def show(seconds: float) -> str:
    """Returns ``seconds`` in the largest unit of which there is at least one."""
    for unit, size in _UNITS.items():
        if seconds >= size:
            return f"{round(seconds / size, 6):g}{unit}"
    return "0ns"


def read(text: str) -> float:
    """Returns the seconds of ``5secs`` or of a plain number; raises ``ValueError``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|secs?|s|mins?|hrs?|days?|weeks?)?", text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a duration; write seconds, or e.g. '500ms', '5secs', '2mins'")
    sizes = {**_UNITS, "us": 1e-6, "ns": 1e-9, "s": 1.0}
    unit = found.group(2) or "secs"
    return float(found.group(1)) * sizes[unit if unit in sizes else unit + "s"]
