"""Calls of plugins that somebody waits for: each has a time, and a bounded number of a plugin's run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from framework.model.errors import GatewayError, Invalid, Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)


class PluginFailed(Invalid):
    """A plugin has failed by a defect of its own: it did not say what is wrong with the request."""


class PluginCalls:
    """``seconds``: what a call has; ``most``: so many of a plugin at once, those that do not end
    included. A plugin that hangs takes no other's.
    """

    def __init__(self, seconds: float = 30.0, most: int = 32) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._free: dict[str, threading.BoundedSemaphore] = {}

    def call(self, plugin: str, what: str, function: Callable[[], T]) -> T:
        """Returns what ``function`` of the plugin of this name returns; ``what`` names it in errors.

        Raises GatewayErrors as they are and anything else as :class:`PluginFailed` (a plugin is somebody
        else's code), and :class:`Unavailable` for a call that does not end in time.
        """
        with self._lock:
            free = self._free.setdefault(plugin, threading.BoundedSemaphore(self._most))
        if not free.acquire(timeout=self._seconds):
            raise Unavailable(f"{what}: too many calls of the plugin {plugin} have not ended")
        found: dict[str, Any] = {}
        ended = threading.Event()

        def run() -> None:
            try:
                found["result"] = function()
            # Also one that wants to exit: it is told where it was called.
            except BaseException as error:  # noqa: BLE001
                found["error"] = error
            finally:
                free.release()
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
            raise PluginFailed(f"{what} has failed: {type(error).__name__}: {error}") from error
        result: T = found["result"]
        return result
