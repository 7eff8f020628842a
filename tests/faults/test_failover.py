"""F4 and F11 with real processes: replicas over HTTP, a local Mesos with real executors, ZooKeeper.

Promises are made through whichever replica, all the while; in the end each must have been kept, once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.lease import SESSION_SECONDS
from tests.e2e.harness import (
    Client,
    Server,
    eventually,
    key_of,
    local_mesos,
    processes,
    service,
    start_gateway,
)
from tests.faults.replicas import PATIENCE, fresh_path
from tests.faults.seeds import LONG, seeded
from tests.measured import Measured, Stopwatch
from tests.postgres import Postgres
from tests.zookeeper import ZooKeeper

RESOURCES = "--resources=cpus:16;mem:8192;disk:8192;ports:[31000-31099]"
TAKEOVER = 10.0
# Of this run: others may be under way on the same machine.
MARK = f"ha-{uuid.uuid4().hex[:12]}"
# What is done to a leader, and for how many sessions it lasts. A minute is nothing else than what is a
# little longer than a session, and some of the long form have it.
FAULTS = {"kill": 0.0, "terminate": 0.0, "freeze": 1.8, "blink": 0.3}
MINUTE = 10.0
# The short form takes some of them, the long form all.
SOME = {"sqlite": ("terminate", "freeze", "blink"), "postgresql": ("freeze", "kill")}


class Fleet:
    """Two replicas, which may be killed, stopped and started again."""

    def __init__(self, directory: Path, mesos: Server, zookeeper: str, state: str = "") -> None:
        self._directory = directory
        self.file = None if state else directory / "shared.db"
        self._options = [
            f"--master={mesos.address}",
            f"--state={state or directory / 'shared.db'}",
            f"--ha=zk://{zookeeper}{fresh_path()}",
        ]
        self.servers = [self._start(0), self._start(1)]

    def _start(self, number: int) -> Server:
        home = self._directory / f"replica-{number}"
        home.mkdir(exist_ok=True)
        return start_gateway(home, *self._options)

    def restart(self, number: int) -> None:
        self.servers[number] = self._start(number)

    def client(self, number: int) -> Client:
        return Client(self.servers[number].address)

    def health(self, number: int, timeout: float = 1.0) -> dict[str, Any]:
        """What one says of itself; nothing if it does not answer."""
        with contextlib.suppress(OSError):
            found: dict[str, Any] = self.client(number).call("GET", "/health", timeout=timeout).json
            return found
        return {}

    def roles(self) -> list[str]:
        return [self.health(number).get("replica", {}).get("role", "") for number in (0, 1)]

    def leader(self) -> int:
        """The number of the one that leads, as soon as one does and both know it."""
        found = eventually(
            lambda: [self.health(number).get("replica", {}) for number in (0, 1)],
            lambda seen: (
                [one.get("role") for one in seen].count("leader") == 1
                and seen[0].get("leader") == seen[1].get("leader")
            ),
        )
        return [one["role"] for one in found].index("leader")

    def stop(self) -> None:
        for server in self.servers:
            with contextlib.suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGCONT)
            server.stop()


class Epochs(threading.Thread):
    """Watches which replica says that it leads in which epoch."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, set[str]] = {}
        self.over = threading.Event()
        self._fleet = fleet

    def run(self) -> None:
        while not self.over.wait(0.1):
            for number in (0, 1):
                replica = self._fleet.health(number, 0.3).get("replica", {})
                if "epoch" in replica:
                    self.seen.setdefault(replica["epoch"], set()).add(replica["url"])


