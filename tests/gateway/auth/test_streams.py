"""Answers that go on for hours end when their user would not be let in any more."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import HTTPResponse

from gateway.auth.access import Access
from gateway.auth.authenticators import make_authenticators
from gateway.auth.passwords import hash_password, hash_token, new_token
from gateway.context import Gateway
from gateway.options import Options
from tests.gateway.api.conftest import Client
from tests.gateway.auth.conftest import PASSWORD, basic

pytestmark = pytest.mark.gen_test(timeout=120)
EVENTS = "/alpha/events?after=0"
TOKEN, OTHER = new_token(), new_token()


def entry(user: str, token: str, roles: str = '"www-data"', expires: str = "") -> str:
    return f'[users.{user}]\nroles = [{roles}]\ntokens = [{{hash = "{hash_token(token)}"{expires}}}]\n'


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Open:
    """A stream that is being read."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self.heard = bytearray()
        self._answer = asyncio.ensure_future(
            client("GET", EVENTS, headers=headers, streaming_callback=self.heard.extend)
        )

    async def until(self, text: bytes) -> None:
        seen = len(self.heard)
        while text not in self.heard[seen:]:
            assert not self._answer.done()
            await asyncio.sleep(0.01)

    async def end(self) -> HTTPResponse:
        async with asyncio.timeout(60):
            return await self._answer


@pytest.fixture
def recheck_secs() -> float:
    return 3600.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.toml"
    path.touch(mode=0o600)
    path.write_text(entry("alice", TOKEN) + entry("bob", OTHER))
    return path


@pytest.fixture
def access(file: Path, recheck_secs: float) -> Iterator[Access]:
    made = make_authenticators(Options(auth=("tokens", "basic"), auth_file=file))
    access = Access(made, recheck_secs=recheck_secs)
    yield access
    access.close()


@pytest.mark.parametrize("left", ["", entry("alice", new_token()), entry("alice", TOKEN, '"ops"')])
async def test_of_whom_the_file_knows_no_more(
    client: Client, gateway: Gateway, file: Path, left: str
) -> None:
    """Another token, and other roles; the stream of somebody else goes on."""
    alice, bob = Open(client, bearer(TOKEN)), Open(client, bearer(OTHER))
    await alice.until(b"nothing new")
    await bob.until(b"nothing new")
    gateway.reload()
    await alice.until(b"nothing new")
    file.write_text(left + entry("bob", OTHER))
    gateway.reload()
    assert (await alice.end()).code == 200
    await bob.until(b"nothing new")
    await gateway.requests.drain(1)
    await bob.end()


async def test_of_whose_password_is_another(client: Client, gateway: Gateway, file: Path) -> None:
    def password(text: str) -> None:
        file.write_text(f'[users.alice]\npassword = "{hash_password(text, 12, 1)}"\n')
        gateway.reload()

    password(PASSWORD)
    stream = Open(client, basic("alice", PASSWORD))
    await stream.until(b"nothing new")
    password("something else")
    assert (await stream.end()).code == 200
    assert (await client("GET", EVENTS, headers=basic("alice", PASSWORD))).code == 401


class TestByTheClock:
    @pytest.fixture
    def recheck_secs(self) -> float:
        return 0.1

    async def test_of_a_token_that_expires(self, client: Client, gateway: Gateway, file: Path) -> None:
        alice, bob = Open(client, bearer(TOKEN)), Open(client, bearer(OTHER))
        await alice.until(b"nothing new")
        await bob.until(b"nothing new")
        # Only now that it reads: nobody knows how long it takes until then.
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1.0)
        file.write_text(
            entry("alice", TOKEN, expires=f", expires = {end.isoformat()}") + entry("bob", OTHER)
        )
        gateway.reload()
        assert (await alice.end()).code == 200
        assert datetime.datetime.now(datetime.UTC) >= end
        await bob.until(b"nothing new")
        await gateway.requests.drain(1)
        await bob.end()
