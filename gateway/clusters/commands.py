"""What is run in the nodes of clusters: how a node learns the others' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from framework.model.errors import Conflict
from gateway.clusters.acts import HostsWriter
from gateway.clusters.model import NodeRecord

_SECONDS = 20.0


class Finished(Protocol):
    """A command that has ended."""

    @property
    def code(self) -> int: ...

    @property
    def stderr(self) -> bytes: ...


class Remote(Protocol):
    """What is used of :class:`framework.remote.Remote`."""

    def run(
        self,
        task_id: str,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        timeout: float = 60.0,
        user: str | None = None,
    ) -> Finished: ...


def hosts_writer(remote: Remote) -> HostsWriter:
    """Returns what writes a text over a node's /etc/hosts: in place, for Docker has it mounted.

    A node that is no container has a file ``hosts`` in its sandbox instead.
    """

    def write(node: NodeRecord, text: str) -> None:
        if node.task_id is None:
            raise Conflict(f"node {node.name} does not run")
        inside = bool(node.container_id)
        path, user = ("/etc/hosts", "0") if inside else ("hosts", None)
        argv = ("/bin/sh", "-c", f"cat > {path}")
        ended = remote.run(node.task_id, argv, text.encode(), timeout=_SECONDS, user=user)
        if ended.code != 0:
            said = ended.stderr.decode(errors="replace").strip()[:300]
            raise Conflict(f"{path} cannot be written in node {node.name}: {said or ended.code}")

    return write