class Promises(threading.Thread):
    """Creates jobs through replicas by chance, and keeps what it was answered: 0 is no answer."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.answers: dict[str, int] = {}
        self.wanted = 0
        self.over = threading.Event()
        self._fleet = fleet
        self._chance = chance
        self._numbers = itertools.count()

    def run(self) -> None:
        while not self.over.wait(0.2 + 0.5 * self._chance.random()):
            if self.kept < self.wanted:
                self.make(self._chance.randrange(2))

    @property
    def kept(self) -> int:
        """How many were answered with 201."""
        return list(self.answers.values()).count(201)

    def make(self, number: int, timeout: float = 3.0) -> None:
        name = f"promise-{next(self._numbers)}"
        self.answers[name] = 0
        with contextlib.suppress(OSError):
            answer = self._fleet.client(number).call(
                "PUT", f"/alpha/jobs/{key_of(name)}", marked(name), timeout=timeout
            )
            self.answers[name] = answer.status


def marked(name: str, instances: int = 1) -> bytes:
    return service(name, f"while true; do sleep 1; done; : {MARK}-{name}-", instances=instances)


def running(name: str) -> list[int]:
    """Pids of the shells of a marked job."""
    return shells(f"{MARK}-{name}-")


def shells(mark: str) -> list[int]:
    """Pids of the shells with ``mark`` in their command line, without what they have forked: that has
    the same words until it becomes something else."""
    parents: dict[int, int] = {}
    for pid in processes(mark):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if mark.encode() in words and b"sh\0" in words[:16]:
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
                parents[pid] = int(stat.split()[1])
    return sorted(pid for pid, parent in parents.items() if parent not in parents)


def tasks_of(master: str) -> list[dict[str, Any]]:
    """Every task that the master has ever launched."""
    request = urllib.request.Request(
        f"http://{master}/api/v1",
        data=json.dumps({"type": "GET_TASKS"}).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = json.load(answer)["get_tasks"]
    return [task for kind in ("tasks", "unreachable_tasks", "completed_tasks") for task in body[kind]]


@pytest.fixture
def mesos(tmp_path: Path) -> Iterator[Server]:
    with local_mesos(tmp_path, "--agents=2", RESOURCES) as mesos:
        yield mesos


def listed(fleet: Fleet, number: int) -> int:
    with contextlib.suppress(OSError):
        return fleet.client(number).call("GET", "/alpha/jobs/devcluster/www-data", timeout=1).status
    return 0


def freeze(fleet: Fleet, pid: int) -> None:
    """SIGSTOP; not while it holds the lock of a SQLite file, which nobody can take from it."""
    stop(pid)
    while fleet.file is not None and locked(fleet.file):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
        stop(pid)


def stop(pid: int) -> None:
    """A thread within a system call, which may be the one that locks, stops only after it."""
    os.kill(pid, signal.SIGSTOP)
    for thread in list(Path(f"/proc/{pid}/task").iterdir()):
        eventually(lambda at=thread: is_stopped(at), bool)


def is_stopped(thread: Path) -> bool:
    with contextlib.suppress(OSError):
        return (thread / "stat").read_text().rpartition(") ")[2][0] == "T"
    return True  # it has ended meanwhile


def locked(file: Path) -> bool:
    with contextlib.closing(sqlite3.connect(file, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


def strike(fleet: Fleet, fault: str, lasts: float, promises: Promises) -> Stopwatch:
    """Does ``fault`` to the leader, for ``lasts`` sessions; returns after how long it is over.

    Over: the other one answers for both.
    """
    leader = fleet.leader()
    other, process = 1 - leader, fleet.servers[leader].process
    address = fleet.servers[leader].address
    watch, began = Stopwatch(), time.monotonic()
    if fault == "kill":
        fleet.servers[leader].kill()
    elif fault == "terminate":
        assert fleet.servers[leader].stop() == 0
    else:
        freeze(fleet, process.pid)
    if fault == "blink":
        time.sleep(lasts * SESSION_SECONDS)
        os.kill(process.pid, signal.SIGCONT)
        eventually(lambda: listed(fleet, other), lambda status: status == 200)
        return watch.stop()
    eventually(
        lambda: (fleet.health(other).get("replica", {}).get("leader"), listed(fleet, other)),
        lambda seen: seen[0] not in (None, address) and seen[1] == 200,
    )
    watch.stop()
    if fault == "freeze":
        # A request lies in its lap when it wakes up, and it still believes what it believed.
        waiting = threading.Thread(target=promises.make, args=(leader, 90.0))
        waiting.start()
        time.sleep(max(0.0, lasts * SESSION_SECONDS - (time.monotonic() - began)))
        os.kill(process.pid, signal.SIGCONT)
        waiting.join(90)
        assert fleet.leader() == other
    else:
        fleet.restart(leader)
    return watch


def test_an_answer_that_breaks_off_is_none() -> None:
    """As of a leader that is killed while it writes: whoever asks goes on asking."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def die() -> None:
            with server.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")

        dying = threading.Thread(target=die)
        dying.start()
        with pytest.raises(OSError, match="broken off"):
            Client("http://{}:{}".format(*server.getsockname())).call("GET", "/health")
        dying.join()


@pytest.fixture(params=SOME)
def database(request: pytest.FixtureRequest) -> str:
    """What --state says; "" is a SQLite file."""
    if request.param == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@seeded(short=1, long=10)
