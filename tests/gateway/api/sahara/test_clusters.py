"""The routes of clusters, on a gateway whose clusters an engine moves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.clusters.model import Phase
from gateway.context import Gateway
from gateway.dataprocessing.service import DataProcessing
from gateway.plugins.loader import Plugins
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import (
    ADMIN,
    MEMBER,
    NETWORK,
    OTHER,
    REGISTERED,
    TENANT,
    ask,
    asking,
    fault,
)
from tests.gateway.dataprocessing.world import FixedCatalogue, World, moving

pytestmark = pytest.mark.gen_test(timeout=120)
Json = dict[str, Any]
HERE = f"/v1.1/{TENANT}"
CLUSTERS = f"{HERE}/clusters"
CLUSTER_KEYS = {
    *("created_at", "updated_at", "id", "name", "description", "tenant_id", "trust_id"),
    *("is_transient", "plugin_name", "hadoop_version", "cluster_configs", "default_image_id"),
    *("neutron_management_network", "anti_affinity", "anti_affinity_ratio", "management_public_key"),
    *("user_keypair_id", "status", "status_description", "info", "use_autoconfig"),
    *("cluster_template_id", "shares", "is_public", "is_protected", "domain_name", "node_groups"),
    "provision_progress",
}
GROUP_KEYS = {
    *("created_at", "updated_at", "id", "name", "flavor_id", "image_id", "node_processes"),
    *("node_configs", "volumes_per_node", "volumes_size", "volumes_availability_zone"),
    *("volume_mount_prefix", "volume_type", "boot_from_volume", "boot_volume_type"),
    *("boot_volume_availability_zone", "boot_volume_local_to_instance", "count", "use_autoconfig"),
    *("node_group_template_id", "floating_ip_pool", "security_groups", "auto_security_group"),
    *("availability_zone", "is_proxy_gateway", "volume_local_to_instance", "shares", "instances"),
}
INSTANCE_KEYS = {
    *("created_at", "updated_at", "id", "instance_id", "instance_name", "internal_ip"),
    *("management_ip", "storage_devices_number", "dns_hostname"),
}
# Of Savanna's document; the last ones where there is something.
OLD_CLUSTER_KEYS = {
    *("status", "info", "name", "description", "cluster_configs", "default_image_id"),
    *("user_keypair_id", "plugin_name", "anti_affinity", "node_groups", "hadoop_version", "id"),
    "neutron_management_network",
}
OLD_GROUP_KEYS = {
    *("count", "updated", "name", "created", "volume_mount_prefix", "volumes_size"),
    *("node_processes", "flavor_id", "volumes_per_node", "node_configs", "instances"),
}


@pytest.fixture
def world(store: Store, plugins: Plugins, catalogue: FixedCatalogue) -> Iterator[World]:
    with moving(store, plugins, catalogue) as world:
        world.data.images.register(TENANT, REGISTERED, "cirros")
        world.data.images.tag(TENANT, REGISTERED, ["fake", "0.1", "vanilla", "1.2.1"])
        world.data.images.register(OTHER, REGISTERED, "cirros")
        world.data.images.tag(OTHER, REGISTERED, ["fake", "0.1"])
        yield world


@pytest.fixture
def data(world: World) -> DataProcessing:
    return world.data


def a_cluster(name: str = "c1", **fields: Any) -> Json:
    return {
        "name": name,
        "plugin_name": "fake",
        "hadoop_version": "0.1",
        "default_image_id": REGISTERED,
        "neutron_management_network": NETWORK,
        "node_groups": [{"name": "worker", "count": 2, "flavor_id": 42, "node_processes": ["datanode"]}],
        **fields,
    }


async def create(client: Client, path: str = CLUSTERS, body: Json | None = None, **more: Any) -> Json:
    made = await ask(client, "POST", path, body or a_cluster(), code=202, **more)
    found: Json = made["cluster"]
    return found


async def read(client: Client, cluster_id: str, more: str = "") -> Json:
    found: Json = (await ask(client, "GET", f"{CLUSTERS}/{cluster_id}{more}", code=200))["cluster"]
    return found


async def wait(client: Client, cluster_id: str, status: str = "Active") -> Json:
    deadline = time.monotonic() + 60
    while True:
        found = await read(client, cluster_id)
        if found["status"] == status and (status != "Active" or verified(found)):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


def verified(cluster: Json) -> bool:
    return cluster.get("verification", {"status": "CHECKING"})["status"] != "CHECKING"


async def wait_until_gone(client: Client, cluster_id: str) -> None:
    deadline = time.monotonic() + 60
    while (await client("GET", f"{CLUSTERS}/{cluster_id}")).code != 404:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_the_life_of_a_cluster(client: Client, gateway: Gateway, world: World) -> None:
    made = await create(client)
    assert (made["status"], made["provision_progress"], set(made)) == (
        "Validating",
        [],
        CLUSTER_KEYS,
    )
    assert [(set(g), g["count"], g["instances"]) for g in made["node_groups"]] == [(GROUP_KEYS, 2, [])]
    assert made["management_public_key"].startswith("ssh-")
    active = await wait(client, made["id"])
    assert set(active) == CLUSTER_KEYS | {"verification"}
    instances = active["node_groups"][0]["instances"]
    assert [set(one) for one in instances] == [INSTANCE_KEYS] * 2
    assert [one["instance_name"] for one in instances] == ["c1-worker-0", "c1-worker-1"]
    assert [one["internal_ip"] for one in instances] == ["10.0.0.2", "10.0.0.3"]
    assert all("events" not in step for step in active["provision_progress"])
    shown = await read(client, made["id"], "?show_progress=True")
    assert [(s["step_type"], s["total"], s["events"]) for s in shown["provision_progress"]][-2:] == [
        ("Plugin: configure cluster", 2, []),
        ("Plugin: start cluster", 2, []),
    ]
    check = active["verification"]["checks"][0]
    assert (check["status"], check["verification_id"]) == ("GREEN", active["verification"]["id"])
    body = {"resize_node_groups": [{"name": "worker", "count": 1, "instances": ["c1-worker-0"]}]}
    scaled = (await ask(client, "PUT", f"{CLUSTERS}/{made['id']}", body, code=202))["cluster"]
    assert scaled["status"] == "Validating"
    scaled = await wait(client, made["id"])
    left = scaled["node_groups"][0]
    assert (left["count"], [i["instance_name"] for i in left["instances"]]) == (1, ["c1-worker-1"])
    answer = await client("DELETE", f"{CLUSTERS}/{made['id']}")
    assert (answer.code, answer.body) == (204, b"")
    await wait_until_gone(client, made["id"])
    again = await client("DELETE", f"{CLUSTERS}/{made['id']}")
    assert fault(again)["error_name"] == "NOT_FOUND"
    assert world.fleet.active() == 0


async def test_v1_0_has_the_keys_of_savannas_document(
    client: Client, gateway: Gateway, world: World
) -> None:
    path = f"/v1.0/{TENANT}/clusters"
    made = await create(client, path + ".json", a_cluster("old_name"))
    assert set(made) == OLD_CLUSTER_KEYS
    await wait(client, made["id"])
    found = (await ask(client, "GET", f"{path}/{made['id']}", code=200))["cluster"]
    (group,) = found["node_groups"]
    assert (set(found), set(group)) == (OLD_CLUSTER_KEYS, OLD_GROUP_KEYS)
    assert group["volumes_size"] == 10
    assert [set(one) for one in group["instances"]] == [
        {"instance_name", "instance_id", "internal_ip", "management_ip", "volumes"}
    ] * 2
    listed = await ask(client, "GET", "/v1.0/clusters", code=200)
    assert listed == {"clusters": []}  # of nobody in particular
    assert len((await ask(client, "GET", path, code=200))["clusters"]) == 1
    # v1.1 has no names with underscores.
    answer = await client(
        "POST", CLUSTERS, json.dumps(a_cluster("new_name")).encode(), headers={"Content-Type": ""}
    )
    assert fault(answer)["error_name"] == "VALIDATION_ERROR"


async def test_lists_are_filtered_sorted_and_paged(
    client: Client, gateway: Gateway, world: World
) -> None:
    world.fleet.full = True
    made = await ask(client, "POST", CLUSTERS + "/multiple", {**a_cluster("m"), "count": 3}, code=202)
    groups = [
        {"name": "master", "count": 1, "flavor_id": 42, "node_processes": ["namenode", "jobtracker"]},
        {"name": "worker", "count": 1, "flavor_id": 42, "node_processes": ["datanode", "tasktracker"]},
    ]
    hadoop = {"plugin_name": "vanilla", "hadoop_version": "1.2.1", "node_groups": groups}
    await create(client, body=a_cluster("vanilla", **hadoop))
    ids = made["clusters"]
    assert [(await read(client, one))["name"] for one in ids] == ["m-1", "m-2", "m-3"]
    for known in world.data.clusters.find(TENANT):
        world.wait(known, lambda c: c.step == "nodes")
    whole = await client("GET", CLUSTERS)
    listed = json.loads(whole.body)["clusters"]
    assert [one["id"] for one in listed] == sorted(one["id"] for one in listed)
    assert (await client("GET", CLUSTERS)).body == whole.body
    assert whole.headers["Content-Type"] == "application/json; charset=UTF-8"
    for one in listed:
        # What instances wait for is asked of the scheduler, for one cluster at a time.
        alone = await read(client, one["id"])
        assert "instances wait" in alone.pop("status_description")
        assert one.pop("status_description") == ""
        assert alone == one
    path = f"{CLUSTERS}/{ids[0]}"
    await ask(client, "PATCH", path, {"description": "</script>"}, code=202)
    assert b"<\\/script>" in (await client("GET", CLUSTERS)).body
    page = await ask(client, "GET", CLUSTERS + "?limit=2&sort_by=name", code=200)
    assert [one["name"] for one in page["clusters"]] == ["m-1", "m-2"]
    assert page["markers"] == {"prev": None, "next": ids[1]}
    page = await ask(client, "GET", f"{CLUSTERS}?limit=2&sort_by=name&marker={ids[1]}", code=200)
    assert [one["name"] for one in page["clusters"]] == ["m-3", "vanilla"]
    page = await ask(client, "GET", CLUSTERS + "?sort_by=-name", code=200)
    assert [one["name"] for one in page["clusters"]][:2] == ["vanilla", "m-3"]
    for query, names in (
        ("plugin_name=vanilla", ["vanilla"]),
        ("name=m-2", ["m-2"]),
        ("status=Active", []),
        (f"tenant_id={TENANT}&hadoop_version=0.1&sort_by=name", ["m-1", "m-2", "m-3"]),
        ("is_protected=true", []),
    ):
        page = await ask(client, "GET", f"{CLUSTERS}?{query}", code=200)
        assert [one["name"] for one in page["clusters"]] == names, query
    for query, code, name in (
        ("limit=0", 400, 400),
        ("sort_by=nope", 400, 400),
        ("marker=nope", 404, "NOT_FOUND"),
    ):
        answer = await client("GET", f"{CLUSTERS}?{query}")
        assert (answer.code, fault(answer)["error_name"]) == (code, name), query


BAD: tuple[tuple[str, str, Json, str], ...] = (
    ("POST", "", {"name": "c2"}, "VALIDATION_ERROR"),
    ("POST", "", a_cluster("-"), "VALIDATION_ERROR"),
    ("POST", "", a_cluster("c2", nope=1), "VALIDATION_ERROR"),
    ("POST", "", a_cluster("c2", cluster_template_id=None), "VALIDATION_ERROR"),
    ("POST", "", a_cluster("c1"), "NAME_ALREADY_EXISTS"),
    ("POST", "", a_cluster("c2", user_keypair_id="nope"), "NOT_FOUND"),
    ("POST", "", a_cluster("c2", plugin_name="nope"), "INVALID_REFERENCE"),
    ("POST", "", a_cluster("c2", node_groups=[]), "INVALID_DATA"),
    ("POST", "/multiple", a_cluster("c2"), "VALIDATION_ERROR"),
    ("POST", "/multiple", a_cluster("c2", count=0), "VALIDATION_ERROR"),
    ("PUT", "/ID", {}, "VALIDATION_ERROR"),
    ("PUT", "/ID", {"resize_node_groups": [{"name": "worker", "count": -1}]}, "VALIDATION_ERROR"),
    ("PUT", "/ID", {"resize_node_groups": [{"name": "worker", "count": 5}]}, "INVALID_REFERENCE"),
    ("PATCH", "/ID", {"status": "x"}, "VALIDATION_ERROR"),
    ("PATCH", "/ID", {"verification": {"status": "STOP"}}, "VALIDATION_ERROR"),
    ("PATCH", "/ID", {"verification": {"status": "START"}}, "CANNOT_VERIFY"),
)


async def test_what_is_wrong_is_said_as_sahara_says_it(
    client: Client, gateway: Gateway, world: World
) -> None:
    world.fleet.full = True
    made = await create(client)
    for method, path, body, name in BAD:
        sent = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        answer = await client(method, CLUSTERS + path.replace("ID", made["id"]), sent, headers=headers)
        assert (answer.code, fault(answer)["error_name"]) == (400, name), (method, path, body)
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {"resize_node_groups": [{"name": "w", "count": 1}]} if method == "PUT" else {}
        answer = await client(
            method, f"{CLUSTERS}/nope", json.dumps(body).encode() if method[0] == "P" else None
        )
        assert (answer.code, fault(answer)["error_name"]) == (404, "NOT_FOUND"), method


async def test_what_a_plugin_refuses_stays_as_an_error(
    client: Client, gateway: Gateway, world: World
) -> None:
    body = a_cluster(cluster_configs={"general": {"Fail at": "validate"}})
    headers = {"Content-Type": "application/json"}
    answer = await client("POST", CLUSTERS, json.dumps(body).encode(), headers=headers)
    assert fault(answer)["error_name"] == "PLUGIN_ERROR"
    (kept,) = (await ask(client, "GET", CLUSTERS, code=200))["clusters"]
    assert (kept["status"], kept["node_groups"][0]["count"]) == ("Error", 2)
    assert kept["status_description"].startswith("validate fails")


async def test_a_failure_is_told_where_the_user_looks(
    client: Client, gateway: Gateway, world: World
) -> None:
    failing = {"general": {"Fail at": "start_cluster"}}
    made = await create(client, body=a_cluster(cluster_configs=failing))
    world.wait(made["id"], lambda c: c.phase is Phase.FAILED)
    failed = await wait(client, made["id"], "Error")
    assert "start_cluster fails" in failed["status_description"]
    assert (failed["node_groups"][0]["count"], failed["node_groups"][0]["instances"]) == (0, [])
    shown = await read(client, made["id"], "?show_progress=true")
    step = shown["provision_progress"][-1]
    assert (step["successful"], [e["successful"] for e in step["events"]]) == (False, [False])
    assert "start_cluster fails" in step["events"][0]["event_info"]
    assert step["events"][0]["step_id"] == step["id"]


async def test_every_route_of_two_tenants(client: Client, gateway: Gateway, world: World) -> None:
    gateway.access = asking()
    private = await create(client, headers=MEMBER)
    public = await create(client, body=a_cluster("shown", is_public=True), headers=MEMBER)
    guarded = await create(client, body=a_cluster("kept", is_protected=True), headers=MEMBER)
    foreign = f"/v1.1/{OTHER}/clusters"
    bodies: dict[str, Json] = {
        "PUT": {"resize_node_groups": [{"name": "worker", "count": 1}]},
        "PATCH": {"description": "x"},
    }

    async def status(base: str, method: str, one: Json, headers: Json) -> int:
        sent = json.dumps(bodies[method]).encode() if method in bodies else None
        path = f"{base}/{one['id']}"
        return (await client(method, path, sent, headers=headers)).code

    for method in ("GET", "PUT", "PATCH", "DELETE"):
        # Another tenant's: unknown if private, not to be changed if public.
        assert await status(foreign, method, private, ADMIN) == 404, method
        assert await status(foreign, method, guarded, ADMIN) == 404, method
        expected = 200 if method == "GET" else 400
        assert await status(foreign, method, public, ADMIN) == expected, method
        # A tenant that the caller does not belong to, and nobody.
        assert await status(foreign, method, private, MEMBER) == 401, method
        assert (await client(method, f"{CLUSTERS}/{private['id']}", None)).code == 401
        if method != "GET":
            assert await status(CLUSTERS, method, guarded, MEMBER) == 400, method
    names = await ask(client, "GET", foreign, code=200, headers=ADMIN)
    assert [one["name"] for one in names["clusters"]] == ["shown"]
    names = await ask(client, "GET", CLUSTERS, code=200, headers=MEMBER)
    assert {one["name"] for one in names["clusters"]} == {"c1", "shown", "kept"}
    await create(client, foreign, headers=ADMIN)
    for one in (private, public):
        assert await status(CLUSTERS, "DELETE", one, MEMBER) == 204
        # Again, whether it is gone or still going.
        assert await status(CLUSTERS, "DELETE", one, MEMBER) in (204, 404)
    unprotect = json.dumps({"is_protected": False}).encode()
    path = f"{CLUSTERS}/{guarded['id']}"
    assert (await client("PATCH", path, unprotect, headers=MEMBER)).code == 202
    assert await status(CLUSTERS, "DELETE", guarded, MEMBER) == 204


async def test_a_deletion_is_forced(
    client: Client, gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []
    monkeypatch.setattr(world.plugins.get("fake"), "on_terminate_cluster", called.append)
    made = await create(client)
    await wait(client, made["id"])
    assert (await client("DELETE", f"{CLUSTERS}/{made['id']}?force=true")).code == 204
    await wait_until_gone(client, made["id"])
    assert called == []
