"""Passwords, tokens, the credentials file, buckets, identities."""

from __future__ import annotations

import asyncio
import base64
import datetime
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model.errors import Forbidden, Invalid, NotFound, Unauthorized
from gateway.auth.__main__ import main
from gateway.auth.access import Access
from gateway.auth.authenticators import (
    BasicAuthenticator,
    Credentials,
    UserFile,
    make_authenticators,
    read_basic,
)
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.auth.passwords import (
    PasswordHash,
    decoy,
    hash_password,
    hash_token,
    new_token,
    parse_hash,
)
from gateway.auth.rates import Buckets, Rate
from gateway.auth.users import parse_users, read_users
from gateway.options import Options

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
        ("scrypt$15$8$3$$", "bin/credentials makes one"),
        ("bcrypt" + str(HASH)[6:], "bin/credentials makes one"),
        (str(HASH).replace("$15$", "$30$"), "out of bounds"),
        (str(HASH).replace("$15$", "$1$"), "out of bounds"),
        (str(HASH).replace("$15$8$", "$16$1$"), "out of bounds"),
    ],
    ids=["plain", "empty", "bcrypt", "costs too much", "costs too little", "blocks too small"],
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


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "users.toml"
    path.write_text("[users.alice]\n")
    path.chmod(mode)
    with pytest.raises(Invalid, match=f"mode {mode:04o}.; run chmod g-w,o-rwx"):
        read_users(path)
    path.chmod(0o640)
    assert not read_users(path).tokens


def test_an_authenticator_needs_its_file_and_must_exist() -> None:
    with pytest.raises(Invalid, match="--auth-file"):
        make_authenticators(Options(auth=("tokens",)))
    with pytest.raises(Invalid, match="known are none, tokens, basic"):
        make_authenticators(Options(auth=("kerberos",)))
    assert make_authenticators(Options()) == ()
    with pytest.raises(Invalid, match=r"users\.toml names users, but nobody is asked"):
        make_authenticators(Options(auth_file=Path("users.toml")))


def test_an_authenticator_may_come_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed distribution, as importlib.metadata finds it; its own name wins over nobody's."""
    (tmp_path / "house_login.py").write_text(
        """
from framework.model.errors import Unauthorized
from gateway.auth.identity import Identity

class House:
    challenge = 'House realm="x"'
    def __init__(self, options):
        self.roles = frozenset({options.cluster_name})
    def recall(self, credentials):
        return None
    async def authenticate(self, credentials):
        if credentials.scheme != "house":
            return None
        if credentials.value != "open sesame":
            raise Unauthorized("that is not it")
        return Identity("guest", self.roles)
    def reload(self): pass
    def close(self): pass
"""
    )
    about = tmp_path / "house_login-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: house-login\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[mesos_gateway.authenticators]\nhouse = house_login:House\ntokens = house_login:House\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    access = Access(make_authenticators(Options(auth=("house",), cluster_name="west")))

    def admit(header: str) -> Identity:
        return asyncio.run(access.admit({"Authorization": header}, "192.0.2.1", "read"))

    assert admit("House open sesame") == Identity("guest", frozenset({"west"}))
    with pytest.raises(Unauthorized, match="that is not it") as refused:
        admit("House mouse")
    assert refused.value.challenges == ('House realm="x"',)
    with pytest.raises(Unauthorized, match="of this kind"):
        admit("Bearer x")
    with pytest.raises(Invalid, match="known are none, tokens, basic, house"):
        make_authenticators(Options(auth=("mouse",)))
    with pytest.raises(Invalid, match="--auth-file"):
        make_authenticators(Options(auth=("tokens",)))


def test_a_password_is_remembered_for_some_time(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    path.touch(mode=0o600)

    def write(password: str) -> None:
        path.write_text(f'[users.alice]\npassword = "{hash_password(password, 10, 1)}"\n')

    def credentials(password: str) -> Credentials:
        return Credentials("basic", base64.b64encode(f"alice:{password}".encode()).decode())

    write("first one")
    now = 1000.0
    basic = BasicAuthenticator(UserFile(path), lambda: now)
    try:
        right = credentials("first one")
        assert basic.recall(right) is None
        assert asyncio.run(basic.authenticate(right)) == Identity("alice")
        assert basic.recall(right) == Identity("alice")
        assert basic.recall(credentials("first two")) is None
        basic.reload()
        assert basic.recall(right) == Identity("alice")
        now += 3600
        assert basic.recall(right) is None
        assert asyncio.run(basic.authenticate(right)) == Identity("alice")
        write("second one")
        basic.reload()
        assert basic.recall(right) is None
        with pytest.raises(Unauthorized):
            asyncio.run(basic.authenticate(right))
    finally:
        basic.close()


def test_a_decoy_costs_as_much_as_the_costliest_and_matches_nothing() -> None:
    costly = hash_password("s3cret", 12, 2)
    assert decoy(costly).cost == costly.cost
    assert not decoy(costly).matches("s3cret")
    assert decoy(None).cost == HASH.cost


@pytest.mark.parametrize(
    ("log2_n", "r", "p"), [(10, 16, 8), (10, 1, 1), (15, 1, 1), (17, 2, 1), (15, 8, 3)]
)
def test_a_hash_of_any_cost_that_is_taken_can_be_checked(log2_n: int, r: int, p: int) -> None:
    stored = parse_hash(str(PasswordHash(log2_n, r, p, b"salt", b"k" * 32)))
    assert not stored.matches("s3cret")


def test_letters_typed_as_other_code_points_are_the_same_password() -> None:
    assert hash_password("Zo\u00eb's secret", 10, 1).matches("Zoe\u0308's secret")


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
    for wrong in ("", "seven77", "x" * 1025):
        monkeypatch.setattr("sys.stdin", io.StringIO(wrong + "\n"))
        assert main(["password"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert (
            said.err == "bin/credentials: a password has at least 8 characters, and at most 1024 bytes\n"
        )
    assert main(["nonsense"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(("again", "code"), [("correct horse", 0), ("correct house", 2)])
def test_a_terminal_is_asked_twice(again: str, code: int) -> None:
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "gateway.auth", "password"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert command.stderr is not None
        for prompt, answer in (("Password: ", "correct horse"), ("Once more: ", again)):
            shown = ""
            while not shown.endswith(prompt):
                piece = os.read(command.stderr.fileno(), 100).decode()
                assert piece, shown
                shown += piece
            os.write(ours, answer.encode() + b"\n")
        out, error = command.communicate(timeout=30)
    finally:
        command.kill()
        command.wait()
        os.close(ours)
        os.close(theirs)
    assert command.returncode == code
    assert (b'password = "scrypt$' in out) is (code == 0)
    assert (b"two different passwords" in error) is (code == 2)
