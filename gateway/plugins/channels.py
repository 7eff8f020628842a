"""The ways into a node: beside its task over the executor, or over SSH; and which of them it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from executor.task import NodeFile
from framework.model.errors import Unavailable
from framework.remote import Finished
from gateway.clusters import keys
from gateway.clusters.model import Cluster, NodeRecord
from gateway.plugins.exceptions import NodeError
from gateway.plugins.remote import Channel, Ended, Remote

Transport = Literal["exec", "ssh"]
# The key in the ``extra`` of a group that says how its nodes are reached; "exec" without it.
TRANSPORT = "transport"
SSH_PORT = 22


class RunBeside(Protocol):
    """:meth:`framework.remote.Remote.run`."""

    def __call__(
        self,
        task_id: str,
        argv: Sequence[str],
        stdin: bytes = b"",
        timeout: float = 60.0,
        user: str | None = None,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Finished: ...


class ExecChannel:
    """Runs commands in a node's container, or beside its processes where it has no image.

    There a command runs as its task does, whoever is asked for: nothing else is allowed on an agent
    that the node shares with others, and the task's user is root where the operator wants it so.
    """

    def __init__(
        self,
        run: RunBeside,
        task_id: str,
        contained: bool,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._run = run
        self._task_id = task_id
        self._contained = contained
        self._cancelled = cancelled

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float, user: str | None) -> Ended:
        who = user if self._contained else None
        done = self._run(self._task_id, argv, stdin, timeout, who, cancelled=self._cancelled)
        if done.problem:
            raise NodeError(f"the output of {argv[0]!r} is not all there: {done.problem}")
        return Ended(done.code, done.stdout, done.stderr)

    def close(self) -> None:
        """There is nothing to be ended: each command is a call of its own."""


class Channels:
    """Opens :class:`gateway.plugins.remote.Remote` for a node; an ``OpenRemote``.

    ``secret_of`` returns the secret of a cluster's SSH keys by the cluster's id, None if it has none.
    ``default_image``: what nodes are made of that name no image.
    """

    def __init__(
        self,
        run: RunBeside,
        secret_of: Callable[[str], str | None],
        default_image: str | None = None,
        ssh_port: int = SSH_PORT,
    ) -> None:
        self._run = run
        self._secret_of = secret_of
        self._default_image = default_image
        self._ssh_port = ssh_port

    def __call__(
        self, cluster: Cluster, node: NodeRecord, cancelled: Callable[[], bool] | None = None
    ) -> Remote:
        """Raises :class:`Unavailable` for a node that does not run."""
        if node.task_id is None:
            raise Unavailable(f"node {node.name} does not run")
        extra = next((group.extra for group in cluster.groups if group.name == node.group), {})
        user = str(extra.get("image_username") or "root")
        return Remote(self._channel(cluster, node, user, cancelled), node.name, node.address, user)

    def _channel(
        self, cluster: Cluster, node: NodeRecord, user: str, cancelled: Callable[[], bool] | None
    ) -> Channel:
        assert node.task_id is not None
        if transport_of(cluster, node.group) == "exec":
            contained = bool(node.spec.image or self._default_image)
            return ExecChannel(self._run, node.task_id, contained, cancelled)
        secret = self._secret_of(cluster.cluster_id)
        if secret is None:
            raise Unavailable(f"node {node.name} cannot be reached over SSH: its cluster has no keys")
        # Loaded where it is needed: it takes long, and few nodes have a server for it.
        from gateway.plugins.ssh import SshChannel, target_of

        # Without an address of its own a node has that of its agent.
        address = node.address or node.host or node.name
        return SshChannel(target_of(secret, node, address, user, self._ssh_port), cancelled)


def transport_of(cluster: Cluster, group: str) -> Transport:
    """Returns how the nodes of a group are reached."""
    extra = next((one.extra for one in cluster.groups if one.name == group), {})
    return "ssh" if extra.get(TRANSPORT) == "ssh" else "exec"


def ssh_files(secret: str, node: NodeRecord, user: str) -> tuple[NodeFile, ...]:
    """Returns what a node that is reached over SSH needs in it: its own key, and whom it lets in.

    Users other than root have their keys in /home/USER.
    """
    files = keys.node_files(secret, node)
    if user == "root":
        return files
    path = f"/home/{user}/.ssh/authorized_keys"
    return (NodeFile(path, keys.user_key(secret).public, 0o644), *files[1:])
