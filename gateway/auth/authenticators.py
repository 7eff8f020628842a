"""What turns an Authorization header into an identity. Others come by entry point.

A distribution that names a factory under ``mesos_gateway.authenticators`` adds one to ``--auth``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import msgspec

from framework.model.errors import Invalid, Unauthorized, Unavailable
from gateway.auth.identity import Identity
from gateway.auth.passwords import PasswordHash, hash_password, hash_token
from gateway.auth.users import Users, read_users

GROUP = "mesos_gateway.authenticators"
_REMEMBERED = 1024
_REMEMBER_SECS = 60.0
_MOST_WAITING = 32
_MOST_TEXT = 4096


class Credentials(msgspec.Struct, frozen=True):
    """An Authorization header: ``scheme`` in lower case, and what follows it."""

    scheme: str
    value: str


class Authenticator(Protocol):
    """``challenge`` is what WWW-Authenticate says to whoever comes without credentials."""

    challenge: str

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Returns the identity; None for a scheme of others. Raises :class:`Unauthorized`."""

    def reload(self) -> None:
        """Reads its settings anew; raises :class:`Invalid` and keeps the old ones."""

    def close(self) -> None: ...


class UserFile:
    """The credentials file as it was when last read without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.users: Users = read_users(path)

    def reload(self) -> None:
        self.users = read_users(self._path)


class TokenAuthenticator:
    """``Authorization: Bearer TOKEN``."""

    challenge = 'Bearer realm="mesos-gateway"'

    def __init__(self, file: UserFile, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "bearer":
            return None
        digest = hash_token(credentials.value[:_MOST_TEXT])
        # Found by its hash, of which an attacker cannot choose the beginning: time tells nothing.
        token = self._file.users.tokens.get(digest)
        if token is None:
            raise Unauthorized("the token is not known")
        if token.expires is not None and token.expires <= self._clock():
            raise Unauthorized("the token has expired")
        return token.owner

    def reload(self) -> None:
        self._file.reload()

    def close(self) -> None:
        """Nothing is held."""


class BasicAuthenticator:
    """``Authorization: Basic base64(user:password)``, checked in threads.

    A password that was right is remembered for a minute, under a key that lives as long as this
    process; one that was wrong costs its full time again, also for a user who does not exist.
    """

    challenge = 'Basic realm="mesos-gateway", charset="UTF-8"'

    def __init__(self, file: UserFile) -> None:
        self._file = file
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = hash_password(secrets.token_hex())
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="passwords")
        self._waiting = 0

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "basic":
            return None
        user, password = read_basic(credentials.value)
        identity, stored = self._file.users.passwords.get(user, (None, self._decoy))
        if not await self._matches(user, password, stored) or identity is None:
            raise Unauthorized("the user name or the password is wrong")
        return identity

    async def _matches(self, user: str, password: str, stored: PasswordHash) -> bool:
        text = "\0".join((user, password, str(stored))).encode("utf-8", "surrogatepass")
        name = hmac.digest(self._key, text, hashlib.sha256)
        if self._known.get(name, 0.0) > time.monotonic():
            return True
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("too many passwords are being checked", retry_after=1)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._threads, stored.matches, password)
        finally:
            self._waiting -= 1
        if right:
            self._known[name] = time.monotonic() + _REMEMBER_SECS
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return right

    def reload(self) -> None:
        self._file.reload()
        self._known.clear()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def read_basic(value: str) -> tuple[str, str]:
    """Returns user and password of Basic credentials; raises :class:`Unauthorized`."""
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:  # not ASCII, not base64, not UTF-8
        raise Unauthorized("the Authorization header is not Basic base64(user:password)") from None
    user, colon, password = text.partition(":")
    if not colon or len(text) > _MOST_TEXT:
        raise Unauthorized("the Authorization header is not Basic base64(user:password)")
    return user, password


def make_authenticators(names: tuple[str, ...], path: Path | None) -> tuple[Authenticator, ...]:
    """Returns the authenticators of ``--auth``; raises :class:`Invalid` for what cannot be had."""
    found: list[Authenticator] = []
    file: UserFile | None = None
    for name in names:
        if name not in ("tokens", "basic"):
            found.append(_from_entry_point(name))
            continue
        if path is None:
            raise Invalid(f"--auth {name} needs --auth-file, the file with the users")
        file = file or UserFile(path)
        found.append(TokenAuthenticator(file) if name == "tokens" else BasicAuthenticator(file))
    return tuple(found)


def _from_entry_point(name: str) -> Authenticator:
    factories = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in factories:
        known = ", ".join(["none", "tokens", "basic", *sorted(factories)])
        raise Invalid(f"--auth {name}: there is no such authenticator; known are {known}")
    made: Authenticator = factories[name].load()()
    return made
