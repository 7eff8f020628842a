"""The SSH keys of a cluster: one for its script, one for each node. All follow from one secret. Pure.

The secret is random, made once per cluster, and kept where no API shows it. That a node's key can be
computed again means that it is known which key a node shows before anything has talked to it: the
script gets them all in a ``known_hosts`` file, and no connection has to trust the first answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from executor.task import NodeFile
from gateway.clusters.model import NodeRecord

SECRET = "ssh"  # noqa: S105 - what it is called in the store


class KeyPair(msgspec.Struct, frozen=True):
    """``private`` in OpenSSH's format, ``public`` as one line of an authorized_keys file."""

    private: str
    public: str

    def __repr__(self) -> str:  # never in a log, a traceback
        return f"KeyPair({self.public!r})"


def new_secret() -> str:
    """Returns a secret that the keys of a cluster are made from."""
    return secrets.token_hex(32)


def user_key(secret: str) -> KeyPair:
    """Returns the key that the cluster's script logs in with."""
    return _key(secret, "user", "orchestrator")


def host_key(secret: str, node_id: str) -> KeyPair:
    """Returns the key that a node's SSH server shows."""
    return _key(secret, f"host {node_id}", "node")


def _key(secret: str, purpose: str, comment: str) -> KeyPair:
    seed = hmac.digest(bytes.fromhex(secret), purpose.encode(), hashlib.sha256)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeyPair(private.decode(), f"{public.decode()} {comment}\n")


def node_files(secret: str, node: NodeRecord) -> tuple[NodeFile, ...]:
    """Returns what makes a node let the cluster's script in, and be known to it."""
    host = host_key(secret, node.node_id)
    return (
        NodeFile("/root/.ssh/authorized_keys", user_key(secret).public, 0o600),
        NodeFile("/etc/ssh/ssh_host_ed25519_key", host.private, 0o600),
        NodeFile("/etc/ssh/ssh_host_ed25519_key.pub", host.public, 0o644),
    )


def known_hosts(secret: str, nodes: Iterable[NodeRecord]) -> str:
    """Returns the known_hosts file of a cluster: each node by its name and its addresses."""
    lines = []
    for node in nodes:
        names = ",".join([node.name, *(interface.address for interface in node.interfaces)])
        kind, key = host_key(secret, node.node_id).public.split()[:2]
        lines.append(f"{names} {kind} {key}\n")
    return "".join(lines)
