"""What plugins do on a node over SSH: OpenSSH's own server, in a container, with the files of a node."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import docker
import msgspec
import pytest

from framework.model.errors import GatewayError, Unavailable
from gateway.clusters import keys
from gateway.clusters.model import Interface, NodeRecord, NodeSpec
from gateway.plugins.channels import Channels, ssh_files
from gateway.plugins.exceptions import NodeError
from gateway.plugins.remote import Remote
from gateway.plugins.ssh import SshChannel, target_of
from gateway.plugins.views import ClusterView
from tests.e2e.harness import eventually
from tests.gateway import ssh_server
from tests.gateway.plugins.test_remote import use_everything
from tests.gateway.plugins.world import group, request, view_of

SECRET = "5e" * 32


def a_node(number: int = 0) -> NodeRecord:
    spec = NodeSpec(cpus=1, mem_mb=64)
    face = Interface("eth0", "n", "127.0.0.1", "127.0.0.0/8")
    return NodeRecord(
        f"node-{number}", number, f"m-{number}", "m", spec, interfaces=(face,), task_id="t"
    )


class Machine:
    """A container of the image ``ssh`` with the files of node 0; its server listens at ``port``."""

    def __init__(self, client: docker.DockerClient, **more: Any) -> None:
        from tests.images.build import image

        self.container = client.containers.create(
            image("ssh"),
            name=f"ssh-{uuid.uuid4().hex[:12]}",
            ports={"22/tcp": ("127.0.0.1", None)},
            **more,
        )
        try:
            self.container.put_archive("/", _archive())
            self.container.start()
            self.container.reload()
            self.port = int(self.container.ports["22/tcp"][0]["HostPort"])
            eventually(self._greets, bool)
        except BaseException:
            self.end()
            raise

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as peer:
                return peer.recv(4) == b"SSH-"
        except OSError:
            return False

    def end(self) -> None:
        self.container.remove(force=True)


def _archive() -> bytes:
    buffer = io.BytesIO()
    files = {
        file.path: file for user in ("root", "ubuntu") for file in ssh_files(SECRET, a_node(), user)
    }
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files.values():
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(file.text), file.mode
            archive.addfile(entry, io.BytesIO(file.text.encode()))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def daemon(docker_daemon: None) -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def machine(daemon: docker.DockerClient) -> Iterator[Machine]:
    made = Machine(daemon)
    yield made
    made.end()


def over_ssh(port: int, user: str = "root", number: int = 0, secret: str | None = SECRET) -> Remote:
    """Returns the remote of a node whose image is reached over SSH."""

    def run(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("the executor is not asked")

    channels = Channels(run, lambda cluster_id: secret, ssh_port=port)
    groups = [(group("m", ["namenode"], transport="ssh", image_username=user), 1)]
    view = view_of(request(("fake", "0.1"), groups))
    cluster = msgspec.structs.replace(view.record, nodes=(a_node(number),))
    return ClusterView(cluster, channels).node_groups[0].instances[0].remote()


@pytest.mark.docker
@pytest.mark.parametrize("user", ["root", "ubuntu"])
def test_everything_as_either_user(machine: Machine, user: str) -> None:
    with over_ssh(machine.port, user) as remote:
        assert remote.execute_command("id -un")[1] == f"{user}\n"
        use_everything(remote, f"/tmp/of-{user}")
        # Both ways at once, more than any buffer holds; in pieces.
        big = os.urandom(1 << 20) * 9
        remote.write_file_to("/tmp/of-all/big", big, run_as_root=True)
        assert remote.execute_command("cat - /tmp/of-all/big | wc -c")[1].strip() == str(len(big))
        remote.write_file_to(f"/tmp/of-{user}/big", big)
        remote.execute_command(f"cmp /tmp/of-all/big /tmp/of-{user}/big")


@pytest.mark.docker
def test_root_owns_what_is_written_as_root(machine: Machine) -> None:
    with over_ssh(machine.port, "ubuntu") as remote:
        remote.write_file_to("/etc/of-root/file", "1\n", run_as_root=True)
        assert remote.execute_command("stat -c %U /etc/of-root/file")[1] == "root\n"
        with pytest.raises(NodeError, match="Permission denied"):
            remote.append_to_file("/etc/of-root/file", "2\n")
        assert remote.read_file_from("/etc/of-root/file") == "1\n"


@pytest.mark.docker
def test_a_signal_that_ends_a_command_is_its_code(machine: Machine) -> None:
    with over_ssh(machine.port) as remote:
        assert remote.execute_command("kill -9 $$", raise_when_error=False) == (137, "")
        assert remote.execute_command("echo still here")[1] == "still here\n"


@pytest.mark.docker
def test_a_command_that_takes_too_long_or_is_not_wanted_is_left(machine: Machine) -> None:
    with over_ssh(machine.port) as remote:
        # Of its time a command needs some to begin: here that is what the server takes for a session.
        remote.execute_command("true")
        with pytest.raises(NodeError, match="has not ended in time"):
            remote.execute_command("sleep 50", timeout=5)
        assert remote.execute_command("echo next")[1] == "next\n"
    target = target_of(SECRET, a_node(), "127.0.0.1", "root", machine.port)
    channel = SshChannel(target, cancelled=lambda: True)
    with pytest.raises(NodeError, match="not wanted any more"):
        channel.run(["sleep", "50"], b"", 60.0, "root")
    channel.close()
    assert "PRIVATE" not in repr(target)


@pytest.mark.docker
def test_another_nodes_server_is_not_trusted(machine: Machine) -> None:
    with (
        over_ssh(machine.port, number=1) as remote,
        pytest.raises(Unavailable, match=r"cannot be used over SSH: .*does not match"),
    ):
        remote.execute_command("touch /tmp/was-here")
    with over_ssh(machine.port) as remote:
        assert remote.execute_command("test -e /tmp/was-here", raise_when_error=False)[0] == 1


@pytest.mark.docker
def test_nobody_gets_in_without_the_clusters_key(machine: Machine) -> None:
    other = msgspec.structs.replace(
        target_of(SECRET, a_node(), "127.0.0.1", "root", machine.port),
        private_key=keys.user_key("aa" * 32).private,
    )
    channel = SshChannel(other)
    with pytest.raises(Unavailable, match="Authentication failed"):
        channel.run(["true"], b"", 60.0, "root")
    with pytest.raises(Unavailable, match="its cluster has no keys"):
        over_ssh(machine.port, secret=None)


@pytest.mark.docker
def test_where_sudo_may_not_work_it_says_so(daemon: docker.DockerClient) -> None:
    """As in the containers that the executor makes."""
    hardened = Machine(daemon, security_opt=["no-new-privileges"])
    try:
        with over_ssh(hardened.port, "ubuntu") as remote:
            assert remote.execute_command("id -un")[1] == "ubuntu\n"
            with pytest.raises(NodeError, match="no new privileges"):
                remote.execute_command("true", run_as_root=True)
    finally:
        hardened.end()


@pytest.mark.docker
def test_a_machine_that_dies_under_a_command_is_told_of(daemon: docker.DockerClient) -> None:
    doomed = Machine(daemon)
    try:
        with (
            over_ssh(doomed.port) as remote,
            pytest.raises(Unavailable, match=r"127\.0\.0\.1 (has ended the SSH session|cannot be used)"),
        ):
            # All but the container's first process, which is the server that listens.
            remote.execute_command("(sleep 0.5; kill -9 -1) & sleep 50", timeout=60)
    finally:
        doomed.end()


def test_a_server_that_lets_no_command_begin_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does whose machine has gone from the network: nothing comes back any more."""
    over = threading.Event()

    def hang(*_: Any) -> bool:
        over.wait(60)
        return False

    host = keys.host_key(SECRET, a_node().node_id).private
    with ssh_server.ssh_serving(host, keys.user_key(SECRET).public) as port:
        channel = SshChannel(target_of(SECRET, a_node(), "127.0.0.1", "root", port))
        try:
            assert channel.run(["true"], b"", 60.0, "root").code == 0
            monkeypatch.setattr(ssh_server._Server, "check_channel_exec_request", hang)
            ended = in_time(lambda: channel.run(["cat"], b"x", 1.0, "root"))
            assert isinstance(ended, NodeError), ended
            assert "has not ended in time" in str(ended)
        finally:
            over.set()
        # What says no is told of, and the next command has a connection again.
        assert isinstance(in_time(lambda: channel.run(["cat"], b"x", 60.0, "root")), Unavailable)
        monkeypatch.undo()
        assert channel.run(["cat"], b"x", 60.0, "root").stdout == b"x"
        channel.close()


