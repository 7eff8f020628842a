"""Signed tokens: whom they name, and what is not believed."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from framework.model.errors import Forbidden, Invalid, Unauthorized
from gateway.auth.__main__ import main
from gateway.auth.access import Access, credentials_of
from gateway.auth.authenticators import Credentials, TokenAuthenticator, UserFile, make_authenticators
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.auth.passwords import hash_token, new_token
from gateway.auth.signed import new_key, script_identity, script_token, sign, verify
from gateway.auth.web_tokens import WebTokenAuthenticator
from gateway.options import Options

SECRET = "0123456789abcdef" * 3


def signed_token(secret: str, who: str, /, *names: str, **claims: Any) -> str:
    """A token of ``who`` for an hour, with ROLE_USER and these roles."""
    found = {
        "user": who,
        "roles": ["ROLE_USER", *names],
        "exp": int(time.time()) + 3600,
        **claims,
    }
    return jwt.encode({k: v for k, v in found.items() if v is not None}, secret, algorithm="HS256")


def key_file(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.fixture
def authenticator(tmp_path: Path) -> WebTokenAuthenticator:
    return WebTokenAuthenticator(key_file(tmp_path / "key", SECRET), "HS256")


def ask(authenticator: WebTokenAuthenticator, token: str) -> Identity | None:
    """What is remembered is what is found out."""
    credentials = Credentials("bearer", token)
    found = asyncio.run(authenticator.authenticate(credentials))
    assert authenticator.recall(credentials) == found
    return found


def test_a_token_names_its_user_and_roles(authenticator: WebTokenAuthenticator) -> None:
    token = signed_token(SECRET, "alice", "www-data", "ROLE_OTHER")
    assert ask(authenticator, token) == Identity("alice", frozenset({"www-data"}))
    admin = ask(authenticator, signed_token(SECRET, "root", "ROLE_ADMIN"))
    assert admin is not None
    assert admin.admin
    of_subject = signed_token(SECRET, "", user=None, sub="carol")
    assert ask(authenticator, of_subject) == Identity("carol")


def b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(header: dict[str, Any]) -> str:
    claims = {"user": "eve", "roles": ["ROLE_USER", "ROLE_ADMIN"], "exp": 2**31}
    return f"{b64(header)}.{b64(claims)}."


@pytest.mark.parametrize(
    "token",
    [
        signed_token("x" * 48, "eve"),
        signed_token(SECRET, "alice", exp=1),
        signed_token(SECRET, "alice", exp=None),
        signed_token(SECRET, "alice", exp="never"),
        signed_token(SECRET, "alice", exp=float("inf")),
        signed_token(SECRET, "alice", exp=[]),
        signed_token(SECRET, "alice", nbf=2**40),
        signed_token(SECRET, "../root"),
        signed_token(SECRET, "alice", user=7),
        signed_token(SECRET, "alice", user=None),
        signed_token(SECRET, "alice", roles="ROLE_USER"),
        signed_token(SECRET, "alice", aud="somebody else"),
        jwt.encode({"user": "alice", "exp": 2**31}, SECRET * 2, algorithm="HS512"),
        forged({"alg": "none"}),
        forged({"alg": "None"}),
        forged({"alg": "HS256"}),
        forged({"alg": []}),
        forged({}),
        "..",
        "a.b.c",
        "é.ü.ö",
        base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
        "a" * 10_000 + "..",
        signed_token(SECRET, "alice")[:-2],
    ],
)
def test_what_is_not_believed(authenticator: WebTokenAuthenticator, token: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        ask(authenticator, token)
    assert token[:40] not in str(refused.value)
    assert authenticator.recall(Credentials("bearer", token)) is None


def test_a_token_without_role_user_is_known_and_may_nothing(
    authenticator: WebTokenAuthenticator,
) -> None:
    with pytest.raises(Forbidden, match="lacks ROLE_USER"):
        asyncio.run(
            authenticator.authenticate(
                Credentials("bearer", signed_token(SECRET, "alice", roles=["ROLE_ADMIN"]))
            )
        )


def test_other_credentials_are_for_others(authenticator: WebTokenAuthenticator) -> None:
    assert ask(authenticator, "mg_token") is None
    assert asyncio.run(authenticator.authenticate(Credentials("basic", "a.b.c"))) is None


def test_a_token_for_ever_only_where_the_operator_says_so(tmp_path: Path) -> None:
    lenient = WebTokenAuthenticator(key_file(tmp_path / "key", SECRET), "HS256", needs_expiry=False)
    assert ask(lenient, signed_token(SECRET, "alice", exp=None)) == Identity("alice")
    with pytest.raises(Unauthorized):
        ask(lenient, signed_token(SECRET, "alice", exp=1))


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


def test_a_key_pair_verifies_and_its_public_half_signs_nothing(
    tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    private, public = pair
    path = key_file(tmp_path / "public.pem", public, 0o644)
    authenticator = WebTokenAuthenticator(path, "RS256")
    claims = {"user": "alice", "roles": ["ROLE_USER"], "exp": 2**31}
    assert ask(authenticator, jwt.encode(claims, private, algorithm="RS256")) == Identity("alice")
    # The confusion of algorithms: everybody has the public key, as the secret of an HS256.
    signing_input = f"{b64({'alg': 'HS256'})}.{b64(claims)}"
    import hashlib
    import hmac

    digest = hmac.digest(public, signing_input.encode(), hashlib.sha256)
    confused = f"{signing_input}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    with pytest.raises(Unauthorized):
        ask(authenticator, confused)


def test_keys_that_prove_nothing_are_refused(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    private, public = pair
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    weak = small.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name, text, mode, algorithm, says in (
        ("short", "short", 0o600, "HS256", "at least 32 bytes"),
        ("open", SECRET, 0o644, "HS256", "open to others"),
        ("pem", public, 0o600, "HS256", "RS256"),
        ("private", private, 0o600, "RS256", "not the public key"),
        ("words", SECRET, 0o600, "RS256", "not the public key"),
        ("weak", weak, 0o600, "RS256", "2048"),
        ("written", public, 0o666, "RS256", "written by others"),
    ):
        with pytest.raises(Invalid, match=says):
            WebTokenAuthenticator(key_file(tmp_path / name, text, mode), algorithm)


def test_it_is_chosen_like_any_authenticator(tmp_path: Path) -> None:
    path = key_file(tmp_path / "key", SECRET)
    (made,) = make_authenticators(Options(auth=("jwt",), jwt_key=path))
    assert isinstance(made, WebTokenAuthenticator)
    with pytest.raises(Invalid, match="--jwt-key"):
        make_authenticators(Options(auth=("jwt",)))


def test_both_kinds_of_tokens_together(tmp_path: Path) -> None:
    token = new_token()
    users = key_file(
        tmp_path / "users.toml", f'[users.bob]\ntokens = [{{ hash = "{hash_token(token)}" }}]\n'
    )
    key = key_file(tmp_path / "key", SECRET)
    access = Access([TokenAuthenticator(UserFile(users)), WebTokenAuthenticator(key, "HS256")])

    def admit(**headers: str) -> Identity:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(access.admit(named, "192.0.2.1", "read"))

    for given in (token, signed_token(SECRET, "bob")):
        assert admit(Authorization=f"Bearer {given}").user == "bob"
        assert admit(X_Auth_Token=given).user == "bob"
        assert admit(X_Consul_Token=given).user == "bob"
    with pytest.raises(Unauthorized):
        admit(X_Auth_Token="x.y.z")
    with pytest.raises(Unauthorized, match="X-Auth-Token"):
        admit()
    with pytest.raises(Forbidden):
        admit(X_Auth_Token=signed_token(SECRET, "bob", roles=[]))


def test_headers() -> None:
    assert credentials_of({}) is None
    assert credentials_of({"X-Auth-Token": " "}) is None
    assert credentials_of({"X-Auth-Token": "t", "Authorization": "Basic x"}) == Credentials(
        "bearer", "t"
    )
    assert credentials_of({"Authorization": "x"}) == Credentials("x", "")


# -- scripts ---------------------------------------------------------------------------------------


def test_a_script_is_its_cluster_s_only() -> None:
    key = new_key()
    token = script_token("clusters/u/p/1/1", key, 60)
    identity = script_identity(token, key)
    assert identity.cluster == identity.user == "clusters/u/p/1/1"
    assert not identity.owns("www-data")
    assert not identity.sees("www-data", "any")
    assert not identity.is_trusted
    assert identity.visible_roles("any") == frozenset()
    assert identity.has("u", "clusters/u/p/1/1")
    assert not identity.has("clusters/u/p/1/1", "clusters/u/p/1/2")


def test_its_token_ends_and_is_nobody_else_s() -> None:
    key = new_key()
    past = sign({"cluster": "c"}, key, 60, clock=lambda: time.time() - 3600)
    for token in (past, script_token("c", new_key(), 60), "x", "a.b.c", sign({"user": "u"}, key, 60)):
        with pytest.raises(Unauthorized):
            script_identity(token, key)
    with pytest.raises(Unauthorized):
        # Somebody else's token that the same key had signed.
        verify(jwt.encode({"cluster": "c", "exp": 2**31}, key, algorithm="HS256"), key)
    with pytest.raises(Invalid):
        sign({}, "short", 60)


def test_who_says_to_be_a_script_is_held_to_it_where_nobody_is_asked() -> None:
    key = new_key()
    access = Access(script_key=lambda: key)
    token = script_token("clusters/u/p/1/1", key, 60)

    def admit(headers: dict[str, str]) -> Identity:
        return asyncio.run(access.admit(headers, "127.0.0.1", "change"))

    assert admit({"X-Consul-Token": token}).cluster == "clusters/u/p/1/1"
    assert admit({"X-Consul-Token": token[:-3]}) == ANONYMOUS
    assert admit({}) == ANONYMOUS


def test_the_streams_of_a_script_end_with_its_token() -> None:
    async def run() -> None:
        key = new_key()
        access = Access(script_key=lambda: key, recheck_secs=0.01)
        long, short = script_token("c", key, 3600), script_token("c", key, 1)
        identity = await access.admit({"X-Auth-Token": long}, "127.0.0.1", "read")
        # The same script; the first of its tokens might have ended before it was let in.
        async with asyncio.timeout(60):
            await access.revoked({"X-Auth-Token": short}, identity)
        with pytest.raises(Unauthorized):
            script_identity(short, key)

    asyncio.run(run())


# -- bin/credentials -------------------------------------------------------------------------------


def test_credentials_makes_keys_and_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pair: tuple[bytes, bytes]
) -> None:
    assert main(["key"]) == 0
    path = key_file(tmp_path / "key", capsys.readouterr().out)
    assert main(["sign", str(path), "alice", "www-data"]) == 0
    token = capsys.readouterr().out.strip()
    assert ask(WebTokenAuthenticator(path, "HS256"), token) == Identity("alice", frozenset({"www-data"}))
    private = key_file(tmp_path / "private.pem", pair[0])
    assert main(["sign", str(private), "root", "ROLE_ADMIN"]) == 0
    token = capsys.readouterr().out.strip()
    public = key_file(tmp_path / "public.pem", pair[1])
    assert ask(WebTokenAuthenticator(public, "RS256"), token) == Identity("root", admin=True)
    assert main(["sign", str(tmp_path / "absent"), "alice"]) == 2
    assert main(["sign", str(path), "../x"]) == 2
    assert "bin/credentials:" in capsys.readouterr().err
