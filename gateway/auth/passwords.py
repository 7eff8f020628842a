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
import unicodedata

import msgspec

# 32 MiB, three times over: one of the settings that OWASP recommends.
_LOG2_N, _R, _P = 15, 8, 3
_MAX_LOG2_N = 18
_SHORTEST, _LONGEST = 8, 1024
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

    @property
    def cost(self) -> int:
        """What a check costs, in no unit: to be compared with others."""
        return int(2**self.log2_n * self.r * self.p)

    def matches(self, password: str) -> bool:
        """Takes some 200 ms of a processor, whether it matches or not."""
        return hmac.compare_digest(_derive(password, self.log2_n, self.r, self.p, self.salt), self.key)


def check_password(password: str) -> str:
    """Returns ``password``; raises ``ValueError`` for a new one that is too short, or too long."""
    if len(password) < _SHORTEST or len(password.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise ValueError(f"a password has at least {_SHORTEST} characters, and at most {_LONGEST} bytes")
    return password


def hash_password(password: str, log2_n: int = _LOG2_N, p: int = _P) -> PasswordHash:
    """Returns the hash of a password, with a new salt; the cost is 2**``log2_n``, times ``p``."""
    salt = secrets.token_bytes(16)
    return PasswordHash(log2_n, _R, p, salt, _derive(password, log2_n, _R, p, salt))


def decoy(costliest: PasswordHash | None) -> PasswordHash:
    """Returns a hash that no password has, as costly as ``costliest``."""
    log2_n, r, p = (costliest.log2_n, costliest.r, costliest.p) if costliest else (_LOG2_N, _R, _P)
    return PasswordHash(log2_n, r, p, secrets.token_bytes(16), secrets.token_bytes(32))


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
    bounded = 10 <= found.log2_n <= _MAX_LOG2_N and 1 <= found.r <= 16 and 1 <= found.p <= 8
    # RFC 7914, section 2: N is less than 2^(128 * r / 8).
    if not bounded or found.log2_n >= 16 * found.r:
        raise ValueError(f"its cost is out of bounds (LOG2_N 10 to {_MAX_LOG2_N}, R to 16, P to 8)")
    return found


def _derive(password: str, log2_n: int, r: int, p: int, salt: bytes) -> bytes:
    # What OpenSSL adds up before it begins, and some more: its sum must stay below.
    memory = 128 * r * (2**log2_n + p + 2) + 1024 * 1024
    # The same letters may be typed as different code points; RFC 7617 asks for NFC.
    secret = unicodedata.normalize("NFC", password)
    return hashlib.scrypt(
        secret.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=2**log2_n,
        r=r,
        p=p,
        maxmem=memory,
        dklen=32,
    )


def new_token() -> str:
    """Returns a new token, which nobody can guess."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Returns what the credentials file keeps of a token."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def check_token_hash(text: str) -> str:
    """Returns ``text``; raises ``ValueError`` unless it is the hash of a token."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("it is not sha256:… with 64 hexadecimal digits; bin/credentials makes one")
    return text
