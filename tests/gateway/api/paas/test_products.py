"""Products over HTTP, as the contract has them."""

from __future__ import annotations

import json

import pytest

from gateway.auth.access import Access
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import (
    ADMIN,
    API,
    OPTIONS,
    SCRIPT,
    TEMPLATE,
    launch,
    problem,
    register,
    token,
)

pytestmark = pytest.mark.gen_test(timeout=60)
PRODUCT = f"{API}/products/reference/1.0.0"


async def test_a_product_is_registered_and_read_part_by_part(client: Client) -> None:
    body = json.dumps({"name": "reference", "version": "1.0.0", "description": "minimal"}).encode()
    # The Content-Type that curl's -d sends.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    made = await client("POST", f"{API}/products", body, headers=form)
    assert (made.code, made.body) == (201, b"")
    assert made.headers["Location"] == f"{client.url}{PRODUCT}"
    again = await client("POST", f"{API}/products", body)
    assert again.code == 409
    assert "exists already" in problem(again)
    await register(client, "2.0.0")
    assert json.loads((await client("GET", f"{API}/products")).body) == {"products": ["reference"]}
    versions = await client("GET", f"{API}/products/reference")
    assert json.loads(versions.body) == {"versions": ["1.0.0", "2.0.0"]}
    assert json.loads((await client("GET", PRODUCT)).body) == {
        "dn": "products/reference/1.0.0",
        "name": "reference",
        "version": "1.0.0",
        "description": "minimal",
        "logo_url": "",
    }
    python = {"Content-Type": "application/json"}
    for path, sent, read in (
        ("template", TEMPLATE.encode(), TEMPLATE),
        ("options", json.dumps(OPTIONS).encode(), {"advanced": {}, **OPTIONS}),
        ("orchestrator", SCRIPT.encode(), SCRIPT),
        (
            "orquestrator",
            SCRIPT.replace("started", "begun").encode(),
            SCRIPT.replace("started", "begun"),
        ),
        (
            "logo_url",
            b'{"logo_url": "https://example.org/x.png"}',
            {"logo_url": "https://example.org/x.png"},
        ),
    ):
        put = await client("PUT", f"{PRODUCT}/{path}", sent, headers=python)
        assert (put.code, put.body) == (204, b""), (path, put.body)
        got = await client("GET", f"{PRODUCT}/{path}")
        assert (got.code, json.loads(got.body)) == (200, read)
        assert got.headers["Content-Type"].startswith("application/json")
    orchestrator = await client("GET", f"{PRODUCT}/orchestrator")
    assert "begun" in json.loads(orchestrator.body)


async def test_what_people_read_of_a_product_changes_part_by_part(client: Client) -> None:
    await register(client)
    for sent, description, logo in (
        (b'{"description": "of one node"}', "of one node", ""),
        (b'{"logo_url": "/logos/x.png"}', "of one node", "/logos/x.png"),
        (b'{"description": "", "logo_url": ""}', "", ""),
        (b"{}", "", ""),
    ):
        put = await client("PUT", PRODUCT, sent)
        assert (put.code, put.body) == (204, b"")
        found = json.loads((await client("GET", PRODUCT)).body)
        assert (found["description"], found["logo_url"]) == (description, logo)
    absent = await client("PUT", f"{API}/products/absent/1", b"{}")
    assert absent.code == 404


async def test_a_template_is_what_its_content_type_says(client: Client) -> None:
    await register(client)
    text = b"nodes: {node0: {cpu: 0.1, mem: 32}}\n"
    refused = await client("PUT", f"{PRODUCT}/template", text)
    assert refused.code == 400
    assert "JSON" in problem(refused)
    yaml = {"Content-Type": "application/yaml; charset=utf-8"}
    assert (await client("PUT", f"{PRODUCT}/template", text, headers=yaml)).code == 204
    got = await client("GET", f"{PRODUCT}/template")
    assert json.loads(got.body) == text.decode()


async def test_a_part_that_would_not_work_is_refused_and_the_old_one_stays(client: Client) -> None:
    await register(client)
    for path, sent, says in (
        ("template", b"{{", "line 1"),
        ("template", b'{"nodes": {"a": {"cpu": "many"}}}', "cpu"),
        ("template", b'{"nodes": {"a": {"cpu": {{ opts.sice }} }}}', "did you mean 'size'"),
        ("template", b"   ", "empty"),
        ("template", b"\xff", "UTF-8"),
        ("options", b'{"required": {}, "optionel": {}}', "did you mean 'optional'"),
        ("options", b'{"required": {}}', "size"),
        ("options", b"[]", "object"),
        ("orchestrator", b"def start(:", "line 1"),
        ("logo_url", b'{"logo_url": "javascript:alert(1)"}', "logo_url"),
        ("logo_url", b'{"logo": "x"}', "logo_url"),
    ):
        answer = await client("PUT", f"{PRODUCT}/{path}", sent)
        assert answer.code == 400, (path, sent, answer.body)
        assert says in problem(answer), (path, sent, answer.body)
    assert json.loads((await client("GET", f"{PRODUCT}/template")).body) == TEMPLATE


async def test_what_is_not_there(client: Client) -> None:
    for method, path in (
        ("GET", "products/absent"),
        ("GET", "products/absent/1"),
        ("GET", "products/absent/1/template"),
        ("PUT", "products/absent/1/orchestrator"),
        ("DELETE", "products/absent/1"),
        ("POST", "products/absent/1"),
    ):
        answer = await client(method, f"{API}/{path}", SCRIPT.encode() if method == "PUT" else None)
        assert answer.code == 404, (method, path, answer.body)
        assert json.loads(answer.body)["error"] == "Key not found"
        assert "absent" in problem(answer)
    nowhere = await client("GET", "/bigdata/api/v2/products")
    assert json.loads(nowhere.body)["error"] == "not found"
    assert nowhere.code == 404
    wrong = await client("PATCH", f"{API}/products")
    assert (wrong.code, wrong.headers["Allow"]) == (405, "GET, POST")
    assert "GET or POST" in problem(wrong)


async def test_a_product_is_deleted_when_nothing_is_of_it(client: Client) -> None:
    await register(client)
    await launch(client)
    refused = await client("DELETE", PRODUCT)
    assert refused.code == 409
    assert "clusters/anonymous/reference/1.0.0/1" in problem(refused)
    await register(client, "2.0.0")
    assert (await client("DELETE", f"{API}/products/reference/2.0.0")).code == 204
    assert (await client("GET", f"{API}/products/reference/2.0.0")).code == 404


class TestWhoMayWhat:
    @pytest.fixture
    def access(self, asking: Access) -> Access:
        return asking

    async def test_users_read_and_administrators_change(self, client: Client) -> None:
        await register(client, headers=ADMIN)
        paths = ["", "/template", "/options", "/orchestrator", "/logo_url"]
        for path in paths:
            assert (await client("GET", PRODUCT + path, headers=token("alice"))).code == 200
            nobody = await client("GET", PRODUCT + path)
            assert nobody.code == 401
            assert problem(nobody)
        for method, path in [
            ("POST", f"{API}/products"),
            ("DELETE", PRODUCT),
            *[("PUT", PRODUCT + path) for path in paths],
        ]:
            answer = await client(
                method, path, b"{}" if method != "DELETE" else None, headers=token("alice")
            )
            assert answer.code == 403, (method, path)
            assert "administrator" in problem(answer)
        lacking = await client("GET", PRODUCT, headers=token("alice") | token("alice"))
        assert lacking.code == 200
