"""``bin/credentials``: makes what the credentials file holds: tokens, and hashes of passwords."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from gateway.auth.passwords import check_password, hash_password, hash_token, new_token

_USAGE = """usage: bin/credentials token      prints a new token, and the line for the credentials file
       bin/credentials password   asks for a password (or reads a line of stdin), prints its hash
"""


def main(argv: Sequence[str]) -> int:
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
        case ["--help" | "-h"]:
            sys.stdout.write(_USAGE)
        case _:
            sys.stderr.write(_USAGE)
            return 2
    return 0


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
