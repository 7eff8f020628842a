"""A gateway whose clusters are stored and looked at, and which nobody moves: the API alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from framework.remote import Finished
from framework.service import SchedulerService
from gateway.auth.access import Access
from gateway.auth.signed import new_key
from gateway.auth.web_tokens import WebTokenAuthenticator
from gateway.clusters.catalogue import Catalogue
from gateway.clusters.disks import Disks
from gateway.clusters.fleet import SchedulerFleet
from gateway.clusters.kv import KeyValues
from gateway.clusters.launching import Launcher
from gateway.clusters.model import Cluster, ClusterEvent, Interface, NodeStatus, Phase
from gateway.clusters.planning import Rules
from gateway.clusters.rendering import Renderer
from gateway.clusters.service import Clusters
from gateway.context import ClusterParts, Gateway
from gateway.pool import Mode
from gateway.store import Store
from gateway.workers import WorkerProcesses
from tests.gateway.api.conftest import Client
from tests.gateway.auth.test_web_tokens import signed_token

API = "/bigdata/api/v1"
SECRET = "s3cret" * 8
SCRIPT_KEY = new_key()
TEMPLATE = """
{"dnsname": "ref", "nodes": {
  {% for n in range(opts.size) %}
  "node{{ n }}": {"cpu": 0.1, "mem": 32, "services": ["web"]}{{ "," if not loop.last }}
  {% endfor %}},
 "services": {"web": {"port": 80, "nodes": [
  {% for n in range(opts.size) %}"node{{ n }}"{{ "," if not loop.last }}{% endfor %}]}}}
"""
OPTIONS = {
    "required": {"size": 2},
    "optional": {"greeting": "hello"},
    "descriptions": {"size": "number of nodes"},
}
SCRIPT = """
from fabric import task

@task
def start(c):
    print("started")
"""


class Still:
    """Moves nothing: each cluster stays as it was stored."""

    def wake(self, cluster_id: str) -> None:
        """Nobody acts."""


class Executed:
    """Notes the commands, and says what they were."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, tuple[str, ...]]] = []

    def run(
        self, task_id: str, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0
    ) -> Finished:
        self.commands.append((task_id, tuple(argv)))
        return Finished(3, b"in " + task_id.encode() + b"\n" + stdin, b"\xff")


@pytest.fixture
def mode() -> Mode:
    return "thread"


@pytest.fixture
def store(tmp_path: Path, service: SchedulerService) -> Iterator[Store]:
    store = Store(str(tmp_path / "state.db"))
    yield store
    store.close()


@pytest.fixture
def executed() -> Executed:
    return Executed()


@pytest.fixture
def keys(store: Store) -> Iterator[KeyValues]:
    keys = KeyValues(store)
    yield keys
    keys.close()


@pytest.fixture
def parts(
    store: Store,
    service: SchedulerService,
    workers: WorkerProcesses,
    executed: Executed,
    keys: KeyValues,
) -> ClusterParts:
    renderer = Renderer(workers)
    clusters = Clusters(store, Still(), SchedulerFleet(service), Rules(), "devcluster", time.time)
    return ClusterParts(
        store=store,
        catalogue=Catalogue(store, renderer),
        launcher=Launcher(store, renderer, clusters),
        service=clusters,
        disks=Disks(store, service),
        remote=executed,
        registry=keys,
    )


@pytest.fixture
def access() -> Access:
    return Access(script_key=lambda: SCRIPT_KEY)


@pytest.fixture
def gateway(open_gateway: Gateway, parts: ClusterParts, access: Access) -> Gateway:
    open_gateway.clusters = parts
    open_gateway.access = access
    return open_gateway


@pytest.fixture
def asking(tmp_path: Path) -> Access:
    """What a server has that asks for signed tokens."""
    path = tmp_path / "jwt.key"
    path.write_text(SECRET)
    path.chmod(0o600)
    return Access([WebTokenAuthenticator(path, "HS256")], script_key=lambda: SCRIPT_KEY)


def token(user: str, *roles: str) -> dict[str, str]:
    return {"X-Auth-Token": signed_token(SECRET, user, *roles)}


ADMIN = token("root", "ROLE_ADMIN")


async def register(client: Client, version: str = "1.0.0", **more: Any) -> None:
    """Registers the product ``reference``, whole."""
    body = {"name": "reference", "version": version, "description": "minimal"}
    path = f"{API}/products/reference/{version}"
    answers = [
        await client("POST", f"{API}/products", json.dumps(body).encode(), **more),
        await client("PUT", f"{path}/template", TEMPLATE.encode(), **more),
        await client("PUT", f"{path}/options", json.dumps(OPTIONS).encode(), **more),
        await client("PUT", f"{path}/orchestrator", SCRIPT.encode(), **more),
    ]
    assert [answer.code for answer in answers] == [201, 204, 204, 204], [a.body for a in answers]


async def launch(client: Client, size: int = 2, **more: Any) -> str:
    """Launches a cluster of it; returns its id in the store."""
    answer = await client(
        "POST", f"{API}/products/reference/1.0.0", json.dumps({"size": size}).encode(), **more
    )
    assert answer.code == 202, answer.body
    return answer.headers["Location"].rpartition("/")[2]


def brought_up(store: Store, cluster_id: str) -> Cluster:
    """Stores the cluster as it would be when all of it runs."""

    def change(cluster: Cluster) -> Cluster:
        nodes = tuple(
            msgspec.structs.replace(
                node,
                status=NodeStatus.RUNNING,
                host="agent1",
                task_id=f"task-{node.name}",
                disks=("disk1",),
                interfaces=(Interface("eth0", "lan", f"10.0.0.{node.index + 2}", "10.0.0.0/24"),),
            )
            for node in cluster.nodes
        )
        return msgspec.structs.replace(
            cluster, phase=Phase.READY, operation=None, nodes=nodes, progress=100
        )

    events = [
        ClusterEvent(cluster_id, 1.0, "step", "placed", step="place", ok=True),
        ClusterEvent(cluster_id, 2.0, "output", "started", stream="stdout"),
        ClusterEvent(cluster_id, 3.0, "output", "oh", stream="stderr"),
    ]
    store.events.append(events)
    return store.clusters.change(cluster_id, change)


def problem(answer: Any) -> str:
    """The sentence of a failure, whose body is as the contract has it."""
    body = json.loads(answer.body)
    if answer.code == 401:
        assert set(body) == {"message"}
    else:
        assert set(body) == {"status", "error", "message"}, body
        assert body["status"] == answer.code
        assert body["error"]
    assert body["message"]
    message: str = body["message"]
    return message
