"""``kvstore``, the public client of the registry's protocol, against the registry."""

from __future__ import annotations

import asyncio

import kvstore
import pytest

from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import brought_up, launch, register

pytestmark = pytest.mark.gen_test(timeout=60)
KEY = "clusters/anonymous/reference/1.0.0/1"


async def test_it_works(client: Client, base_url: str, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    await asyncio.to_thread(use, kvstore.Client(f"{base_url}/v1/kv"))


def use(registry: kvstore.Client) -> None:
    registry.set("a/b", "text")
    registry.set("a/c", "")
    assert registry.get("a/b") == b"text"
    assert registry.get("a/c") == ""
    assert registry.recurse("a") == {"a/b": b"text", "a/c": ""}
    with pytest.raises(kvstore.KeyDoesNotExist):
        registry.get("a/d")
    registry.delete("a/b")
    registry.delete("a", recursive=True)
    with pytest.raises(kvstore.KeyDoesNotExist):
        registry.recurse("a")
    registry.set(f"/{KEY}/status", "running")
    assert registry.get(f"{KEY}/status") == b"running"
    assert registry.recurse(f"{KEY}/nodes/node1")[f"{KEY}/nodes/node1/host"] == b"agent1"


async def test_it_waits(client: Client, base_url: str, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    registry = kvstore.Client(f"{base_url}/v1/kv")
    index = await asyncio.to_thread(registry.index, KEY, True)
    waiting = asyncio.create_task(
        asyncio.to_thread(registry.recurse, KEY, wait=True, wait_index=index, timeout="1m")
    )
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await client("PUT", f"/v1/kv/{KEY}/status", b"changed")
    assert (await waiting)[f"{KEY}/status"] == b"changed"
