"""A gateway that kills itself, -9, at a marked point: ``python -m tests.faults.launcher POINT:N …``.

What follows POINT:N are the gateway's own arguments. N counts how often the point is passed until
the end. The marks lie round the service's collaborators: nothing of them is in the gateway itself.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

# What is marked: each gives a point before and one after it.
COMMANDS = ("CreateJob", "KillTasks", "StartUpdate")
EVENTS = ("Registered", "OffersReceived", "StatusReceived")
CALLS = ("ACCEPT", "ACKNOWLEDGE", "KILL", "RECONCILE", "REVIVE", "SUPPRESS", "DECLINE")
STEPS = (
    "claim of the epoch",
    "load",
    "commit",
    "COMMIT",
    "carrying out",
    "answer of a future",
    "publication",
    "subscription",
    "SUBSCRIBED",
    "answer of a request",
    *(f"decision on {name}" for name in (*COMMANDS, *EVENTS)),
    *(f"call {name}" for name in CALLS),
)
POINTS = tuple(f"{when} {step}" for step in STEPS for when in ("before", "after"))


class Fuse:
    """Ends this process when its point has been passed often enough. Any thread."""

    def __init__(self, point: str) -> None:
        self._point, _, number = point.rpartition(":")
        if self._point not in POINTS:
            raise SystemExit(f"{self._point!r} is not a marked point")
        self._left = int(number)
        self._lock = threading.Lock()

    def passing(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.write(2, f"kill -9 {point}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner: Any, attribute: str, step: Callable[..., tuple[str, ...]] | str) -> None:
        """Marks a method; ``step`` names it, or is a function of its arguments that gives its names."""
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def marked(*args: Any, **kwargs: Any) -> Any:
            names = (step,) if isinstance(step, str) else step(*args, **kwargs)
            for name in names:
                self.passing(f"before {name}")
            result = original(*args, **kwargs)
            for name in names:
                self.passing(f"after {name}")
            return result

        setattr(owner, attribute, marked)


def arm(fuse: Fuse) -> None:
    from framework.core.scheduler import Scheduler
    from framework.listeners import Listeners
    from framework.mesos.calls import CallSender
    from framework.mesos.driver import MesosDriver
    from framework.mesos.guarded import GuardedDriver
    from framework.storage import Storage
    from framework.turn import Turn
    from gateway.api.resource import Resource

    fuse.wrap(Storage, "claim_epoch", "claim of the epoch")
    fuse.wrap(Storage, "load", "load")
    fuse.wrap(Storage, "commit", "commit")
    fuse.wrap(DefaultDialect, "do_commit", "COMMIT")
    fuse.wrap(Scheduler, "handle", lambda core, event: (f"decision on {type(event).__name__}",))
    fuse.wrap(MesosDriver, "perform", "carrying out")
    fuse.wrap(Turn, "succeed", "answer of a future")
    fuse.wrap(Listeners, "tell", _publication)
    fuse.wrap(GuardedDriver, "_subscribe_once", "subscription")
    fuse.wrap(GuardedDriver, "on_subscribed", "SUBSCRIBED")
    fuse.wrap(CallSender, "_send", _types)
    fuse.wrap(Resource, "finish", _change)


def _publication(listeners: Any, *_: Any) -> tuple[str, ...]:
    return ("publication",) if listeners.what == "events" else ()


def _types(sender: Any, calls: Any, session: Any) -> tuple[str, ...]:
    return tuple(f"call {kind}" for kind, _ in calls)


def _change(handler: Any, *_: Any) -> tuple[str, ...]:
    return ("answer of a request",) if handler.request.method in ("PUT", "DELETE") else ()


if __name__ == "__main__":
    arm(Fuse(sys.argv[1]))
    from gateway.__main__ import main

    sys.exit(main(sys.argv[2:]))
