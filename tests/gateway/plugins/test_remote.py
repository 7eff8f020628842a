"""What plugins do on a node: beside a process, in a container, over SSH."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import paramiko
import pytest

from framework.model.errors import Unavailable
from framework.remote import Finished
from gateway.clusters import keys
from gateway.clusters.model import Interface, NodeRecord, NodeSpec
from gateway.plugins.channels import Channels, ExecChannel, ssh_files
from gateway.plugins.exceptions import NodeError
from gateway.plugins.fake.plugin import FakePlugin
from gateway.plugins.remote import Ended, Remote
from gateway.plugins.ssh import SshChannel, target_of
from gateway.plugins.views import ClusterView
from tests.gateway.plugins.world import World, group, request, view_of

SECRET = "5e" * 32


# -- beside what runs: a process, a container ------------------------------------------------------


@pytest.fixture(scope="module")
def process(made: World) -> Iterator[Remote]:
    """A node without an image; its sandbox is where commands run."""
    yield from node_of(made, NodeSpec(cpus=0.1, mem_mb=32, command="exec sleep 1000"))


@pytest.fixture(scope="module")
def container(made: World, docker_daemon: None) -> Iterator[Remote]:
    from tests.images.build import image

    yield from node_of(made, NodeSpec(cpus=0.1, mem_mb=64, image=image("reference")))


def node_of(made: World, spec: NodeSpec) -> Iterator[Remote]:
    made.add("fake", FakePlugin())
    cluster = made.launch(request(("fake", "0.1"), [(group("m", ["namenode"], spec), 1)]))
    assert cluster.phase.value == "ready", cluster
    (node,) = made.view(cluster.cluster_id).instances_with("namenode")
    with node.remote() as remote:
        yield remote
    made.delete(cluster.cluster_id)


def use_everything(remote: Remote, directory: str) -> None:
    """Every method that needs a shell only."""
    path = f"{directory}/deep/er/a file"
    assert remote.execute_command("echo out; echo err >&2") == (0, "out\n")
    assert remote.execute_command("echo out; echo err >&2", get_stderr=True) == (0, "out\n", "err\n")
    assert remote.execute_command("exit 3", raise_when_error=False) == (3, "")
    assert remote.execute_command("id -un", run_as_root=True)[1].strip() == "root"
    with pytest.raises(NodeError, match=r"'echo oh no >&2; exit 4' ended with code 4: oh no"):
        remote.execute_command("echo oh no >&2; exit 4")

    remote.write_file_to(path, "one\ntwo\n")
    assert remote.read_file_from(path) == "one\ntwo\n"
    remote.append_to_file(path, "three 3\n")
    remote.prepend_to_file(path, "zero\n")
    remote.replace_remote_string(path, "two", "2 & $HOME")
    remote.replace_remote_line(path, "three", "III")
    assert remote.read_file_from(path, run_as_root=True) == "zero\none\n2 & $HOME\nIII\n"
    remote.write_files_to({path: "x", f"{path} too": b"\xff\n"})
    remote.append_to_files({path: "y", f"{path} too": "z"})
    assert remote.read_file_from(path) == "xy"
    # What is no text stays as it is where something else is replaced.
    remote.replace_remote_string(f"{path} too", "z", "end")
    remote.execute_command(f"printf '\\377\\nend' | cmp - '{path} too'")
    remote.write_file_to(path, "")
    assert remote.read_file_from(path) == ""
    with pytest.raises(NodeError, match="No such file"):
        remote.read_file_from(f"{directory}/nothing")

    assert remote.get_os_distrib() in ("debian", "ubuntu")
    assert remote.get_os_version()


def test_beside_a_process(process: Remote, tmp_path: Path) -> None:
    use_everything(process, str(tmp_path))
    # Relative paths are the sandbox's.
    process.write_file_to("here", "yes")
    assert process.execute_command("cat here")[1] == "yes"
    # In pieces, since a call takes 16 MiB.
    big = os.urandom(1 << 20) * 17
    process.write_file_to(str(tmp_path / "big"), big)
    assert (tmp_path / "big").read_bytes() == big


@pytest.mark.docker
def test_in_a_container(container: Remote) -> None:
    use_everything(container, "/srv/plugin")
    assert container.execute_command("cat /proc/1/comm")[1] != ""


def test_a_command_that_takes_too_long_is_ended(process: Remote) -> None:
    from framework.remote import CommandFailed

    with pytest.raises(CommandFailed, match="did not end within 1 s"):
        process.execute_command("sleep 50", timeout=1)


def test_beside_a_process_a_command_runs_as_its_task() -> None:
    """The agent refuses any other user there, root as well."""
    asked: list[str | None] = []

    def run(task_id: str, argv: Any, stdin: bytes, timeout: float, user: Any, **other: Any) -> Finished:
        asked.append(user)
        return Finished(0, b"", b"", "the output was cut" if stdin else "")

    for contained in (False, True):
        for user in ("root", "ubuntu"):
            ExecChannel(run, "a-task", contained).run(["true"], b"", 1.0, user)
    assert asked == [None, None, "root", "ubuntu"]
    with pytest.raises(NodeError, match="is not all there: the output was cut"):
        ExecChannel(run, "a-task", True).run(["true"], b"x", 1.0, "root")


def test_a_node_that_does_not_run_has_no_remote() -> None:
    def run(*arguments: Any, **named: Any) -> Any:
        raise AssertionError(arguments)

    view = view_of(request(("fake", "0.1"), [(group("m", ["namenode"]), 1)]), Channels(run, {}.get))
    with pytest.raises(Unavailable, match="node m-0 does not run"):
        view.node_groups[0].instances[0].remote()


# -- packages, HTTP --------------------------------------------------------------------------------


class Recorder:
    """A channel to a node of a certain system; remembers what is run."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.ran: list[tuple[str, str | None, float]] = []
        self.closed = False

    def run(self, argv: Any, stdin: bytes, timeout: float, user: str | None) -> Ended:
        if "os-release" in argv[-1]:
            return Ended(0, self.system.encode())
        self.ran.append((argv[-1], user, timeout))
        return Ended(0)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("system", "tool"),
    [
        ("debian", "DEBIAN_FRONTEND=noninteractive apt-get -qq install -y"),
        ("rocky", "yum -q -y install"),
    ],
)
def test_packages_are_installed_with_the_systems_own_tool(system: str, tool: str) -> None:
    channel = Recorder(system)
    with Remote(channel, "n", None, "someone") as remote:
        remote.update_repository()
        remote.install_packages(["a", "b c"])
    assert channel.ran[1] == (f"{tool} a 'b c'", "root", 1800.0)
    assert "update" in channel.ran[0][0] or "makecache" in channel.ran[0][0]
    assert channel.closed


