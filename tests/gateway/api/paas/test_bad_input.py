"""Every endpoint of clusters with every kind of bad input: a 4xx as that API has it, nothing done."""

from __future__ import annotations

import pytest

from gateway.api.http import Route
from gateway.app import ROUTES
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import (
    OPTIONS,
    SCRIPT,
    TEMPLATE,
    brought_up,
    launch,
    problem,
    register,
)
from tests.gateway.api.test_bad_input import NAMES

pytestmark = pytest.mark.gen_test(timeout=240)

_PLACES = ("/bigdata/", "/resources/networks/", "/resources/disks/")
PAAS = [route for route in ROUTES if route.pattern.startswith(_PLACES)]
GOOD = {
    "user": "anonymous",
    "product": "reference",
    "version": "1.0.0",
    "id": "1",
    "clusterid": "clusters--anonymous--reference--1__0__0--1",
    "node": "node0",
    "verb": "stop",
    "network": "lan",
    "address": "10.0.0.10",
    "host": "agent1",
    "disk": "disk1",
}
BODIES: dict[str, bytes] = {
    "truncated": b'{"size": ',
    "trailing garbage": b'{"size": 2} x',
    "nested": b"[" * 50_000,
    "nested objects": b'{"a":' * 20_000,
    "large integer": b'{"size": ' + b"9" * 5000 + b"}",
    "NaN": b'{"size": NaN}',
    "infinity": b'{"size": 1e999}',
    "the same key twice": b'{"size": 1, "size": 2}',
    "lone surrogate": b'{"size": "\\ud800"}',
    "lone surrogate as key": b'{"\\ud800": 1}',
    "NUL": b'{"size": "\\u0000"}',
    "BOM": b'\xef\xbb\xbf{"size": 2}',
    "UTF-16": '{"size": 2}'.encode("utf-16"),
    "not UTF-8": b"\xff\xfe\xfd",
    "an array": b"[1, 2, 3]",
    "a number": b"7",
    "null": b"null",
    "a text": b'"size"',
    "unknown field": b'{"unheard-of": 1}',
    "wrong types": b'{"name": 1, "version": {}, "size": [], "argv": "x", "status": 2, "groups": [], '
    b'"cluster": 1, "clusterdn": 1, "network": 1, "logo_url": 1, "required": 1}',
}
FIELDS: dict[str, list[bytes]] = {
    "register_product": [
        b'{"name": "..", "version": "1"}',
        b'{"name": "a/b", "version": "1"}',
        b'{"name": "x", "version": "1", "description": "' + b"x" * 20_000 + b'"}',
        b'{"name": "x", "version": "1", "logo_url": "javascript:x"}',
        b'{"name": "' + b"a" * 300 + b'", "version": "1"}',
        b'{"name": "a--b", "version": "1"}',
    ],
    "describe_product": [
        b'{"description": "' + b"x" * 20_000 + b'"}',
        b'{"logo_url": "javascript:x"}',
        b'{"name": "x"}',
    ],
    "launch_cluster": [
        b'{"size": 9223372036854775808}',
        b'{"size": -1}',
        b'{"size": 100000}',
        b'{"size": 1e308}',
    ],
    "set_template": [
        b"{{ 9**9**9 }}",
        b"{{ 'a'*900000000 }}",
        b"{% for a in range(100000000) %}x{% endfor %}",
        b"{{ ''.__class__.__mro__ }}",
        b"{% include '/etc/passwd' %}",
        b"x" * 65_000,
        b'{"nodes": {}}',
        b'{"nodes": {"../x": {"cpu": 1, "mem": 1}}}',
        b'{"nodes": {"a": {"cpu": -1, "mem": 1}}}',
        b'{"nodes": {"a": {"cpu": 1e308, "mem": 1e308}}}',
        b'{"nodes": {"a": {"cpu": 1, "mem": 32, "check_ports": [70000]}}}',
    ],
    "exec_command": [
        b'{"argv": [""]}',
        b'{"argv": ["a"], "timeout": -1}',
        b'{"argv": ["a"], "timeout": 1e308}',
        b'{"argv": ["a", 1]}',
    ],
    "scale_cluster": [
        b'{"groups": {"node": 9223372036854775808}}',
        b'{"groups": {"node": 1.5}}',
        b'{"remove": ["../x"]}',
        b'{"remove": ["node0", "node1"]}',
    ],
    "define_network": [
        b'{"name": "x", "network": "10.0.0.0/8", "addresses": ["10.0.0.1-10.255.255.254"]}',
        b'{"name": "x", "network": "::/0", "addresses": ["::1-ffff::"]}',
        b'{"name": "x", "network": "10.0.0.0/24", "parent": "' + b"x" * 100 + b'"}',
    ],
}


