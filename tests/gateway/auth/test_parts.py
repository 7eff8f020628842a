"""Passwords, tokens, the credentials file, buckets, identities."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model.errors import Forbidden, Invalid, NotFound, Unauthorized
from gateway.auth.__main__ import main
from gateway.auth.access import Access
from gateway.auth.authenticators import make_authenticators, read_basic
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.auth.passwords import hash_password, hash_token, new_token, parse_hash
from gateway.auth.rates import Buckets, Rate
from gateway.auth.users import parse_users, read_users

HASH = hash_password("s3cret")
TOKEN = new_token()


def test_a_hash_is_read_as_it_is_written_and_knows_its_password() -> None:
    again = parse_hash(str(HASH))
    assert again == HASH
    assert again.matches("s3cret")
    assert not again.matches("s3cret ")
    assert not again.matches("")
    assert hash_password("s3cret") != HASH


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3cret", "bin/credentials makes one"),
        ("scrypt$14$8$1$$", "bin/credentials makes one"),
        ("bcrypt" + str(HASH)[6:], "bin/credentials makes one"),
        (str(HASH).replace("$14$", "$30$"), "out of bounds"),
        (str(HASH).replace("$14$", "$1$"), "out of bounds"),
    ],
)
def test_what_is_no_hash_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_hash(text)


def test_the_file_names_users_roles_and_tokens() -> None:
    users = parse_users(
        f"""
        [users.alice]
        password = "{HASH}"
        roles = ["www-data", "ops"]
        tokens = [{{ hash = "{hash_token(TOKEN)}", expires = 2030-01-01 }}]
        [users.root]
        admin = true
        """
    )
    alice = Identity("alice", frozenset({"www-data", "ops"}))
    assert users.passwords["alice"] == (alice, HASH)
    token = users.tokens[hash_token(TOKEN)]
    assert token.owner == alice
    assert token.expires == datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC).timestamp()
    assert "root" not in users.passwords


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("users = 3", "users"),
        ("[users.alice", "not TOML"),
        ("[users.alice]\npasword = 'x'", "pasword"),
        ("[users.alice]\npassword = 'hunter2'", "user 'alice'"),
        ("[users.alice]\ntokens = [{hash = 'mg_secret'}]", "user 'alice'"),
        ("[users.'a b']", "not a valid name"),
        ("[users.alice]\nroles = ['../x']", "not a valid name"),
        (
            "[users.a]\ntokens = [{{hash = '{0}'}}]\n[users.b]\ntokens = [{{hash = '{0}'}}]".format(
                hash_token(TOKEN)
            ),
            "another entry has the same one",
        ),
    ],
)
def test_a_file_that_is_wrong_says_where_and_shows_no_secret(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_users(text)
    assert "hunter2" not in str(caught.value)
    assert "mg_secret" not in str(caught.value)


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    path.write_text("[users.alice]\n")
    path.chmod(0o644)
    with pytest.raises(Invalid, match="chmod o-rwx"):
        read_users(path)
    path.chmod(0o640)
    assert not read_users(path).tokens


def test_an_authenticator_needs_its_file_and_must_exist(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="--auth-file"):
        make_authenticators(("tokens",), None)
    with pytest.raises(Invalid, match="known are none, tokens, basic"):
        make_authenticators(("kerberos",), None)


@given(st.text(max_size=60))
def test_any_basic_credentials_are_a_pair_or_refused(value: str) -> None:
    try:
        user, password = read_basic(value)
    except Unauthorized:
        return
    assert isinstance(user, str)
    assert isinstance(password, str)


@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=200),
)
def test_a_bucket_never_lets_more_through_than_its_rate(
    per_second: int, burst: int, pauses: list[float]
) -> None:
    buckets = Buckets(Rate(per_second, burst))
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        wait = buckets.take("a", now)
        passed += not wait
        assert passed <= burst + per_second * now + 1e-6
        if wait:
            assert buckets.wait("a", now + wait + 1e-6) == pytest.approx(0, abs=1e-4)


def test_buckets_are_bounded_and_apart() -> None:
    buckets = Buckets(Rate(1, 1), most=3)
    assert [buckets.take(name, 0) > 0 for name in "aab"] == [False, True, False]
    for name in "cdefg":
        buckets.take(name, 0)
    assert len(buckets) == 3


ALICE = Identity("alice", frozenset({"www-data"}))


@pytest.mark.parametrize(
    ("who", "reading", "kind", "role", "refused"),
    [
        (ANONYMOUS, "own", "change", "ops", None),
        (ALICE, "own", "change", "www-data", None),
        (ALICE, "own", "read", "ops", NotFound),
        (ALICE, "own", "change", "ops", NotFound),
        (ALICE, "own", "create", "ops", Forbidden),
        (ALICE, "any", "read", "ops", None),
        (ALICE, "any", "change", "ops", Forbidden),
        (ALICE, "any", "create", "ops", Forbidden),
        (Identity("root", admin=True), "own", "change", "ops", None),
    ],
)
def test_a_roles_jobs_belong_to_it(
    who: Identity, reading: str, kind: str, role: str, refused: type[Exception] | None
) -> None:
    access = Access(reading=reading)  # type: ignore[arg-type]
    if refused is None:
        access.check(who, kind, f"c/{role}/e/n", role)  # type: ignore[arg-type]
        return
    with pytest.raises(refused):
        access.check(who, kind, f"c/{role}/e/n", role)  # type: ignore[arg-type]


def test_the_command_makes_what_the_file_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["token"]) == 0
    token, line = capsys.readouterr().out.splitlines()
    assert hash_token(token) in parse_users("[users.alice]\n" + line).tokens
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\n"))
    assert main(["password"]) == 0
    _, stored = parse_users("[users.alice]\n" + capsys.readouterr().out).passwords["alice"]
    assert stored.matches("pass word")
    assert main(["nonsense"]) == 2
    assert "usage" in capsys.readouterr().err
