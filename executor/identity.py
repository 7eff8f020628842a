"""Who this executor process is on this machine, and whether another one still runs.

An owner reads ``boot/namespace/pid/start``: the boot of the machine, the pid namespace, the pid in it,
and the start time of that process in clock ticks. Containers and processes carry it, so that whoever
finds them can tell an orphan.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def start_ticks(pid: int) -> int | None:
    """Returns when the process was started, in clock ticks since boot; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the command in parentheses, which may hold anything; count after it.
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"


def owner_of(pid: int) -> str:
    """Returns the owner that the living process ``pid`` is."""
    return f"{_place()}/{pid}/{start_ticks(pid) or 0}"


def state_of(owner: str) -> Literal["alive", "dead", "unknown"]:
    """Tells whether the process that ``owner`` names still runs; unknown if it ran elsewhere."""
    place, _, rest = owner.rpartition("/")
    place, _, pid = place.rpartition("/")
    if place != _place() or not pid.isdigit() or not rest.isdigit():
        return "unknown"
    return "alive" if start_ticks(int(pid)) == int(rest) else "dead"
