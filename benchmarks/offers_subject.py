"""The driver alone, which notes when offers have come: as pymesos's callback, or as values."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from benchmarks.subject import EXECUTOR, Order
from framework.core.messages import Event, OffersReceived
from framework.mesos.driver import FrameworkSettings, MesosDriver, framework_info
from framework.mesos.guarded import GuardedDriver
from framework.mesos.quiet import Scheduler


class Note(Scheduler):  # type: ignore[misc]
    """``at``: when offers were last there (monotonic seconds), 0 before."""

    def __init__(self) -> None:
        self.at = 0.0

    def resourceOffers(self, driver: Any, offers: Any) -> None:  # noqa: N802
        self.at = time.monotonic()

    def sink(self, event: Event) -> None:
        if isinstance(event, OffersReceived):
            self.at = time.monotonic()


def main() -> None:
    note, decode = Note(), msgspec.json.Decoder(Order).decode
    driver: Any = None
    sys.stdout.write("listens on stdin\n")
    sys.stdout.flush()
    for line in sys.stdin:
        order = decode(line)
        if order.do == "start":
            if order.state == "sink":
                driver = MesosDriver(order.master, FrameworkSettings(), EXECUTOR, note.sink)
            else:
                driver = GuardedDriver(note, framework_info(FrameworkSettings(), None), order.master)
            driver.start()
        sys.stdout.write(msgspec.json.encode(note.at).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
