"""Tenants of data clusters before a real Keystone: a path means the project of the caller's token."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gateway.auth.access import Access
from gateway.auth.keystone import KeystoneAuthenticator, Service
from gateway.context import Gateway
from gateway.pool import Mode
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import GROUP, ask, fault
from tests.keystone import PASSWORD, Keystone

pytestmark = pytest.mark.gen_test(timeout=120)
TEMPLATES = "node-group-templates"
PROJECTS = "/identity/v3/auth/projects"


@pytest.fixture
def mode() -> Mode:
    return "thread"


@pytest.fixture
def access(real_keystone: Keystone, io_loop: IOLoop) -> Iterator[Access]:
    service = Service(real_keystone.url, "admin", PASSWORD, "admin")
    authenticator = KeystoneAuthenticator(service)
    yield Access([authenticator])
    authenticator.close()


@pytest.fixture(scope="module")
def tenants(real_keystone: Keystone) -> dict[str, str]:
    """A token of each of two projects, by the project's id."""
    found = {}
    for name in ("blue", "green"):
        project = real_keystone.make("project", name=name)
        user = real_keystone.make("user", name=f"user-of-{name}", password=name)
        real_keystone.grant(project, user, "member")
        found[project] = real_keystone.token(f"user-of-{name}", name, name)
    return found


async def test_a_path_means_the_project_of_the_token(
    client: Client, gateway: Gateway, tenants: dict[str, str]
) -> None:
    (blue, blue_token), (green, green_token) = tenants.items()
    made: dict[str, Any] = {}
    for project, token in tenants.items():
        body = await ask(
            client, "POST", f"/v1.1/{project}/{TEMPLATES}", GROUP, code=202, headers=auth(token)
        )
        made[project] = body["node_group_template"]
        assert made[project]["tenant_id"] == project
    # Without a tenant, and with its name, the token's project is meant, as Sahara has it.
    for path in (f"/v1.1/{blue}", "/v1.1", "/v1.1/blue", "/v1.0/775181"):
        listed = await ask(client, "GET", f"{path}/{TEMPLATES}", code=200, headers=auth(blue_token))
        assert [one["id"] for one in listed["node_group_templates"]] == [made[blue]["id"]], path
    for method, path in (
        ("GET", f"/v1.1/{green}/{TEMPLATES}"),
        ("GET", f"/v1.0/{green}/{TEMPLATES}.json"),
        ("GET", f"/v1.1/{green}/{TEMPLATES}/{made[green]['id']}"),
        ("DELETE", f"/v1.1/{green}/{TEMPLATES}/{made[green]['id']}"),
        ("POST", f"/v1.1/{green}/{TEMPLATES}"),
        ("GET", f"/v1.1/{uuid.uuid4().hex}/plugins"),
    ):
        body = b"{}" if method == "POST" else None
        answer = await client(method, path, body, headers=auth(blue_token))
        assert answer.code == 401, path
        assert fault(answer)["error"]["message"] == "Token tenant != requested tenant"
    # What is not one's own is not there.
    path = f"/v1.1/{blue}/{TEMPLATES}/{made[green]['id']}"
    assert (await client("GET", path, headers=auth(blue_token))).code == 404
    still = f"/v1.1/{green}/{TEMPLATES}/{made[green]['id']}"
    await ask(client, "GET", still, code=200, headers=auth(green_token))


async def test_who_has_no_token_of_keystones_is_sent_there(
    client: Client, gateway: Gateway, real_keystone: Keystone, tenants: dict[str, str]
) -> None:
    blue = next(iter(tenants))
    for headers in ({}, auth("nonsense"), auth("gAAAAA" + "x" * 100)):
        answer = await client("GET", f"/v1.1/{blue}/plugins", headers=headers)
        assert answer.code == 401
        assert fault(answer)["error"]["title"] == "Unauthorized"
        assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{real_keystone.url}"'


def auth(token: str) -> dict[str, str]:
    return {"X-Auth-Token": token}


async def test_a_project_is_what_keystone_calls_one(client: Client, tenants: dict[str, str]) -> None:
    """None is named like its user, as they are where this server knows the users."""
    for project, token in tenants.items():
        body = await ask(client, "GET", PROJECTS, code=200, headers=auth(token))
        assert [one["id"] for one in body["projects"]] == [project]


async def test_keystones_tokens_are_revoked_there(client: Client, tenants: dict[str, str]) -> None:
    token = next(iter(tenants.values()))
    about = {**auth(token), "X-Subject-Token": token}
    said = await ask(client, "DELETE", "/identity/v3/auth/tokens", code=501, headers=about)
    assert "Keystone" in said["error"]["message"]
