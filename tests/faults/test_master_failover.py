"""F3: the master hangs, goes away, comes back, or another one leads: the framework stays the same.

Virtual minutes: a thirtieth of every time that the driver has, so that 60 s without a master are two.
Less would be lost among the pauses of a busy machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framework.core.messages import CreateJob
from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.guarded import Timing
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from framework.service import SchedulerService
from framework.storage import Storage
from tests.e2e.harness import Client, eventually, gateway, key_of, local_mesos, service
from tests.faults.replicas import eventually as soon
from tests.faults.seeds import seeded
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import Connection, Request
from tests.measured import Measured, Stopwatch

MINUTE = 2.0
SECOND = MINUTE / 60
REAL = Timing()
SCALED = Timing(
    # Thirty virtual seconds, not ten: the masters are threads of this process, which may be late.
    answer_timeout=1.0,
    call_timeout=2.0,
    first_pause=REAL.first_pause * SECOND,
    longest_pause=REAL.longest_pause * SECOND,
    settled_after=REAL.settled_after * SECOND,
)
# Five missed heartbeats and a back-off of 15 s; the rest is for a machine that has other work.
BOUND = (5 * 15 + 15) * SECOND + 2.0
SPEC = JobSpec(
    JobKey("devcluster", "www-data", "prod", "hello"),
    3,
    TaskConfig(resources=Resources(0.1, 16, 16), executor_data="{}", service=True),
)


class Leader(Cluster):
    """A cluster in miniature that sends heartbeats while it leads, and whose lead can be taken away."""

    def __init__(self, tasks: Cluster | None = None) -> None:
        self.hung = threading.Event()
        self.elsewhere: str | None = None
        self._ended = threading.Event()
        self._subscriber: Connection | None = None
        super().__init__()
        self.heartbeat = 15 * SECOND
        if tasks is not None:
            # The agents are the same, whoever leads.
            self.running, self.launched, self.killed = tasks.running, tasks.launched, tasks.killed
            self.pending, self.acknowledged = tasks.pending, tasks.acknowledged
        self._welcome, call = self.subscribe, self.call
        self.subscribe = lambda request: self._turn_away(request) or self._lead(request)
        self.call = lambda request: self._turn_away(request) or call(request)
        self._beat = threading.Thread(target=self._heartbeats, daemon=True)
        self._beat.start()

    def _turn_away(self, request: Request) -> bool:
        if self.hung.is_set():
            return True  # accepted, and never answered
        if self.elsewhere == "":
            request.connection.reply("503 Service Unavailable", "No leader elected")
        elif self.elsewhere is not None:
            location = [("Location", f"//{self.elsewhere}/master/api/v1/scheduler")]
            request.connection.reply("307 Temporary Redirect", "", location)
        return self.elsewhere is not None

    def _lead(self, request: Request) -> bool:
        self._subscriber = None
        self._welcome(request)
        self._subscriber = request.connection
        return True

    def _heartbeats(self) -> None:
        while not self._ended.wait(self.heartbeat):
            subscriber = self._subscriber  # once it has been welcomed: nothing comes before that
            if not self.hung.is_set() and self.elsewhere is None and subscriber is not None:
                with contextlib.suppress(OSError):
                    subscriber.event({"type": "HEARTBEAT"})

    def step_down(self, elsewhere: str) -> None:
        """Ends the stream; from now on says who leads: ``host:port``, or "" for nobody."""
        self.elsewhere = elsewhere
        self.stream.close()

    def close(self) -> None:
        self._ended.set()
        self._beat.join(10)
        super().close()


class Field:
    """Two masters, of which one leads at a time, and the service that follows them."""

    def __init__(self, directory: Path) -> None:
        self.first = Leader()
        self.second = Leader(self.first)
        self.second.elsewhere = self.first.address
        self.masters = [self.first, self.second]
        self.storage = Storage(str(directory / "state.db"))
        addresses = ",".join(m.address for m in self.masters)
        self.service = SchedulerService(
            self.storage,
            lambda sink, framework_id: MesosDriver(
                addresses,
                FrameworkSettings(user="nobody"),
                ExecutorSettings(command="/opt/executor"),
                sink,
                framework_id=framework_id,
                timing=SCALED,
            ),
            Settings(),
        )
        self.service.start()

    @property
    def leader(self) -> Leader:
        return next(m for m in self.masters if m.elsewhere is None)

    def close(self) -> None:
        self.service.stop()
        self.storage.close()
        for master in self.masters:
            master.close()

    # -- the faults; each returns when a master leads again --

    def redirects(self) -> None:
        """Another master leads, and the one that led says so."""
        old = self.leader
        new = next(m for m in self.masters if m is not old)
        new.elsewhere = None
        old.step_down(new.address)

    def nobody_leads(self) -> None:
        """Both answer 503 while they elect; then one of them leads."""
        old, new = random.sample(self.masters, 2)
        for master in self.masters:
            if master.elsewhere is None:
                master.step_down("")
            master.elsewhere = ""
        time.sleep(20 * SECOND)
        new.elsewhere = None
        old.elsewhere = new.address

    def refuses(self) -> None:
        """Nobody listens for a minute."""
        for master in self.masters:
            master.shut()
        time.sleep(MINUTE)
        for master in self.masters:
            master.reopen()

    def hangs(self) -> None:
        """The connections stand and nothing comes: a machine that swaps, a route that is gone."""
        old = self.leader
        before = len(old.subscriptions)
        old.hung.set()
        # It is noticed by the silence alone; a new subscription is tried, and hangs as well.
        soon(lambda: len(old.subscriptions) > before)
        old.hung.clear()


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    field = Field(tmp_path)
    yield field
    field.close()


FAULTS = ("redirects", "nobody_leads", "refuses", "hangs")


@seeded(2, 20)
def test_whatever_the_masters_do_the_framework_is_the_same(
    seed: int, field: Field, measured: Measured
) -> None:
    chance = random.Random(seed)
    random.seed(seed)
    soon(lambda: field.service.status().ready)
    field.service.submit(CreateJob(at=0.0, user="me", spec=SPEC)).result(60)
    soon(lambda: len(field.first.acknowledged) == 3 and not field.first.pending)
    running = set(field.first.running)
    for fault in [*FAULTS, *chance.choices(FAULTS, k=2)]:
        before = sum(len(m.subscriptions) for m in field.masters)
        registered = field.service.status().mesos["event:SUBSCRIBED"]
        getattr(field, fault)()
        watch = Stopwatch()
        soon(
            lambda seen=registered: (
                field.service.status().ready and field.service.status().mesos["event:SUBSCRIBED"] > seen
            )
        )
        watch.stop()
        measured(f"F3 {fault}: subscribed again after, virtual s", watch.passed / SECOND)
        assert watch.own <= BOUND, f"{fault}: {watch.own / SECOND:.0f} virtual seconds"
        check_subscriptions(field, before, fault)
        assert set(field.first.running) == running, fault
    assert len(field.first.launched) == 3
    assert field.first.killed == []
    assert [m.calls("TEARDOWN") for m in field.masters] == [[], []]


def check_subscriptions(field: Field, before: int, fault: str) -> None:
    """Every attempt came as the same framework; the one that stands reconciled once."""
    every = sorted((r for m in field.masters for r in m.subscriptions), key=lambda r: r.at)
    known_as = {r.json.get("framework_id", {}).get("value") for r in every[before:]}
    assert known_as == {Cluster.framework_id}, fault
    leader = field.leader

    def asked() -> list[int]:
        since = leader.subscriptions[-1].at
        calls = [r for r in leader.requests if r.kind == "RECONCILE" and r.at > since]
        return [len(call.json["reconcile"]["tasks"]) for call in calls]

    def answered() -> bool:
        return field.service.query(lambda core: core.counts().unanswered).result(60) == 0

    # All three by name, and whatever else there is; all was answered, so nothing is asked again.
    soon(lambda: len(asked()) >= 2 and answered())
    assert asked() == [3, 0], fault


@pytest.fixture
def signalled(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Sends a signal to the real master; whatever happens, it does not stay stopped."""
    pids: list[int] = []

    def send(number: int, pid: int = 0) -> None:
        if pid:
            pids.append(pid)
        os.kill(pids[-1], number)

    yield send
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.alone
@pytest.mark.slow
def test_a_real_master_that_is_stopped_and_goes_on(
    tmp_path: Path, signalled: Callable[..., None], measured: Measured
) -> None:
    """SIGSTOP: the kernel keeps its connections, and nothing comes through them."""
    resources = "--resources=cpus:2;mem:512;disk:512;ports:[31000-31009]"
    heartbeat = 0.4
    with (
        local_mesos(tmp_path, "--agents=1", resources, f"--heartbeat-interval={heartbeat}secs") as mesos,
        local_mesos(
            make(tmp_path / "follower"), "--agents=1", resources, f"--follow={mesos.address}"
        ) as follower,
        # The follower first: the leader is found by its redirect, each time.
        gateway(tmp_path, f"--master={follower.address},{mesos.address}") as server,
    ):
        client, master = Client(server.address), Client(f"http://{mesos.address}")
        body = service("stopped", "while :; do sleep 1; done")
        assert client.call("PUT", f"/alpha/jobs/{key_of('stopped')}", body).status == 201
        client.wait_states(key_of("stopped"), {0: "RUNNING"})
        tasks = client.tasks(key_of("stopped"))
        (framework,) = master.call("GET", "/state").json["frameworks"]
        signalled(signal.SIGSTOP, mesos.process.pid)
        began = time.monotonic()
        eventually(lambda: client.call("GET", "/health").status, lambda status: status == 503)
        noticed = time.monotonic() - began
        measured("F3 SIGSTOP of a master: noticed after, heartbeats", noticed / heartbeat)
        assert 4 * heartbeat <= noticed <= 6 * heartbeat + 1
        problems = client.call("GET", "/health").json["problems"]
        assert "not connected to Mesos" in problems[0]
        signalled(signal.SIGCONT)
        began = time.monotonic()
        eventually(lambda: client.call("GET", "/health").status, lambda status: status == 200)
        took = time.monotonic() - began
        measured("F3 SIGCONT of a master: ready after, s", took)
        assert took <= REAL.longest_pause + REAL.answer_timeout
        client.wait_states(key_of("stopped"), {0: "RUNNING"})
        assert client.tasks(key_of("stopped")) == tasks
        state = master.call("GET", "/state").json
        assert [f["id"] for f in state["frameworks"]] == [framework["id"]]
        assert state["completed_frameworks"] == []


def make(directory: Path) -> Path:
    directory.mkdir()
    return directory
