"""Paths, tenants and failures of the data clusters API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from framework.model.errors import GatewayError
from gateway.api.sahara.routing import tenant_of
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.context import Gateway
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import (
    ADMIN,
    GROUP,
    IDENTITIES,
    MEMBER,
    OTHER,
    TENANT,
    ask,
    asking,
    fault,
)

pytestmark = pytest.mark.gen_test(timeout=60)


async def test_every_spelling_of_a_path(client: Client) -> None:
    made = await ask(client, "POST", "/v1.1/default/node-group-templates", GROUP, code=202)
    template = made["node_group_template"]["id"]
    for version in ("v1.0", "v1.1"):
        for tenant in ("", "/default"):
            for end in ("", "/", ".json"):
                base = f"/{version}{tenant}"
                path = f"{base}/node-group-templates"
                assert len((await ask(client, "GET", path + end, code=200))["node_group_templates"]) == 1
                one = await ask(client, "GET", f"{path}/{template}{end}", code=200)
                assert one["node_group_template"]["id"] == template
                plugin = await ask(client, "GET", f"{base}/plugins/fake/0.1{end}", code=200)
                assert plugin["plugin"]["required_image_tags"] == ["fake", "0.1"]
    assert await ask(client, "GET", "/v1.1/job-types", code=200) == {"job_types": []}


async def test_versions(client: Client) -> None:
    document = await ask(client, "GET", "/", code=300)
    assert [one["id"] for one in document["versions"]] == ["v1.0", "v1.1"]
    assert document["versions"][1]["links"] == [{"rel": "self", "href": f"{client.url}/v1.1/"}]


async def test_other_apis_stay(client: Client) -> None:
    assert (await client("GET", "/alpha/version")).code == 200
    assert (await client("GET", "/bigdata/api/v1/products")).code == 200
    assert (await client("GET", "/v1/kv/?recurse")).code in (200, 404)
    nothing = await client("GET", "/nothing")
    assert json.loads(nothing.body)["status"] == "failure"


async def test_paths_that_are_none(client: Client) -> None:
    for path in (
        "/v1.1/",
        "/v1.1/x",
        "/v1.1/x/nope",
        "/v2/x/clusters",
        "/v1.0/x/job-types",
        "/v1.0/jobs",
    ):
        answer = await client("GET", path)
        assert answer.code == 404, path
        assert fault(answer)["error_message"].startswith("The requested URL was not found")
    wrong = await client("DELETE", f"/v1.1/{TENANT}/plugins")
    assert wrong.code == 405
    assert wrong.headers["Allow"] == "GET"
    assert fault(wrong)["error_message"] == "The method is not allowed for the requested URL."


async def test_jobs_are_not_offered(client: Client) -> None:
    for resource in ("data-sources", "job-binaries", "job-binary-internals", "jobs", "job-executions"):
        for path in (f"/v1.1/{TENANT}/{resource}", f"/v1.1/{resource}", f"/v1.1/{resource}/x/data"):
            answer = await client("GET", path)
            assert answer.code == 501
            assert fault(answer)["error_name"] == "NOT_IMPLEMENTED_ERROR"


async def test_content_types_and_bodies(client: Client) -> None:
    path = f"/v1.1/{TENANT}/node-group-templates"
    for kind, body, code, name in (
        ("application/xml", b"<x/>", 400, "INVALID_DATA"),
        ("application/x-www-form-urlencoded", b"{}", 400, "INVALID_DATA"),
        ("application/json", b"{bad", 400, "MALFORMED_REQUEST_BODY"),
        ("application/json", b"[1]", 400, "MALFORMED_REQUEST_BODY"),
        ("application/json", b"", 400, "VALIDATION_ERROR"),
        ("", b"{}", 400, "VALIDATION_ERROR"),
        ("application/json; charset=UTF-8", json.dumps(GROUP).encode(), 202, None),
    ):
        answer = await client("POST", path, body, headers={"Content-Type": kind})
        assert answer.code == code, (kind, answer.body)
        if name is not None:
            assert fault(answer)["error_name"] == name
        assert answer.headers["Content-Type"].startswith("application/json")


async def test_who_asks(client: Client, gateway: Gateway) -> None:
    gateway.access = asking()
    nobody = await client("GET", f"/v1.1/{TENANT}/plugins")
    assert nobody.code == 401
    assert fault(nobody)["error"]["title"] == "Unauthorized"
    assert nobody.headers["WWW-Authenticate"].startswith("Keystone uri=")
    # The versions are for everybody.
    assert (await client("GET", "/")).code == 300
    other = await client("GET", f"/v1.1/{OTHER}/plugins", headers=MEMBER)
    assert other.code == 401
    assert "tenant" in fault(other)["error"]["message"]


async def test_tenants_do_not_see_each_other(client: Client, gateway: Gateway) -> None:
    """Templates, with what another tenant has; every route: openstack/test_two_tenants.py."""
    gateway.access = asking()
    base = f"/v1.1/{TENANT}"
    made = await ask(client, "POST", f"{base}/node-group-templates", GROUP, code=202, headers=MEMBER)
    group = made["node_group_template"]["id"]
    cluster = {"name": "ct", "plugin_name": "fake", "hadoop_version": "0.1"}
    made = await ask(client, "POST", f"{base}/cluster-templates", cluster, code=202, headers=MEMBER)
    template = made["cluster_template"]["id"]
    other = f"/v1.1/{OTHER}"
    for kind, one in (("node-group-templates", group), ("cluster-templates", template)):
        listed = await ask(client, "GET", f"{other}/{kind}", code=200, headers=ADMIN)
        assert listed == {kind.replace("-", "_"): []}
        path = f"{other}/{kind}/{one}"
        for method, more, body in (
            ("GET", "", None),
            ("GET", "/export", None),
            ("PUT", "", {"description": "mine"}),
            ("DELETE", "", None),
        ):
            answer = await ask(client, method, path + more, body, code=404, headers=ADMIN)
            assert answer["error_name"] == "NOT_FOUND"
        marked = await ask(client, "GET", f"{other}/{kind}?marker={one}", code=404, headers=ADMIN)
        assert marked["error_name"] == "NOT_FOUND"
    using = {**cluster, "node_groups": [{"name": "x", "count": 1, "node_group_template_id": group}]}
    answer = await ask(client, "POST", f"{other}/cluster-templates", using, code=400, headers=ADMIN)
    assert answer["error_name"] == "NOT_FOUND"
    # A name that another one has is free.
    await ask(client, "POST", f"{other}/node-group-templates", GROUP, code=202, headers=ADMIN)


async def test_registrations_and_labels_are_the_tenants(client: Client, gateway: Gateway) -> None:
    gateway.access = asking()
    image = "images/aaaaaaaa-0000-0000-0000-000000000002"
    said = {"username": "ubuntu"}
    await ask(client, "POST", f"/v1.1/{TENANT}/{image}", said, code=202, headers=MEMBER)
    await ask(client, "GET", f"/v1.1/{OTHER}/{image}", code=400, headers=ADMIN)
    hidden = {"plugin_labels": {"hidden": {"status": False}}}
    await ask(client, "PATCH", f"/v1.1/{OTHER}/plugins/fake", hidden, code=202, headers=ADMIN)
    mine = await ask(client, "GET", f"/v1.1/{TENANT}/plugins/fake", code=200, headers=MEMBER)
    assert mine["plugin"]["plugin_labels"]["hidden"]["status"] is True


@pytest.mark.parametrize(
    ("caller", "named", "tenant"),
    [
        (ANONYMOUS, None, "default"),
        (ANONYMOUS, TENANT, TENANT),
        (IDENTITIES["member"], None, TENANT),
        (IDENTITIES["member"], TENANT, TENANT),
        # As with Keystone: no id, so that it names what the token is for.
        (IDENTITIES["member"], "775181", TENANT),
        (IDENTITIES["member"], OTHER, None),
        (IDENTITIES["ann"], None, "ann"),
        (IDENTITIES["ann"], "ann", "ann"),
        (IDENTITIES["ann"], "research", "research"),
        (IDENTITIES["ann"], "sales", None),
        (IDENTITIES["boss"], "sales", "sales"),
        (ANONYMOUS, "..", None),
        (ANONYMOUS, "a" * 65, None),
        (ANONYMOUS, "a/b", None),
    ],
)
def test_tenant_of(caller: Identity, named: str | None, tenant: str | None) -> None:
    if tenant is None:
        with pytest.raises(GatewayError):
            tenant_of(caller, named)
    else:
        assert tenant_of(caller, named) == tenant


async def test_no_data_clusters_without_a_scheduler(client: Client, gateway: Gateway) -> None:
    gateway.dataprocessing = None
    answer: Any = await client("GET", "/v1.1/plugins")
    assert answer.code == 501
    assert "--executor external" in fault(answer)["error_message"]
