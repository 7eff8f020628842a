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

_LARGEST = 16 * 1024 * 1024


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
    """Who there is, by name; identities with password hashes by name, tokens by their hash."""

    passwords: Mapping[str, tuple[Identity, PasswordHash]]
    tokens: Mapping[str, Token]
    identities: Mapping[str, Identity] = {}


def read_users(path: Path) -> Users:
    """Raises :class:`Invalid` with the file and what is wrong in it; never with a secret."""
    data = read_private(path, "the credentials file")
    try:
        return parse_users(data.decode())
    except UnicodeDecodeError:
        raise Invalid(f"the credentials file {path} is not UTF-8") from None
    except ValueError as error:
        raise Invalid(f"the credentials file {path} is wrong: {error}") from None


def read_private(path: Path, what: str) -> bytes:
    """Returns the bytes of a file that holds secrets; raises :class:`Invalid`.

    Others may not read it, nor may its group write it: whoever writes it is whoever he wants to be.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise Invalid(f"{what} {path} is not a file of at most {_LARGEST} bytes")
            if found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise Invalid(
                    f"{what} {path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); "
                    f"run chmod g-w,o-rwx {path}"
                )
            return file.read()
    except OSError as error:
        raise Invalid(f"{what} {path} cannot be read: {error.strerror}") from None


def parse_users(text: str) -> Users:
    """Raises ``ValueError`` saying which user's entry is wrong, and how."""
    try:
        found = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    passwords: dict[str, tuple[Identity, PasswordHash]] = {}
    tokens: dict[str, Token] = {}
    identities: dict[str, Identity] = {}
    for name, entry in found.users.items():
        identity = identities[name] = _identity(name, entry)
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
    return Users(passwords, tokens, identities)


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