def test_no_packages_for_a_system_that_is_not_known() -> None:
    with pytest.raises(NodeError, match="on n no packages can be installed: its system is plan9"):
        Remote(Recorder("plan9"), "n", None).install_packages(["a"])


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a page")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_port_is_spoken_to_until_the_remote_ends() -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with Remote(Recorder("debian"), "n", "127.0.0.1") as remote:
                client = remote.get_http_client(server.server_port)
                assert remote.get_http_client(server.server_port) is client
                client.request("GET", "/")
                assert client.getresponse().read() == b"a page"
                remote.close_http_session(server.server_port)
                remote.close_http_session(server.server_port)
                other = remote.get_http_client(server.server_port)
                other.connect()
            assert other.sock is None
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(NodeError, match="has no address"):
        Remote(Recorder("debian"), "n", None).get_http_client(1)


# -- over SSH --------------------------------------------------------------------------------------


def a_node(number: int = 0) -> NodeRecord:
    spec = NodeSpec(cpus=1, mem_mb=64)
    face = Interface("eth0", "n", "127.0.0.1", "127.0.0.0/8")
    return NodeRecord(
        f"node-{number}", number, f"m-{number}", "m", spec, interfaces=(face,), task_id="t"
    )


class _Server(paramiko.ServerInterface):
    """Lets the cluster's key in, and runs what it is told."""

    def __init__(self, allowed: str) -> None:
        self._allowed = allowed

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == "root" and key.get_base64() == self._allowed.split()[1]
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_execute, args=(channel, command)).start()
        return True


