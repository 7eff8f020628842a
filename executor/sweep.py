"""Finds what dead executors have left behind: processes and containers that carry their mark."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator

from executor.identity import state_of

logger = logging.getLogger(__name__)

# Those that fork meanwhile are found by the next round.
_ROUNDS = 10
# The variable by which every process of a task names its executor.
OWNER_VARIABLE = "MESOS_GATEWAY_EXECUTOR"
# The variable by which the descendants of a command that runs beside a task are found.
CALL_VARIABLE = "MESOS_GATEWAY_CALL"
TASK_VARIABLE = "MESOS_TASK_ID"


def orphaned_processes() -> list[int]:
    """Returns the pids of processes whose executor is dead; only those whose environment we may read."""
    states: dict[str, str] = {}
    found: list[int] = []
    for pid, owner in _marked(OWNER_VARIABLE):
        if states.setdefault(owner, state_of(owner)) == "dead":
            found.append(pid)
    return found


def kill_marked(mark: str) -> int:
    """Kills all processes of the command with this mark that we may see; returns how many there were."""
    return _kill_all(lambda: [pid for pid, value in _marked(CALL_VARIABLE) if value == mark])


def kill_task(owner: str, task_id: str) -> int:
    """Kills what is left of a task of the executor ``owner``; returns how many processes there were."""

    def left() -> list[int]:
        own = {pid for pid, value in _marked(OWNER_VARIABLE) if value == owner}
        return [pid for pid, value in _marked(TASK_VARIABLE) if value == task_id and pid in own]

    return _kill_all(left)


def _marked(variable: str) -> Iterator[tuple[int, str]]:
    """Yields the pids whose environment, if we may read it, has the variable, and its value."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:
                value = value_in(file.read(), variable)
            if value:
                yield int(name), value


def _kill(pids: Iterable[int]) -> set[int]:
    killed: set[int] = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    return killed


def _kill_all(find: Callable[[], list[int]]) -> int:
    """Kills what is found; those that fork meanwhile are found by the next round."""
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        found = find()
        if not found:
            break
        killed |= _kill(found)
    return len(killed)


def kill_orphans() -> int:
    """Kills them; returns how many there were."""
    killed = _kill_all(orphaned_processes)
    if killed:
        logger.warning("killed %d processes that a dead executor had left", killed)
    return killed


def value_in(environ: bytes, variable: str) -> str | None:
    """Returns the value of a variable in an environment, as ``/proc/PID/environ`` has it, or None."""
    prefix = f"{variable}=".encode()
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("ascii", "replace")
    return None
