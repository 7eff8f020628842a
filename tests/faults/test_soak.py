"""F14: a long time of everything, faults included: no more memory, descriptors or threads at its end."""

from __future__ import annotations

import gc
import os
import random
import time
from pathlib import Path

import pytest

from framework.core import messages as m
from framework.model.jobs import UpdateSettings
from tests.e2e.harness import Client, eventually, gateway, key_of, local_mesos, service
from tests.faults.seeds import LONG, seeded
from tests.framework.core.mesos_model import Mesos
from tests.framework.core.rig import START
from tests.framework.core.test_faults import KEYS, Gateway, job
from tests.measured import Measured

EVENTS = 1_000_000 if LONG else 50_000
# In the first part buffers fill, histories reach their length, and pools their size.
WARM = 0.3
GROWTH = 1.05
LOOPS = 800 if LONG else 15


def resident(pid: int | None = None) -> int:
    """Resident memory, in bytes."""
    pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def threads(pid: int | None = None) -> int:
    return len(os.listdir(f"/proc/{pid or os.getpid()}/task"))


def descriptors(pid: int | None = None) -> int:
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


class Soak:
    """Users, agents, networks and crashes, by chance, in virtual time."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.mesos = Mesos(partition_aware=self.chance.random() < 0.5)
        self.mesos.now = START
        self.gateway = Gateway(self.mesos)
        self.events = 0

    def step(self) -> None:
        chance, mesos, gateway = self.chance, self.mesos, self.gateway
        if chance.random() < 0.2:
            self._command()
        if chance.random() < 0.05:
            self._fault()
        if mesos.stream is None:
            mesos.subscribe()
        mesos.work()
        mesos.allocate(chance.random() < 0.2)
        if chance.random() < 0.01:
            gateway.crash = chance.choice(["before the commit", "after the commit"])
        gateway.tick()
        self._deliver()
        mesos.now += chance.choice([0.1, 1.0, 1.0, 5.0, 30.0])

    def _command(self) -> None:
        chance, key = self.chance, self.chance.choice(KEYS)
        spec = job(KEYS.index(key), chance.randint(1, 3), chance.randrange(6))
        make, fields = chance.choice(
            [
                (m.CreateJob, {"spec": spec}),
                (m.KillTasks, {"key": key}),
                (m.StartUpdate, {"spec": spec}),
                (m.StartRestart, {"key": key, "settings": UpdateSettings(watch_secs=20)}),
                (m.AbortUpdate, {"key": key}),
            ]
        )
        self.gateway.command(make, **fields)
        self.events += 1

    def _fault(self) -> None:
        chance, mesos = self.chance, self.mesos
        agent = chance.choice(list(mesos.agents.values()))
        what = chance.choice(["fail", "fail", "part", "rejoin", "rejoin", "reboot", "drop", "rescind"])
        if what == "fail":
            mesos.fail_task(chance.randrange(10))
        elif what == "drop":
            mesos.drop_connection()
            self.gateway.take(m.Disconnected(at=mesos.now))
        elif what == "rescind":
            mesos.rescind(chance.randrange(10))
        else:
            getattr(mesos, what)(agent)

    def _deliver(self) -> None:
        mesos = self.mesos
        while mesos.up or mesos.down:
            if mesos.up:
                mesos.call(*mesos.up.pop(0))
                continue
            stream, event = mesos.down.pop(0)
            if stream == mesos.stream and self.chance.random() > 0.01:
                self.gateway.take(event)
                self.events += 1

    def forget(self) -> None:
        """What the test itself keeps of the past."""
        self.gateway.store.published.clear()
        self.gateway.kills.clear()
        self.mesos.launched.clear()


@pytest.mark.slow
@seeded(1, 1)
def test_the_core_does_not_grow(seed: int, measured: Measured) -> None:
    soak = Soak(seed)
    memory: list[int] = []
    began = time.monotonic()
    for part in range(10):
        while soak.events < EVENTS * (part + 1) / 10:
            soak.step()
        soak.forget()
        soak.gateway.scheduler.validate()
        gc.collect()
        memory.append(resident())
    rate = soak.events / (time.monotonic() - began)
    warm = memory[int(WARM * 10) :]
    days = (soak.mesos.now - START) / 86_400
    measured("F14 core: events", soak.events)
    measured("F14 core: virtual days", days)
    measured("F14 core: events a second", rate)
    measured("F14 core: memory grew by, %", 100 * (max(warm) / warm[0] - 1))
    assert max(warm) <= GROWTH * warm[0], memory
    # As much is kept of each job as the settings say, and no more.
    history = [len(soak.gateway.scheduler.get_job(key).history) for key in list_jobs(soak)]
    assert max(history, default=0) <= 4 + 3


def list_jobs(soak: Soak) -> list:
    return soak.gateway.scheduler.list_jobs("devcluster", "ann")


@pytest.mark.slow
def test_a_gateway_keeps_nothing_of_jobs_that_come_and_go(tmp_path: Path, measured: Measured) -> None:
    resources = "--resources=cpus:4;mem:1024;disk:1024;ports:[31000-31009]"
    with (
        local_mesos(tmp_path, "--agents=1", resources) as mesos,
        # A pool makes its threads when it needs them, which may be late.
        gateway(tmp_path, f"--master={mesos.address}", "--log-level=warning", "--parallel=1") as server,
    ):
        client, pid = Client(server.address), server.process.pid
        # Of each job a hundred ended tasks are kept.
        warm = 200 if LONG else 5
        for number in range(LOOPS):
            come_and_go(client, f"soak{number % 3}")
            if number == warm:
                before = at_rest(pid)
        after = at_rest(pid)
    measured("F14 process: jobs that came and went", LOOPS)
    measured("F14 process: more descriptors", after[0] - before[0])
    measured("F14 process: more threads", after[1] - before[1])
    measured("F14 process: memory grew by, %", 100 * (after[2] / before[2] - 1))
    assert after[0] <= before[0], (before, after)
    assert after[1] <= before[1], (before, after)
    # Over a few jobs only a leak of megabytes would show.
    assert after[2] <= (GROWTH if LONG else 1.2) * before[2]


def come_and_go(client: Client, name: str) -> None:
    key = key_of(name)
    body = service(name, "while :; do sleep 1; done", instances=2)
    assert client.call("PUT", f"/alpha/jobs/{key}", body).status == 201
    client.wait_states(key, {0: "RUNNING", 1: "RUNNING"})
    assert client.call("GET", "/alpha/jobs/devcluster/www-data").status == 200
    assert client.call("GET", f"/alpha/jobs/{key}/instances/0/logs").status == 200
    assert client.call("DELETE", f"/alpha/jobs/{key}").status == 200
    client.wait_states(key, {0: "KILLED", 1: "KILLED"})


def at_rest(pid: int) -> tuple[int, int, int]:
    """Descriptors, threads and memory once they have not changed for a while."""
    seen: list[tuple[int, int]] = []

    def settled() -> bool:
        seen.append((descriptors(pid), threads(pid)))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    eventually(settled, bool)
    return (*seen[-1], resident(pid))
