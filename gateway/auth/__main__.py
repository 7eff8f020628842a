"""``bin/credentials``: makes what the credentials file holds, and keys and tokens for ``--auth jwt``."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jwt

from framework.model.errors import Invalid
from framework.model.jobs import check_segment
from gateway.auth.passwords import check_password, hash_password, hash_token, new_token
from gateway.auth.signed import new_key
from gateway.auth.users import read_private

_USAGE = """usage: bin/credentials token      prints a new token, and the line for the credentials file
       bin/credentials password   asks for a password (or reads a line of stdin), prints its hash
       bin/credentials key        prints a new key for --auth jwt --jwt-key FILE
       bin/credentials sign KEYFILE USER [ROLE …]
                                  prints a token of USER, good for a day, signed with the key (HS256)
                                  or with a private key (RS256, PEM); ROLE_ADMIN: an administrator
"""
_DAY = 86_400


def main(argv: Sequence[str]) -> int:
    """Runs bin/credentials; returns the status to end with."""
    match list(argv):
        case ["token"]:
            token = new_token()
            sys.stdout.write(f'{token}\ntokens = [{{ hash = "{hash_token(token)}" }}]\n')
        case ["password"]:
            try:
                sys.stdout.write(f'password = "{hash_password(check_password(_password()))}"\n')
            except ValueError as error:
                sys.stderr.write(f"bin/credentials: {error}\n")
                return 2
        case ["key"]:
            sys.stdout.write(new_key() + "\n")
        case ["sign", path, user, *roles]:
            try:
                sys.stdout.write(_signed(Path(path), user, roles) + "\n")
            except (Invalid, ValueError, jwt.PyJWTError) as error:
                sys.stderr.write(f"bin/credentials: {error}\n")
                return 2
        case ["--help" | "-h"]:
            sys.stdout.write(_USAGE)
        case _:
            sys.stderr.write(_USAGE)
            return 2
    return 0


def _signed(path: Path, user: str, roles: Sequence[str]) -> str:
    """Raises :class:`Invalid` for a key file or a user that cannot be."""
    check_segment("user", user)
    key = read_private(path, "the key file").strip()
    algorithm = "RS256" if key.startswith(b"-----BEGIN") else "HS256"
    now = int(time.time())
    claims = {"user": user, "roles": ["ROLE_USER", *roles], "iat": now, "exp": now + _DAY}
    return jwt.encode(claims, key, algorithm=algorithm)


def _password() -> str:
    """Raises ``ValueError`` for two that differ."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass()
    if getpass.getpass("Once more: ") != first:
        raise ValueError("these are two different passwords")
    return first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
