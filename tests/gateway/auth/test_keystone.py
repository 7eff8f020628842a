"""``--auth keystone`` before a real Keystone: whose a token is, for how long, and what is none."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from framework.model.errors import Invalid, Unauthorized, Unavailable
from gateway.auth.authenticators import Credentials
from gateway.auth.identity import Identity
from gateway.auth.keystone import KeystoneAuthenticator, Service, make, read_token
from gateway.options import Options
from tests.gateway.auth.test_server import make_certificate
from tests.keystone import PASSWORD, Keystone, TlsFront

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


def test_a_keystone_behind_an_authority_of_its_own(
    real_keystone: Keystone, alice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Believed with ``--keystone-ca``, and not without it or with another one's."""
    text = real_keystone.token("alice", ALICE, "red")
    (tmp_path / "other").mkdir()
    certificate, key = make_certificate(tmp_path, "keystone")
    foreign, _ = make_certificate(tmp_path / "other", "other")
    front = TlsFront(real_keystone, certificate, key)

    async def believed(authenticator: KeystoneAuthenticator) -> None:
        assert await authenticator.authenticate(bearer(text))
        certificate.write_text("no PEM")
        authenticator.reload()
        assert "cannot be used" in caplog.text
        assert await authenticator.authenticate(bearer(text))
        certificate.write_bytes(foreign.read_bytes())
        authenticator.reload()
        await unbelieved(authenticator)

    async def unbelieved(authenticator: KeystoneAuthenticator) -> None:
        with pytest.raises(Unavailable, match=r"is not believed: .*; --keystone-ca names the auth"):
            await authenticator.authenticate(bearer(text))

    try:
        with_authenticator(service(real_keystone, url=front.url), unbelieved)
        with_authenticator(service(real_keystone, url=front.url, ca=foreign), unbelieved)
        with_authenticator(service(real_keystone, url=front.url, ca=certificate), believed)
    finally:
        front.close()


def test_a_keystone_that_hangs_up_is_not_there() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.close()

    async def use(authenticator: KeystoneAuthenticator) -> None:
        server = await asyncio.start_server(hang_up, sock=listener)
        async with server:
            with pytest.raises(Unavailable, match="cannot be reached: Stream closed"):
                await authenticator.authenticate(bearer("x"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v3"
        with_authenticator(Service(url, "u", "p", "service"), use)


def test_its_authorities_are_read_at_the_start(tmp_path: Path) -> None:
    password, authorities = tmp_path / "password", tmp_path / "ca.pem"
    password.touch(mode=0o600)
    password.write_text("s3cret")

    def options(ca: Path) -> Options:
        return Options(
            auth=("keystone",),
            keystone_url="https://keystone/v3",
            keystone_password_file=password,
            keystone_ca=ca,
        )

    with pytest.raises(Invalid, match=r"--keystone-ca .*/ca.pem cannot be used: No such file"):
        make(options(authorities))
    authorities.write_text("no PEM")
    with pytest.raises(Invalid, match=r"--keystone-ca .*/ca.pem cannot be used: not PEM"):
        make(options(authorities))
    certificate, _ = make_certificate(tmp_path, "keystone")
    make(options(certificate)).close()


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
