"""Flavors, images, networks and keys as OpenStack's clients ask for them, and the operator's side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.auth.access import Access
from gateway.auth.identity import Identity
from gateway.clusters.networks import Network
from gateway.context import Gateway
from gateway.dataprocessing.catalogue_file import id_of
from gateway.dataprocessing.keypairs import check_public_key, new_key
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import OTHER, TENANT, Tokens

KEYS = "/compute/v2.1/os-keypairs"
OFFERS = "/resources/catalogue/v1"
IMAGE = "0c0ffee0-0000-4000-8000-000000000001"
PUBLIC = new_key("of a test").public


@pytest.fixture
def two_tenants(gateway: Gateway) -> Iterator[None]:
    """Tokens ``mine`` and ``yours`` of two projects, and ``root`` of the operator's."""
    people = {
        "mine": Identity("alice", project=TENANT),
        "yours": Identity("bob", project=OTHER),
        "root": Identity("root", admin=True, project="cloud"),
    }
    gateway.access = Access([Tokens(people)])  # type: ignore[list-item]
    yield
    gateway.access.close()


def token(name: str) -> dict[str, str]:
    return {"X-Auth-Token": name}


def body(answer: Any, code: int = 200) -> Any:
    assert answer.code == code, answer.body
    return json.loads(answer.body)


@pytest.mark.gen_test(timeout=60)
async def test_flavors(client: Client) -> None:
    found = body(await client("GET", "/compute/v2.1/flavors/detail"))["flavors"]
    assert [(one["id"], one["name"]) for one in found] == [
        ("1", "m1.tiny"),
        ("2", "m1.small"),
        ("3", "m1.medium"),
        ("4", "m1.large"),
        ("5", "m1.xlarge"),
    ]
    assert (found[1]["vcpus"], found[1]["ram"], found[1]["disk"]) == (0.25, 256, 1)
    names = body(await client("GET", "/compute/v2.1/flavors?is_public=None"))["flavors"]
    assert set(names[0]) == {"id", "name", "links"}
    assert body(await client("GET", "/compute/v2.1/flavors/3"))["flavor"]["name"] == "m1.medium"
    assert body(await client("GET", "/compute/v2.1/flavors/3/os-extra_specs")) == {"extra_specs": {}}
    assert "itemNotFound" in body(await client("GET", "/compute/v2.1/flavors/m1.tiny"), 404)
    first = body(await client("GET", "/compute/v2.1/flavors?limit=2"))
    following = first["flavors_links"][0]["href"].removeprefix(client.url)
    second = body(await client("GET", following))["flavors"]
    assert [one["id"] for one in second] == ["3", "4"]
    large = body(await client("GET", "/compute/v2.1/flavors?minRam=2000"))["flavors"]
    assert [one["id"] for one in large] == ["4", "5"]
    # The next page is restricted as the first one was.
    less = json.dumps({"name": "m1.none", "vcpus": 1, "ram": 64}).encode()
    await client("PUT", f"{OFFERS}/flavors/6", less)
    path, seen = "/compute/v2.1/flavors?minDisk=2&limit=1", []
    while path:
        page = body(await client("GET", path))
        seen += [one["id"] for one in page["flavors"]]
        path = page.get("flavors_links", [{"href": ""}])[0]["href"].removeprefix(client.url)
    assert seen == ["3", "4", "5"]


@pytest.mark.gen_test(timeout=60)
async def test_there_is_an_image_and_a_network_from_the_start(client: Client, store: Store) -> None:
    (image,) = body(await client("GET", "/image/v2/images"))["images"]
    assert (image["name"], image["docker_image"]) == ("default", "")
    assert body(await client("GET", f"/image/v2/images/{image['id']}")) == image
    assert body(await client("GET", "/image/v2/images?name=default"))["images"] == [image]
    for nothing in ("name=other", "os_hidden=True", "visibility=private", "status=queued"):
        assert body(await client("GET", f"/image/v2/images?{nothing}"))["images"] == []
    (network,) = body(await client("GET", "/network/v2.0/networks"))["networks"]
    assert (network["name"], network["cidr"]) == ("default", "")
    store.networks.define(Network("lan", "10.9.0.0/24", ("10.9.0.5",)))
    (lan,) = body(await client("GET", "/network/v2.0/networks?name=lan"))["networks"]
    assert lan["cidr"] == "10.9.0.0/24"
    assert body(await client("GET", f"/network/v2.0/networks/{lan['id']}"))["network"] == lan
    assert body(await client("GET", "/network/v2.0/networks/lan"), 404)["NeutronError"]["message"]
    two = body(await client("GET", "/network/v2.0/networks?shared=True&router:external=False"))
    assert len(two["networks"]) == 2