def path_of(route: Route, **other: str) -> str:
    return route.pattern.format(**{**GOOD, **other})


async def prepare(client: Client, store: Store) -> None:
    await register(client)
    brought_up(store, await launch(client))
    lan = b'{"name": "lan", "network": "10.0.0.0/24", "addresses": ["10.0.0.10"]}'
    assert (await client("POST", "/resources/networks/v1/networks", lan)).code == 204


def good_body(route: Route) -> bytes | None:
    if not route.body:
        return b"" if route.method in ("PUT", "POST", "PATCH") else None
    bodies = {"set_template": TEMPLATE.encode(), "set_orchestrator": SCRIPT.encode()}
    return bodies.get(route.handler.__name__, b'{"size": 1}')


async def test_names(client: Client, store: Store) -> None:
    await prepare(client, store)
    before = store.revision()
    for route in PAAS:
        for segment in route.segments:
            for kind, name in NAMES.items():
                answer = await client(route.method, path_of(route, **{segment: name}), good_body(route))
                assert answer.code in (400, 404), (kind, route.pattern, answer.code, answer.body)
                assert problem(answer)
                assert len(answer.body) < 2000
    assert store.revision() == before


async def test_bodies(client: Client, store: Store) -> None:
    await prepare(client, store)
    before = store.revision()
    for route in PAAS:
        if not route.body:
            continue
        name = route.handler.__name__
        bodies = {**BODIES, **{f"field {n}": b for n, b in enumerate(FIELDS.get(name, []))}}
        for kind, body in bodies.items():
            answer = await client(route.method, path_of(route), body)
            assert 400 <= answer.code < 500, (kind, name, answer.code, answer.body)
            assert problem(answer)
            assert len(answer.body) < 10_000, (kind, name)
    # A number is taken for a launch before its template is rendered; nothing else has happened.
    assert len(store.clusters.find()) == 1
    assert store.products.get("reference", "1.0.0").options.required == OPTIONS["required"]
    assert store.revision() - before <= len(FIELDS["launch_cluster"])


async def test_queries(client: Client, store: Store) -> None:
    await prepare(client, store)
    for route in PAAS:
        for query in (
            "unknown=1",
            "limit=-1",
            "lease=0",
            "lease=x",
            "active=perhaps",
            "full=2",
            "after=x",
        ):
            answer = await client(route.method, f"{path_of(route)}?{query}", good_body(route))
            assert answer.code == 400, (route.pattern, query, answer.code, answer.body)
            assert problem(answer)


async def test_too_large_and_encoded(client: Client, store: Store) -> None:
    await prepare(client, store)
    for route in PAAS:
        if not route.body:
            continue
        answer = await client(route.method, path_of(route), b"x" * 70_000)
        assert answer.code == 413, (route.pattern, answer.code)
        assert problem(answer)
        zipped = await client(route.method, path_of(route), b"x", headers={"Content-Encoding": "gzip"})
        assert zipped.code == 415
        assert problem(zipped)


async def test_pages_of_other_sites(client: Client, store: Store) -> None:
    await prepare(client, store)
    for route in PAAS:
        if route.method == "GET":
            continue
        answer = await client(
            route.method, path_of(route), good_body(route), headers={"Origin": "http://evil.example"}
        )
        assert answer.code == 403, route.pattern
        assert problem(answer)
