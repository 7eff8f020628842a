"""F5: Mesos has removed the framework: that is said, nothing is tried again, and no new one is made."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.storage import Storage, StorageUnavailable
from tests.e2e.harness import (
    ROOT,
    Client,
    Server,
    eventually,
    gateway,
    key_of,
    local_mesos,
    service,
    start_gateway,
)
from tests.faults.seeds import seeded
from tests.measured import Measured

RESOURCES = "--resources=cpus:4;mem:1024;disk:1024;ports:[31000-31009]"


@pytest.fixture(scope="module")
def mesos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_mesos(tmp_path_factory.mktemp("mesos"), "--agents=1", RESOURCES) as running:
        yield running


def tear_down(mesos: Server, framework_id: str) -> None:
    answer = Client(f"http://{mesos.address}").call(
        "POST", "/master/teardown", f"frameworkId={framework_id}".encode()
    )
    assert answer.status == 200, answer


def frameworks(mesos: Server, name: str, which: str = "frameworks") -> list[str]:
    state: Any = Client(f"http://{mesos.address}").call("GET", "/state").json
    return [f["id"] for f in state[which] if f["name"] == name]


def stored_id(directory: Path) -> str | None:
    storage = Storage(str(directory / "state.db"))
    try:
        return storage.load().framework_id
    finally:
        storage.close()


def stored_id_now(directory: Path) -> str | None:
    """None also while somebody else writes."""
    with contextlib.suppress(StorageUnavailable):
        return stored_id(directory)
    return None


def attempts(client: Client) -> float:
    """How often the driver has tried to subscribe, by /metrics."""
    (line,) = [
        line
        for line in client.call("GET", "/metrics").body.decode().splitlines()
        if line.startswith("mesos_gateway_mesos_events") and '"attempts"' in line
    ]
    return float(line.split()[-1])


def check_fatal(client: Client, framework_id: str, measured: Measured) -> None:
    answer = eventually(
        lambda: client.call("GET", "/health"),
        lambda a: a.status == 503 and any("removed" in p for p in a.json["problems"]),
    )
    (problem,) = answer.json["problems"]
    assert f"Mesos has removed framework {framework_id}" in problem
    assert "--new-framework" in problem
    # It serves, and it does not knock at the master's door for ever.
    assert client.call("GET", "/health?live").status == 200
    assert client.call("GET", f"/alpha/jobs/{key_of('gone')}").status == 200
    tried = attempts(client)
    time.sleep(2.0)
    assert attempts(client) == tried <= 4
    measured("F5 attempts to subscribe before it is given up", tried)


@seeded(2, 20)
def test_a_removed_framework_stays_removed(
    seed: int, mesos: Server, tmp_path: Path, measured: Measured
) -> None:
    chance = random.Random(seed)
    name = f"removed-{seed}"
    options = [f"--master={mesos.address}", f"--framework-name={name}", "--parallel=2"]
    first = start_gateway(tmp_path, *options)
    try:
        client = Client(first.address)
        body = service("gone", "while :; do sleep 1; done", instances=2)
        assert client.call("PUT", f"/alpha/jobs/{key_of('gone')}", body).status == 201
        (framework_id,) = eventually(lambda: frameworks(mesos, name), bool)
        if chance.random() < 0.5:
            client.wait_states(key_of("gone"), {0: "RUNNING", 1: "RUNNING"})
        time.sleep(chance.random())
        while_it_runs = chance.random() < 0.5
        if while_it_runs:
            tear_down(mesos, framework_id)
            check_fatal(client, framework_id, measured)
    finally:
        assert first.stop() == 0
    if not while_it_runs:
        tear_down(mesos, framework_id)
    with gateway(tmp_path, *options) as second:
        check_fatal(Client(second.address), framework_id, measured)
    assert frameworks(mesos, name) == []
    assert frameworks(mesos, name, "completed_frameworks") == [framework_id]
    assert stored_id(tmp_path) == framework_id
    go_on_as_a_new_framework(tmp_path, mesos, name, options)


def go_on_as_a_new_framework(directory: Path, mesos: Server, name: str, options: list[str]) -> None:
    """The operator's command, as the sentence in /health has it; then everything runs again."""
    command = [sys.executable, "-m", "framework", f"--master={mesos.address}", f"--name={name}"]
    executor = f"PYTHONPATH={':'.join(p for p in sys.path if p)} exec {sys.executable} -P -m executor"
    command += [f"--state={directory / 'state.db'}", f"--executor-command={executor}", "--new-framework"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as operator:
        (new,) = eventually(lambda: frameworks(mesos, name), bool)
        eventually(lambda: stored_id_now(directory), lambda stored: stored == new)
        operator.send_signal(signal.SIGTERM)
        assert operator.wait(60) == 0
    with gateway(directory, *options) as third:
        client = Client(third.address)
        eventually(lambda: client.call("GET", "/health").status, lambda status: status == 200)
        assert frameworks(mesos, name) == [new]
        eventually(
            lambda: client.states(key_of("gone")),
            lambda states: list(states.values()) == ["RUNNING"] * 2,
            120,
        )
    tear_down(mesos, new)
