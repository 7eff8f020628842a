"""Clusters over HTTP: launched, shown, scaled, deleted; whose they are."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import msgspec
import pytest

from framework.model.errors import Invalid
from gateway.api.paas.clusters import Scaling, plan_scaling
from gateway.auth.access import Access
from gateway.auth.signed import script_token
from gateway.clusters.documents import ClusterDocument
from gateway.clusters.launching import Launcher
from gateway.clusters.model import Group, NodeRecord, NodeSpec, Phase
from gateway.clusters.products import Product
from gateway.clusters.rendering import Renderer
from gateway.context import ClusterParts, Gateway
from gateway.store import Store
from gateway.workers import WorkerProcesses
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import (
    ADMIN,
    API,
    SCRIPT_KEY,
    TEMPLATE,
    Executed,
    brought_up,
    launch,
    problem,
    register,
    token,
)

pytestmark = pytest.mark.gen_test(timeout=60)
KEY = "clusters/anonymous/reference/1.0.0/1"
MINE = f"{API}/{KEY}"
LAUNCH = f"{API}/products/reference/1.0.0"


async def test_a_launch_is_accepted_queued_and_found(client: Client, store: Store) -> None:
    await register(client)
    made = await client("POST", LAUNCH, b'{"size": 2}')
    assert made.code == 202
    queue = made.headers["Location"]
    assert json.loads(made.body) == {"url": queue}
    assert queue.startswith(f"{client.url}{API}/queue/")
    waiting = await client("GET", queue.removeprefix(client.url), follow_redirects=False)
    assert (waiting.code, json.loads(waiting.body)) == (200, {"status": "pending"})
    brought_up(store, queue.rpartition("/")[2])
    there = await client("GET", queue.removeprefix(client.url), follow_redirects=False)
    assert there.code == 303
    assert json.loads(there.body) == {"status": "registered", "url": client.url + MINE}
    assert there.headers["Location"] == client.url + MINE
    shown = json.loads((await client("GET", MINE)).body)
    assert shown["result"] == "success"
    assert shown["uri"] == shown["data"]["dn"] == KEY
    assert {name: shown["data"][name] for name in ("name", "status", "progress")} == {
        "name": "1",
        "status": "ready",
        "progress": 100,
    }


async def test_products_whose_names_run_together_have_their_clusters_each(client: Client) -> None:
    template = TEMPLATE.replace("opts.size", "1").encode()
    for name, version in [("web", "1-2"), ("web-1", "2"), ("web-1-2", "1")]:
        body = {"name": name, "version": version, "description": ""}
        product = f"{API}/products/{name}/{version}"
        assert (await client("POST", f"{API}/products", json.dumps(body).encode())).code == 201
        assert (await client("PUT", f"{product}/template", template)).code == 204
        made = await client("POST", product, b"")
        assert made.code == 202, made.body


class TestAProductThatGoesMeanwhile:
    @pytest.fixture
    def parts(self, parts: ClusterParts, store: Store, workers: WorkerProcesses) -> ClusterParts:
        class Slow(Renderer):
            """While it renders somebody deletes the product, of which there is no cluster yet."""

            def render(self, product: Product, given: Any, *, user: str, dn: str) -> ClusterDocument:
                document = super().render(product, given, user=user, dn=dn)
                store.products.delete(product.name, product.version)
                return document

        launcher = Launcher(store, Slow(workers), parts.service)
        return dataclasses.replace(parts, launcher=launcher)

    async def test_has_no_cluster_that_nobody_configures(self, client: Client, store: Store) -> None:
        await register(client)
        refused = await client("POST", LAUNCH, b'{"size": 2}')
        assert refused.code == 404
        assert "there is no product reference 1.0.0" in problem(refused)
        assert store.clusters.find() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"{}", "size: this option is required (number of nodes)"),
        (b"", "size: this option is required"),
        (b'{"size": "many"}', "size"),
        (b'{"size": 2, "sice": 3}', "did you mean 'size'"),
        (b'{"size": true}', "size"),
    ],
)
async def test_options_that_do_not_fit(client: Client, given: bytes, says: str) -> None:
    await register(client)
    answer = await client("POST", LAUNCH, given)
    assert answer.code == 400
    assert says in problem(answer)
    assert json.loads(answer.body)["error"] == "invalid options"


async def test_the_seed_has_a_number_as_a_text_too(client: Client) -> None:
    await register(client)
    assert (await client("POST", LAUNCH, b'{ "size": "2" }')).code == 202
    assert len(json.loads((await client("GET", MINE + "/nodes")).body)["nodes"]) == 2


async def test_why_it_waits_is_shown(client: Client, parts: ClusterParts) -> None:
    await register(client)
    await launch(client)
    data = json.loads((await client("GET", MINE)).body)["data"]
    assert data["status"] == "registered"
    assert data["pending"] == {}
    assert data["operation"]["kind"] == "create"
    assert data["groups"] == {"node": 2}


@pytest.mark.parametrize(
    ("failed_in", "status"),
    [
        (Phase.SCHEDULING, "error during scheduling"),
        (Phase.CONFIGURING, "error during configuration"),
    ],
)
async def test_a_failure_says_which_half_and_why(
    client: Client, store: Store, failed_in: Phase, status: str
) -> None:
    await register(client)
    cluster_id = await launch(client)
    store.clusters.change(
        cluster_id,
        lambda c: msgspec.structs.replace(
            c, phase=Phase.FAILED, failed_in=failed_in, reason="no room", operation=None
        ),
    )
    data = json.loads((await client("GET", MINE)).body)["data"]
    assert (data["status"], data["reason"]) == (status, "no room")
    queue = await client("GET", f"{API}/queue/{cluster_id}", follow_redirects=False)
    assert (queue.code, json.loads(queue.body)["status"]) == (303, "error")


async def test_lists_at_each_depth(client: Client, store: Store) -> None:
    await register(client)
    await register(client, "2.0.0")
    for version in ("1.0.0", "1.0.0", "2.0.0"):
        await client("POST", f"{API}/products/reference/{version}", b'{"size": 1}')
    expected = {
        "": 3,
        "/anonymous": 3,
        "/anonymous/reference": 3,
        "/anonymous/reference/1.0.0": 2,
        "/anonymous/reference/3": 0,
        "/anonymous/other": 0,
        "/nobody": 0,
    }
    for path, count in expected.items():
        answer = await client("GET", f"{API}/clusters{path}")
        assert answer.code == 200
        found = json.loads(answer.body)["clusters"]
        assert len(found) == count, path
        assert all(one["result"] == "success" and one["uri"] == one["data"]["dn"] for one in found)
    cluster = store.clusters.by_key(KEY)
    store.clusters.change(
        cluster.cluster_id, lambda c: msgspec.structs.replace(c, phase=Phase.DELETED, operation=None)
    )
    assert len(json.loads((await client("GET", f"{API}/clusters?active")).body)["clusters"]) == 2
    assert len(json.loads((await client("GET", f"{API}/clusters")).body)["clusters"]) == 3


async def test_nodes_and_services(client: Client, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    nodes = json.loads((await client("GET", MINE + "/nodes")).body)["nodes"]
    assert nodes[0] == {
        "dn": f"{KEY}/nodes/node0",
        "name": "node0",
        "cpu": 0.1,
        "mem": 32,
        "host": "agent1",
        "status": "running",
        "disks": [{"name": "disk1", "host": "agent1"}],
        "networks": [{"name": "eth0", "address": "10.0.0.2"}],
        "group": "node",
        "reason": "",
    }
    services = json.loads((await client("GET", MINE + "/services")).body)["services"]
    assert services == [
        {"dn": f"{KEY}/services/web", "name": "web", "status": "", "nodes": ["node0", "node1"]}
    ]


async def test_a_delete_may_be_repeated(client: Client, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    for _ in range(2):
        answer = await client("DELETE", MINE)
        assert (answer.code, json.loads(answer.body)) == (200, {"message": "success"})
    assert store.clusters.by_key(KEY).deleting
    assert (await client("DELETE", f"{API}/clusters/anonymous/reference/1.0.0/9")).code == 404


async def test_scaling(client: Client, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    answer = await client("PATCH", MINE, b'{"groups": {"node": 3}, "remove": ["node0"]}')
    assert answer.code == 202, answer.body
    operation = json.loads(answer.body)["data"]["operation"]
    assert (operation["kind"], operation["removed"]) == ("resize", ["node0"])
    assert operation["added"] == ["node2", "node3"]
    busy = await client("PATCH", MINE, b'{"groups": {"node": 1}}')
    assert busy.code == 409
    assert "under way" in problem(busy)
    for body, says in (
        (b"{}", "groups"),
        (b'{"groups": {"nodes": 3}}', "no group"),
        (b'{"groups": {"node": -1}}', "number of nodes"),
        (b'{"groups": {"node": "x"}}', "groups"),
        (b'{"remove": ["node9"]}', "no node"),
        (b'{"grops": {}}', "grops"),
    ):
        wrong = await client("PATCH", MINE, body)
        assert wrong.code == 400, (body, wrong.body)
        assert says in problem(wrong)


def test_of_a_group_that_shrinks_the_newest_go_but_for_those_named() -> None:
    nodes = tuple(NodeRecord(str(n), n, f"n{n}", "g", NodeSpec(1, 1)) for n in range(5))
    cluster: Any = type("Cluster", (), {"nodes": nodes, "groups": (Group("g", NodeSpec(1, 1)),)})
    assert plan_scaling(cluster, Scaling({"g": 3})) == ({}, ("n3", "n4")) or plan_scaling(
        cluster, Scaling({"g": 3})
    ) == ({}, ("n4", "n3"))
    assert plan_scaling(cluster, Scaling({"g": 3}, ("n0",)))[1] == ("n0", "n4")
    assert plan_scaling(cluster, Scaling({"g": 5}, ("n0",))) == ({"g": 1}, ("n0",))
    assert plan_scaling(cluster, Scaling({}, ("n0", "n0"))) == ({}, ("n0",))
    with pytest.raises(Invalid, match="already"):
        plan_scaling(cluster, Scaling({"g": 5}))


async def test_actions(client: Client, store: Store) -> None:
    await register(client)
    cluster_id = await launch(client)
    early = await client("POST", MINE + "/actions/stop")
    assert early.code == 409
    brought_up(store, cluster_id)
    answer = await client("POST", MINE + "/actions/stop")
    assert answer.code == 202
    assert json.loads(answer.body)["data"]["operation"]["verb"] == "stop"
    assert (await client("POST", MINE + "/actions/explode")).code == 400


async def test_exec_runs_words_in_a_node(client: Client, store: Store, executed: Executed) -> None:
    await register(client)
    cluster_id = await launch(client)
    body = b'{"argv": ["echo", "a b; rm"], "stdin": "in"}'
    early = await client("POST", MINE + "/nodes/node1/exec", body)
    assert early.code == 409
    assert "queued" in problem(early)
    brought_up(store, cluster_id)
    answer = await client("POST", MINE + "/nodes/node1/exec", body)
    assert json.loads(answer.body) == {
        "code": 3,
        "stdout": "in task-node1\nin",
        "stderr": "\ufffd",
        "problem": "",
    }
    assert executed.commands == [("task-node1", ("echo", "a b; rm"))]
    assert (await client("POST", MINE + "/nodes/node7/exec", body)).code == 404
    for wrong in (b"{}", b'{"argv": []}', b'{"argv": "ls"}', b'{"argv": ["x"], "timeout": 0}'):
        assert (await client("POST", MINE + "/nodes/node1/exec", wrong)).code == 400


async def test_events_and_output(client: Client, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    events = json.loads((await client("GET", MINE + "/events")).body)
    assert events["next"] is None
    assert [one["text"] for one in events["events"]][-3:] == ["placed", "started", "oh"]
    first = json.loads((await client("GET", MINE + "/events?limit=1")).body)
    assert len(first["events"]) == 1
    rest = await client("GET", f"{MINE}/events?after={first['next']}")
    assert json.loads(rest.body)["events"] == events["events"][1:]
    out = await client("GET", MINE + "/orchestrator_stdout")
    assert (out.body, out.headers["Content-Type"]) == (b"started\n", "text/plain; charset=UTF-8")
    assert (await client("GET", MINE + "/orchestrator_stderr")).body == b"oh\n"


async def test_events_stream_until_the_cluster_is_gone(client: Client, store: Store) -> None:
    await register(client)
    cluster_id = await launch(client)
    heard = bytearray()
    reading = asyncio.ensure_future(
        client(
            "GET",
            MINE + "/events",
            headers={"Accept": "text/event-stream"},
            streaming_callback=heard.extend,
        )
    )
    async with asyncio.timeout(20):
        while b"launched by" not in heard:
            await asyncio.sleep(0.01)
        brought_up(store, cluster_id)
        while b"started" not in heard:
            await asyncio.sleep(0.01)
        store.clusters.change(cluster_id, lambda c: msgspec.structs.replace(c, phase=Phase.DELETED))
        answer = await reading
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    ids = [int(line[4:]) for line in bytes(heard).split(b"\n") if line.startswith(b"id: ")]
    assert ids == sorted(set(ids))


async def test_the_framework_s_own_surface(client: Client, store: Store) -> None:
    await register(client)
    await launch(client)
    surface = "/bigdata/mesos_framework/v1/clusters"
    queued = json.loads((await client("GET", surface)).body)["queued_tasks"]
    assert [one["name"] for one in queued] == ["node0", "node1"]
    assert queued[0]["clusterid"] == "clusters--anonymous--reference--1__0__0--1"
    for dn in (KEY, KEY.replace("clusters/", "instances/")):
        said = await client("POST", surface, json.dumps({"clusterdn": dn}).encode())
        assert json.loads(said.body)["url"] == client.url + MINE
    assert (await client("POST", surface, b'{"clusterdn": "x"}')).code == 400
    assert (await client("POST", surface, b'{"clusterdn": 7}')).code == 400
    killed = await client("DELETE", f"{surface}/{queued[0]['clusterid']}")
    assert (killed.code, killed.body) == (204, b"")
    assert store.clusters.by_key(KEY).deleting


async def test_without_a_scheduler_of_its_own(client: Client, gateway: Gateway) -> None:
    gateway.clusters = None
    for path in (f"{API}/products", f"{API}/clusters", "/resources/networks/v1/networks"):
        answer = await client("GET", path)
        assert answer.code == 501
        assert "--executor external" in problem(answer)


OF_A_CLUSTER = [
    ("GET", "", None),
    ("GET", "/nodes", None),
    ("GET", "/services", None),
    ("GET", "/events", None),
    ("GET", "/orchestrator_stdout", None),
    ("GET", "/orchestrator_stderr", None),
    ("PATCH", "", b'{"groups": {"node": 3}}'),
    ("POST", "/actions/stop", b""),
    ("POST", "/nodes/node0/restart", b""),
    ("POST", "/nodes/node0/exec", b'{"argv": ["true"]}'),
    ("DELETE", "", None),
]


class TestWhose:
    @pytest.fixture
    def access(self, asking: Access) -> Access:
        return asking

    async def _alice_has(self, client: Client, store: Store) -> str:
        await register(client, headers=ADMIN)
        cluster_id = await launch(client, headers=token("alice"))
        brought_up(store, cluster_id)
        return cluster_id

    async def test_every_route_tells_another_user_what_it_tells_of_nothing(
        self, client: Client, store: Store, executed: Executed
    ) -> None:
        """Two users: word for word the answer that a cluster gets that does not exist."""
        cluster_id = await self._alice_has(client, store)
        before = store.clusters.get(cluster_id)
        for method, path, body in OF_A_CLUSTER:
            answers = [
                await client(
                    method, f"{API}/clusters/alice/reference/1.0.0/{n}{path}", body, headers=token("bob")
                )
                for n in (1, 2)
            ]
            assert [one.code for one in answers] == [404, 404], (method, path, answers[0].body)
            assert answers[0].body.replace(b"1.0.0/1", b"1.0.0/2") == answers[1].body
        surface = "/bigdata/mesos_framework/v1/clusters"
        for method, path, body in (
            ("GET", f"{API}/queue/{cluster_id}", None),
            ("GET", f"{API}/clusters/alice", None),
            ("GET", f"{API}/clusters/alice/reference", None),
            ("GET", f"{API}/clusters/alice/reference/1.0.0", None),
            ("POST", surface, b'{"clusterdn": "clusters/alice/reference/1.0.0/1"}'),
            ("DELETE", f"{surface}/clusters--alice--reference--1__0__0--1", None),
        ):
            answer = await client(method, path, body, headers=token("bob"))
            assert answer.code == 404, (method, path, answer.body)
            assert problem(answer)
        listed = await client("GET", f"{API}/clusters", headers=token("bob"))
        assert json.loads(listed.body) == {"clusters": []}
        queued = await client("GET", surface, headers=token("bob"))
        assert json.loads(queued.body) == {"queued_tasks": []}
        assert store.clusters.get(cluster_id) == before
        assert executed.commands == []

    async def test_its_owner_and_administrators_may_all_of_it(
        self, client: Client, store: Store
    ) -> None:
        await self._alice_has(client, store)
        mine = f"{API}/clusters/alice/reference/1.0.0/1"
        for who in (token("alice"), ADMIN):
            for path in ("", "/nodes", "/services", "/events", "/orchestrator_stdout"):
                assert (await client("GET", mine + path, headers=who)).code == 200
            listed = await client("GET", f"{API}/clusters", headers=who)
            assert len(json.loads(listed.body)["clusters"]) == 1
        assert (await client("PATCH", mine, b'{"groups": {"node": 3}}', headers=ADMIN)).code == 202
        assert (await client("DELETE", mine, headers=token("alice"))).code == 200

    async def test_a_script_has_its_own_cluster_and_nothing_else(
        self, client: Client, store: Store, executed: Executed
    ) -> None:
        await self._alice_has(client, store)
        await launch(client, headers=token("alice"))
        mine = "clusters/alice/reference/1.0.0/1"
        script = {"X-Auth-Token": script_token(mine, SCRIPT_KEY, 60)}
        for path in ("", "/nodes", "/services"):
            assert (await client("GET", f"{API}/{mine}{path}", headers=script)).code == 200
        run = await client(
            "POST", f"{API}/{mine}/nodes/node0/exec", b'{"argv": ["true"]}', headers=script
        )
        assert run.code == 200
        other = "clusters/alice/reference/1.0.0/2"
        assert (await client("GET", f"{API}/{other}", headers=script)).code == 404
        exec_there = f"{API}/{other}/nodes/node0/exec"
        assert (await client("POST", exec_there, b'{"argv": ["true"]}', headers=script)).code == 404
        for method, path, body in (
            ("GET", f"{API}/clusters", None),
            ("GET", f"{API}/products", None),
            ("POST", LAUNCH, b'{"size": 1}'),
            ("DELETE", f"{API}/{mine}", None),
            ("PATCH", f"{API}/{mine}", b'{"groups": {"node": 3}}'),
            ("GET", "/alpha/jobs/devcluster", None),
            ("GET", "/metrics", None),
            ("POST", "/resources/networks/v1/networks", b"{}"),
        ):
            answer = await client(method, path, body, headers=script)
            assert answer.code == 403, (method, path, answer.body)
        assert len(executed.commands) == 1
