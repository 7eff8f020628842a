"""Watches the memory of process trees: RLIMIT_AS would count what a JVM only reserves."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from executor.runtimes.coordinator import children_by_parent, descendants

INTERVAL = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")


def private_bytes(pid: int) -> int:
    """Returns what ``pid`` holds for itself: resident pages less shared ones; 0 if it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
        return max(0, int(fields[1]) - int(fields[2])) * _PAGE
    return 0


def proportional_bytes(pid: int) -> int:
    """Returns the PSS of ``pid``: pages that several processes share count by their part."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return private_bytes(pid)


class MemoryWatch:
    """One thread that compares the trees below given processes with their limits (bytes).

    The thread lives while there is something to watch. A tree over its limit is reported once.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, pid: int, limit: int, exceeded: Callable[[int], None]) -> None:
        """Watches what is below ``pid``; ``exceeded`` gets the bytes that were found."""
        with self._changed:
            self._watched[pid] = (limit, exceeded)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)
                self._thread.start()

    def remove(self, pid: int) -> None:
        with self._changed:
            self._watched.pop(pid, None)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._interval)
                if not self._watched:
                    self._thread = None
                    return
                watched = dict(self._watched)
            tree = children_by_parent()
            for root, (limit, exceeded) in watched.items():
                used = self._measure(descendants(root, tree), limit)
                if used > limit:
                    self.remove(root)
                    exceeded(used)

    @staticmethod
    def _measure(pids: list[int], limit: int) -> int:
        # The exact figure costs a walk over every mapping: only where the cheap one is too high.
        cheap = sum(map(private_bytes, pids))
        return cheap if cheap <= limit else min(cheap, sum(map(proportional_bytes, pids)))
