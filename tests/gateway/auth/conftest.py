"""A gateway that asks who is calling, over the real scheduler of the API tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit import Lines
from gateway.auth.access import Access
from gateway.auth.authenticators import make_authenticators
from gateway.auth.passwords import hash_password, hash_token, new_token
from gateway.context import Gateway
from gateway.options import Options
from gateway.pool import Mode
from tests.gateway.api.conftest import *  # noqa: F403 -- fixtures

TOKENS = {name: new_token() for name in ("alice", "bob", "admin", "old")}
PASSWORD = "correct horse"


@pytest.fixture
def mode() -> Mode:
    return "thread"


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def entry(name: str, more: str, expires: str = "") -> str:
        token = f'{{ hash = "{hash_token(TOKENS[name])}"{expires} }}'
        return f"[users.{name}]\ntokens = [{token}]\n{more}\n"

    path = tmp_path_factory.mktemp("auth") / "users.toml"
    path.write_text(
        entry("alice", f'roles = ["www-data"]\npassword = "{hash_password(PASSWORD, 12, 1)}"')
        + entry("bob", f'roles = ["ops"]\npassword = "{hash_password(PASSWORD, 12, 1)}"')
        + entry("admin", "admin = true")
        + entry("old", 'roles = ["www-data"]', ", expires = 2020-01-01")
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def reading() -> str:
    return "own"


def standing_still() -> float:
    """A clock by which nobody is let in again after wrong credentials, however long a test takes."""
    return 0.0


@pytest.fixture
def access(file: Path, reading: str) -> Iterator[Access]:
    made = make_authenticators(Options(auth=("tokens", "basic"), auth_file=file))
    access = Access(made, reading, clock=standing_still)  # type: ignore[arg-type]
    yield access
    access.close()


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def gateway(open_gateway: Gateway, access: Access, audit_file: Path) -> Iterator[Gateway]:
    lines = Lines(str(audit_file))
    open_gateway.access = access
    open_gateway.audit = lines
    yield open_gateway
    lines.close()


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def audited(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
