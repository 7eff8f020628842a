"""Every route of the data clusters API with all kinds of bad input: a 4xx in its words, nothing done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.http import Route
from gateway.api.sahara import SAHARA
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.test_bad_input import BODIES
from tests.gateway.api.sahara.conftest import CLUSTER, GROUP, NETWORK, REGISTERED, ask, fault
from tests.gateway.api.test_bad_input import NAMES

pytestmark = pytest.mark.gen_test(timeout=240)

ROUTES = [route for route in SAHARA if "{tenant}" in route.pattern]
JSON = {"Content-Type": "application/json"}
LARGE = int("9" * 30)
# Fields, each with what it cannot be.
FIELDS: dict[str, list[Any]] = {
    "name": ["", "a" * 51, "-x", "1abc", "a b", "a\nb", "ä", "a\0b", 1, None, [], {}],
    "plugin_name": ["nope", "", "fake\0", "../fake", 1, None],
    "hadoop_version": ["9", "", 0.1, None],
    "flavor_id": ["9999", "m1.small", -1, 1.5, True, None, LARGE, "9" * 200, ["42"]],
    "node_processes": [[], ["nope"], ["datanode", "datanode"], [""], [1], "datanode", None, {}],
    "node_configs": [
        {"Nope": {"a": 1}},
        {"Kerberos": {"a": 1}},
        {"Kerberos": {"Admin principal": [1]}},
        {"Kerberos": {"Admin principal": None}},
        {"Kerberos": 1},
        [],
        "x",
    ],
    "volumes_per_node": [-1, 1.5, "1", 65, LARGE],
    "volumes_size": [-1, "x", LARGE],
    "volume_mount_prefix": ["x", "/", "/a b", "/../etc", "/a/", "/a\n"],
    "image_id": ["x", 1, "bd190be8-52c3-41bb-97bc-c93cf544da6d"],
    "security_groups": ["default", [1], {}],
    "shares": [[{}], [{"id": "x"}], [{"id": REGISTERED, "access_level": "rwx"}]],
    "is_public": ["true", 1, []],
    "is_protected": ["no", 0],
    "use_autoconfig": ["x"],
    "description": [1, {}, []],
    "unheard-of": [1],
    "default_image_id": ["x", "bd190be8-52c3-41bb-97bc-c93cf544da6d"],
    "anti_affinity": [["nope"], ["datanode", "datanode"], "datanode", [1]],
    "neutron_management_network": ["x", "297b4905-a775-4cb7-b2a2-bdb1d679feed"],
    "cluster_configs": [{"general": {"nope": 1}}, {"general": []}, 7],
    "node_groups": [
        [{"name": "x"}],
        [{"name": "x", "count": -1, "flavor_id": "42", "node_processes": ["datanode"]}],
        [{"name": "x", "count": LARGE, "flavor_id": "42", "node_processes": ["datanode"]}],
        [{"name": "x", "count": 1, "node_group_template_id": "x"}],
        [{"name": "x", "count": 1, "node_group_template_id": "66cf9b45-92ac-40e3-a46b-26e21c1fcb2c"}],
        [CLUSTER["node_groups"][0], CLUSTER["node_groups"][0]],  # type: ignore[index]
        {},
        "x",
    ],
    "count": [0, -1, "x", LARGE, None],
    "user_keypair_id": ["nope", "a/b", 1],
    "cluster_template_id": ["x", None, "66cf9b45-92ac-40e3-a46b-26e21c1fcb2c"],
    "is_transient": ["x", None],
    "resize_node_groups": [[], [{"name": "nope", "count": 1}], [{"name": "w", "count": -1}], "x"],
    "add_node_groups": [[], [{"name": "w"}], [{}], 1],
    "verification": [{}, {"status": "STOP"}, "START", []],
    "username": [1, None, [], "", "../root", "a b", "-x", "a\n", "a" * 300],
    "tags": ["x", [1], ["bad tag!"], ["a" * 300 + "!"], None, ["-x"]],
    "plugin_labels": [{"nope": {"status": True}}, {"hidden": {"status": 1}}, {"hidden": True}, []],
    "version_labels": [{"9": {"hidden": {"status": True}}}, {"0.1": {"x": {}}}, []],
}

LAUNCH = {**CLUSTER, "default_image_id": REGISTERED, "neutron_management_network": NETWORK}


async def prepare(client: Client) -> dict[str, str]:
    base = "/v1.1/t"
    group = await ask(client, "POST", f"{base}/node-group-templates", GROUP, code=202)
    template = await ask(client, "POST", f"{base}/cluster-templates", CLUSTER, code=202)
    cluster = await ask(client, "POST", f"{base}/clusters", LAUNCH, code=202)
    return {
        "tenant": "t",
        "plugin": "fake",
        "version": "0.1",
        "image": REGISTERED,
        "node-group-templates": group["node_group_template"]["id"],
        "cluster-templates": template["cluster_template"]["id"],
        "cluster": cluster["cluster"]["id"],
    }


def kind_of(route: Route) -> str:
    """Returns what the collection is called, whether or not the path names a tenant."""
    parts = route.pattern.split("/")[2:]
    return parts[1] if parts[0] == "{tenant}" else parts[0]


def path_of(route: Route, good: dict[str, str], **other: str) -> str:
    kind = kind_of(route)
    return route.pattern.format(**{**good, "template": good.get(kind, "x"), **other})


def good_body(route: Route) -> dict[str, Any]:
    """A body that would change something, so that only what is wrong with it keeps it from that."""
    if "/convert-config" in route.pattern:
        return {}
    bodies: dict[str, dict[str, Any]] = {
        "node-group-templates": {**GROUP, "name": "another"},
        "cluster-templates": {**CLUSTER, "name": "another"},
        "plugins": {"plugin_labels": {"hidden": {"status": False}}},
    }
    kind = kind_of(route)
    if kind == "clusters":
        changes = {
            "PUT": {"resize_node_groups": [{"name": "w", "count": 2}]},
            "PATCH": {"description": "x"},
        }
        many = {"count": 1} if route.pattern.endswith("multiple") else {}
        return changes.get(route.method, {**LAUNCH, "name": "another", **many})
    if kind == "images":
        return {"tags": ["x"]} if route.pattern.endswith("tag") else {"username": "x"}
    return bodies[kind]


def sent(route: Route) -> bytes | None:
    return json.dumps(good_body(route)).encode() if route.body else None


async def test_names(client: Client, store: Store) -> None:
    good = await prepare(client)
    before = store.revision()
    for route in ROUTES:
        for segment in route.segments:
            for kind, name in NAMES.items():
                if segment == "template" and "/convert-config" in route.pattern:
                    continue  # whatever it is called
                path = path_of(route, good, **{segment: name})
                if segment == "tenant" and kind == "option":
                    assert name.startswith("-")
                answer = await client(route.method, path, sent(route), headers=JSON)
                assert answer.code in (400, 404), (kind, route.pattern, answer.code, answer.body)
                fault(answer)
                assert len(answer.body) < 2000
    assert store.revision() == before


async def test_bodies(client: Client, store: Store) -> None:
    good = await prepare(client)
    before = store.revision()
    for route in ROUTES:
        if not route.body:
            continue
        for kind, body in BODIES.items():
            answer = await client(route.method, path_of(route, good), body, headers=JSON)
            assert 400 <= answer.code < 500, (kind, route.pattern, answer.code, answer.body)
            fault(answer)
            assert len(answer.body) < 10_000, (kind, route.pattern)
    assert store.revision() == before


async def test_fields(client: Client, store: Store) -> None:
    """A field that the route does not know is wrong, too."""
    good = await prepare(client)
    before = store.revision()
    for route in ROUTES:
        if not route.body:
            continue
        for field, values in FIELDS.items():
            for value in values:
                body = json.dumps({**good_body(route), field: value}).encode()
                answer = await client(route.method, path_of(route, good), body, headers=JSON)
                assert answer.code == 400, (route.method, route.pattern, field, value, answer.body)
                assert fault(answer)["error_name"] not in ("INTERNAL_SERVER_ERROR", None)
    assert store.revision() == before


async def test_queries(client: Client) -> None:
    good = await prepare(client)
    for route in ROUTES:
        for query in (
            "unknown=1",
            "limit=0",
            "limit=-1",
            "limit=x",
            "sort_by=x",
            "limit=1&limit=2",
            "%ff=1",
        ):
            path = f"{path_of(route, good)}?{query}"
            answer = await client(route.method, path, sent(route), headers=JSON)
            assert answer.code == 400, (route.pattern, query, answer.code, answer.body)
            fault(answer)


async def test_too_large_and_encoded(client: Client) -> None:
    good = await prepare(client)
    for route in ROUTES:
        if not route.body:
            continue
        path = path_of(route, good)
        answer = await client(route.method, path, b"x" * 70_000, headers=JSON)
        assert answer.code == 413
        fault(answer)
        zipped = await client(route.method, path, b"x", headers={**JSON, "Content-Encoding": "gzip"})
        assert zipped.code == 415
        fault(zipped)


async def test_pages_of_other_sites(client: Client) -> None:
    good = await prepare(client)
    for route in ROUTES:
        if route.method == "GET":
            continue
        headers = {**JSON, "Origin": "http://evil.example"}
        answer = await client(route.method, path_of(route, good), sent(route), headers=headers)
        assert answer.code == 403, route.pattern
        fault(answer)
