"""The credentials file: users, their roles, the hashes of their passwords and tokens (TOML)."""

from __future__ import annotations

import datetime
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from framework.model.errors import Invalid
from framework.model.jobs import check_segment
from gateway.auth.identity import Identity
from gateway.auth.passwords import PasswordHash, check_token_hash, parse_hash


class TokenEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``hash``: ``sha256:…``; ``expires``: TOML's date or date-time, from which it is refused (UTC)."""

    hash: str
    expires: Any = None


class UserEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table ``[users.NAME]`` of the file."""

    password: str | None = None
    tokens: tuple[TokenEntry, ...] = ()
    roles: tuple[str, ...] = ()
    admin: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    users: dict[str, UserEntry] = {}


class Token(msgspec.Struct, frozen=True):
    """A token's owner; ``expires`` in seconds since the epoch."""

    owner: Identity
    expires: float | None


class Users(msgspec.Struct, frozen=True):
    """Who there is: identities with password hashes by name, tokens by their hash."""

    passwords: Mapping[str, tuple[Identity, PasswordHash]]
    tokens: Mapping[str, Token]


def read_users(path: Path) -> Users:
    """Raises :class:`Invalid` with the file and what is wrong in it; never with a secret."""
    try:
        mode = os.stat(path).st_mode
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"the credentials file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid(f"the credentials file {path} is not UTF-8") from None
    if mode & stat.S_IRWXO:
        raise Invalid(f"the credentials file {path} is open to everybody; run chmod o-rwx {path}")
    try:
        return parse_users(text)
    except ValueError as error:
        raise Invalid(f"the credentials file {path} is wrong: {error}") from None


def parse_users(text: str) -> Users:
    """Raises ``ValueError`` saying which user's entry is wrong, and how."""
    try:
        found = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    passwords: dict[str, tuple[Identity, PasswordHash]] = {}
    tokens: dict[str, Token] = {}
    for name, entry in found.users.items():
        identity = _identity(name, entry)
        try:
            if entry.password is not None:
                passwords[name] = (identity, parse_hash(entry.password))
            for token in entry.tokens:
                digest = check_token_hash(token.hash)
                if digest in tokens:
                    raise ValueError("another entry has the same one")
                tokens[digest] = Token(identity, _moment(token.expires))
        except ValueError as error:
            raise ValueError(f"a password or token of user {name!r}: {error}") from None
    return Users(passwords, tokens)


def _identity(name: str, entry: UserEntry) -> Identity:
    try:
        check_segment("user", name)
        for role in entry.roles:
            check_segment("role", role)
    except Invalid as error:
        raise ValueError(str(error)) from None
    return Identity(name, frozenset(entry.roles), entry.admin)


def _moment(expires: Any) -> float | None:
    if expires is None:
        return None
    if not isinstance(expires, datetime.date):
        raise ValueError("expires is a date or a date-time of TOML, such as 2030-01-01, without quotes")
    if isinstance(expires, datetime.datetime):
        moment = expires
    else:
        moment = datetime.datetime.combine(expires, datetime.time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
