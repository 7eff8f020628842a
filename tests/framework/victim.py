"""A scheduler in a process of its own that kills itself, -9, at a marked point.

``python -m tests.framework.victim MASTER STATE POINT``: POINT is ``before-commit:N``,
``after-commit:N``, ``after-perform:N`` (the Nth that has anything to do) or ``never``. It creates the
job if there is none, says ``created`` once that is answered, and serves until its stdin ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from framework.core.messages import Action, CreateJob, Write
from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.guarded import Timing
from framework.mesos.interface import Sink
from framework.model.errors import Conflict
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.service import SchedulerService
from framework.storage import Storage, StoredEvent

SPEC = JobSpec(
    JobKey("devcluster", "www-data", "prod", "hello"),
    3,
    TaskConfig(resources=Resources(0.1, 16, 16), executor_data="{}", service=True),
)


class Fuse:
    """Ends the process when the marked point is reached."""

    def __init__(self, point: str) -> None:
        self._place, _, number = point.partition(":")
        self._left = int(number or 0)

    def reached(self, place: str) -> None:
        if place == self._place:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class FusedStorage(Storage):
    def __init__(self, url: str, fuse: Fuse) -> None:
        self._fuse = fuse
        super().__init__(url)

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        self._fuse.reached("before-commit")
        published = super().commit(writes, epoch)
        self._fuse.reached("after-commit")
        return published


class FusedDriver(MesosDriver):
    fuse: Fuse

    def perform(self, actions: Sequence[Action]) -> None:
        super().perform(actions)
        # The calls are out, and what Mesos makes of them comes back to nobody.
        self._sender.flush(60)
        self.fuse.reached("after-perform")


def main(master: str, state: str, point: str) -> None:
    fuse = Fuse(point)
    storage = FusedStorage(state, fuse)

    def make_driver(sink: Sink, framework_id: str | None) -> MesosDriver:
        driver = FusedDriver(
            master,
            FrameworkSettings(user="nobody"),
            ExecutorSettings(command="/opt/executor"),
            sink,
            framework_id=framework_id,
            timing=Timing(first_pause=0.02, longest_pause=0.1),
        )
        driver.fuse = fuse
        return driver

    settings = Settings(throttle_initial_secs=0.1, reconcile_initial_secs=0.2)
    service = SchedulerService(storage, make_driver, settings)
    service.start()
    try:
        service.submit(CreateJob(at=0.0, spec=SPEC)).result(60)
        print("created", flush=True)
    except Conflict:
        print("there", flush=True)
    sys.stdin.read()
    service.stop()
    storage.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
