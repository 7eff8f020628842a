"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays (seconds) that double from ``initial`` up to ``maximum``, each jittered to 50-100 %."""

    def __init__(
        self, initial: float, maximum: float, jitter: Callable[[], float] = random.random
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._jitter = jitter
        self._attempts = 0

    def next(self) -> float:
        # 2**30 times any initial delay is beyond any maximum; the bound keeps the float finite.
        delay = min(self._maximum, self._initial * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return delay * (0.5 + 0.5 * self._jitter())

    def reset(self) -> None:
        self._attempts = 0
