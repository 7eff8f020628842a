"""``--auth jwt``: signed tokens (JWT) that somebody else issues, and that name a user and roles.

A token comes in ``X-Auth-Token`` or as ``Authorization: Bearer``. It names its user (``user`` or
``sub``) and ``roles``: ROLE_USER is needed, ROLE_ADMIN makes an administrator; what does not begin
with ``ROLE_`` is a role whose jobs belong to the user.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from framework.model.errors import Forbidden, Invalid, Unauthorized
from framework.model.jobs import check_segment
from gateway.auth.authenticators import Credentials
from gateway.auth.identity import Identity
from gateway.auth.signed import KEY_BYTES
from gateway.auth.users import read_private

if TYPE_CHECKING:
    from gateway.options import Options

_MOST_TEXT = 8192
_LEAST_RSA_BITS = 2048
# Clocks of two machines are never quite the same.
_LEEWAY_SECS = 10


class WebTokenAuthenticator:
    """Knows the tokens that ``key`` verifies with ``algorithm``, and no other algorithm."""

    challenge = 'Bearer realm="mesos-gateway"'

    def __init__(self, path: Path, algorithm: str, *, needs_expiry: bool = True) -> None:
        self._path = path
        self._algorithm = algorithm
        self._required = ["exp"] if needs_expiry else []
        self._key = read_key(path, algorithm)

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "bearer" or credentials.value.count(".") != 2:
            return None
        return identity_of(self._claims(credentials.value))

    def recall(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "bearer" or credentials.value.count(".") != 2:
            return None
        try:
            return identity_of(self._claims(credentials.value))
        except (Unauthorized, Forbidden):
            return None

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > _MOST_TEXT:
            raise Unauthorized("the token is too long")
        try:
            found: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                leeway=_LEEWAY_SECS,
                options={"require": self._required},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"the token has no {error.claim}: it would be good for ever") from None
        # A header or a payload may be JSON without end, or hold numbers that are none.
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise Unauthorized("the token is not signed as this server's tokens are") from None
        return found

    def reload(self) -> None:
        self._key = read_key(self._path, self._algorithm)

    def close(self) -> None:
        """Nothing is held."""


def identity_of(claims: dict[str, Any]) -> Identity:
    """Returns whom claims name; raises :class:`Unauthorized`, or :class:`Forbidden` for no user's."""
    user = claims.get("user", claims.get("sub"))
    roles = claims.get("roles", [])
    if not isinstance(user, str) or not isinstance(roles, list):
        raise Unauthorized("the token does not name its user and a list of roles")
    names = {role for role in roles if isinstance(role, str)}
    try:
        check_segment("user", user)
    except Invalid as error:
        raise Unauthorized(f"the token's user cannot be one: {error}") from None
    if "ROLE_USER" not in names:
        raise Forbidden(f"the token of {user} lacks ROLE_USER")
    own = frozenset(name for name in names if not name.startswith("ROLE_"))
    return Identity(user, own, admin="ROLE_ADMIN" in names)


def read_key(path: Path, algorithm: str) -> bytes | RSAPublicKey:
    """Returns the key of a file; raises :class:`Invalid` for one that proves nothing."""
    if algorithm == "HS256":
        secret = read_private(path, "the key of the tokens").strip()
        if secret.startswith(b"-----BEGIN"):
            raise Invalid(f"--jwt-key {path} is a key pair's, which --jwt-algorithm RS256 is for")
        if len(secret) < KEY_BYTES:
            raise Invalid(
                f"--jwt-key {path} is too short to keep a secret: HS256 needs at least {KEY_BYTES} "
                "bytes; bin/credentials key makes one"
            )
        return secret
    return _public_key(path)


def _public_key(path: Path) -> RSAPublicKey:
    try:
        if path.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP):
            raise Invalid(f"--jwt-key {path} may be written by others; run chmod go-w {path}")
        text = path.read_bytes()
    except OSError as error:
        raise Invalid(f"--jwt-key {path} cannot be read: {error.strerror}") from None
    try:
        key = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).prepare_key(text)
    except (jwt.PyJWTError, ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise Invalid(f"--jwt-key {path} is not the public key of an RSA key pair (PEM)")
    if key.key_size < _LEAST_RSA_BITS:
        raise Invalid(f"--jwt-key {path} has {key.key_size} bits; {_LEAST_RSA_BITS} are the least")
    return key


def make(options: Options) -> WebTokenAuthenticator:
    """The factory of ``--auth jwt``; raises :class:`Invalid`."""
    if options.jwt_key is None:
        raise Invalid("--auth jwt needs --jwt-key, the file that tokens are verified with")
    return WebTokenAuthenticator(
        options.jwt_key, options.jwt_algorithm, needs_expiry=not options.jwt_no_expiry
    )
