"""The peers of the Mesos rows: plain pymesos, with the least that a scheduler must do.

``place`` is first-fit with the same rack limit, ``updates`` acknowledges implicitly, ``offers`` only
notes when the callback was called. Nothing is stored. Obeys lines on stdin like the subject.
"""

from __future__ import annotations

import base64
import itertools
import logging
import sys
import time
from typing import Any

import msgspec
from pymesos import MesosSchedulerDriver, Scheduler

from benchmarks.subject import EXECUTOR, Order
from framework.mesos.executors import command_info

_EXECUTOR = {
    "executor_id": {"value": "bench"},
    "name": "bench",
    "command": command_info(EXECUTOR),
    "resources": [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 64.0}},
    ],
}
_DATA = base64.b64encode(b"x" * 1500).decode()


class FirstFit(Scheduler):  # type: ignore[misc]
    """Places ``jobs`` of ``instances`` tasks each, at most ``limit`` of a job on a rack."""

    def __init__(self, jobs: int, instances: int, limit: int) -> None:
        self._names = itertools.count()
        self._left = [[f"job-{n}", instances] for n in range(jobs)]
        self._racks: dict[tuple[str, str], int] = {}
        self._limit = limit or sys.maxsize
        self.offers_at = 0.0

    def resourceOffers(self, driver: Any, offers: Any) -> None:  # noqa: N802
        self.offers_at = time.monotonic()
        for offer in offers:
            tasks = self._fill(offer)
            if tasks:
                driver.launchTasks(offer["id"], tasks)
            elif self._left:
                driver.declineOffer(offer["id"])

    def _fill(self, offer: Any) -> list[dict[str, Any]]:
        amounts = {r["name"]: r["scalar"]["value"] for r in offer["resources"] if "scalar" in r}
        cpus, mem = amounts["cpus"] - 0.1, amounts["mem"] - 64
        port = next(r for r in offer["resources"] if r["name"] == "ports")["ranges"]["range"][0]["begin"]
        rack = next(a["text"]["value"] for a in offer["attributes"] if a["name"] == "rack")
        tasks = []
        for entry in self._left:
            name = entry[0]
            while (
                cpus >= 1 and mem >= 256 and entry[1] and self._racks.get((name, rack), 0) < self._limit
            ):
                self._racks[name, rack] = self._racks.get((name, rack), 0) + 1
                entry[1] -= 1
                cpus, mem = cpus - 1, mem - 256
                tasks.append(self._info(name, offer["agent_id"], port + 2 * len(tasks)))
            if cpus < 1 or mem < 256:
                break
        self._left = [entry for entry in self._left if entry[1]]
        return tasks

    def _info(self, name: str, agent: Any, port: int) -> dict[str, Any]:
        return {
            "task_id": {"value": f"{name}-{next(self._names)}"},
            "name": name,
            "agent_id": agent,
            "executor": _EXECUTOR,
            "resources": [
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}},
                {"name": "mem", "type": "SCALAR", "scalar": {"value": 256.0}},
                {"name": "disk", "type": "SCALAR", "scalar": {"value": 256.0}},
                {
                    "name": "ports",
                    "type": "RANGES",
                    "ranges": {"range": [{"begin": port, "end": port + 1}]},
                },
            ],
            "data": _DATA,
        }

    def statusUpdate(self, driver: Any, update: Any) -> None:  # noqa: N802
        """The acknowledgement is implicit."""


def main() -> None:
    logging.disable(logging.CRITICAL)
    decode = msgspec.json.Decoder(Order).decode
    scheduler = FirstFit(0, 0, 0)
    sys.stdout.write("listens on stdin\n")
    sys.stdout.flush()
    for line in sys.stdin:
        order = decode(line)
        answer: Any = {}
        if order.do == "start":
            scheduler = FirstFit(order.jobs, order.instances, order.limit)
            framework = {"user": "bench", "name": "bench", "id": {"value": "bench"}}
            driver = MesosSchedulerDriver(
                scheduler, framework, order.master, implicit_acknowledgements=True, failover=True
            )
            driver.start()
        elif order.do == "offers":
            answer = scheduler.offers_at
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
