"""The API's description of itself: complete, true, and harmless to look at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.api.reference.document import openapi
from gateway.api.reference.handlers import page
from gateway.api.reference.schemas import SCHEMAS
from gateway.app import APIS, ROUTES
from tests.gateway.api.conftest import Client

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLUSTERS = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
DATA = (ROOT / "docs" / "data-clusters.md").read_text(encoding="utf-8")
DOCUMENT = openapi(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.pattern}")
def test_every_route_says_what_it_answers(route: object) -> None:
    assert route.answers  # type: ignore[attr-defined]
    operation = DOCUMENT["paths"][route.pattern][route.method.lower()]  # type: ignore[attr-defined]
    assert any(status < "400" for status in operation["responses"])


def test_operations_and_references_are_sound() -> None:
    ids = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert named <= set(SCHEMAS)


def test_the_documents_list_the_same_routes() -> None:
    section = "".join(
        text.split("\n## The API\n")[1].split("\n## ")[0] for text in (README, CLUSTERS, DATA)
    )
    rows = "\n".join(line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `"))
    listed = set()
    for method, path in re.findall(r"`([A-Z]+) (/[^`?]*)", rows):
        path = path.replace("{key}", "{cluster}/{role}/{environment}/{name}").replace(
            "{n}", "{instance}"
        )
        listed.add((method, path))
    assert listed == {(route.method, route.pattern) for route in ROUTES}


def test_the_page_needs_nothing_from_elsewhere_and_names_everything() -> None:
    text, policy = page(ROUTES)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    for route in APIS:
        assert f"<code>{route.pattern}</code>" in text
    for name in SCHEMAS:
        assert f'id="schema-{name}"' in text
    # In a narrow window CLUSTER/ROLE/ENVIRONMENT/NAME would make the whole page wider than it.
    assert "td:last-child { overflow-wrap: anywhere; }" in text


@pytest.mark.gen_test(timeout=120)
async def test_they_are_served(client: Client) -> None:
    answer = await client("GET", "/openapi.json")
    assert answer.code == 200
    assert json.loads(answer.body) == json.loads(json.dumps(DOCUMENT))
    docs = await client("GET", "/docs")
    assert docs.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert "style-src 'sha256-" in docs.headers["Content-Security-Policy"]
    other = await client("GET", "/alpha/version")
    assert other.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert other.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in other.headers
