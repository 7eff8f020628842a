"""sahara: 1,000 clusters of 3 nodes of the plugin ``fake``, from the first POST until all are Active.

The master is the fake one, and its agents run what they are given; no plugin of this name does anything
on its nodes. What is measured is the engine, the scheduler and the store, and how long others wait who
read meanwhile.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measure import Report, quantile
from benchmarks.processes import rss
from gateway.dataprocessing.catalogue_file import id_of
from tests.e2e.harness import Server

TENANT = "bench"
BASE = f"/v1.1/{TENANT}"
NODES = 3
CATALOGUE = """
[[images]]
name = "plain"
username = "root"
tags = ["fake", "0.1"]
"""
_PER_REQUEST = 100
_LONGEST = 600.0
_PAUSE = 0.02


def node_group(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "count": count, "flavor_id": "3", "node_processes": ["datanode"]}


def cluster_body(name: str) -> dict[str, Any]:
    """Returns what is POSTed for a cluster of 3 nodes in two groups."""
    return {
        "name": name,
        "plugin_name": "fake",
        "hadoop_version": "0.1",
        "default_image_id": id_of("image", "plain"),
        "neutron_management_network": id_of("network", "default"),
        "node_groups": [
            {**node_group("master", 1), "node_processes": ["namenode"]},
            node_group("worker", NODES - 1),
        ],
    }


class _Client:
    """One connection, kept; ``latencies`` in milliseconds."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self.latencies: list[float] = []

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        began = time.perf_counter()
        text = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._http.request(method, BASE + path, text, headers)
        answer = self._http.getresponse()
        content = answer.read()
        self.latencies.append((time.perf_counter() - began) * 1000)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content)

    def close(self) -> None:
        self._http.close()


class _Reader:
    """Reads this and that, all the time, as a person with a dashboard does."""

    def __init__(self, address: str) -> None:
        self._client = _Client(address)
        self.known: list[str] = []
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> list[float]:
        """Returns the latencies in milliseconds."""
        self._stopping.set()
        self._thread.join()
        self._client.close()
        if self._error is not None:
            raise self._error
        return self._client.latencies

    def _run(self) -> None:
        try:
            for number in itertools.count():
                paths = ["/plugins", "/clusters?limit=20"]
                if self.known:
                    paths.append(f"/clusters/{self.known[number * 7 % len(self.known)]}")
                for path in paths:
                    self._client.call("GET", path)
                if self._stopping.wait(_PAUSE):
                    return
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self._error = error


def run(report: Report, server: Server, clusters: int) -> list[str]:
    """Launches ``clusters`` and returns their ids when all are Active."""
    client, reader = _Client(server.address), _Reader(server.address)
    try:
        began = time.perf_counter()
        for first in range(0, clusters, _PER_REQUEST):
            body = {**cluster_body(f"many-{first}"), "count": min(_PER_REQUEST, clusters - first)}
            reader.known += client.call("POST", "/clusters/multiple", body)["clusters"]
        for cluster_id in reader.known:
            _wait(client, cluster_id, began)
        took = time.perf_counter() - began
    finally:
        latencies = reader.stop()
        client.close()
    p99 = quantile(latencies, 0.99)
    what = f"{clusters:,} clusters of {NODES}"
    report.figure("sahara", f"{what}, Active", took, "s", "<= 300 s", met=took <= 300)
    report.figure(
        "sahara",
        "GET meanwhile, p99",
        p99,
        "ms",
        "<= 100 ms",
        met=p99 <= 100,
        samples=[round(latency, 3) for latency in latencies],
    )
    report.figure("sahara", f"RSS with {what}", rss(server.process.pid), "MiB")
    return reader.known


def _wait(client: _Client, cluster_id: str, began: float) -> None:
    while (status := client.call("GET", f"/clusters/{cluster_id}")["cluster"]["status"]) != "Active":
        if status == "Error" or time.perf_counter() > began + _LONGEST:
            shown = client.call("GET", f"/clusters/{cluster_id}?show_progress=true")["cluster"]
            raise RuntimeError(f"the cluster {cluster_id} is {status}: {shown}")
        time.sleep(0.1)
