"""Tokens of the server itself: whom it gives which, what they open, and what they do not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from gateway.auth.access import Access
from gateway.auth.authenticators import make_authenticators
from gateway.auth.issued import Issued, issue
from gateway.auth.passwords import hash_password, hash_token, new_token
from gateway.context import Gateway
from gateway.options import Options
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import SCRIPT_KEY

TOKENS = "/identity/v3/auth/tokens"
PASSWORD = "correct horse"
OWN = new_token()


def login(user: str, password: str = PASSWORD, project: str | None = None) -> bytes:
    identity = {"methods": ["password"], "password": {"user": {"name": user, "password": password}}}
    return asked(identity, project)


def exchange(token: str, project: str | None = None) -> bytes:
    return asked({"methods": ["token"], "token": {"id": token}}, project)


def asked(identity: dict[str, Any], project: str | None) -> bytes:
    auth: dict[str, Any] = {"identity": identity}
    if project is not None:
        auth["scope"] = {"project": {"name": project, "domain": {"name": "Default"}}}
    return json.dumps({"auth": auth}).encode()


def text_of(answer: HTTPResponse) -> str:
    assert answer.code == 201, answer.body
    return answer.headers["X-Subject-Token"]


def with_token(text: str, **more: str) -> dict[str, str]:
    return {"X-Auth-Token": text, **more}


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.toml"
    password = hash_password(PASSWORD, 12, 1)
    path.write_text(
        f'[users.alice]\nroles = ["red"]\npassword = "{password}"\n'
        f'tokens = [{{ hash = "{hash_token(OWN)}" }}]\n'
        f'[users.bob]\nroles = ["blue"]\npassword = "{password}"\n'
        f'[users.root]\nadmin = true\npassword = "{password}"\n'
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def asking(gateway: Gateway, store: Store, users: Path) -> Iterator[Access]:
    made = make_authenticators(Options(auth=("tokens", "basic"), auth_file=users))
    access = Access(made, script_key=lambda: SCRIPT_KEY, revoked=store.revocations)
    gateway.access = access
    yield access
    access.close()


@pytest.mark.gen_test(timeout=60)
async def test_where_nobody_is_asked_everybody_is_who_he_says(client: Client) -> None:
    answer = await client("POST", TOKENS, login("anybody", "x", "demo"))
    body = json.loads(answer.body)["token"]
    assert (body["user"]["name"], body["project"]["id"]) == ("anybody", "demo")
    places = {one["type"]: one["endpoints"][0]["url"] for one in body["catalog"]}
    assert places == {
        "data-processing": client.url + "/v1.1/demo",
        "compute": client.url + "/compute/v2.1",
        "image": client.url + "/image",
        "network": client.url + "/network",
        "identity": client.url + "/identity/v3",
    }
    text = text_of(answer)
    seen = await client("GET", TOKENS, headers=with_token(text, **{"X-Subject-Token": text}))
    assert json.loads(seen.body)["token"] == body
    # One token gives another, for another project, but not for longer.
    other = await client("POST", TOKENS, exchange(text, "other"))
    after = json.loads(other.body)["token"]
    assert (after["user"]["name"], after["project"]["id"]) == ("anybody", "other")
    assert after["expires_at"] <= body["expires_at"]
    unscoped = await client("POST", TOKENS, login("anybody", "x"))
    assert json.loads(unscoped.body)["token"]["project"]["id"] == "default"
    lean = await client("POST", TOKENS + "?nocatalog", login("anybody", "x"))
    assert "catalog" not in json.loads(lean.body)["token"]


@pytest.mark.gen_test(timeout=60)
async def test_users_have_their_projects(client: Client, asking: Access) -> None:
    text = text_of(await client("POST", TOKENS, login("alice", project="red")))
    assert (await client("GET", "/v1.1/red/images", headers=with_token(text))).code == 200
    projects = await client("GET", "/identity/v3/auth/projects", headers=with_token(text))
    assert [one["id"] for one in json.loads(projects.body)["projects"]] == ["alice", "red"]
    assert text_of(await client("POST", TOKENS, login("alice")))
    assert text_of(await client("POST", TOKENS, exchange(OWN, "red")))
    assert text_of(await client("POST", TOKENS, exchange(text, "alice")))
    assert text_of(await client("POST", TOKENS, login("root", project="anything")))
    for wrong in (
        login("alice", project="blue"),
        login("alice", "wrong", "red"),
        login("nobody", project="red"),
        exchange(text, "blue"),
        exchange(text + "x", "red"),
    ):
        answer = await client("POST", TOKENS, wrong)
        assert answer.code == 401, answer.body
        assert json.loads(answer.body)["error"]["code"] == 401


@pytest.mark.gen_test(timeout=60)
async def test_a_user_who_is_gone_has_no_tokens(client: Client, asking: Access, users: Path) -> None:
    text = text_of(await client("POST", TOKENS, login("alice", project="red")))
    users.write_text(users.read_text().replace('roles = ["red"]', "roles = []"))
    asking.reload()
    assert (await client("GET", "/v1.1/images", headers=with_token(text))).code == 401
    users.write_text("[users.bob]\n")
    asking.reload()
    assert (await client("GET", "/v1.1/images", headers=with_token(text))).code == 401


@pytest.mark.gen_test(timeout=60)
async def test_where_passwords_are_asked_for_a_token_that_has_ended_is_called_so(
    client: Client, gateway: Gateway, users: Path
) -> None:
    made = make_authenticators(Options(auth=("basic",), auth_file=users))
    gateway.access = Access(made, script_key=lambda: SCRIPT_KEY)
    text = text_of(await client("POST", TOKENS, login("alice", project="red")))
    users.write_text("[users.bob]\n")
    gateway.access.reload()
    answer = await client("GET", "/v1.1/images", headers=with_token(text))
    gateway.access.close()
    assert answer.code == 401
    assert "not its user's any more" in json.loads(answer.body)["error"]["message"]


@pytest.mark.gen_test(timeout=60)
async def test_whose_a_token_is_may_be_asked_by_its_owner(client: Client, asking: Access) -> None:
    alice = text_of(await client("POST", TOKENS, login("alice", project="red")))
    bob = text_of(await client("POST", TOKENS, login("bob", project="blue")))
    root = text_of(await client("POST", TOKENS, login("root")))

    async def ask(who: str, about: str) -> int:
        headers = with_token(who, **{"X-Subject-Token": about})
        return (await client("GET", TOKENS, headers=headers)).code

    assert [await ask(alice, alice), await ask(root, bob), await ask(alice, bob)] == [200, 200, 403]
    assert [await ask(alice, "x.y.z"), await ask(alice, OWN)] == [404, 404]
    assert (await client("GET", TOKENS, headers={"X-Subject-Token": alice})).code == 401


@pytest.mark.gen_test(timeout=60)
async def test_a_token_is_revoked_by_its_owner_or_an_administrator(
    client: Client, asking: Access, store: Store
) -> None:
    async def make(user: str) -> str:
        return text_of(await client("POST", TOKENS, login(user)))

    async def revoke(who: str, which: str) -> int:
        headers = with_token(who, **{"X-Subject-Token": which})
        return (await client("DELETE", TOKENS, headers=headers)).code

    alice, again, bob, root = [await make(user) for user in ("alice", "alice", "bob", "root")]
    assert [await revoke(bob, alice), await revoke(alice, "x.y.z")] == [403, 404]
    assert (await client("GET", "/v1.1/images", headers=with_token(alice))).code == 200
    other = text_of(await client("POST", TOKENS, exchange(alice, "red")))
    assert [await revoke(again, alice), await revoke(root, bob)] == [204, 204]
    for ended in (alice, bob):
        assert (await client("GET", "/v1.1/images", headers=with_token(ended))).code == 401
        assert (await client("POST", TOKENS, exchange(ended))).code == 401
        assert await revoke(root, ended) == 404
        about = with_token(root, **{"X-Subject-Token": ended})
        assert (await client("GET", TOKENS, headers=about)).code == 404
    # Others of the same user, also those that it has given, stay; its own may end itself.
    for stays in (again, other):
        assert (await client("GET", "/v1.1/images", headers=with_token(stays))).code == 200
    assert await revoke(again, again) == 204
    assert len(store.objects.find("revoked-token")) == 3


@pytest.mark.gen_test(timeout=60)
async def test_where_nobody_is_asked_a_revoked_token_says_nothing(
    client: Client, gateway: Gateway, store: Store
) -> None:
    gateway.access = Access(script_key=lambda: SCRIPT_KEY, revoked=store.revocations)
    text = text_of(await client("POST", TOKENS, login("anybody", "x", "demo")))
    headers = with_token(text, **{"X-Subject-Token": text})
    assert (await client("DELETE", TOKENS, headers=headers)).code == 204
    assert (await client("GET", TOKENS, headers=headers)).code == 404
    assert (await client("POST", TOKENS, exchange(text))).code == 401


@pytest.mark.gen_test(timeout=60)
async def test_what_was_not_proved_proves_nothing(client: Client, asking: Access) -> None:
    """Tokens of the time when nobody was asked, of a key that is another's, and old ones."""
    now = time.time()
    unproved = Issued("1", "root", "red", now, now + 600, admin=True)
    proved = Issued("2", "root", "red", now, now + 600, user="root", admin=True)
    old = Issued("3", "root", "red", now - 600, now - 1, user="root", admin=True)
    for text in (issue(unproved, SCRIPT_KEY), issue(proved, "f" * 64), issue(old, SCRIPT_KEY)):
        answer = await client("GET", "/v1.1/images", headers=with_token(text))
        assert answer.code == 401
    good = issue(proved, SCRIPT_KEY)
    assert (await client("GET", "/v1.1/images", headers=with_token(good))).code == 200


BAD = [
    b"",
    b"[]",
    b"{",
    b'{"auth": 1}',
    b'{"auth": {"identity": {}}}',
    b'{"auth": {"identity": {"methods": ["totp"]}}}',
    b'{"auth": {"identity": {"methods": ["password"]}}}',
    b'{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": 1}}}}}',
    b'{"auth": {"identity": {"methods": ["token"], "token": {"id": 5}}}}',
    login("a:b"),
    login("a\n"),
    login("a", project="a/b"),
    login("a", project="p" * 65),
    b'{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"system": {}}}}',
    b'{"auth": {"identity": {"methods": ["token"], "token": {"id": "\\ud800"}}}}',
]


@pytest.mark.gen_test(timeout=60)
async def test_a_request_that_is_none_is_refused(client: Client) -> None:
    for body in BAD:
        answer = await client("POST", TOKENS, body)
        assert answer.code == 400, (body, answer.body)
        assert json.loads(answer.body)["error"]["message"]
