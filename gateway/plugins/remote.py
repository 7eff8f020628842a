"""What plugins do on a node: run commands, write and read files, over whichever channel there is.

The names are Sahara's (contract: ``sahara-spi``). A channel runs one command: the executor's own
(``docker exec``), or SSH.
"""

from __future__ import annotations

import http.client
import shlex
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.plugins.exceptions import NodeError

_TIMEOUT = 300.0
# How much of what a failed command has put out stands in the error.
_TAIL = 2000


class Ended(msgspec.Struct, frozen=True):
    """A command has ended, with its exit code and its whole output."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""


class Channel(Protocol):
    """Runs commands on one node. Raises GatewayErrors where that cannot be done."""

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float, user: str | None) -> Ended:
        """Returns how ``argv`` ended; it is ended after ``timeout`` seconds.

        ``user`` None: whoever the image says.
        """

    def close(self) -> None: ...


class Remote:
    """One node; a context manager that ends the channel. ``name`` and ``address`` are the node's."""

    def __init__(self, channel: Channel, name: str, address: str | None, user: str = "root") -> None:
        self._channel = channel
        self._name = name
        self._address = address
        self._user = user

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exception: object) -> None:
        self._channel.close()

    # -- commands --

    def execute_command(
        self,
        cmd: str,
        run_as_root: bool = False,
        get_stderr: bool = False,
        raise_when_error: bool = True,
        timeout: float = _TIMEOUT,
    ) -> tuple[int, str] | tuple[int, str, str]:
        """Runs a line of shell; returns (code, stdout), with ``get_stderr`` (code, stdout, stderr).

        Raises :class:`NodeError` with the command and what it said if its exit code is not 0.
        """
        ended = self._run(cmd, run_as_root, timeout)
        if ended.code and raise_when_error:
            raise NodeError(self._failure(cmd, ended))
        out, err = ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")
        return (ended.code, out, err) if get_stderr else (ended.code, out)

    def _run(self, cmd: str, as_root: bool, timeout: float, stdin: bytes = b"") -> Ended:
        user = "root" if as_root else self._user
        return self._channel.run(["/bin/sh", "-c", cmd], stdin, timeout, user)

    def _failure(self, cmd: str, ended: Ended) -> str:
        said = (ended.stderr or ended.stdout).decode(errors="replace").strip()[-_TAIL:]
        what = f"on {self._name} the command {cmd[:200]!r} ended with code {ended.code}"
        return f"{what}: {said or '(no output)'}"

    def _ask(self, cmd: str, run_as_root: bool = False) -> str:
        ended = self._run(cmd, run_as_root, _TIMEOUT)
        if ended.code:
            raise NodeError(self._failure(cmd, ended))
        return ended.stdout.decode(errors="replace")

    # -- files --

    def write_file_to(
        self, remote_file: str, data: str | bytes, run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        """Writes a file; its directory is made."""
        path = shlex.quote(remote_file)
        command = f'mkdir -p "$(dirname {path})" && cat > {path}'
        content = data.encode() if isinstance(data, str) else data
        ended = self._run(command, run_as_root, timeout, content)
        if ended.code:
            raise NodeError(self._failure(command, ended))

    def write_files_to(
        self, files: Mapping[str, str | bytes], run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        for path, data in files.items():
            self.write_file_to(path, data, run_as_root, timeout)

    def read_file_from(
        self, remote_file: str, run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> str:
        command = f"cat {shlex.quote(remote_file)}"
        ended = self._run(command, run_as_root, timeout)
        if ended.code:
            raise NodeError(self._failure(command, ended))
        return ended.stdout.decode(errors="replace")

    def append_to_file(self, remote_file: str, data: str, run_as_root: bool = False) -> None:
        path = shlex.quote(remote_file)
        command = f'mkdir -p "$(dirname {path})" && cat >> {path}'
        ended = self._run(command, run_as_root, _TIMEOUT, data.encode())
        if ended.code:
            raise NodeError(self._failure(command, ended))

    def append_to_files(self, files: Mapping[str, str], run_as_root: bool = False) -> None:
        for path, data in files.items():
            self.append_to_file(path, data, run_as_root)

    def prepend_to_file(self, remote_file: str, data: str, run_as_root: bool = False) -> None:
        text = self.read_file_from(remote_file, run_as_root)
        self.write_file_to(remote_file, data + text, run_as_root)

    def replace_remote_string(
        self, remote_file: str, old_str: str, new_str: str, run_as_root: bool = False
    ) -> None:
        """Replaces every ``old_str`` of a file."""
        text = self.read_file_from(remote_file, run_as_root)
        self.write_file_to(remote_file, text.replace(old_str, new_str), run_as_root)

    def replace_remote_line(
        self, remote_file: str, old_line_with_start_string: str, new_line: str, run_as_root: bool = False
    ) -> None:
        """Replaces the lines that begin with a text."""
        lines = self.read_file_from(remote_file, run_as_root).splitlines(keepends=True)
        end = "" if new_line.endswith("\n") else "\n"
        kept = [new_line + end if one.startswith(old_line_with_start_string) else one for one in lines]
        self.write_file_to(remote_file, "".join(kept), run_as_root)

    # -- the system --

    def get_os_distrib(self) -> str:
        """Returns the distribution's id in lower case: debian, ubuntu, alpine."""
        return self._ask('. /etc/os-release && printf %s "$ID"').strip().lower()

    def get_os_version(self) -> str:
        return self._ask('. /etc/os-release && printf %s "${VERSION_ID:-}"').strip()

    def update_repository(self, run_as_root: bool = True) -> None:
        self._ask(self._packages({"apt": "apt-get -qq update", "yum": "yum -q makecache"}), run_as_root)

    def install_packages(self, packages: Sequence[str], timeout: float = 1800.0) -> None:
        """Installs packages with the distribution's own tool."""
        names = " ".join(shlex.quote(name) for name in packages)
        command = self._packages(
            {
                "apt": f"DEBIAN_FRONTEND=noninteractive apt-get -qq install -y {names}",
                "yum": f"yum -q -y install {names}",
            }
        )
        ended = self._run(command, True, timeout)
        if ended.code:
            raise NodeError(self._failure(command, ended))

    def _packages(self, by_tool: Mapping[str, str]) -> str:
        distribution = self.get_os_distrib()
        if distribution in ("debian", "ubuntu"):
            return by_tool["apt"]
        if distribution in ("centos", "rhel", "fedora", "rocky", "almalinux"):
            return by_tool["yum"]
        raise NodeError(
            f"on {self._name} no packages can be installed: it runs {distribution or 'what?'}"
        )

    # -- HTTP --

    def get_http_client(self, port: int, timeout: float = 30.0) -> http.client.HTTPConnection:
        """Returns a connection to a port of the node; :meth:`close_http_session` ends it."""
        if self._address is None:
            raise NodeError(f"{self._name} has no address that its port {port} could be reached at")
        return http.client.HTTPConnection(self._address, port, timeout=timeout)

    @staticmethod
    def close_http_session(connection: http.client.HTTPConnection) -> None:
        connection.close()
