"""How it goes with a scheduler, as values for whoever watches it."""

from __future__ import annotations

import msgspec

from framework.core.messages import Counts


class Timing(msgspec.Struct, frozen=True):
    """How often something was done, and how long it took, in seconds."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def plus(self, seconds: float) -> Timing:
        return Timing(self.count + 1, self.total + seconds, max(self.longest, seconds))


class ServiceStatus(msgspec.Struct, frozen=True):
    """``problems``: sentences; ready without any. ``counts`` are the core's, at most a second old.

    ``durations``: ``wait`` (in the queue), ``handle`` and ``commit`` (of a turn).
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
