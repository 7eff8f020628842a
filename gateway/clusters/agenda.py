"""Which clusters the engine has to look at, and when."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from framework.mesos.backoff import Backoff

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0
# A moment that is here already is waited for a little: the clock may be coarse.
_LEAST = 0.01


class Agenda:
    """What is due now or at a moment. ``clock`` gives seconds since the epoch.

    Anybody may :meth:`add`; the rest is the engine's thread's.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._due: set[str] = set()
        self._moments: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}

    def add(self, cluster_id: str) -> None:
        """Makes a cluster due now."""
        with self._lock:
            self._due.add(cluster_id)

    def at(self, cluster_id: str, moment: float | None) -> None:
        """Makes a cluster due at ``moment``, unless it is so earlier; at no time for None."""
        if moment is not None:
            self._moments[cluster_id] = min(moment, self._moments.get(cluster_id, moment))

    def later(self, cluster_id: str) -> float:
        """Makes a cluster due that could not be moved on: later each time; returns after how long."""
        seconds = self._backoffs.setdefault(cluster_id, Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)).next()
        self.at(cluster_id, self._clock() + seconds)
        return seconds

    def went_well(self, cluster_id: str) -> None:
        """The next :meth:`later` is a first one again."""
        self._backoffs.pop(cluster_id, None)

    def take(self) -> list[str]:
        """Returns what is due, and has it due no more."""
        now = self._clock()
        with self._lock:
            self._due |= {cluster_id for cluster_id, at in self._moments.items() if at <= now}
            taken, self._due = sorted(self._due), set()
        for cluster_id in taken:
            self._moments.pop(cluster_id, None)
        return taken

    def patience(self) -> float:
        """Returns in how many seconds something is due; infinity if nothing is."""
        with self._lock:
            if self._due:
                return 0.0
        if not self._moments:
            return math.inf
        return max(_LEAST, min(self._moments.values()) - self._clock())

    def clear(self) -> None:
        """Forgets everything."""
        self._moments.clear()
        self._backoffs.clear()
        with self._lock:
            self._due.clear()