def test_leaders_come_and_go_and_every_promise_is_kept_once(
    tmp_path: Path,
    mesos: Server,
    zookeeper_address: str,
    database: str,
    seed: int,
    measured: Measured,
) -> None:
    chance = random.Random(seed)
    faults = list(FAULTS) if LONG else list(SOME["postgresql" if database else "sqlite"])
    chance.shuffle(faults)
    fleet = Fleet(tmp_path, mesos, zookeeper_address, database)
    epochs, promises = Epochs(fleet), Promises(fleet, chance)
    epochs.start()
    try:
        first = fleet.client(1 - fleet.leader())
        assert first.call("PUT", f"/alpha/jobs/{key_of('base')}", marked("base", 2)).status == 201
        first.wait_states(key_of("base"), {0: "RUNNING", 1: "RUNNING"})
        base = sorted(running("base"))
        assert len(base) == 2
        promises.start()
        for fault in faults:
            # Some have been made before it, and more are on their way when it strikes.
            promises.wanted = promises.kept + 5
            eventually(lambda: promises.kept, lambda kept: kept >= promises.wanted - 3)
            lasts = MINUTE if LONG and fault == "freeze" and chance.random() < 0.25 else FAULTS[fault]
            watch = strike(fleet, fault, lasts, promises)
            measured(f"F4 {fault} of the leader: answers again after, s", watch.passed)
            assert watch.own <= (5.0 if fault == "terminate" else TAKEOVER), fault
            assert sorted(running("base")) == base
            eventually(lambda: sum(bool(r) for r in fleet.roles()), lambda count: count == 2)
        promises.over.set()
        promises.join(PATIENCE)
        check(fleet, promises.answers, mesos.address)
        measured("F4 promises kept, each once", promises.kept)
        assert sorted(running("base")) == base
    finally:
        epochs.over.set()
        promises.over.set()
        epochs.join(10)
        fleet.stop()
    assert len(epochs.seen) >= 2
    assert {epoch: urls for epoch, urls in epochs.seen.items() if len(urls) > 1} == {}


def check(fleet: Fleet, answers: dict[str, int], master: str) -> None:
    """Every 201 runs, once; nothing was started twice, whatever it was answered."""
    client = fleet.client(fleet.leader())
    kept = [name for name, status in answers.items() if status == 201]
    print(f"answers: {dict(Counter(answers.values()))}")
    assert kept
    assert set(answers.values()) <= {0, 201, 503}
    for name in kept:
        client.wait_states(key_of(name), {0: "RUNNING"})

    def there() -> list[str]:
        return [name for name in answers if client.states(key_of(name))]

    # What nobody waited for any more may still come to be: what is there is what has been launched.
    eventually(lambda: (len(tasks_of(master)), there()), lambda seen: seen[0] == len(seen[1]) + 2)
    for name in there():
        client.wait_states(key_of(name), {0: "RUNNING"})
        eventually(lambda name=name: len(running(name)), lambda count: count == 1)
    launched = Counter(task["name"] for task in tasks_of(master))
    assert sum(launched.values()) == len(there()) + 2, launched


def test_without_zookeeper_nobody_acts_and_the_tasks_run_on(
    tmp_path: Path, mesos: Server, own_zookeeper: ZooKeeper, measured: Measured
) -> None:
    fleet = Fleet(tmp_path, mesos, own_zookeeper.address)
    try:
        leader = fleet.leader()
        client = fleet.client(1 - leader)
        assert client.call("PUT", f"/alpha/jobs/{key_of('base')}", marked("base")).status == 201
        client.wait_states(key_of("base"), {0: "RUNNING"})
        base, epoch = running("base"), fleet.health(leader, PATIENCE)["replica"]["epoch"]
        for number in (0, 1):
            metrics = fleet.client(number).call("GET", "/metrics").body.decode().splitlines()
            assert f"mesos_gateway_leader {float(number == leader)}" in metrics
            assert f"mesos_gateway_terms {float(number == leader)}" in metrics
            assert {"mesos_gateway_leader_known 1.0", "mesos_gateway_requests_forwarded 0.0"} <= {
                *metrics
            }
        own_zookeeper.kill()
        eventually(
            lambda: [fleet.health(number).get("ready") for number in (0, 1)],
            lambda ready: ready == [False, False],
        )
        assert "leader" not in fleet.roles()
        for number in (0, 1):
            refused = fleet.client(number).call("PUT", f"/alpha/jobs/{key_of('no')}", marked("no"))
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert "ZooKeeper" in refused.json["errors"][0]
            health = fleet.health(number, PATIENCE)
            assert not health["ready"]
            assert "ZooKeeper" in health["problems"][0]
            # It lives, and says so; and its version.
            assert fleet.client(number).call("GET", "/health?live").status == 200
            assert fleet.client(number).call("GET", "/alpha/version").status == 200
        log = fleet.servers[leader].log
        eventually(log.read_text, lambda text: "stepping down" in text)
        own_zookeeper.start()
        watch = Stopwatch()
        number = fleet.leader()
        measured("F11 processes: a leader after ZooKeeper is back, s", watch.passed)
        eventually(lambda: fleet.health(number).get("ready"), bool)
        assert fleet.health(number, PATIENCE)["replica"]["epoch"] == epoch + 1
        client = fleet.client(1 - number)
        assert client.states(key_of("base")) == {0: "RUNNING"}
        assert running("base") == base
        assert client.call("PUT", f"/alpha/jobs/{key_of('yes')}", marked("yes")).status == 201
        client.wait_states(key_of("yes"), {0: "RUNNING"})
    finally:
        fleet.stop()
