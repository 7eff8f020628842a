"""Real pymesos scheduler drivers for the tests, with ``failover=True``: nothing is torn down by them."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pymesos import MesosSchedulerDriver, Scheduler, decode_data, encode_data

from tests.framework.local.wire import ME, PATIENCE, RESOURCES

Json = dict[str, Any]
EXECUTOR = f"exec {sys.executable} {Path(__file__).with_name('minimal_executor.py')}"


class Recorder(Scheduler):
    """Keeps everything that it is told; declines nothing by itself."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self._changed = threading.Condition()

    def _note(self, what: str, *about: Any) -> None:
        with self._changed:
            self.told.append((what, about))
            self._changed.notify_all()

    def registered(self, driver: Any, framework_id: Any, master_info: Any) -> None:
        self._note("registered", framework_id["value"])

    def reregistered(self, driver: Any, master_info: Any) -> None:
        self._note("reregistered")

    def disconnected(self, driver: Any) -> None:
        self._note("disconnected")

    def resourceOffers(self, driver: Any, offers: Any) -> None:
        for offer in offers:
            self._note("offer", offer)

    def offerRescinded(self, driver: Any, offer_id: Any) -> None:
        self._note("rescinded", offer_id["value"])

    def statusUpdate(self, driver: Any, status: Any) -> None:
        self._note("update", status)

    def frameworkMessage(self, driver: Any, executor_id: Any, agent_id: Any, message: Any) -> None:
        self._note("message", decode_data(message))

    def slaveLost(self, driver: Any, agent_id: Any) -> None:
        self._note("agent lost", agent_id["value"])

    def executorLost(self, driver: Any, executor_id: Any, agent_id: Any, status: Any) -> None:
        self._note("executor lost", executor_id["value"], status)

    def error(self, driver: Any, message: Any) -> None:
        self._note("error", message)

    def wait(self, what: str, fits: Callable[..., bool] = lambda *_: True, *, after: int = 0) -> Any:
        """Returns what came with the first fitting call, from position ``after`` on."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for kind, about in self.told[after:]:
                    if kind == what and fits(*about):
                        return about[0] if about else None
                left = deadline - time.monotonic()
                assert left > 0, f"no {what}: {self.told[after:]}"
                self._changed.wait(left)

    def update(self, task_id: str, state: str, *, after: int = 0) -> Json:
        status: Json = self.wait(
            "update", lambda s: s["task_id"]["value"] == task_id and s["state"] == state, after=after
        )
        return status

    def mark(self) -> int:
        return len(self.told)


@contextlib.contextmanager
def driver(address: str, **info: Any) -> Iterator[tuple[MesosSchedulerDriver, Recorder]]:
    """A started driver; it is stopped, not torn down, at the end."""
    recorder = Recorder()
    framework = {"user": ME, "name": "pymesos", "failover_timeout": 60.0, "checkpoint": True, **info}
    framework = {k: v for k, v in framework.items() if v is not None}
    made = MesosSchedulerDriver(recorder, framework, address, failover=True)
    made.start()
    try:
        yield made, recorder
    finally:
        made.stop(failover=True)
        made.join()


def work(task_id: str, offer: Json, executor_id: str = "e", **todo: Any) -> Json:
    """A task for the minimal executor."""
    return {
        "task_id": {"value": task_id},
        "name": task_id,
        "agent_id": offer["agent_id"],
        "resources": RESOURCES,
        "data": encode_data(json.dumps(todo).encode()),
        "executor": {
            "executor_id": {"value": executor_id},
            "command": {"value": EXECUTOR},
            "resources": RESOURCES,
        },
    }
