"""start: PUT to RUNNING with the docker runtime, against the Docker SDK's ``containers.run``.

*Single*: one job after the other. *Burst*: all at once, against as many ``containers.run`` in four
threads. When a job is RUNNING the gateway's event stream tells. Afterwards no container may be left.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import docker

from benchmarks.measure import Report, compare
from tests.e2e.harness import Client, gateway, key_of, service

IMAGE = "mesos-gateway/bench:latest"
_THREADS = 4
_PATIENCE = 60.0


def run(report: Report) -> None:
    make = [sys.executable, "-m", "executor.runtimes.images"]
    made = subprocess.run([*make, "make", IMAGE], capture_output=True, text=True, check=False)
    if made.returncode not in (0, 3):
        report.note(f"start was left out: {made.stderr.strip() or 'no Docker daemon answers'}")
        return
    client = docker.from_env()
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            gateway(Path(name), "--master=local", "--log-level=error") as server,
            States(server.address) as states,
        ):
            ours, theirs = Gateway(Client(server.address), states), Sdk(client)
            ours.start(1)  # the executors of the agents start with their first task
            _single(report, ours, theirs)
            _burst(report, ours, theirs)
        left = client.containers.list(all=True, filters={"ancestor": IMAGE})
        report.figure("start", "containers left behind", len(left), "", "0", met=not left)
        for container in left:
            container.remove(force=True)
    finally:
        client.close()
        subprocess.run([*make, "remove", IMAGE], capture_output=True, check=False)


def _single(report: Report, ours: Gateway, theirs: Sdk) -> None:
    compare(
        report,
        "start",
        "single",
        "ms",
        ours=lambda: ours.start(1) * 1000,
        peer=("containers.run", lambda: theirs.start(1) * 1000),
        goal="<= SDK + 60 ms",
        holds=lambda value, ratio: value <= value / ratio + 60,
        repetitions=report.repetitions(20),
    )


def _burst(report: Report, ours: Gateway, theirs: Sdk) -> None:
    tasks = 3 if report.quick else 20
    compare(
        report,
        "start",
        f"a burst of {tasks}",
        "/s",
        ours=lambda: tasks / ours.start(tasks),
        peer=(f"containers.run, {_THREADS} threads", lambda: tasks / theirs.start(tasks)),
        goal="ratio >= 0.85",
        holds=lambda value, ratio: ratio >= 0.85,
        repetitions=report.repetitions(),
        warm=False,
    )


class States:
    """The last state of every job's instance, as the event stream tells it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._changed = threading.Condition()
        self._states: dict[str, str] = {}
        self._sock: socket.socket | None = None

    def __enter__(self) -> States:
        parts = urlsplit(self._address)
        self._sock = socket.create_connection((parts.hostname or "", parts.port or 80), _PATIENCE)
        self._sock.sendall(b"GET /alpha/events HTTP/1.0\r\n\r\n")
        self._reader = threading.Thread(target=self._read, args=(self._sock.makefile("rb"),))
        self._reader.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._sock is not None
        self._sock.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._sock.close()

    def _read(self, lines: BinaryIO) -> None:
        with lines:
            for line in lines:
                if line.startswith(b"data: "):
                    self._note(json.loads(line[6:]))

    def _note(self, event: dict[str, Any]) -> None:
        if event["kind"] == "task":
            with self._changed:
                self._states[event["key"]] = event["state"]
                self._changed.notify_all()

    def wait(self, keys: list[str], state: str) -> None:
        """Returns when all of these jobs have come to ``state``."""

        def reached() -> bool:
            ended = {k: self._states[k] for k in keys if self._states.get(k) in ("FAILED", "LOST")}
            if ended:
                raise RuntimeError(f"not {state}: {ended}")
            return all(self._states.get(key) == state for key in keys)

        with self._changed:
            if not self._changed.wait_for(reached, _PATIENCE):
                raise RuntimeError(f"not {state} within {_PATIENCE:g} s: {self._states}")


class Gateway:
    """Starts jobs through the gateway, and kills them again."""

    def __init__(self, client: Client, states: States) -> None:
        self._client = client
        self._states = states
        self._numbers = itertools.count()

    def start(self, count: int) -> float:
        """Returns the seconds from the first PUT until ``count`` jobs are RUNNING."""
        names = [f"start-{next(self._numbers)}" for _ in range(count)]
        keys = [key_of(name) for name in names]
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(min(count, 16)) as pool:
            list(pool.map(self._put, names))
        self._states.wait(keys, "RUNNING")
        took = time.perf_counter() - began
        for key in keys:
            self._client.call("DELETE", f"/alpha/jobs/{key}")
        self._states.wait(keys, "KILLED")
        return took

    def _put(self, name: str) -> None:
        body = service(name, "sleep 60", image=IMAGE)
        answer = self._client.call("PUT", f"/alpha/jobs/{key_of(name)}", body)
        if answer.status != 201:
            raise RuntimeError(f"{answer}")


class Sdk:
    """Does the same with nothing but the Docker SDK."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client

    def start(self, count: int) -> float:
        """Returns the seconds until ``count`` containers run; they are removed after that."""
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(min(count, _THREADS)) as pool:
            containers = list(pool.map(self._run, range(count)))
        took = time.perf_counter() - began
        for container in containers:
            container.remove(force=True)
        return took

    def _run(self, number: int) -> Any:
        return self._client.containers.run(IMAGE, "sleep 60", detach=True)
