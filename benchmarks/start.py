"""start: PUT to RUNNING with the docker runtime, against the Docker SDK's ``containers.run``."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker

from benchmarks.measure import Report, compare
from tests.e2e.harness import Client, eventually, gateway, key_of, service

IMAGE = "mesos-gateway/bench:latest"


def run(report: Report) -> None:
    make = [sys.executable, "-m", "executor.runtimes.images"]
    made = subprocess.run([*make, "make", IMAGE], capture_output=True, text=True, check=False)
    if made.returncode not in (0, 3):
        sys.stderr.write(f"  left out: {made.stderr.strip() or 'no Docker daemon'}\n")
        return
    client = docker.from_env()
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            gateway(Path(name), "--master=local", "--log-level=error") as server,
        ):
            _measure(report, Client(server.address), client, report.quick)
    finally:
        client.close()
        subprocess.run([*make, "remove", IMAGE], capture_output=True, check=False)


def _measure(report: Report, gateway_client: Client, client: docker.DockerClient, quick: bool) -> None:
    numbers = itertools.count()

    def ours() -> float:
        name = f"start-{next(numbers)}"
        body = service(name, "sleep 60", image=IMAGE)
        began = time.perf_counter()
        answer = gateway_client.call("PUT", f"/alpha/jobs/{key_of(name)}", body)
        if answer.status != 201:
            raise RuntimeError(f"{answer}")
        while gateway_client.states(key_of(name)).get(0) != "RUNNING":
            time.sleep(0.005)
        took = (time.perf_counter() - began) * 1000
        gateway_client.call("DELETE", f"/alpha/jobs/{key_of(name)}")
        eventually(lambda: gateway_client.states(key_of(name)), lambda s: s.get(0) == "KILLED")
        return took

    def sdk() -> float:
        began = time.perf_counter()
        container = client.containers.run(IMAGE, "sleep 60", detach=True)
        took = (time.perf_counter() - began) * 1000
        container.remove(force=True)
        return took

    compare(
        report,
        "start",
        "single, median",
        "ms",
        ours=ours,
        peer=("containers.run", sdk),
        goal="SDK + 60 ms",
        holds=lambda value, ratio: value <= value / ratio + 60,
        repetitions=2 if quick else 20,
    )
