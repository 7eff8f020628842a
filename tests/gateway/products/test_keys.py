"""The SSH keys of a cluster: what lies in its nodes, what its script has."""

from __future__ import annotations

import io

import paramiko

from gateway.clusters import keys
from tests.gateway.products.samples import node

SECRET = "ab" * 32


def test_keys_follow_from_the_secret_and_are_all_different() -> None:
    user, first, second = keys.user_key(SECRET), keys.host_key(SECRET, "a"), keys.host_key(SECRET, "b")
    assert user.public == keys.user_key(SECRET).public
    assert len({user.public, first.public, second.public, keys.user_key("cd" * 32).public}) == 4
    assert keys.new_secret() != keys.new_secret()


def test_openssh_reads_them() -> None:
    pair = keys.user_key(SECRET)
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(pair.private))
    assert pair.public.split()[:2] == ["ssh-ed25519", key.get_base64()]


def test_a_private_key_is_not_printed() -> None:
    pair = keys.user_key(SECRET)
    assert "PRIVATE" in pair.private
    assert "PRIVATE" not in f"{pair} {pair!r} {[pair]}"


def test_a_node_lets_the_script_in_and_is_known_to_it() -> None:
    files = {file.path: file for file in keys.node_files(SECRET, node(0))}
    authorized = files["/root/.ssh/authorized_keys"]
    assert (authorized.text, authorized.mode) == (keys.user_key(SECRET).public, 0o600)
    host = files["/etc/ssh/ssh_host_ed25519_key"]
    assert host.mode == 0o600
    lines = keys.known_hosts(SECRET, [node(0), node(1)]).splitlines()
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(host.text))
    assert lines[0] == f"slave0,10.1.0.1,10.2.0.1 ssh-ed25519 {key.get_base64()}"
    assert len(lines) == 2
    # What only the gateway and the script have is in no node.
    assert all(keys.user_key(SECRET).private not in file.text for file in files.values())
