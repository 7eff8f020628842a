"""Time for the core: seconds since the epoch that never go back and never jump."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Too little for a timeout to notice; an hour's error is gone after eight days.
_SLEW = 0.005


def _uptime() -> float:
    """Seconds since boot, also those in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Wall time that advances with the monotonic clock and is only slewed towards the wall clock.

    Somebody who sets the machine's clock an hour ahead does not make an hour's timeouts expire.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = _uptime,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._mark = monotonic()
        self._now = wall()

    def now(self) -> float:
        """Returns seconds since the epoch, never less than before."""
        with self._lock:
            mark = self._monotonic()
            elapsed = max(0.0, mark - self._mark)
            self._mark = mark
            self._now += elapsed
            error = self._wall() - self._now
            self._now += max(-elapsed * _SLEW, min(elapsed * _SLEW, error))
            return self._now

    def not_before(self, moment: float) -> None:
        """Makes every later :meth:`now` at least ``moment``: what a former process has stamped."""
        with self._lock:
            self._now = max(self._now, moment)
