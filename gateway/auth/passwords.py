"""Passwords as scrypt hashes (RFC 7914), tokens as SHA-256.

A hash is written ``scrypt$LOG2_N$R$P$SALT$KEY``, salt and key in base64. A token is 256 bits of
chance, so one round of SHA-256 keeps it: there is nothing to guess from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

import msgspec

_LOG2_N, _R, _P = 14, 8, 1
_MAX_LOG2_N = 18
_TOKEN = re.compile(r"sha256:([0-9a-f]{64})")
TOKEN_PREFIX = "mg_"  # noqa: S105 - by which a leaked token is found in a log or a repository


class PasswordHash(msgspec.Struct, frozen=True):
    """A stored hash. ``log2_n``, ``r`` and ``p`` are scrypt's costs."""

    log2_n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    def __str__(self) -> str:
        salt, key = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return f"scrypt${self.log2_n}${self.r}${self.p}${salt}${key}"

    def matches(self, password: str) -> bool:
        """Takes some 50 ms of a processor, whether it matches or not."""
        return hmac.compare_digest(_derive(password, self.log2_n, self.r, self.p, self.salt), self.key)


def hash_password(password: str) -> PasswordHash:
    salt = secrets.token_bytes(16)
    return PasswordHash(_LOG2_N, _R, _P, salt, _derive(password, _LOG2_N, _R, _P, salt))


def parse_hash(text: str) -> PasswordHash:
    """Raises ``ValueError`` for what is no hash, or one too costly to be checked."""
    parts = text.split("$")
    try:
        name, log2_n, r, p, salt, key = parts
        found = PasswordHash(
            int(log2_n),
            int(r),
            int(p),
            base64.b64decode(salt, validate=True),
            base64.b64decode(key, validate=True),
        )
    except (ValueError, binascii.Error):
        raise ValueError("it is not scrypt$LOG2_N$R$P$SALT$KEY; bin/credentials makes one") from None
    if name != "scrypt" or not found.salt or len(found.key) != 32:
        raise ValueError("it is not scrypt$LOG2_N$R$P$SALT$KEY; bin/credentials makes one")
    if not (10 <= found.log2_n <= _MAX_LOG2_N and 1 <= found.r <= 16 and 1 <= found.p <= 4):
        raise ValueError(f"its cost is out of bounds (LOG2_N 10 to {_MAX_LOG2_N}, R to 16, P to 4)")
    return found


def _derive(password: str, log2_n: int, r: int, p: int, salt: bytes) -> bytes:
    memory = 129 * r * 2**log2_n * p + 1024 * 1024
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=2**log2_n,
        r=r,
        p=p,
        maxmem=memory,
        dklen=32,
    )


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Returns what the credentials file keeps of a token."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def check_token_hash(text: str) -> str:
    """Returns ``text``; raises ``ValueError`` unless it is the hash of a token."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("it is not sha256:… with 64 hexadecimal digits; bin/credentials makes one")
    return text
