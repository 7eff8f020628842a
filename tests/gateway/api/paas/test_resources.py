"""Networks and disks over HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.auth.access import Access
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import ADMIN, brought_up, launch, problem, register, token

pytestmark = pytest.mark.gen_test(timeout=60)
NETWORKS = "/resources/networks/v1/networks"
LAN = {
    "name": "lan",
    "description": "of the agents",
    "bridge": "br0",
    "network": "10.0.0.0",
    "netmask": "255.255.255.0",
    "gateway": "10.0.0.1",
    "addresses": ["10.0.0.10", "10.0.0.11"],
}


async def define(client: Client, **more: object) -> None:
    answer = await client("POST", NETWORKS, json.dumps({**LAN, **more}).encode(), headers=ADMIN)
    assert (answer.code, answer.body) == (204, b""), answer.body


async def test_a_network_and_its_addresses(client: Client) -> None:
    await define(client)
    assert json.loads((await client("GET", NETWORKS)).body) == {"networks": ["lan"]}
    shown = json.loads((await client("GET", f"{NETWORKS}/lan")).body)
    assert shown == {**LAN, "driver": "bridge"}
    taken = await client("POST", f"{NETWORKS}/lan", b'{"cluster": "c", "node": "n"}')
    assert (taken.code, json.loads(taken.body)) == (200, {"address": "10.0.0.10"})
    for query, addresses in (
        ("", ["10.0.0.10", "10.0.0.11"]),
        ("?free", ["10.0.0.11"]),
        ("?used", ["10.0.0.10"]),
    ):
        listed = json.loads((await client("GET", f"{NETWORKS}/lan/addresses{query}")).body)
        assert listed == {"addresses": addresses, "number": len(addresses)}
    full = json.loads((await client("GET", f"{NETWORKS}/lan/addresses?full&used")).body)
    held = {"address": "10.0.0.10", "status": "used", "cluster": "c", "node": "n"}
    assert full == {"addresses": [held], "number": 1}
    one = f"{NETWORKS}/lan/addresses/10.0.0.10"
    assert json.loads((await client("GET", one)).body) == held
    assert (await client("POST", f"{NETWORKS}/lan", b'{"cluster": "c", "node": "m"}')).code == 200
    empty = await client("POST", f"{NETWORKS}/lan", b'{"cluster": "c", "node": "o"}')
    assert empty.code == 409
    assert "0 are free" in problem(empty)
    assert (await client("DELETE", f"{NETWORKS}/lan")).code == 409
    for address in ("10.0.0.10", "10.0.0.11"):
        path = f"{NETWORKS}/lan/addresses/{address}"
        assert (await client("PUT", path, b'{"status": "free"}')).code == 204
    assert (await client("DELETE", f"{NETWORKS}/lan")).code == 204
    assert (await client("GET", f"{NETWORKS}/lan")).code == 404


async def test_many_at_once_take_different_addresses(client: Client) -> None:
    await define(client, addresses=["10.0.0.10-10.0.0.49"])
    answers = await asyncio.gather(
        *(
            client("POST", f"{NETWORKS}/lan", json.dumps({"cluster": "c", "node": str(n)}).encode())
            for n in range(40)
        )
    )
    assert len({json.loads(answer.body)["address"] for answer in answers}) == 40


async def test_what_is_no_network(client: Client) -> None:
    for more, says in (
        ({"network": "10.0.0"}, "subnet"),
        ({"netmask": "255.0.255.0"}, "subnet"),
        ({"addresses": ["10.1.0.1"]}, "not in its subnet"),
        ({"addresses": ["x"]}, "not an IP address"),
        ({"gateway": "10.1.0.1"}, "subnet"),
        ({"name": "../x"}, "valid name"),
        ({"bridge": "b/r"}, "interface"),
        ({"parent": "eth0"}, "bridge and parent"),
        ({"driver": "overlay"}, "overlay"),
        ({"adresses": []}, "adresses"),
    ):
        answer = await client("POST", NETWORKS, json.dumps({**LAN, **more}).encode())
        assert answer.code == 400, (more, answer.body)
        assert says in problem(answer), (more, answer.body)
    await define(client)
    for path in ("lan/addresses?free&used", "lan/addresses/10.9.9.9", "lan/addresses/x"):
        assert (await client("GET", f"{NETWORKS}/{path}")).code == 400


async def test_disks(client: Client, store: Store) -> None:
    disks = "/resources/disks/v1/agent1/disks"
    assert json.loads((await client("GET", disks)).body) == {"disks": []}
    await register(client)
    brought_up(store, await launch(client, 1))
    put = await client("PUT", f"{disks}/disk2", b'{"status": "used", "clustername": "c", "node": "n"}')
    assert (put.code, put.body) == (204, b"")
    assert (await client("PUT", f"{disks}/disk3", b'{"status": "free"}')).code == 204
    listed = json.loads((await client("GET", disks)).body)["disks"]
    key = "clusters/anonymous/reference/1.0.0/1"
    expected = [
        {"name": "disk1", "host": "agent1", "status": "used", "clustername": key, "node": "node0"},
        {"name": "disk2", "host": "agent1", "status": "used", "clustername": "c", "node": "n"},
        {"name": "disk3", "host": "agent1", "status": "free", "clustername": "", "node": ""},
    ]
    assert listed == expected
    assert json.loads((await client("GET", f"{disks}?free")).body) == {"disks": expected[2:]}
    assert json.loads((await client("GET", f"{disks}/disk1")).body) == expected[0]
    assert (await client("GET", f"{disks}/disk9")).code == 404
    assert (await client("PUT", f"{disks}/disk1", b'{"status": "broken"}')).code == 400


class TestWhoMayWhat:
    @pytest.fixture
    def access(self, asking: Access) -> Access:
        return asking

    async def test_users_read_and_are_not_told_of_others(self, client: Client, store: Store) -> None:
        await define(client)
        await register(client, headers=ADMIN)
        brought_up(store, await launch(client, 1, headers=token("alice")))
        take = b'{"cluster": "secret", "node": "n"}'
        assert (await client("POST", f"{NETWORKS}/lan", take, headers=ADMIN)).code == 200
        for path in (f"{NETWORKS}/lan/addresses?full", "/resources/disks/v1/agent1/disks"):
            told = {
                who: (await client("GET", path, headers=token(who))).body for who in ("alice", "bob")
            }
            assert b"secret" not in told["bob"] + told["alice"]
            assert b"clusters/alice" not in told["bob"]
        assert b"clusters/alice" in told["alice"]
        for method, path in (
            ("POST", NETWORKS),
            ("POST", f"{NETWORKS}/lan"),
            ("DELETE", f"{NETWORKS}/lan"),
            ("PUT", f"{NETWORKS}/lan/addresses/10.0.0.10"),
            ("PUT", "/resources/disks/v1/agent1/disks/disk1"),
        ):
            body = None if method == "DELETE" else b"{}"
            assert (await client(method, path, body, headers=token("alice"))).code == 403, path
