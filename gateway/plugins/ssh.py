"""The way into a node over SSH, with the keys that follow from its cluster's secret."""

from __future__ import annotations

import contextlib
import io
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import paramiko

from framework.model.errors import Unavailable
from gateway.clusters import keys
from gateway.clusters.model import NodeRecord
from gateway.plugins.channels import SSH_PORT
from gateway.plugins.exceptions import NodeError
from gateway.plugins.remote import Ended

_CONNECT_SECS = 30.0
_PIECE = 32 * 1024
# How often it is looked at what a command has put out.
_GLANCE = 0.02


class Target(msgspec.Struct, frozen=True):
    """Where to log in, as whom, with which key; ``host_key`` is what the server has to show: type and
    key, as in a known_hosts file."""

    address: str
    port: int
    user: str
    private_key: str
    host_key: str

    def __repr__(self) -> str:  # never a key in a log
        return f"Target({self.user}@{self.address}:{self.port})"


def target_of(secret: str, node: NodeRecord, address: str, user: str, port: int = SSH_PORT) -> Target:
    """Returns how to log in to a node of the cluster that has this secret."""
    private = keys.user_key(secret).private
    return Target(address, port, user, private, keys.host_key(secret, node.node_id).public)


class SshChannel:
    """One connection, made when the first command is run. A server that shows another key than the
    node's own is not talked to. What is to be run as another user than the login's needs ``sudo``."""

    def __init__(self, target: Target, cancelled: Callable[[], bool] | None = None) -> None:
        self._target = target
        self._cancelled = cancelled
        self._client: Any = None

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float, user: str | None) -> Ended:
        """See :class:`gateway.plugins.remote.Channel`. Raises :class:`Unavailable` where nobody
        answers or is trusted, :class:`NodeError` for a command that does not end in time."""
        words = list(argv)
        if user is not None and user != self._target.user:
            words = ["sudo", "-n", "-u", user, "--", *words]
        until = time.monotonic() + timeout
        with self._reported(), self._session(min(timeout, _CONNECT_SECS)) as session:
            # The shell of the account stays: it gives a command that a signal has ended a code (137).
            command = f"{shlex.join(words)}; exit $?"
            # From a thread: to be let begin is waited for without end, and a command may put out much
            # before it has read all there is.
            writer = threading.Thread(target=_give, args=(session, command, stdin), daemon=True)
            writer.start()
            try:
                return self._read(session, until)
            except NodeError:
                # A server that takes nothing any more would not let go of a session alone.
                self.close()
                raise
            finally:
                session.close()
                writer.join()

    def _read(self, session: Any, until: float) -> Ended:
        out, err = bytearray(), bytearray()
        over = False
        while not over:
            over = session.closed or (session.exit_status_ready() and session.eof_received)
            while session.recv_ready():
                out += session.recv(_PIECE)
            while session.recv_stderr_ready():
                err += session.recv_stderr(_PIECE)
            if not over:
                self._check(until)
                time.sleep(_GLANCE)
        code = session.recv_exit_status()
        if code < 0:
            raise Unavailable(f"{self._target.address} has ended the SSH session before its command")
        return Ended(code, bytes(out), bytes(err))

    def _check(self, until: float) -> None:
        if time.monotonic() > until:
            raise NodeError(f"a command on {self._target.address} has not ended in time")
        if self._cancelled is not None and self._cancelled():
            raise NodeError(f"a command on {self._target.address} is not wanted any more")

    @contextlib.contextmanager
    def _session(self, timeout: float) -> Iterator[Any]:
        if self._client is None:
            self._client = self._connect(timeout)
        transport = self._client.get_transport()
        if transport is None:
            raise Unavailable(f"the SSH connection to {self._target.address} has ended")
        with transport.open_session(timeout=timeout) as session:
            yield session

    def _connect(self, timeout: float) -> Any:
        target = self._target
        kind, key = target.host_key.split()[:2]
        name = target.address if target.port == SSH_PORT else f"[{target.address}]:{target.port}"
        entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {key}")
        client = paramiko.SSHClient()
        client.get_host_keys().add(name, kind, entry.key)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.connect(
                target.address,
                target.port,
                target.user,
                pkey=paramiko.Ed25519Key.from_private_key(io.StringIO(target.private_key)),
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                allow_agent=False,
                look_for_keys=False,
            )
        except BaseException:
            client.close()
            raise
        return client

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            why = str(error) or type(error).__name__
            raise Unavailable(f"{self._target.address} cannot be used over SSH: {why}") from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _give(session: Any, command: str, data: bytes) -> None:
    """Has a command begin and writes all of ``data`` and its end, unless the session closes before."""
    # It is refused, or reads no more: its exit code says why, or that there is none.
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        session.exec_command(command)
        session.sendall(data)
        session.shutdown_write()
