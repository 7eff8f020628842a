"""What plugins do on a node: beside a process, in a container."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from framework.model.errors import Unavailable
from framework.remote import Finished
from gateway.clusters.model import NodeSpec
from gateway.plugins.channels import Channels, ExecChannel
from gateway.plugins.exceptions import NodeError
from gateway.plugins.fake.plugin import FakePlugin
from gateway.plugins.remote import Ended, Remote
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