def _execute(channel: paramiko.Channel, command: bytes) -> None:
    """Runs a command for as long as the other side is there."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, shell=True, **pipes) as child:
        threads = [
            threading.Thread(target=_feed, args=(channel, child.stdin)),
            threading.Thread(target=_give, args=(child.stdout, channel.sendall)),
            threading.Thread(target=_give, args=(child.stderr, channel.sendall_stderr)),
        ]
        for thread in threads:
            thread.start()
        while child.poll() is None and not channel.closed:
            time.sleep(0.01)
        child.kill()
        for thread in threads[1:]:
            thread.join()
        if (code := child.wait()) >= 0:  # otherwise there is nobody to tell
            channel.send_exit_status(code)
        channel.close()
        threads[0].join()


def _feed(channel: paramiko.Channel, pipe: Any) -> None:
    with contextlib.suppress(OSError):
        while data := channel.recv(65536):
            pipe.write(data)
    with contextlib.suppress(OSError):
        pipe.close()


def _give(pipe: Any, send: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := pipe.read1(65536):
            send(data)


@pytest.fixture
def ssh_server(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of an SSH server with the files of a node (parameter: the number of the node)."""
    files = {file.path: file.text for file in ssh_files(SECRET, a_node(), "root")}
    host = keys.host_key(SECRET, f"node-{getattr(request, 'param', 0)}")
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                transport = paramiko.Transport(peer)
                transports.append(transport)
                transport.add_server_key(paramiko.Ed25519Key.from_private_key(io.StringIO(host.private)))
                try:
                    transport.start_server(server=_Server(files["/root/.ssh/authorized_keys"]))
                except (paramiko.SSHException, EOFError, OSError):
                    continue  # a client that does not trust us goes away

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)
    for transport in transports:
        transport.close()


def over_ssh(port: int, secret: str | None = SECRET) -> Remote:
    """Returns the remote of a node whose image is reached over SSH."""

    def run(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("the executor is not asked")

    channels = Channels(run, lambda cluster_id: secret, ssh_port=port)
    view = view_of(request(("fake", "0.1"), [(group("m", ["namenode"], transport="ssh"), 1)]))
    cluster = msgspec.structs.replace(view.record, nodes=(a_node(),))
    return ClusterView(cluster, channels).node_groups[0].instances[0].remote()


def test_over_ssh(ssh_server: int, tmp_path: Path) -> None:
    with over_ssh(ssh_server) as remote:
        use_everything(remote, str(tmp_path))
        # Both ways at once, more than any buffer holds.
        big = os.urandom(1 << 20) * 3
        remote.write_file_to(str(tmp_path / "big"), big)
        assert (tmp_path / "big").read_bytes() == big


def test_over_ssh_a_command_that_takes_too_long_or_is_not_wanted_is_left(ssh_server: int) -> None:
    with over_ssh(ssh_server) as remote, pytest.raises(NodeError, match="has not ended in time"):
        remote.execute_command("sleep 50", timeout=1)
    target = target_of(SECRET, a_node(), "127.0.0.1", "root", ssh_server)
    channel = SshChannel(target, cancelled=lambda: True)
    with pytest.raises(NodeError, match="not wanted any more"):
        channel.run(["sleep", "50"], b"", 60.0, "root")
    channel.close()
    assert "PRIVATE" not in repr(target)


@pytest.mark.parametrize("ssh_server", [1], indirect=True)
def test_over_ssh_another_nodes_server_is_not_trusted(ssh_server: int) -> None:
    with over_ssh(ssh_server) as remote, pytest.raises(Unavailable, match="cannot be used over SSH"):
        remote.execute_command("true")


def test_over_ssh_nobody_gets_in_without_the_clusters_key(ssh_server: int) -> None:
    other = msgspec.structs.replace(
        target_of(SECRET, a_node(), "127.0.0.1", "root", ssh_server),
        private_key=keys.user_key("aa" * 32).private,
    )
    channel = SshChannel(other)
    with pytest.raises(Unavailable, match="Authentication failed"):
        channel.run(["true"], b"", 10.0, "root")
    with pytest.raises(Unavailable, match="its cluster has no keys"):
        over_ssh(ssh_server, secret=None)


def test_over_ssh_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with over_ssh(port) as remote, pytest.raises(Unavailable, match=r"127\.0\.0\.1 cannot be used"):
        remote.execute_command("true")


def test_who_is_let_in_has_a_key_where_the_server_looks_for_it() -> None:
    paths = [file.path for file in ssh_files(SECRET, a_node(), "ubuntu")]
    assert paths[0] == "/home/ubuntu/.ssh/authorized_keys"
    assert "/etc/ssh/ssh_host_ed25519_key" in paths
