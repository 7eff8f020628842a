"""Tokens that the gateway signs itself, for the scripts of a cluster. Pure but for the clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from framework.model.errors import Invalid, Unauthorized
from gateway.auth.identity import Identity

ISSUER = "mesos-gateway"
# HS256 wants as many bytes as its hash has.
KEY_BYTES = 32
_ALGORITHM = "HS256"
_MOST_TEXT = 8192


def new_key() -> str:
    """Returns a new key, as text that a store can keep."""
    return secrets.token_hex(KEY_BYTES)


def sign(
    claims: Mapping[str, Any], key: str, seconds: float, clock: Callable[[], float] = time.time
) -> str:
    """Returns a token that holds ``claims`` and is good for ``seconds`` from now."""
    if len(key) < KEY_BYTES:
        raise Invalid(f"a key that signs has at least {KEY_BYTES} characters")
    now = clock()
    times = {"iss": ISSUER, "iat": int(now), "exp": int(now + max(1.0, seconds))}
    return jwt.encode({**claims, **times}, key, algorithm=_ALGORITHM)


def verify(token: str, key: str) -> dict[str, Any]:
    """Returns the claims of a token of :func:`sign`; raises :class:`Unauthorized`."""
    if len(token) > _MOST_TEXT:
        raise Unauthorized("the token is too long")
    try:
        found: dict[str, Any] = jwt.decode(
            token, key, algorithms=[_ALGORITHM], issuer=ISSUER, options={"require": ["exp", "iss"]}
        )
    # A header or a payload may be JSON without end, or hold numbers that are none.
    except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise Unauthorized("the token is not one of this server, or has expired") from None
    return found


def script_token(cluster: str, key: str, seconds: float) -> str:
    """Returns the token of a script of ``cluster`` (its key, ``clusters/U/P/V/ID``)."""
    return sign({"cluster": cluster}, key, seconds)


def script_identity(token: str, key: str) -> Identity:
    """Returns who a script is; raises :class:`Unauthorized` for what is no script's token."""
    cluster = verify(token, key).get("cluster")
    if not isinstance(cluster, str) or not cluster:
        raise Unauthorized("the token names no cluster")
    # Counted and written down under its own name, not its owner's.
    return Identity(user=cluster, cluster=cluster)
