"""Waiting for a Docker daemon that does not answer, for one task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from executor.runtimes.base import Cancelled, CannotRun, Notify, Waiting
from executor.runtimes.docker_api import Down

T = TypeVar("T")
RETRY_PAUSE = 0.5


class Patience:
    """``cancelled``: the task is being ended. ``closed``: nobody waits for anything any more.

    ``outages`` counts how often the daemon was away; ``trouble`` is why it is away now, "" if it is not,
    None before it was ever asked.
    """

    def __init__(self, seconds: float, notify: Notify) -> None:
        self._seconds = seconds
        self._notify = notify
        self.cancelled = threading.Event()
        self.closed = False
        self.outages = 0
        self.trouble: str | None = None

    def __call__(self, call: Callable[[], T], at_most: bool = False) -> T:
        """Calls until the daemon answers; after so many seconds raises :class:`CannotRun`.

        ``at_most``: for a task that is being ended, too (its container may still run); otherwise
        raises :class:`Cancelled` as soon as the task is stopped.
        """
        give_up = time.monotonic() + self._seconds
        while True:
            if self.cancelled.is_set() and not at_most:
                raise Cancelled
            try:
                result = call()
            except Down as error:
                if self.closed:
                    raise Cancelled from error
                if time.monotonic() > give_up:
                    raise CannotRun(
                        f"no answer from the Docker daemon for {self._seconds:g} s: {error}"
                    ) from error
                if not self.trouble:
                    self.trouble = str(error)
                    self.outages += 1
                    self._notify(Waiting(f"waiting for the Docker daemon: {error}"))
                time.sleep(RETRY_PAUSE)
            else:
                before, self.trouble = self.trouble, ""
                if before:
                    self._notify(Waiting("the Docker daemon answers again"))
                return result
