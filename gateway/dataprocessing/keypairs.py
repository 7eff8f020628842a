"""Public keys of tenants, which their clusters' nodes let in: made here, or brought along."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)

from framework.model.errors import Conflict, Invalid, NotFound, Unsatisfiable
from gateway.dataprocessing.catalogue import Keypair
from gateway.dataprocessing.formats import KEYPAIR_NAME
from gateway.store import Store
from gateway.store.objects import NameTaken, Object

_LONGEST_NAME, _LONGEST_KEY = 255, 16_384
# Of one tenant.
_MOST = 1000


class NewKey(msgspec.Struct, frozen=True):
    """``private``, in OpenSSH's format, is told once, and kept nowhere."""

    private: str
    public: str

    def __repr__(self) -> str:  # never in a log, a traceback
        return f"NewKey({self.public!r})"


class Keypairs:
    """Names are unique in a tenant, whose users share its keys as they share its clusters.

    Methods block for as long as the store takes. ``clock`` gives seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def find(self, tenant: str) -> Sequence[Keypair]:
        """Returns a tenant's keys by name."""
        found = [_keypair(one) for one in self._store.objects.find("keypair", tenant)]
        return sorted(found, key=lambda key: key.name)

    def get(self, tenant: str, name: str) -> Keypair:
        """Raises :class:`NotFound`."""
        return _keypair(self._stored(tenant, name))

    def add(self, tenant: str, user: str, name: str, public_key: str) -> Keypair:
        """Stores a public key; returns it as it is kept.

        Raises :class:`Invalid` for a name or a key that is none, :class:`Conflict` for a name that is
        taken.
        """
        check_name(name)
        public = check_public_key(public_key)
        key = Keypair(
            name=name,
            public_key=public,
            tenant=tenant,
            user=user,
            fingerprint=fingerprint(public),
            created_at=self._clock(),
            id=str(uuid.uuid4()),
        )
        body = msgspec.to_builtins(key)
        with self._store.transaction():
            if len(self._store.objects.find("keypair", tenant)) >= _MOST:
                raise Unsatisfiable(f"a project has at most {_MOST} key pairs; delete some")
            try:
                self._store.objects.add(
                    Object("keypair", key.id, tenant, name, body, created_at=key.created_at)
                )
            except NameTaken:
                raise Conflict(f"Key pair '{name}' already exists.") from None
        return key

    def delete(self, tenant: str, name: str) -> None:
        """Raises :class:`NotFound`. Nodes that run keep the key."""
        with self._store.transaction():
            self._store.objects.delete("keypair", self._stored(tenant, name).id)

    def _stored(self, tenant: str, name: str) -> Object:
        found = () if "\0" in name else self._store.objects.find("keypair", tenant, name=name)
        if not found:
            raise NotFound(f"Keypair {name[:_LONGEST_NAME]} not found for user")
        return found[0]


def check_name(name: str) -> None:
    """Raises :class:`Invalid`."""
    if not 0 < len(name) <= _LONGEST_NAME or not KEYPAIR_NAME.fullmatch(name) or name != name.strip():
        raise Invalid(
            f"the name of a key pair has 1 to {_LONGEST_NAME} letters, digits, spaces, - and _, and "
            f"no space at its ends; {name[:60]!r} has not"
        )


def new_key(comment: str) -> NewKey:
    """Returns a new Ed25519 key; ``comment`` says at the end of its line what it is."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return NewKey(private.decode(), f"{public.decode()} {comment}")


def check_public_key(text: str) -> str:
    """Returns the one line of a public key, as an authorized_keys file has it.

    Raises :class:`Invalid`: whatever else stood in that file (options, more lines) would be obeyed.
    """
    line = text.strip()
    words = line.split(None, 2)
    sound = len(line) <= _LONGEST_KEY and line.isprintable() and len(words) >= 2
    if sound:
        try:
            load_ssh_public_key(" ".join(words[:2]).encode())
        except (ValueError, UnsupportedAlgorithm):
            sound = False
    if not sound:
        raise Invalid(
            "the public key is not a line such as ssh-ed25519 AAAA… comment, which ssh-keygen writes "
            "into a .pub file"
        )
    return line


def fingerprint(public_key: str) -> str:
    """Returns what clouds show of a key: MD5 of it, in pairs of digits."""
    blob = base64.b64decode(public_key.split()[1])
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _keypair(stored: Object) -> Keypair:
    return msgspec.convert(stored.body, Keypair)
