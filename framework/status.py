"""How it goes with a scheduler, as values for whoever watches it."""

from __future__ import annotations

import bisect

import msgspec

from framework.core.messages import Counts

# Upper bounds of a Timing's buckets, in seconds; a last bucket holds what is longer.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Timing(msgspec.Struct, frozen=True):
    """How often something was done, and how long it took, in seconds.

    ``buckets``: how many took at most each of :data:`BOUNDS` and more than the one before.
    """

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    def plus(self, seconds: float) -> Timing:
        buckets = list(self.buckets)
        buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
        longest = max(self.longest, seconds)
        return Timing(self.count + 1, self.total + seconds, longest, tuple(buckets))


class ServiceStatus(msgspec.Struct, frozen=True):
    """``problems``: sentences; ready without any. ``counts`` are the core's, at most a second old.

    ``durations``: ``wait`` (in the queue), ``handle`` and ``commit`` (of a turn), ``match`` (of an
    event with offers). ``calls_queued``: those that wait to be sent to Mesos.
    """

    ready: bool
    problems: tuple[str, ...]
    framework_id: str | None
    master: str | None
    epoch: int
    queued: int
    counts: Counts | None
    durations: dict[str, Timing]
    mesos: dict[str, int]
    calls_queued: int = 0
