"""Calls of plugins that somebody waits for: each has a time, and a bounded number run at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from framework.model.errors import GatewayError, Invalid, Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)


class PluginCalls:
    """``seconds``: what a call has; ``most``: so many at once, those that do not end included."""

    def __init__(self, seconds: float = 30.0, most: int = 32) -> None:
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(most)

    def call(self, what: str, function: Callable[[], T]) -> T:
        """Returns what ``function`` returns; ``what`` names it in errors.

        Raises GatewayErrors as they are and anything else as :class:`Invalid` (a plugin is somebody
        else's code), and :class:`Unavailable` for a call that does not end in time.
        """
        if not self._free.acquire(timeout=self._seconds):
            raise Unavailable(f"{what}: too many calls of plugins have not ended")
        found: dict[str, Any] = {}
        ended = threading.Event()

        def run() -> None:
            try:
                found["result"] = function()
            except Exception as error:  # noqa: BLE001 - it is raised where it was called
                found["error"] = error
            finally:
                self._free.release()
                ended.set()

        # A thread cannot be ended: one that hangs must not keep the server from stopping.
        threading.Thread(target=run, name=f"plugin {what}"[:60], daemon=True).start()
        if not ended.wait(self._seconds):
            raise Unavailable(f"{what} has not ended within {self._seconds:g} s")
        error = found.get("error")
        if isinstance(error, GatewayError):
            raise error
        if error is not None:
            logger.error("%s failed", what, exc_info=error)
            raise Invalid(f"{what} has failed: {type(error).__name__}: {error}") from error
        result: T = found["result"]
        return result
