"""F8: ten thousand tasks report within a second; the gateway answers its users all the same.

A real gateway, whose master is a peer that speaks the v1 protocol and has ten thousand tasks. The
state is what the gateway's own core would have stored. The probe is a process of its own.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from framework.core import messages as m
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.model.cluster import PortRange, StatusUpdate
from framework.model.jobs import JobKey, UpdateSettings
from framework.storage import Storage
from tests.e2e.harness import ROOT, Client, Server, eventually, gateway
from tests.framework.core.rig import START, offer, spec
from tests.framework.mesos.peer import Master, Request
from tests.measured import Measured

JOBS, INSTANCES, AGENTS = 1000, 10, 100
TASKS = JOBS * INSTANCES
LAG_P99, GET_P99 = 0.100, 0.250
# What stands in the way of a measurement on a machine with other work is not this gateway's doing.
ATTEMPTS = 3
JOB = "/alpha/jobs/devcluster/role/prod/job7"
# Answered by the event loop alone: as late as the loop is.
ALONE = "/alpha/version"


def make_state(path: Path) -> list[tuple[str, str]]:
    """Writes a state with all tasks RUNNING; returns their ids and agents."""
    counter = itertools.count()
    core = Scheduler(Settings(), new_id=lambda: f"{next(counter):08d}")
    writes: list[m.Write] = []

    def take(event: m.Event) -> m.Outcome:
        outcome = core.handle(event)
        writes.extend(w for w in outcome.writes if not isinstance(w, m.Publish))
        return outcome

    take(m.Registered(at=START, framework_id=Master.framework_id))
    for n in range(JOBS):
        key = JobKey("devcluster", "role", "prod", f"job{n}")
        one = spec(INSTANCES, key=key, update=UpdateSettings(), cpus=0.1, mem_mb=16, disk_mb=1)
        take(m.CreateJob(at=START, spec=one, user="ann"))
    big: dict[str, Any] = {"cpus": 1000.0, "mem_mb": 1e6, "disk_mb": 1e6}
    big["ports"] = (PortRange(31000, 31999),)
    offers = tuple(offer(n, f"agent{n}", **big) for n in range(AGENTS))
    launches = [
        a for a in take(m.OffersReceived(at=START, offers=offers)).actions if isinstance(a, m.Launch)
    ]
    tasks = [(task.task_id, launch.agent_id) for launch in launches for task in launch.tasks]
    for task_id, agent_id in tasks:
        update = StatusUpdate(task_id=task_id, state="TASK_RUNNING", agent_id=agent_id, uuid="u")
        take(m.StatusReceived(at=START, update=update))
    storage = Storage(str(path))
    storage.commit(writes, storage.claim_epoch())
    storage.close()
    return tasks


class Peer(Master):
    """A master of many tasks: it gathers what it is asked, and answers when the test says so."""

    def __init__(self, tasks: list[tuple[str, str]]) -> None:
        self.asked = 0
        self.acknowledged = 0
        self._plain = [self._record(task_id, agent, None) for task_id, agent in tasks]
        self._tasks = tasks
        super().__init__()
        self.call = self._count

    def _count(self, request: Request) -> bool:
        if request.kind == "RECONCILE":
            self.asked += len(request.json["reconcile"]["tasks"])
        self.acknowledged += request.kind == "ACKNOWLEDGE"
        self.requests.clear()  # a hundred thousand of them would only slow this process down
        return False

    @staticmethod
    def _record(task_id: str, agent_id: str, uuid: str | None, state: str = "TASK_RUNNING") -> bytes:
        status: dict[str, Any] = {
            "task_id": {"value": task_id},
            "agent_id": {"value": agent_id},
            "state": state,
            "source": "SOURCE_MASTER",
            "timestamp": time.time(),
        }
        if uuid is None:
            lost = state == "TASK_LOST"
            status["reason"] = "REASON_AGENT_REMOVED" if lost else "REASON_RECONCILIATION"
        else:
            status |= {"uuid": uuid, "source": "SOURCE_EXECUTOR"}
        body = json.dumps({"type": "UPDATE", "update": {"status": status}}).encode()
        return str(len(body)).encode() + b"\n" + body

    def storm(self, uuids: str = "", state: str = "TASK_RUNNING") -> float:
        """Sends an update of every task within a second; returns how long that took.

        ``uuids``: what the agents send again and the gateway has to acknowledge, else answers of the
        master to a reconciliation.
        """
        records = self._plain
        if state != "TASK_RUNNING":
            records = [self._record(t, a, None, state) for t, a in self._tasks]
        elif uuids:
            records = [
                self._record(t, a, f"{uuids}{n:020d}aa==") for n, (t, a) in enumerate(self._tasks)
            ]
        began = time.monotonic()
        part = len(records) // 20
        for n in range(20):
            data = b"".join(records[n * part : (n + 1) * part])
            self.stream.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            time.sleep(max(0.0, began + (n + 1) * 0.045 - time.monotonic()))
        return time.monotonic() - began


@contextmanager
def probing(server: Server) -> Iterator[dict[str, list[float]]]:
    """Measures while the block runs; the latencies are there when it has ended."""
    address = server.address.removeprefix("http://")
    command = [sys.executable, "-m", "tests.faults.probe", address, ALONE, JOB]
    took: dict[str, list[float]] = {}
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as probe:
        assert probe.stdout is not None
        assert probe.stdout.readline() == "at work\n"
        yield took
        out, _ = probe.communicate("", 60)
    assert probe.returncode == 0
    took.update(json.loads(out))


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def report(measured: Measured, kind: str, took: dict[str, list[float]], done: float) -> None:
    measured(f"F8 {kind}: done in, s", done)
    measured(f"F8 {kind}: requests meanwhile", len(took[JOB]))
    for what, seconds in (("loop lag", took[ALONE]), ("GET", took[JOB])):
        measured(f"F8 {kind}: {what} p99, ms", 1e3 * p99(seconds))
        measured(f"F8 {kind}: {what} worst, ms", 1e3 * max(seconds))


def counted(client: Client, metric: str) -> float:
    text = client.call("GET", "/metrics").body.decode()
    found = re.search(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


UPDATES = 'mesos_gateway_mesos_events_total{kind="event:UPDATE"}'
PENDING = 'mesos_gateway_tasks{state="PENDING"}'
QUEUE = "mesos_gateway_scheduler_queue"


@pytest.fixture(scope="module")
def peer_and_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Peer, Server]]:
    directory = tmp_path_factory.mktemp("storm")
    peer = Peer(make_state(directory / "state.db"))
    with gateway(directory, f"--master={peer.address}", "--log-level=warning") as server:
        client = Client(server.address)
        eventually(lambda: client.call("GET", "/health").status, lambda status: status == 200)
        eventually(lambda: peer.asked, lambda asked: asked >= TASKS)
        yield peer, server
    peer.close()


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["answers of the master", "updates to be acknowledged"])
def test_a_storm_of_updates_does_not_keep_users_waiting(
    peer_and_server: tuple[Peer, Server], kind: str, measured: Measured
) -> None:
    peer, server = peer_and_server
    client = Client(server.address)
    attempts = []
    for attempt in range(ATTEMPTS):
        before, acknowledged = counted(client, UPDATES), peer.acknowledged
        with probing(server) as took:
            time.sleep(0.5)  # of too few answers the 99th percentile is the worst
            began = time.monotonic()
            sent = peer.storm(f"{attempt}" if "acknowledged" in kind else "")
            eventually(lambda n=before: counted(client, UPDATES) - n, lambda seen: seen >= TASKS)
            eventually(lambda: counted(client, QUEUE), lambda queued: queued == 0)
            if "acknowledged" in kind:
                eventually(lambda n=acknowledged: peer.acknowledged - n, lambda n: n == TASKS, 120)
            done = time.monotonic() - began
        lag, get = p99(took[ALONE]), p99(took[JOB])
        attempts.append((lag, get))
        measured(f"F8 {kind}: sent in, s", sent)
        report(measured, kind, took, done)
        if lag <= LAG_P99 and get <= GET_P99:
            break
    else:
        raise AssertionError(f"loop lag and GET p99, in seconds: {attempts}")
    states = client.states("devcluster/role/prod/job7")
    assert states == dict.fromkeys(range(INSTANCES), "RUNNING")


@pytest.mark.alone
@pytest.mark.slow
def test_the_loss_of_every_task_does_not_keep_users_waiting(
    peer_and_server: tuple[Peer, Server], measured: Measured
) -> None:
    """Every agent is removed at once: ten thousand ends, as many successors, all of them stored."""
    peer, server = peer_and_server
    client = Client(server.address)
    with probing(server) as took:
        time.sleep(0.5)
        began = time.monotonic()
        peer.storm(state="TASK_LOST")
        eventually(lambda: counted(client, PENDING), lambda pending: pending == TASKS)
        done = time.monotonic() - began
    lag, get = p99(took[ALONE]), p99(took[JOB])
    report(measured, "loss of every task", took, done)
    assert client.states("devcluster/role/prod/job7") == dict.fromkeys(range(INSTANCES), "PENDING")
    # It cannot be repeated; three times as much is no accident any more.
    assert lag <= 3 * LAG_P99
    assert get <= 3 * GET_P99
