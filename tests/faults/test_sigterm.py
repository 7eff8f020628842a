"""F13: SIGTERM with a hundred requests and twenty launches in flight: all of it ends in order."""

from __future__ import annotations

import random
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.model.tasks import TaskState
from framework.storage import Storage
from tests.e2e.harness import Client, Server, eventually, gateway, key_of, local_mesos, service
from tests.faults.seeds import seeded
from tests.measured import Measured, Stopwatch

RESOURCES = "--resources=cpus:32;mem:16384;disk:16384;ports:[31000-31009]"
REQUESTS, LAUNCHES = 100, 20
DRAINED_SECS = 10.0
LOOP = "while :; do sleep 5; done"


@pytest.fixture(scope="module")
def mesos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_mesos(tmp_path_factory.mktemp("mesos"), "--agents=1", RESOURCES) as running:
        yield running


def send(server: Server, name: str, instances: int = 1) -> socket.socket:
    """Sends a PUT, and does not wait for the answer."""
    host, _, port = server.address.removeprefix("http://").partition(":")
    body = service(name, LOOP, instances=instances)
    head = (
        f"PUT /alpha/jobs/{key_of(name)} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection((host, int(port)), timeout=120)
    connection.sendall(head.encode() + body)
    return connection


def status_of(connection: socket.socket) -> int:
    """The status that was answered; whoever was let in is answered."""
    with connection:
        head = b""
        while b"\r\n" not in head:
            data = connection.recv(4096)
            assert data, "the connection was closed without an answer"
            head += data
    return int(head.split()[1])


def tasks(mesos: Server, name: str) -> dict[str, list[str]]:
    """What Mesos has of a framework: the states of all tasks, the ended ones included, by name."""
    state: Any = Client(f"http://{mesos.address}").call("GET", "/state").json
    (framework,) = [f for f in state["frameworks"] if f["name"] == name]
    assert name not in [f["name"] for f in state["completed_frameworks"]]
    found: dict[str, list[str]] = {}
    for task in framework["tasks"] + framework["completed_tasks"]:
        found.setdefault(task["id"], []).append(task["state"])
    return found


def unfinished(directory: Path) -> int:
    """How many tasks were not running yet when the gateway ended."""
    storage = Storage(str(directory / "state.db"))
    try:
        return sum(task.state is not TaskState.RUNNING for task in storage.load().tasks)
    finally:
        storage.close()


# What is in flight has six seconds to end; beside other tests a hundred requests may take longer.
@pytest.mark.alone
@pytest.mark.slow
@seeded(2, 20)
def test_everything_in_flight_ends_in_order(
    seed: int, mesos: Server, tmp_path: Path, measured: Measured
) -> None:
    chance = random.Random(seed)
    name = f"drained-{seed}"
    options = [f"--master={mesos.address}", f"--framework-name={name}"]
    with gateway(tmp_path, *options) as first:
        client = Client(first.address)
        eventually(lambda: client.call("GET", "/health").status, lambda status: status == 200)
        launches = send(first, "launches", LAUNCHES)
        sent = {f"r{n}": send(first, f"r{n}") for n in range(REQUESTS)}
        # The launches are promised, and have hardly begun.
        assert status_of(launches) == 201
        time.sleep(chance.uniform(0, 0.1))
        while not (waiting := len(sent) - len(select.select(sent.values(), [], [], 0.0)[0])):
            # All are answered, for this process was held up: then there are more.
            sent |= {f"r{n}": send(first, f"r{n}") for n in range(len(sent), len(sent) + REQUESTS)}
        first.process.send_signal(signal.SIGTERM)
        watch = Stopwatch()
        statuses = {job: status_of(connection) for job, connection in sent.items()}
        code = first.process.wait(60)
        watch.stop()
    created = [job for job, status in statuses.items() if status == 201]
    launching = unfinished(tmp_path)
    measured("F13 requests in flight", waiting)
    measured("F13 launches in flight", launching)
    measured("F13 of the requests, answered with 201 and kept", len(created))
    measured("F13 ended after, s", watch.passed)
    assert launching > 0
    assert code == 0, first.log.read_text()[-3000:]
    assert watch.own <= DRAINED_SECS
    assert set(statuses.values()) <= {201, 503}
    assert "Traceback" not in first.log.read_text()
    wanted = LAUNCHES + len(created)

    with gateway(tmp_path, *options) as second:
        client = Client(second.address)
        for job in created:
            client.wait_states(key_of(job), {0: "RUNNING"})
        client.wait_states(key_of("launches"), dict.fromkeys(range(LAUNCHES), "RUNNING"))
        # Each was launched once, and what Mesos knows is what the gateway knows: no update is lost.
        eventually(
            lambda: tasks(mesos, name), lambda known: list(known.values()) == [["TASK_RUNNING"]] * wanted
        )
        known = set(client.tasks(key_of("launches")).values())
        known |= {client.tasks(key_of(job))[0] for job in created}
        assert known == set(tasks(mesos, name))
        for job in [*created, "launches"]:
            assert client.call("DELETE", f"/alpha/jobs/{key_of(job)}").status == 200
        eventually(
            lambda: {state for states in tasks(mesos, name).values() for state in states},
            lambda states: states == {"TASK_KILLED"},
        )