def test_a_server_that_takes_nothing_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def begin(_: Any, channel: Any, command: bytes) -> bool:
        channel.in_buffer.feed = lambda data: over.wait(60)
        return True

    host = keys.host_key(SECRET, a_node().node_id).private
    with ssh_server.ssh_serving(host, keys.user_key(SECRET).public) as port:
        channel = SshChannel(target_of(SECRET, a_node(), "127.0.0.1", "root", port))
        try:
            assert channel.run(["true"], b"", 60.0, "root").code == 0
            # What waits to be sent does not fit, as it does not on a real network.
            wire = channel._client.get_transport().sock
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            monkeypatch.setattr(ssh_server._Server, "check_channel_exec_request", begin)
            ended = in_time(lambda: channel.run(["cat"], bytes(8 * 2**20), 2.0, "root"))
            assert isinstance(ended, NodeError), ended
        finally:
            over.set()
        monkeypatch.undo()
        assert channel.run(["cat"], b"x", 60.0, "root").stdout == b"x"
        channel.close()


def in_time(do: Callable[[], Any]) -> Any:
    """What ``do`` returns or raises; None if it does neither."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(do())
        except GatewayError as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    return found[0] if found else None


def test_nobody_listens() -> None:
    with socket.socket() as held:
        # Bound, so that nobody else gets the port meanwhile.
        held.bind(("127.0.0.1", 0))
        with (
            over_ssh(held.getsockname()[1]) as remote,
            pytest.raises(Unavailable, match=r"127\.0\.0\.1 cannot be used"),
        ):
            remote.execute_command("true")


def test_who_is_let_in_has_a_key_where_the_server_looks_for_it() -> None:
    paths = [file.path for file in ssh_files(SECRET, a_node(), "ubuntu")]
    assert paths[0] == "/home/ubuntu/.ssh/authorized_keys"
    assert "/etc/ssh/ssh_host_ed25519_key" in paths
