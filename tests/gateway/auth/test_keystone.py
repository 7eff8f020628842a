"""``--auth keystone`` before a real Keystone: whose a token is, for how long, and what is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from framework.model.errors import Invalid, Unauthorized, Unavailable
from gateway.auth.authenticators import Credentials
from gateway.auth.identity import Identity
from gateway.auth.keystone import KeystoneAuthenticator, Service, make, read_token
from gateway.options import Options
from tests.keystone import PASSWORD, Keystone

T = TypeVar("T")
ALICE = "password-of-alice"


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def service(keystone: Keystone, **more: Any) -> Service:
    return Service(
        **{"url": keystone.url, "user": "admin", "password": PASSWORD, "project": "admin", **more}
    )


def with_authenticator(
    service: Service, use: Callable[[KeystoneAuthenticator], Awaitable[T]], clock: Any = time.time
) -> T:
    async def run() -> T:
        authenticator = KeystoneAuthenticator(service, clock=clock)
        try:
            return await use(authenticator)
        finally:
            authenticator.close()

    return asyncio.run(run())


def bearer(text: str) -> Credentials:
    return Credentials("bearer", text)


@pytest.fixture(scope="module")
def alice(real_keystone: Keystone) -> str:
    """A user of the project ``red``, whose id this is."""
    project = real_keystone.make("project", name="red")
    user = real_keystone.make("user", name="alice", password=ALICE)
    real_keystone.grant(project, user, "member")
    return project


def test_a_token_names_its_user_and_project(real_keystone: Keystone, alice: str) -> None:
    text = real_keystone.token("alice", ALICE, "red")

    async def use(authenticator: KeystoneAuthenticator) -> None:
        assert authenticator.recall(bearer(text)) is None
        both = await asyncio.gather(*(authenticator.authenticate(bearer(text)) for _ in range(5)))
        assert set(both) == {Identity("alice", frozenset({alice}), project=alice)}
        assert authenticator.recall(bearer(text)) == both[0]
        admin = await authenticator.authenticate(bearer(real_keystone.admin))
        assert admin is not None
        assert (admin.user, admin.admin) == ("admin", True)
        assert await authenticator.authenticate(Credentials("basic", "x")) is None

    with_authenticator(service(real_keystone), use)


def test_what_is_revoked_is_known_for_a_minute_at_most(real_keystone: Keystone, alice: str) -> None:
    text = real_keystone.token("alice", ALICE, "red")
    clock = Clock()

    async def use(authenticator: KeystoneAuthenticator) -> None:
        assert await authenticator.authenticate(bearer(text))
        real_keystone.revoke(text)
        clock.ahead = 61.0
        assert authenticator.recall(bearer(text)) is None
        with pytest.raises(Unauthorized, match="does not know"):
            await authenticator.authenticate(bearer(text))
        clock.ahead = 0.0
        with pytest.raises(Unauthorized, match="does not know"):
            await authenticator.authenticate(bearer(text))

    with_authenticator(service(real_keystone), use, clock)


def test_the_servers_own_token_is_renewed(real_keystone: Keystone, alice: str) -> None:
    text = real_keystone.token("alice", ALICE, "red")

    async def use(authenticator: KeystoneAuthenticator) -> None:
        authenticator._own_token = "gone"
        assert await authenticator.authenticate(bearer(text))
        for wrong in ("gone", "x.y.z", "gAAAAA" + "x" * 100):
            with pytest.raises(Unauthorized):
                await authenticator.authenticate(bearer(wrong))
        for wrong in ("ä", "a\nb", "x" * 5000):
            with pytest.raises(Unauthorized, match="cannot be one"):
                await authenticator.authenticate(bearer(wrong))

    with_authenticator(service(real_keystone), use)


def test_who_may_not_validate_says_so(real_keystone: Keystone, alice: str) -> None:
    async def use(authenticator: KeystoneAuthenticator) -> None:
        with pytest.raises(Unavailable, match="Keystone"):
            await authenticator.authenticate(bearer(real_keystone.admin))

    with_authenticator(service(real_keystone, password="wrong"), use)
    with_authenticator(service(real_keystone, user="alice", password=ALICE, project="red"), use)
    with_authenticator(service(real_keystone, url="http://127.0.0.1:9/v3"), use)


def test_a_token_without_a_project_is_none() -> None:
    user = {"id": "1", "name": "a", "domain": {"id": "default"}}
    token = {"user": user, "expires_at": "2030-01-01T00:00:00.000000Z"}
    with pytest.raises(Unauthorized, match="no project"):
        read_token({"token": token}, "admin")
    with pytest.raises(Unavailable, match="API v3"):
        read_token({"token": {}}, "admin")
    project = {"id": "p", "name": "red", "domain": {"id": "other"}}
    elsewhere = {**token, "project": project, "user": {**user, "domain": {"id": "other"}}}
    # Another domain may have an "a" as well.
    assert read_token({"token": elsewhere}, "admin")[0] == Identity("1", frozenset({"p"}), project="p")


def test_its_options_are_needed() -> None:
    with pytest.raises(Invalid, match="--keystone-url"):
        make(Options(auth=("keystone",)))
