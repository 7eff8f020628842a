"""F4 and F15 together: the leader is killed while it makes a cluster, and the next one finishes it.

Two replicas over HTTP, a local Mesos with real executors, ZooKeeper, a product's script.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Answer, Client, Server, eventually
from tests.faults.test_failover import MARK, Fleet, mesos, shells, tasks_of
from tests.measured import Measured

__all__ = ["mesos"]

API = "/bigdata/api/v1"
NETWORKS = "/resources/networks/v1/networks"
PRODUCT = f"{API}/products/trial/1.0.0"
CLUSTER = f"{API}/clusters/anonymous/trial/1.0.0/1"
NODES = 3
# Fewer would do only for those that are there.
POOL = [f"10.77.0.{10 + n}" for n in range(NODES)]
TEMPLATE = """
{"nodes": {
  {% for n in range(opts.size) %}
  "node{{ n }}": {"cpu": 0.1, "mem": 32, "command": "while true; do sleep 1; done; : MARK-node",
    "networks": {"eth0": {"type": "dynamic", "networkname": "lan"}}}{{ "," if not loop.last }}
  {% endfor %}}}
""".replace("MARK", MARK)
# Leaves a line in each node, and then waits for the test, in whichever leader it runs.
SCRIPT = f"""
import os, time
import registry
from fabric import task

@task
def start(context):
    for node in registry.get_cluster(dn=os.environ["CLUSTERDN"]).nodes:
        node.run("echo begun >>trial")
    print("the script has begun")
    while not registry.get_cluster(dn=os.environ["CLUSTERDN"]).get("go", ""):
        time.sleep(0.1)
    print("the script goes on; {MARK}")
"""


def send(client: Client, method: str, path: str, body: Any = None, timeout: float = 30) -> Answer:
    data = (
        body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    )
    return client.call(method, path, data, timeout)


def register(client: Client) -> None:
    lan = {"name": "lan", "network": "10.77.0.0", "netmask": "255.255.255.0", "addresses": POOL}
    about = {"name": "trial", "version": "1.0.0", "description": "for leaders that die"}
    for method, path, body, status in (
        ("POST", NETWORKS, lan, 204),
        ("POST", f"{API}/products", about, 201),
        ("PUT", f"{PRODUCT}/options", {"required": {"size": NODES}}, 204),
        ("PUT", f"{PRODUCT}/template", TEMPLATE, 204),
        ("PUT", f"{PRODUCT}/orchestrator", SCRIPT, 204),
    ):
        answer = send(client, method, path, body)
        assert answer.status == status, (path, answer)


def data(client: Client) -> dict[str, Any]:
    """The cluster as a replica tells of it; nothing while there is none, or nobody answers."""
    with contextlib.suppress(OSError):
        answer = send(client, "GET", CLUSTER, timeout=3)
        if answer.status == 200:
            found: dict[str, Any] = answer.json["data"]
            return found
    return {}


def wait_status(client: Client, *wanted: str) -> dict[str, Any]:
    return eventually(
        lambda: data(client),
        lambda told: told.get("status") in wanted or "error" in told.get("status", ""),
        120.0,
    )


def used(client: Client) -> list[str]:
    addresses: list[str] = send(client, "GET", f"{NETWORKS}/lan/addresses?used").json["addresses"]
    return addresses


@pytest.mark.parametrize("moment", ["registered", "configuring"])
def test_a_launch_outlives_its_leader(
    tmp_path: Path, mesos: Server, zookeeper_address: str, moment: str, measured: Measured
) -> None:
    fleet = Fleet(tmp_path, mesos, zookeeper_address)
    try:
        leader = fleet.leader()
        # What a standby is asked for, the leader does.
        standby = fleet.client(1 - leader)
        register(standby)
        answer = send(standby, "POST", PRODUCT, {"size": NODES})
        assert answer.status == 202, answer
        if moment == "configuring":
            assert wait_status(standby, "configuring")["status"] == "configuring"
            eventually(lambda: said(standby), lambda lines: "the script has begun" in lines)
        fleet.servers[leader].kill()
        began = time.monotonic()
        eventually(lambda: data(standby), bool)
        measured("F15 kill of the leader that makes a cluster: told of again after, s", elapsed(began))
        fleet.restart(leader)
        wait_status(standby, "configuring")
        eventually(lambda: said(standby), lambda lines: "the script has begun" in lines)
        # The former leader is a standby now, and both tell the same.
        fleet.leader()
        key = CLUSTER.removeprefix(f"{API}/")
        assert send(fleet.client(leader), "PUT", f"/v1/kv/{key}/go", "1").status == 200
        ready = wait_status(fleet.client(leader), "ready")
        assert ready["status"] == "ready", (ready, said(standby))
        nodes = send(fleet.client(leader), "GET", f"{CLUSTER}/nodes").json["nodes"]
        assert [node["status"] for node in nodes] == ["running"] * NODES
        addresses = [node["networks"][0]["address"] for node in nodes]
        assert sorted(addresses) == POOL == sorted(used(standby))
        # One set of nodes has ever been started, and runs.
        launched = Counter(task["task_id"]["value"] for task in tasks_of(mesos.address))
        assert len(launched) == NODES, launched
        assert len(shells(f"{MARK}-node")) == NODES
        begun = [exec_in(standby, node["name"], "cat trial").count("begun") for node in nodes]
        assert set(begun) <= ({1, 2} if moment == "registered" else {2})
        measured("F15 kill of the leader that makes a cluster: ready, nodes", len(nodes))
        assert send(standby, "DELETE", CLUSTER).status == 200
        wait_status(standby, "destroyed")
        assert used(standby) == []
        eventually(lambda: shells(f"{MARK}-node"), lambda pids: pids == [])
        assert stored_secrets(fleet) == 0
    finally:
        fleet.stop()


def elapsed(began: float) -> float:
    return time.monotonic() - began


def said(client: Client) -> list[str]:
    """What the script has put out, in whichever run of it."""
    with contextlib.suppress(OSError):
        answer = send(client, "GET", f"{CLUSTER}/events", timeout=3)
        if answer.status == 200:
            return [event["text"] for event in answer.json["events"]]
    return []


def exec_in(client: Client, node: str, line: str) -> str:
    body = {"argv": ["sh", "-c", line]}
    answer = send(client, "POST", f"{CLUSTER}/nodes/{node}/exec", body)
    assert (answer.status, answer.json["code"]) == (200, 0), answer
    return str(answer.json["stdout"])


def stored_secrets(fleet: Fleet) -> int:
    """How many secrets of clusters there are; the key of tokens is no cluster's."""
    assert fleet.file is not None
    with contextlib.closing(sqlite3.connect(fleet.file)) as connection:
        query = "SELECT count(*) FROM gateway_secrets WHERE cluster <> ''"
        return int(connection.execute(query).fetchone()[0])
