"""What plugins do on a node: run commands, write and read files, over whichever channel there is.

The names are Sahara's (contract: ``sahara-spi``). A channel runs one command: the executor's own
(``docker exec``), or SSH.
"""

from __future__ import annotations

import http.client
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.plugins.exceptions import NodeError

_TIMEOUT = 300.0
_INSTALL_SECS = 1800.0
# A file goes over in pieces of so many bytes; channels take 16 MiB at once.
_PIECE = 8 * 1024 * 1024
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
        self._sessions: dict[int, http.client.HTTPConnection] = {}

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exception: object) -> None:
        for port in list(self._sessions):
            self.close_http_session(port)
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

    def _do(
        self, cmd: str, run_as_root: bool = False, timeout: float = _TIMEOUT, stdin: bytes = b""
    ) -> bytes:
        """Returns what a command puts out; raises :class:`NodeError` if it fails."""
        ended = self._run(cmd, run_as_root, timeout, stdin)
        if ended.code:
            raise NodeError(self._failure(cmd, ended))
        return ended.stdout

    # -- files --

    def write_file_to(
        self, remote_file: str, data: str | bytes, run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        """Writes a file; its directory is made."""
        self._put(remote_file, _bytes(data), run_as_root, timeout, append=False)

    def write_files_to(
        self, files: Mapping[str, str | bytes], run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        for path, data in files.items():
            self.write_file_to(path, data, run_as_root, timeout)

    def read_file_from(
        self, remote_file: str, run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> str:
        return self._get(remote_file, run_as_root, timeout).decode(errors="replace")

    def append_to_file(
        self, remote_file: str, data: str, run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        self._put(remote_file, _bytes(data), run_as_root, timeout, append=True)

    def append_to_files(
        self, files: Mapping[str, str], run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        for path, data in files.items():
            self.append_to_file(path, data, run_as_root, timeout)

    def prepend_to_file(
        self, remote_file: str, data: str, run_as_root: bool = False, timeout: float = _TIMEOUT
    ) -> None:
        self._edit(remote_file, lambda text: _bytes(data) + text, run_as_root, timeout)

    def replace_remote_string(
        self,
        remote_file: str,
        old_str: str,
        new_str: str,
        timeout: float = _TIMEOUT,
        run_as_root: bool = False,
    ) -> None:
        """Replaces every ``old_str`` of a file."""
        old, new = _bytes(old_str), _bytes(new_str)
        self._edit(remote_file, lambda text: text.replace(old, new), run_as_root, timeout)

    def replace_remote_line(
        self,
        remote_file: str,
        old_line_with_start_string: str,
        new_line: str,
        timeout: float = _TIMEOUT,
        run_as_root: bool = False,
    ) -> None:
        """Replaces the lines that begin with a text."""
        start, new = _bytes(old_line_with_start_string), _bytes(new_line).removesuffix(b"\n") + b"\n"

        def edit(text: bytes) -> bytes:
            lines = text.splitlines(keepends=True)
            return b"".join(new if line.startswith(start) else line for line in lines)

        self._edit(remote_file, edit, run_as_root, timeout)

    def _edit(
        self, path: str, change: Callable[[bytes], bytes], run_as_root: bool, timeout: float
    ) -> None:
        changed = change(self._get(path, run_as_root, timeout))
        self._put(path, changed, run_as_root, timeout, append=False)

    def _get(self, path: str, run_as_root: bool, timeout: float) -> bytes:
        return self._do(f"cat {shlex.quote(path)}", run_as_root, timeout)

    def _put(self, path: str, data: bytes, run_as_root: bool, timeout: float, append: bool) -> None:
        where = shlex.quote(path)
        pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)] or [b""]
        for number, piece in enumerate(pieces):
            sign = ">>" if append or number else ">"
            self._do(f'mkdir -p "$(dirname {where})" && cat {sign} {where}', run_as_root, timeout, piece)

    # -- the system --

    def get_os_distrib(self) -> str:
        """Returns the distribution's id in lower case: debian, ubuntu, alpine."""
        return self._do('. /etc/os-release && printf %s "$ID"').decode().strip().lower()

    def get_os_version(self) -> str:
        return self._do('. /etc/os-release && printf %s "${VERSION_ID:-}"').decode().strip()

    def update_repository(self, timeout: float = _INSTALL_SECS) -> None:
        """Reads again what packages there are."""
        self._do(self._packages("apt-get -qq update", "yum -q makecache"), True, timeout)

    def install_packages(self, packages: Sequence[str], timeout: float = _INSTALL_SECS) -> None:
        """Installs packages with the distribution's own tool."""
        names = shlex.join(packages)
        apt = f"DEBIAN_FRONTEND=noninteractive apt-get -qq install -y {names}"
        self._do(self._packages(apt, f"yum -q -y install {names}"), True, timeout)

    def _packages(self, apt: str, yum: str) -> str:
        distribution = self.get_os_distrib()
        if distribution in ("debian", "ubuntu"):
            return apt
        if distribution in ("centos", "rhel", "fedora", "rocky", "almalinux"):
            return yum
        raise NodeError(
            f"on {self._name} no packages can be installed: its system is {distribution or 'unknown'}"
        )

    # -- HTTP --

    def get_http_client(self, port: int, timeout: float = 30.0) -> http.client.HTTPConnection:
        """Returns a connection to a port of the node, the same each time until it is closed."""
        if self._address is None:
            raise NodeError(f"{self._name} has no address that its port {port} could be reached at")
        if port not in self._sessions:
            made = http.client.HTTPConnection(self._address, port, timeout=timeout)
            self._sessions[port] = made
        return self._sessions[port]

    def close_http_session(self, port: int) -> None:
        """Closes the connection to a port, if there is one."""
        session = self._sessions.pop(port, None)
        if session is not None:
            session.close()


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
