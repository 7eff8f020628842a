"""The one place that imports pymesos, with what its import does to the process undone.

Importing pymesos 0.3.15 replaces the handler of SIGINT (and fails off the main thread for it), adds a
handler to its logger that writes to stderr, and sets that logger's level. Import its names from here.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import threading
from types import FrameType
from typing import Any

_SIGINT_OWNER = "pymesos.process"


def _import_pymesos() -> None:
    """Imports pymesos in any thread; SIGINT and logging are afterwards what they were before."""
    genuine = signal.signal

    def deaf(signum: int, handler: Any) -> Any:
        # Only pymesos's own call is turned into a question; anybody else's goes through.
        caller: FrameType = sys._getframe(1)
        if signum == signal.SIGINT and caller.f_globals.get("__name__") == _SIGINT_OWNER:
            return signal.getsignal(signal.SIGINT)
        return genuine(signum, handler)

    signal.signal = deaf  # type: ignore[assignment]
    try:
        importlib.import_module("pymesos.detector")
    finally:
        signal.signal = genuine
    logger = logging.getLogger("pymesos")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def _restore_sigint() -> None:
    """Gives SIGINT back if somebody imported pymesos before us, where that is possible."""
    process = sys.modules[_SIGINT_OWNER]
    taken = signal.getsignal(signal.SIGINT) is process._handle_sigint
    if taken and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, process._prev_handler)


_import_pymesos()
_restore_sigint()

from pymesos import MesosSchedulerDriver, Scheduler  # noqa: E402
from pymesos.detector import MasterDetector  # noqa: E402

__all__ = ["MasterDetector", "MesosSchedulerDriver", "Scheduler"]
