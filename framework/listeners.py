"""Whom to tell of something."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")
logger = logging.getLogger(__name__)


class Listeners(Generic[P]):
    """Listeners in the order in which they came; any thread may add one, remove one, or tell them.

    ``what`` they listen to stands in the log if one fails.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._all: tuple[Callable[P, None], ...] = ()
        self._lock = threading.Lock()

    def add(self, listener: Callable[P, None]) -> Callable[[], None]:
        """Has ``listener`` told from now on; returns the undo."""
        with self._lock:
            self._all += (listener,)

        def remove() -> None:
            with self._lock:
                self._all = tuple(other for other in self._all if other is not listener)

        return remove

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for listener in self._all:
            try:
                listener(*args, **kwargs)
            except Exception:
                logger.exception("a listener to %s failed", self.what)
