"""How many requests one identity may make: token buckets, in bounded memory. Pure but for its memory."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

_MOST_KEYS = 10_000


class Rate(msgspec.Struct, frozen=True):
    """``per_second`` requests on the average, ``burst`` at once."""

    per_second: float
    burst: float


class Buckets:
    """One bucket per key; those not used for longest are forgotten, and are then full again."""

    def __init__(self, rate: Rate, most: int = _MOST_KEYS) -> None:
        self._rate = rate
        self._most = most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Returns for how many seconds the bucket stays empty, 0 if a request may pass."""
        return max(0.0, (1.0 - self._level(key, now)) / self._rate.per_second)

    def take(self, key: str, now: float) -> float:
        """Takes one request out; returns 0, or the seconds to wait if there is none to take."""
        wait = self.wait(key, now)
        if not wait:
            self._levels[key] = (self._level(key, now) - 1.0, now)
            self._levels.move_to_end(key)
            if len(self._levels) > self._most:
                self._levels.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._levels)

    def _level(self, key: str, now: float) -> float:
        level, at = self._levels.get(key, (self._rate.burst, now))
        return min(self._rate.burst, level + max(0.0, now - at) * self._rate.per_second)
