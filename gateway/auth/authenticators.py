"""What turns credentials (an Authorization header, a token) into an identity. Others by entry point.

A distribution that names a factory under ``mesos_gateway.authenticators`` adds one to ``--auth``: a
function of :class:`gateway.options.Options` that returns an :class:`Authenticator`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from framework.model.errors import Invalid, Unauthorized, Unavailable
from gateway.auth.identity import Identity
from gateway.auth.passwords import PasswordHash, decoy, hash_token
from gateway.auth.users import Token, Users, read_users

if TYPE_CHECKING:
    from gateway.options import Options

OWN = ("tokens", "basic")
GROUP = "mesos_gateway.authenticators"
_REMEMBERED = 1024
_REMEMBER_SECS = 300.0
_AT_ONCE = 2
_MOST_WAITING = 32
_MOST_TEXT = 4096


class Credentials(msgspec.Struct, frozen=True):
    """An Authorization header: ``scheme`` in lower case, and what follows it."""

    scheme: str
    value: str


class Authenticator(Protocol):
    """``challenge`` is what WWW-Authenticate says to whoever comes without credentials."""

    challenge: str

    def recall(self, credentials: Credentials) -> Identity | None:
        """Returns the identity if that costs nothing to say, None if it has to be found out."""

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Returns the identity; None for a scheme of others. Raises :class:`Unauthorized`."""

    def reload(self) -> None:
        """Reads its settings anew; raises :class:`Invalid` and keeps the old ones."""

    def close(self) -> None:
        """Ends what it has started."""


@runtime_checkable
class Directory(Protocol):
    """An authenticator that knows all users by name."""

    def find(self, user: str) -> Identity | None:
        """Returns the user of this name, None for nobody."""


@runtime_checkable
class Issuer(Protocol):
    """An authenticator whose tokens are made elsewhere, at ``issuer`` (a URL): none are made here."""

    issuer: str


class UserFile:
    """The credentials file as it was when last read without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.users: Users = read_users(path)

    def reload(self) -> None:
        self.users = read_users(self._path)


class TokenAuthenticator:
    """``Authorization: Bearer TOKEN`` or ``X-Auth-Token: TOKEN``. What has two dots is a JWT."""

    challenge = 'Bearer realm="mesos-gateway"'

    def __init__(self, file: UserFile, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "bearer" or credentials.value.count(".") == 2:
            return None
        token = self._find(credentials)
        if token is None:
            raise Unauthorized("the token is not known")
        if self._expired(token):
            raise Unauthorized("the token has expired")
        return token.owner

    def recall(self, credentials: Credentials) -> Identity | None:
        token = self._find(credentials)
        return None if token is None or self._expired(token) else token.owner

    def _find(self, credentials: Credentials) -> Token | None:
        if credentials.scheme != "bearer" or len(credentials.value) > _MOST_TEXT:
            return None
        # Found by its hash, of which an attacker cannot choose the beginning: time tells nothing.
        return self._file.users.tokens.get(hash_token(credentials.value))

    def _expired(self, token: Token) -> bool:
        return token.expires is not None and token.expires <= self._clock()

    def find(self, user: str) -> Identity | None:
        return self._file.users.identities.get(user)

    def reload(self) -> None:
        self._file.reload()

    def close(self) -> None:
        """Nothing is held."""


class BasicAuthenticator:
    """``Authorization: Basic base64(user:password)``, checked in threads.

    A password that was right is remembered for some minutes, under a key that lives as long as this
    process; one that was wrong costs its full time again, also for a user who does not exist. The
    same one is never worked on twice at once. ``clock`` is monotonic.
    """

    challenge = 'Basic realm="mesos-gateway", charset="UTF-8"'

    def __init__(self, file: UserFile, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords")
        self._decoy = self._make_decoy()

    def _make_decoy(self) -> PasswordHash:
        """Returns what a user who does not exist is checked against: it costs as much as any."""
        stored = [password for _, password in self._file.users.passwords.values()]
        return decoy(max(stored, key=lambda one: one.cost, default=None))

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "basic":
            return None
        user, password = read_basic(credentials.value)
        users = self._file.users
        identity, stored = users.passwords.get(user, (None, self._decoy))
        right = await self._matches(self._name(user, password, stored), password, stored)
        if users is not self._file.users:
            # The file was read again meanwhile, and may know better.
            return await self.authenticate(credentials)
        if not right or identity is None:
            raise Unauthorized("the user name or the password is wrong")
        return identity

    def recall(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "basic":
            return None
        try:
            user, password = read_basic(credentials.value)
        except Unauthorized:
            return None
        identity, stored = self._file.users.passwords.get(user, (None, self._decoy))
        return identity if self._remembered(self._name(user, password, stored)) else None

    def _name(self, user: str, password: str, stored: PasswordHash) -> bytes:
        text = "\0".join((user, password, str(stored))).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)

    def _remembered(self, name: bytes) -> bool:
        return self._known.get(name, -math.inf) > self._clock()

    async def _matches(self, name: bytes, password: str, stored: PasswordHash) -> bool:
        if self._remembered(name):
            return True
        running = self._running.get(name)
        if running is None:
            if len(self._running) >= _AT_ONCE + _MOST_WAITING:
                raise Unavailable("too many passwords are being checked", retry_after=1)
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, stored.matches, password)
            self._running[name] = running
            running.add_done_callback(lambda _: self._running.pop(name))
        # Whoever goes away does not take the answer from the others.
        right = await asyncio.shield(running)
        if right:
            self._known[name] = self._clock() + _REMEMBER_SECS
            self._known.move_to_end(name)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return right

    def find(self, user: str) -> Identity | None:
        return self._file.users.identities.get(user)

    def reload(self) -> None:
        self._file.reload()
        # What is remembered goes with the stored hash: another hash is not remembered.
        self._decoy = self._make_decoy()

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


def make_authenticators(options: Options) -> tuple[Authenticator, ...]:
    """Returns the authenticators of ``--auth``; raises :class:`Invalid` for what cannot be had."""
    found: list[Authenticator] = []
    file: UserFile | None = None
    if options.auth_file is not None and set(options.auth) <= {"none"}:
        raise Invalid(
            f"--auth-file {options.auth_file} names users, but nobody is asked who they are: "
            "add --auth tokens, --auth basic or --auth tokens,basic"
        )
    for name in options.auth:
        if name == "none":
            continue
        if name not in OWN:
            found.append(_from_entry_point(name, options))
            continue
        if options.auth_file is None:
            raise Invalid(f"--auth {name} needs --auth-file, the file with the users")
        file = file or UserFile(options.auth_file)
        found.append(TokenAuthenticator(file) if name == "tokens" else BasicAuthenticator(file))
    return tuple(found)


def _from_entry_point(name: str, options: Options) -> Authenticator:
    entries = [entry for entry in entry_points(group=GROUP) if entry.name not in ("none", *OWN)]
    chosen = [entry for entry in entries if entry.name == name]
    if not chosen:
        known = ", ".join(["none", *OWN, *sorted({entry.name for entry in entries})])
        raise Invalid(f"--auth {name}: there is no such authenticator; known are {known}")
    if len(chosen) > 1:
        several = ", ".join(sorted(entry.value for entry in chosen))
        raise Invalid(f"--auth {name}: there are several authenticators of this name: {several}")
    made: Authenticator = chosen[0].load()(options)
    return made
