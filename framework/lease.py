"""The right to act on the shared state, for as long as it is certain to be ours alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

# How long ZooKeeper keeps the session of a leader that it does not hear of, by default.
SESSION_SECONDS = 6.0


def uptime() -> float:
    """Seconds since boot; they also pass while the process, or the machine, is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Permit(Protocol):
    """Asked before every turn of the scheduler."""

    def refusal(self) -> str | None:
        """Returns why nothing may be done now, None if it may."""

    def wait(self, seconds: float) -> None:
        """Returns when the answer may be another, after ``seconds`` at the latest."""


class Always:
    """The permit of a scheduler that has no rival."""

    def refusal(self) -> str | None:
        """Nothing is refused."""
        return None

    def wait(self, seconds: float) -> None:
        """There is nothing to wait for."""


class Lease:
    """A permit that runs out by itself: whoever was stopped meanwhile finds it void when he wakes up.

    ``clock`` gives seconds that never stand still. Any thread may ask; one extends and drops.
    """

    def __init__(self, clock: Callable[[], float] = uptime) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._reason = "the lease has not begun"
        self._changed = threading.Condition()

    def refusal(self) -> str | None:
        """Returns why nothing may be done now, None if it may."""
        with self._changed:
            return None if self._clock() < self._until else self._reason

    def wait(self, seconds: float) -> None:
        """Waits for a change, at most so many seconds, if the lease has run out."""
        with self._changed:
            if self._clock() >= self._until:
                self._changed.wait(seconds)

    def extend(self, until: float, reason: str) -> None:
        """Permits everything until ``until``; ``reason`` is why not after that."""
        with self._changed:
            self._until = until
            self._reason = reason
            self._changed.notify_all()

    def drop(self, reason: str) -> None:
        """Permits nothing from now on; it may be extended again."""
        with self._changed:
            self._until = float("-inf")
            self._reason = reason
            self._changed.notify_all()
