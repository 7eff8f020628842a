"""Finds what dead executors have left behind: processes and containers that carry their mark."""

from __future__ import annotations

import contextlib
import logging
import os
import signal

from executor.identity import state_of

logger = logging.getLogger(__name__)

# The variable by which every process of a task names its executor.
OWNER_VARIABLE = "MESOS_GATEWAY_EXECUTOR"


def owner_in(environ: bytes) -> str | None:
    """Returns the owner that an environment (as ``/proc/PID/environ`` has it) names."""
    prefix = f"{OWNER_VARIABLE}=".encode()
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("ascii", "replace")
    return None


def orphaned_processes() -> list[int]:
    """Returns the pids of processes whose executor is dead; only those whose environment we may read."""
    found: list[int] = []
    states: dict[str, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:
                owner = owner_in(file.read())
            if owner and states.setdefault(owner, state_of(owner)) == "dead":
                found.append(int(name))
    return found


def kill_orphans() -> int:
    """Kills them; returns how many there were. Those that fork meanwhile are found by the next round."""
    killed: set[int] = set()
    for _ in range(10):
        orphans = orphaned_processes()
        if not orphans:
            break
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    if killed:
        logger.warning("killed %d processes that a dead executor had left", len(killed))
    return len(killed)
