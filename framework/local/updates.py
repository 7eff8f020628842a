"""The agent's status updates: in order, one at a time per task, sent again until acknowledged.

No clock and no I/O: times are given in, updates to send come out. An update that is not acknowledged
is due again after ``retry`` seconds, then after twice as long each time, at most ten minutes, and
holds back the later ones of its task (recording 15).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
# framework id, task id
TaskKey = tuple[str, str]

_RETRY_MAX = 600.0
TERMINAL_STATES = frozenset(
    {
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
        "TASK_ERROR",
        "TASK_LOST",
        "TASK_DROPPED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
    }
)


@dataclass
class _Stream:
    pending: deque[Json] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    due: float = 0.0
    interval: float = 0.0


class UpdateManager:
    """The unacknowledged updates of one agent."""

    def __init__(self, retry: float) -> None:
        self._retry = retry
        self._streams: dict[TaskKey, _Stream] = {}

    def add(self, key: TaskKey, status: Json, now: float) -> Json | None:
        """Takes an update in; returns it if it is the one to send now.

        A repeated uuid is not taken twice.
        """
        stream = self._streams.setdefault(key, _Stream())
        if status["uuid"] in stream.seen:
            return None
        stream.seen.add(status["uuid"])
        stream.pending.append(status)
        if len(stream.pending) > 1:
            return None
        self._arm(stream, now)
        return status

    def acknowledge(self, key: TaskKey, uuid: str, now: float) -> tuple[Json | None, Json | None]:
        """Returns the update that this acknowledges and the one to send next; None where there is none.

        Acknowledging a terminal update ends the stream.
        """
        stream = self._streams.get(key)
        if stream is None or not stream.pending or stream.pending[0]["uuid"] != uuid:
            return None, None
        acknowledged = stream.pending.popleft()
        if acknowledged["state"] in TERMINAL_STATES:
            del self._streams[key]
            return acknowledged, None
        if not stream.pending:
            return acknowledged, None
        self._arm(stream, now)
        return acknowledged, stream.pending[0]

    def has(self, key: TaskKey) -> bool:
        """Whether updates of this task wait for their acknowledgement."""
        stream = self._streams.get(key)
        return bool(stream and stream.pending)

    def heads(self, now: float, framework_id: str | None = None) -> Iterator[tuple[TaskKey, Json]]:
        """The first update of each task, to be sent at once; their retry starts anew."""
        for key, stream in self._streams.items():
            if stream.pending and framework_id in {None, key[0]}:
                self._arm(stream, now)
                yield key, stream.pending[0]

    def due(self, now: float) -> list[tuple[TaskKey, Json]]:
        """The updates whose retry is due; each is due again later."""
        result: list[tuple[TaskKey, Json]] = []
        for key, stream in self._streams.items():
            if stream.pending and stream.due <= now:
                stream.interval = min(stream.interval * 2, _RETRY_MAX)
                stream.due = now + stream.interval
                result.append((key, stream.pending[0]))
        return result

    def next_due(self) -> float | None:
        """When :meth:`due` will have something next."""
        return min((s.due for s in self._streams.values() if s.pending), default=None)

    def forget(self, framework_id: str) -> None:
        """Drops what a removed framework will never acknowledge."""
        for key in [k for k in self._streams if k[0] == framework_id]:
            del self._streams[key]

    def _arm(self, stream: _Stream, now: float) -> None:
        stream.interval = self._retry
        stream.due = now + self._retry