@pytest.mark.gen_test(timeout=60)
async def test_versions_are_told_to_anybody(client: Client, two_tenants: None) -> None:
    for root in ("/identity", "/compute", "/image", "/network", "/image/v2"):
        assert body(await client("GET", root), 300)["versions"]
    for version in ("/identity/v3", "/compute/v2.1"):
        assert body(await client("GET", version))["version"]["links"][0]["rel"] == "self"
    assert body(await client("GET", "/network/v2.0"))["resources"]


@pytest.mark.gen_test(timeout=60)
async def test_keys_are_their_projects(client: Client, two_tenants: None) -> None:
    """Every route of keys by two projects: each has its own, also under the same name."""
    mine, yours = token("mine"), token("yours")

    def asks(name: str, **more: str) -> bytes:
        return json.dumps({"keypair": {"name": name, **more}}).encode()

    made = body(await client("POST", KEYS, asks("k"), headers=mine))["keypair"]
    assert made["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert check_public_key(made["public_key"]) == made["public_key"]
    assert made["user_id"] == "alice"
    assert body(await client("GET", KEYS, headers=yours)) == {"keypairs": []}
    assert (await client("GET", KEYS + "/k", headers=yours)).code == 404
    assert (await client("DELETE", KEYS + "/k", headers=yours)).code == 404
    brought = await client("POST", KEYS, asks("k", public_key=PUBLIC), headers=yours)
    assert "private_key" not in body(brought)["keypair"]
    again = await client("POST", KEYS, asks("k"), headers=mine)
    assert body(again, 409)["conflictingRequest"]["code"] == 409
    (listed,) = body(await client("GET", KEYS, headers=mine))["keypairs"]
    assert listed["keypair"]["public_key"] == made["public_key"]
    shown = body(await client("GET", KEYS + "/k", headers=mine))["keypair"]
    assert "private_key" not in shown
    assert (await client("DELETE", KEYS + "/k", headers=mine)).code == 202
    assert (await client("GET", KEYS + "/k", headers=mine)).code == 404
    assert body(await client("GET", KEYS + "/k", headers=yours))["keypair"]["public_key"] == PUBLIC


@pytest.mark.gen_test(timeout=60)
async def test_who_is_nobody_sees_nothing(client: Client, two_tenants: None) -> None:
    for path in (
        "/compute/v2.1/flavors",
        "/compute/v2.1/flavors/detail",
        "/compute/v2.1/flavors/1",
        KEYS,
        KEYS + "/k",
        "/image/v2/images",
        "/network/v2.0/networks",
        "/identity/v3/auth/catalog",
        "/identity/v3/projects",
        OFFERS + "/flavors",
    ):
        answer = await client("GET", path)
        assert answer.code == 401, path


@pytest.mark.gen_test(timeout=60)
async def test_the_operator_changes_what_is_offered(client: Client, two_tenants: None) -> None:
    root, mine = token("root"), token("mine")
    flavor = json.dumps({"name": "huge", "vcpus": 16, "ram": 65536, "disk": 10}).encode()
    changes = [("PUT", "/flavors/9", flavor), ("DELETE", "/flavors/1", None)]
    for method, path, given in changes:
        assert (await client(method, OFFERS + path, given, headers=mine)).code == 403
    assert body(await client("PUT", OFFERS + "/flavors/9", flavor, headers=root))["vcpus"] == 16
    assert (await client("DELETE", OFFERS + "/flavors/1", headers=root)).code == 204
    assert (await client("DELETE", OFFERS + "/flavors/1", headers=root)).code == 404
    named = body(await client("GET", "/compute/v2.1/flavors", headers=mine))["flavors"]
    assert [one["id"] for one in named] == ["2", "3", "4", "5", "9"]
    taken = await client("PUT", OFFERS + "/flavors/10", flavor, headers=root)
    assert "the name 'huge'" in body(taken, 409)["message"]
    image = {"name": "spark", "reference": "apache/spark:3.5.1", "username": "root", "tags": ["spark"]}
    put = await client("PUT", f"{OFFERS}/images/{IMAGE}", json.dumps(image).encode(), headers=root)
    assert body(put)["tags"] == ["spark"]
    assert body(await client("GET", f"/image/v2/images/{IMAGE}", headers=mine))["name"] == "spark"
    # With a user name it is registered for everybody.
    (registered,) = body(await client("GET", f"/v1.1/{TENANT}/images?tags=spark", headers=mine))[
        "images"
    ]
    assert registered["id"] == IMAGE
    assert (await client("DELETE", f"{OFFERS}/images/{IMAGE}", headers=root)).code == 204
    assert (await client("GET", f"{OFFERS}/images/{IMAGE}", headers=root)).code == 404


@pytest.mark.gen_test(timeout=60)
async def test_an_image_may_be_called_by_its_name(client: Client) -> None:
    given = json.dumps({"name": "spark", "reference": "one"}).encode()
    first = body(await client("PUT", f"{OFFERS}/images/spark", given))
    assert first["id"] == id_of("image", "spark")
    again = json.dumps({"name": "spark", "reference": "two"}).encode()
    changed = body(await client("PUT", f"{OFFERS}/images/spark", again))
    assert changed == {**first, "reference": "two"}
    assert body(await client("GET", f"{OFFERS}/images/spark")) == changed
    other = await client("PUT", f"{OFFERS}/images/Spark", again)
    assert "called 'spark' in the body and 'Spark' in the path" in body(other, 400)["message"]
    assert (await client("DELETE", f"{OFFERS}/images/spark")).code == 204
    # What is answered can be sent back; another id in the body is not passed over.
    assert body(await client("PUT", f"{OFFERS}/images/spark", json.dumps(first).encode())) == first
    for path, entry in (
        ("images/spark", {"name": "spark", "id": IMAGE}),
        ("flavors/9", {"name": "huge", "vcpus": 1, "ram": 64, "id": "10"}),
    ):
        refused = await client("PUT", f"{OFFERS}/{path}", json.dumps(entry).encode())
        assert "in the body and" in body(refused, 400)["message"]
    assert (await client("DELETE", f"{OFFERS}/images/spark")).code == 204
    # An id in another spelling is the same.
    capitals = f"{OFFERS}/images/{IMAGE.upper()}"
    assert body(await client("PUT", capitals, given))["id"] == IMAGE
    assert body(await client("GET", capitals))["id"] == IMAGE
    assert (await client("DELETE", capitals)).code == 204
    # One that has another id is still found by its name.
    assert body(await client("PUT", f"{OFFERS}/images/{IMAGE}", given))["id"] == IMAGE
    assert body(await client("PUT", f"{OFFERS}/images/spark", again))["id"] == IMAGE


BAD_KEYS = [
    b"",
    b"null",
    b"[]",
    b'{"keypair": []}',
    b'{"keypair": {"name": 1}}',
    b'{"keypair": {"name": ""}}',
    b'{"keypair": {"name": "a/b"}}',
    b'{"keypair": {"name": " a"}}',
    b'{"keypair": {"name": "a", "type": "x509"}}',
    b'{"keypair": {"name": "a", "public_key": "ssh-rsa AAAA"}}',
    b'{"keypair": {"name": "a", "public_key": "ssh-rsa"}}',
    json.dumps({"keypair": {"name": "a", "public_key": f"command=x {PUBLIC}"}}).encode(),
    json.dumps({"keypair": {"name": "a", "public_key": f"{PUBLIC}\n{PUBLIC}"}}).encode(),
    json.dumps({"keypair": {"name": "a" * 256}}).encode(),
]


@pytest.mark.gen_test(timeout=60)
async def test_bad_input_is_refused(client: Client) -> None:
    for given in BAD_KEYS:
        assert (await client("POST", KEYS, given)).code == 400, given
    for path in (
        "/compute/v2.1/flavors?limit=-1",
        "/compute/v2.1/flavors?limit=x",
        "/compute/v2.1/flavors?marker=none",
        "/compute/v2.1/flavors?shards=1",
        "/image/v2/images?marker=%ff",
        "/image/v2/images?os_hidden=perhaps",
        "/network/v2.0/networks?shared=perhaps",
        "/network/v2.0/networks?limit=1&limit=2",
    ):
        assert (await client("GET", path)).code == 400, path
    for path in (
        "/compute/v2.1/flavors/%00",
        KEYS + "/%00",
        KEYS + "/%ff",
        "/image/v2/images/%00",
        "/network/v2.0/networks/..%2f",
        "/identity/v3/users",
        "/compute/v2.1/servers",
        "/image/v1",
        "/network/v2.0/ports",
        OFFERS + "/images/%00",
    ):
        answer = await client("GET", path)
        assert answer.code in (400, 404), (path, answer.body)
        assert json.loads(answer.body)
    offers: list[tuple[str, Any]] = [
        ("/flavors/a", {"name": "x", "vcpus": 1, "ram": 1}),
        ("/flavors/7", {"name": "", "vcpus": 1, "ram": 1}),
        ("/flavors/7", {"name": "x", "vcpus": 0, "ram": 1}),
        ("/flavors/7", {"name": "x", "vcpus": 1, "ram": -1}),
        ("/flavors/7", {"name": "x", "vcpus": 1, "ram": 1, "color": "red"}),
        ("/images/7", {"name": "x"}),
        (f"/images/{IMAGE}", {"name": "x", "reference": "a b"}),
        (f"/images/{IMAGE}", {"name": "x", "tags": ["t"]}),
        (f"/images/{IMAGE}", {"name": "x", "username": "u", "tags": ["!"]}),
    ]
    for path, document in offers:
        answer = await client("PUT", OFFERS + path, json.dumps(document).encode())
        assert answer.code == 400, (path, document, answer.body)
