"""F12: somebody sets the clock an hour ahead, or back: no timeout expires, and none is put off.

(Cron, with changes to and from summer time and leap days, is not part of this release: a job with a
``cron_schedule`` is refused.)
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from framework.clock import Clock
from tests.e2e.harness import Client, Server, eventually, key_of, local_mesos, service
from tests.faults.seeds import seeded
from tests.framework.core.rig import Rig, at_once, spec
from tests.measured import Measured, Stopwatch

HOUR = 3600.0
LIMIT = 300.0


class Hands:
    """A wall clock that jumps and an uptime that does not."""

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.up = 0.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


@seeded(20, 500)
def test_time_for_the_core_passes_evenly_and_never_goes_back(seed: int) -> None:
    chance = random.Random(seed)
    hands = Hands(1_700_000_000.0)
    clock = Clock(lambda: hands.wall, lambda: hands.up)
    before, passed = clock.now(), 0.0
    began = before
    for _ in range(500):
        if chance.random() < 0.1:
            hands.wall += chance.choice([-HOUR, HOUR])
        step = chance.choice([0.0, 0.001, 1.0, 60.0])
        hands.pass_(step)
        passed += step
        now = clock.now()
        assert now >= before
        assert abs((now - before) - step) <= 0.01 * step + 1e-6
        before = now
    assert abs((before - began) - passed) <= 0.01 * passed


@seeded(20, 500)
def test_timeouts_are_those_of_a_steady_clock(seed: int, measured: Measured) -> None:
    """A launch that hangs is LOST after five minutes, whatever the wall clock does in them."""
    chance = random.Random(seed)
    rig = Rig()
    hands = Hands(rig.now)
    clock = Clock(lambda: hands.wall, lambda: hands.up)
    rig.create(spec(1))
    rig.place()
    stuck = rig.task().task_id
    while rig.store.tasks[stuck].state == "ASSIGNED":
        if chance.random() < 0.05:
            hands.wall += chance.choice([-HOUR, HOUR])
        hands.pass_(1.0)
        rig.wait(clock.now() - rig.now)
        assert hands.up <= LIMIT * 1.02
    measured("F12 a timeout of 300 s while the clock jumps, s", hands.up)
    assert hands.up >= LIMIT * 0.98
    # The same for an update's watch.
    hands.pass_(HOUR)
    rig.wait(clock.now() - rig.now)
    rig.run()
    rig.update(spec(1, "2", update=at_once(watch_secs=60)))
    rig.end(0)
    rig.run()
    began = hands.up
    while rig.last_update().is_active:
        if chance.random() < 0.1:
            hands.wall += chance.choice([-HOUR, HOUR])
        hands.pass_(1.0)
        rig.wait(clock.now() - rig.now)
        assert hands.up - began <= 65
    assert hands.up - began >= 59


@pytest.mark.slow
@seeded(1, 20)
def test_a_gateway_whose_clock_is_set(seed: int, tmp_path: Path, measured: Measured) -> None:
    chance = random.Random(seed)
    offset = tmp_path / "offset"
    key, other = key_of("steady"), key_of("other")
    resources = "--resources=cpus:4;mem:1024;disk:1024;ports:[31000-31009]"

    def jump(hours: float) -> None:
        """Sets the clock, at once for whoever reads it."""
        (tmp_path / "new").write_text(str(float(offset.read_text()) + hours * HOUR))
        os.replace(tmp_path / "new", offset)

    offset.write_text("0")
    with local_mesos(tmp_path, "--agents=1", resources) as mesos:
        command = [sys.executable, "-m", "tests.faults.jumping", str(offset), "--port=0"]
        command += [f"--master={mesos.address}", f"--state={tmp_path / 'state.db'}"]
        server = Server(command, "listens on ", tmp_path / "gateway.log")
        try:
            client = Client(server.address)
            loop = "while :; do sleep 1; done"
            assert client.call("PUT", f"/alpha/jobs/{key}", service("steady", loop)).status == 201
            client.wait_states(key, {0: "RUNNING"})
            tasks = client.tasks(key)
            for hours in chance.choices([-1.0, 1.0], k=4):
                jump(hours)
                # A whole life, of a job and of an update that watches for a second, as quick as ever.
                watch = Stopwatch()
                assert client.call("PUT", f"/alpha/jobs/{other}", service("other", loop)).status == 201
                client.wait_states(other, {0: "RUNNING"})
                changed = service("other", loop + " # changed")
                assert client.call("PUT", f"/alpha/jobs/{other}/update", changed).status == 202
                eventually(
                    lambda: client.call("GET", f"/alpha/jobs/{other}/update").json["update"]["status"],
                    lambda status: status == "ROLLED_FORWARD",
                )
                assert client.call("DELETE", f"/alpha/jobs/{other}").status == 200
                client.wait_states(other, {0: "KILLED"})
                measured("F12 a job's and an update's life after a jump, s", watch.passed)
                assert watch.own < 30
                assert client.call("GET", "/health").status == 200
            assert client.tasks(key) == tasks
            assert client.states(key) == {0: "RUNNING"}
            for name in (key, other):
                for instance in client.job(name)["instances"]:
                    times = [event["at"] for event in instance["history"]]
                    assert times == sorted(times)
        finally:
            assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
