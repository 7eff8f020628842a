"""The registry in Consul's protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from framework.model.errors import Invalid
from gateway.api.registry.kv import _seconds
from gateway.auth.access import Access
from gateway.auth.signed import script_token
from gateway.context import Gateway
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import ADMIN, SCRIPT_KEY, brought_up, launch, register, token

pytestmark = pytest.mark.gen_test(timeout=60)
KEY = "clusters/anonymous/reference/1.0.0/1"


def value(answer: Any) -> str | None:
    (entry,) = json.loads(answer.body)
    assert set(entry) == {"LockIndex", "Key", "Flags", "Value", "CreateIndex", "ModifyIndex"}
    return None if entry["Value"] is None else base64.b64decode(entry["Value"]).decode()


async def test_a_key_is_put_read_and_deleted(client: Client) -> None:
    absent = await client("GET", "/v1/kv/some/key")
    assert (absent.code, absent.body) == (404, b"")
    assert int(absent.headers["X-Consul-Index"]) >= 1
    put = await client("PUT", "/v1/kv/some/key?flags=7", b"a value")
    assert (put.code, put.body) == (200, b"true")
    got = await client("GET", "/v1/kv/some/key")
    assert value(got) == "a value"
    entry = json.loads(got.body)[0]
    assert (entry["Key"], entry["Flags"]) == ("some/key", 7)
    assert got.headers["X-Consul-Index"] == str(entry["ModifyIndex"])
    raw = await client("GET", "/v1/kv/some/key?raw")
    assert (raw.body, raw.headers["Content-Type"]) == (b"a value", "text/plain; charset=UTF-8")
    await client("PUT", "/v1/kv/some/empty", b"")
    assert value(await client("GET", "/v1/kv/some/empty")) is None
    names = await client("GET", "/v1/kv/some/?keys")
    assert json.loads(names.body) == ["some/empty", "some/key"]
    upper = await client("GET", "/v1/kv/?keys&separator=/")
    assert json.loads(upper.body) == ["some/"]
    tree = await client("GET", "/v1/kv/some?recurse")
    assert [one["Key"] for one in json.loads(tree.body)] == ["some/empty", "some/key"]
    assert (await client("DELETE", "/v1/kv/some/key")).body == b"true"
    assert (await client("DELETE", "/v1/kv/some/?recurse")).body == b"true"
    assert (await client("GET", "/v1/kv/some?recurse")).code == 404


async def test_flags_are_any_number_of_64_bits(client: Client) -> None:
    largest = 2**64 - 1
    assert (await client("PUT", f"/v1/kv/k?flags={largest}", b"v")).body == b"true"
    assert json.loads((await client("GET", "/v1/kv/k")).body)[0]["Flags"] == largest
    assert (await client("PUT", f"/v1/kv/k?flags={largest + 1}", b"v")).code == 400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("10", 10.0), ("10s", 10.0), ("5m", 300.0), ("1.5s", 1.5), ("1m30s", 90.0), ("0s", 0.0)),
        # An hour, as Consul's own client writes it; what is more than the most is the most.
        *(("60000ms", 60.0), ("3600000ms", 600.0), ("2h", 600.0)),
    ],
)
def test_a_time_is_written_as_for_consul(text: str, seconds: float) -> None:
    assert _seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "1s2", ".s", "-1s", "1s ", "1" * 100, "1 m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not a time"):
        _seconds(text)


async def test_check_and_set(client: Client) -> None:
    assert (await client("PUT", "/v1/kv/k?cas=0", b"1")).body == b"true"
    assert (await client("PUT", "/v1/kv/k?cas=0", b"2")).body == b"false"
    index = json.loads((await client("GET", "/v1/kv/k")).body)[0]["ModifyIndex"]
    assert (await client("PUT", f"/v1/kv/k?cas={index}", b"3")).body == b"true"
    assert (await client("DELETE", f"/v1/kv/k?cas={index}")).body == b"false"


async def test_a_cluster_is_seen_and_written_through(client: Client, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    assert value(await client("GET", f"/v1/kv/{KEY}/status")) == "ready"
    assert value(await client("GET", f"/v1/kv/{KEY}/nodes/node1/host")) == "agent1"
    put = await client("PUT", f"/v1/kv/{KEY}/nodes/node1/status", b"configured")
    assert put.body == b"true"
    node = store.clusters.by_key(KEY).node("node1")
    assert node is not None
    assert node.said == "configured"


async def test_a_blocking_query_ends_with_the_change_or_its_time(client: Client) -> None:
    await client("PUT", "/v1/kv/k", b"1")
    index = (await client("GET", "/v1/kv/k")).headers["X-Consul-Index"]
    began = time.monotonic()
    waited = await client("GET", f"/v1/kv/k?index={index}&wait=300ms")
    assert value(waited) == "1"
    assert time.monotonic() - began >= 0.3
    waiting = asyncio.ensure_future(client("GET", f"/v1/kv/k?index={index}&wait=60s"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await client("PUT", "/v1/kv/other", b"x")
    await client("PUT", "/v1/kv/k", b"2")
    async with asyncio.timeout(20):
        changed = await waiting
    assert value(changed) == "2"
    assert int(changed.headers["X-Consul-Index"]) > int(index)


async def test_a_server_that_stops_answers_who_waits(client: Client, gateway: Gateway) -> None:
    await client("PUT", "/v1/kv/k", b"1")
    index = (await client("GET", "/v1/kv/k")).headers["X-Consul-Index"]
    waiting = asyncio.ensure_future(client("GET", f"/v1/kv/k?index={index}"))
    while not gateway.requests.streams:
        await asyncio.sleep(0.01)
    assert await gateway.requests.drain(10)
    assert value(await waiting) == "1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "k?index=-1"),
        ("GET", "k?wait=soon"),
        ("GET", "k?recursive"),
        ("GET", "k?token=secret"),
        ("GET", "k?raw=maybe"),
        ("PUT", "k?cas=x"),
        ("PUT", "k?flags=-1"),
        ("PUT", ""),
        ("PUT", "a%00b"),
        ("PUT", "x" * 2000),
        ("DELETE", ""),
        ("GET", "%ff"),
    ],
)
async def test_what_is_wrong_is_said_as_a_sentence(client: Client, method: str, path: str) -> None:
    answer = await client(method, f"/v1/kv/{path}", b"x" if method == "PUT" else None)
    assert answer.code == 400, answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.body.endswith(b"\n")


async def test_other_parts_of_consul_are_not_here(client: Client) -> None:
    answer = await client("GET", "/v1/catalog/services")
    assert answer.code == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    wrong = await client("POST", "/v1/kv/k")
    assert wrong.code == 405


class TestWhose:
    @pytest.fixture
    def access(self, asking: Access) -> Access:
        return asking

    async def test_one_cluster_s_script_reads_no_other_s_keys(
        self, client: Client, store: Store
    ) -> None:
        await register(client, headers=ADMIN)
        keys = []
        for user in ("alice", "bob"):
            cluster = brought_up(store, await launch(client, headers=token(user)))
            keys.append(cluster.key)
            put = await client("PUT", f"/v1/kv/{cluster.key}/password", b"hunter2", headers=token(user))
            assert put.body == b"true"
        mine, other = keys
        script = {"X-Consul-Token": script_token(mine, SCRIPT_KEY, 60)}
        own = await client("GET", f"/v1/kv/{mine}/password", headers=script)
        assert value(own) == "hunter2"
        assert (await client("PUT", f"/v1/kv/{mine}/status", b"ready", headers=script)).body == b"true"
        for method, path in (
            ("GET", f"{other}/password"),
            ("GET", f"{other}?recurse"),
            ("GET", "clusters/?recurse"),
            ("GET", "?keys"),
            ("PUT", f"{other}/password"),
            ("DELETE", f"{other}/password"),
            ("DELETE", "clusters/?recurse"),
            ("PUT", "somewhere"),
            ("PUT", "products/reference/1.0.0/orchestrator"),
        ):
            answer = await client(
                method, f"/v1/kv/{path}", b"x" if method == "PUT" else None, headers=script
            )
            assert answer.code in (403, 404), (method, path, answer.code, answer.body)
            assert b"hunter2" not in answer.body
        # Nor does one user another's.
        answer = await client("GET", f"/v1/kv/{mine}/password", headers=token("bob"))
        assert answer.code == 404
        listed = await client("GET", "/v1/kv/clusters/?recurse", headers=token("bob"))
        assert b"alice" not in listed.body
        assert b"bob" in listed.body
        assert (await client("GET", f"/v1/kv/{mine}/password")).code == 401
