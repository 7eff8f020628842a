"""Every route of the data clusters API and its facades, for two tenants: neither sees, uses or changes
what the other has.

The routes are those of the application. One with a new segment, or with a prefix of its own, fails here
until it is said whose it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.api.http import Route
from gateway.app import ROUTES, with_aliases
from gateway.auth.access import Access
from gateway.auth.identity import Identity
from gateway.context import Gateway
from gateway.dataprocessing.catalogue import Flavor, Image
from gateway.dataprocessing.catalogue_file import Offers, default_image
from gateway.dataprocessing.keypairs import Keypairs, new_key
from gateway.dataprocessing.offers import StoredCatalogue
from gateway.pool import Mode
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import (
    OTHER,
    REGISTERED,
    TENANT,
    UNREGISTERED,
    Tokens,
    ask,
)
from tests.gateway.api.sahara.test_bad_input import good_body

pytestmark = pytest.mark.gen_test(timeout=240)
Json = dict[str, Any]

# Whose the routes of other prefixes are: tests of their own see to that.
NOT_OF_TENANTS = {
    "/alpha": "roles': tests/gateway/auth/test_access.py",
    "/bigdata": "users': tests/gateway/api/paas",
    "/resources": "everybody's, and the operator's",
    "/v1": "roles', and scripts': tests/gateway/products/test_kv.py",
    "/health": "everybody's",
    "/metrics": "everybody's",
    "/openapi.json": "everybody's",
    "/docs": "everybody's",
}
OF_TENANTS = {"", "v1.1", "v1.0", "identity", "compute", "image", "network"}
MATRIX = [r for r in with_aliases(ROUTES) if r.pattern.split("/")[1] in OF_TENANTS]
# Segments that name what a tenant has, those that name what there is for all, and the tenant.
OWN = {"template", "cluster", "keypair"}
SHARED = {"plugin", "version", "image", "flavor", "network"}
# A template is none of anybody's there: it is what the new one would be called.
NAMES_NOTHING = "/convert-config/{template}"
HIDDEN = "s3cret"  # in all that the first tenant calls something
KEY = new_key("of a test").public
GROUP: Json = {"flavor_id": "2", "node_processes": ["datanode"], "count": 1}
PLUGIN: Json = {"plugin_name": "fake", "hadoop_version": "0.1"}
PEOPLE = {
    "mine": Identity("alice", frozenset({"member"}), project=TENANT),
    "yours": Identity("bob", frozenset({"member"}), project=OTHER),
    # An administrator of the other project is one of the server, but no member of the first.
    "root": Identity("root", frozenset({"admin"}), admin=True, project=OTHER),
}


@pytest.fixture
def mode() -> Mode:
    return "thread"


@pytest.fixture
def catalogue(store: Store) -> StoredCatalogue:
    offers = Offers(
        (Flavor("2", "m1.small", 1, 2048, 20), Flavor("42", "m1.nano", 0.1, 64, 1)),
        (Image(REGISTERED, "cirros"), Image(UNREGISTERED, "plain")),
    )
    return StoredCatalogue(store, offers, default_image(None), Keypairs(store, time.time), time.time)


@pytest.fixture
def access() -> Iterator[Access]:
    made = Access([Tokens(PEOPLE)])
    yield made
    made.close()


class Tenant:
    """What a tenant has, under names that begin with ``prefix``; its objects' ids by segment (templates:
    by their collection)."""

    def __init__(self, client: Client, token: str, tenant: str, prefix: str) -> None:
        self.client = client
        self.headers = {"X-Auth-Token": token}
        self.tenant = tenant
        self.prefix = prefix
        self.ids: dict[str, str] = {}

    async def furnish(self, public: bool = False) -> None:
        """Makes one of each kind of thing."""
        more = {"is_public": True, "description": self.prefix} if public else {}
        images = f"images/{REGISTERED}"
        tag = f"{self.prefix}-tag"
        await self._make(images, {"username": f"{self.prefix}-user", "description": self.prefix})
        await self._make(f"{images}/tag", {"tags": ["fake", "0.1", tag]})
        key = {"keypair": {"name": f"{self.prefix}-key", "public_key": KEY}}
        await ask(self.client, "POST", "/compute/v2.1/os-keypairs", key, code=200, headers=self.headers)
        group = {"name": f"{self.prefix}-group", **PLUGIN, **GROUP, **more}
        group.pop("count")
        made = await self._make("node-group-templates", group)
        self.ids["node-group-templates"] = made["node_group_template"]["id"]
        template = {
            "name": f"{self.prefix}-template",
            **PLUGIN,
            **more,
            "default_image_id": REGISTERED,
            "node_groups": [{"name": "w", **GROUP}],
        }
        made = await self._make("cluster-templates", template)
        self.ids["cluster-templates"] = made["cluster_template"]["id"]
        networks = await ask(
            self.client, "GET", "/network/v2.0/networks", code=200, headers=self.headers
        )
        self.ids["network"] = networks["networks"][0]["id"]
        cluster = {
            "name": f"{self.prefix}-cluster",
            **PLUGIN,
            **more,
            "default_image_id": REGISTERED,
            "neutron_management_network": self.ids["network"],
            "node_groups": [{"name": "w", **GROUP}],
        }
        made = await self._make("clusters", cluster)
        self.ids["cluster"] = made["cluster"]["id"]
        self.ids["keypair"] = f"{self.prefix}-key"

    async def _make(self, path: str, body: Json) -> Any:
        path = f"/v1.1/{self.tenant}/{path}"
        return await ask(self.client, "POST", path, body, code=202, headers=self.headers)

    async def sees(self) -> dict[str, Any]:
        """Returns the answers of all routes that read; its own objects are there."""
        found: dict[str, Any] = {}
        for route in MATRIX:
            if route.method == "GET" and "/v1.0" not in route.pattern:
                path = path_of(route, self, self.tenant)
                answer = await self.client("GET", path, headers=self.headers)
                found[path] = (answer.code, json.loads(answer.body) if answer.body else None)
                assert answer.code == 200 or not names_own(route), (path, answer.body)
        assert f"{self.prefix}-cluster" in str(found[f"/v1.1/{self.tenant}/clusters"])
        assert f"{self.prefix}-tag" in str(found[f"/v1.1/{self.tenant}/images"])
        return found


def path_of(route: Route, objects: Tenant, tenant: str) -> str:
    """Returns a route's path in a tenant, with somebody's objects in it."""
    parts = route.pattern.split("/")
    kind = next((part for part in parts if part.endswith("-templates")), "")
    values = {
        "tenant": tenant,
        "plugin": "fake",
        "version": "0.1",
        "image": REGISTERED,
        "flavor": "2",
        "template": objects.ids.get(kind, "x"),
        **{name: objects.ids[name] for name in ("cluster", "keypair", "network")},
    }
    return route.pattern.format(**values)


def body_of(route: Route) -> bytes | None:
    if not route.body:
        return None
    ours = route.pattern.startswith("/v1.")
    return json.dumps(good_body(route) if ours else {"keypair": {"name": "new-key"}}).encode()


def names_own(route: Route) -> bool:
    return bool(OWN & set(route.segments)) and NAMES_NOTHING not in route.pattern


@pytest.fixture
def both(client: Client, gateway: Gateway) -> tuple[Tenant, Tenant]:
    mine = Tenant(client, "mine", TENANT, HIDDEN)
    return mine, Tenant(client, "yours", OTHER, "theirs")


def test_every_route_is_somebodys() -> None:
    prefixes = {f"/{route.pattern.split('/')[1]}" for route in ROUTES} - {"/"}
    assert prefixes == {f"/{one}" for one in OF_TENANTS - {"", "v1.0"}} | set(NOT_OF_TENANTS)
    segments = {segment for route in MATRIX for segment in route.segments}
    assert segments == OWN | SHARED | {"tenant"}, "whose is the new one?"
    assert len(MATRIX) > 120


async def test_what_is_private_is_not_there_for_others(both: tuple[Tenant, Tenant]) -> None:
    mine, other = both
    await mine.furnish()
    before = await mine.sees()
    for token in ("yours", "root"):
        other.headers = {"X-Auth-Token": token}
        for route in MATRIX:
            path = path_of(route, mine, OTHER)
            answer = await other.client(route.method, path, body_of(route), headers=_json(other))
            here = f"{token}: {route.method} {path} {answer.code} {answer.body[:200]!r}"
            shown = answer.body.decode().replace(mine.ids["keypair"], "")
            assert HIDDEN not in shown, here
            assert TENANT not in shown, here
            if names_own(route):
                # A body that would not do is judged after the object: it is not there.
                assert answer.code == 404, here
            for name in ("cluster", "node-group-templates", "cluster-templates"):
                assert mine.ids[name] not in shown or mine.ids[name] in path, here
    assert await mine.sees() == before


async def test_what_is_public_is_seen_and_not_changed(both: tuple[Tenant, Tenant]) -> None:
    mine, other = both
    await mine.furnish(public=True)
    before = await mine.sees()
    for route in MATRIX:
        if not names_own(route):
            continue
        path = path_of(route, mine, OTHER)
        answer = await other.client(route.method, path, body_of(route), headers=_json(other))
        public = "keypair" not in route.segments
        seen = public and route.method == "GET"
        expected = 200 if seen else 400 if public else 404
        assert answer.code == expected, (route.method, path, answer.code, answer.body)
    assert await mine.sees() == before


async def test_what_others_have_is_not_to_be_used(both: tuple[Tenant, Tenant]) -> None:
    """In bodies of requests that are about the caller's own objects, and in lists' parameters."""
    mine, other = both
    await mine.furnish()
    await other.furnish()
    theirs = await other.sees()
    template = mine.ids["node-group-templates"]
    uses: list[Json] = [
        {"cluster_template_id": mine.ids["cluster-templates"]},
        {"user_keypair_id": mine.ids["keypair"]},
        {"node_groups": [{"name": "x", "count": 1, "node_group_template_id": template}]},
        {"add_node_groups": [{"name": "x", "count": 1, "node_group_template_id": template}]},
    ]
    for route in MATRIX:
        path = path_of(route, other, OTHER)
        if route.body and route.pattern.startswith("/v1."):
            for use in uses:
                body = json.dumps({**good_body(route), **use}).encode()
                answer = await other.client(route.method, path, body, headers=_json(other))
                assert answer.code in (400, 403), (route.method, path, use, answer.code)
        if "marker" in route.query:
            for name in ("cluster", "node-group-templates", "cluster-templates", "keypair"):
                marked = f"{path}?marker={mine.ids[name]}"
                answer = await other.client("GET", marked, headers=other.headers)
                assert answer.code in (400, 404), marked
    assert await other.sees() == theirs


async def test_a_path_of_another_tenant_is_not_for_anybody_else(both: tuple[Tenant, Tenant]) -> None:
    mine, other = both
    await mine.furnish()
    before = await mine.sees()
    for token in ("yours", "root"):
        for route in MATRIX:
            if "tenant" in route.segments:
                path = path_of(route, mine, TENANT)
                headers = {**_json(other), "X-Auth-Token": token}
                answer = await other.client(route.method, path, body_of(route), headers=headers)
                assert answer.code == 401, (token, route.method, path, answer.code)
                assert HIDDEN not in answer.body.decode()
    assert await mine.sees() == before


async def test_names_of_others_are_free(both: tuple[Tenant, Tenant]) -> None:
    mine, other = both
    await mine.furnish()
    other.prefix = mine.prefix
    await other.furnish()
    assert other.ids["cluster"] != mine.ids["cluster"]


def _json(tenant: Tenant) -> dict[str, str]:
    return {**tenant.headers, "Content-Type": "application/json"}
