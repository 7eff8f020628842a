"""Tokens that this server issues to users, as Keystone would: who one is, and for which project. Pure.

Signed with the store's key, so that every replica knows them, and none has to be kept but those that
are revoked. A token of a server that asks nobody who they are proves nothing, and names no user to one
that does ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from framework.model.errors import Unauthorized
from gateway.auth.identity import Identity
from gateway.auth.signed import sign, verify

_CLAIM = "token"


class Issued(msgspec.Struct, frozen=True):
    """``name`` is what the user is called; ``user`` who it has proved to be, None if nobody asked.

    ``methods``: how. Times in seconds since the epoch. ``id`` tells one token from another.
    """

    id: str
    name: str
    project: str
    issued_at: float
    expires_at: float
    user: str | None = None
    roles: tuple[str, ...] = ()
    admin: bool = False
    methods: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        return Identity(self.user, frozenset(self.roles), self.admin, project=self.project)


class Revoked(Protocol):
    """The ids of tokens that are taken no more."""

    def __contains__(self, token_id: object) -> bool: ...

    def add(self, token_id: str, expires_at: float) -> None:
        """Keeps one until its token expires. Blocks; raises GatewayErrors."""


def issue(token: Issued, key: str) -> str:
    """Returns the text of a token."""
    return sign(
        {_CLAIM: msgspec.to_builtins(token)}, key, token.expires_at - token.issued_at, time_of(token)
    )


def time_of(token: Issued) -> Callable[[], float]:
    """Returns a clock that stands at the moment at which the token was issued."""
    return lambda: token.issued_at


def read_issued(text: str, key: str) -> Issued:
    """Raises :class:`Unauthorized` for what :func:`issue` has not made, or has expired."""
    claims: Any = verify(text, key).get(_CLAIM)
    try:
        token = msgspec.convert(claims, Issued)
    except msgspec.ValidationError:
        raise Unauthorized("the token is not one of a user") from None
    if token.expires_at <= time.time():
        raise Unauthorized("the token has expired")
    return token
