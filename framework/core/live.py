"""The jobs of one role that are alive, and the sorted list of their names that readers page through."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from framework.model.jobs import JobKey


class LiveJobs:
    """A set of keys; :meth:`texts` costs nothing while they stay the same."""

    __slots__ = ("_keys", "_sorted", "_texts")

    def __init__(self) -> None:
        # A dict, which the garbage collector leaves out; through a set it would walk.
        self._keys: dict[JobKey, None] = {}
        # In order once somebody has asked; None until then, so that loading a state sorts nothing.
        self._sorted: list[str] | None = None
        self._texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[JobKey]:
        return iter(self._keys)

    def add(self, key: JobKey) -> None:
        """Takes ``key`` in, if it is not there yet."""
        if key in self._keys:
            return
        self._keys[key] = None
        self._texts = None
        if self._sorted is not None:
            bisect.insort(self._sorted, str(key))

    def remove(self, key: JobKey) -> None:
        """Takes ``key`` out; it must be there."""
        del self._keys[key]
        self._texts = None
        if self._sorted is not None:
            del self._sorted[bisect.bisect_left(self._sorted, str(key))]

    def texts(self) -> tuple[str, ...]:
        """Returns the keys as texts, sorted as texts."""
        if self._texts is None:
            if self._sorted is None:
                self._sorted = sorted(map(str, self._keys))
            self._texts = tuple(self._sorted)
        return self._texts
