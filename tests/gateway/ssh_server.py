"""An SSH server as a node has one: it lets one key in, and runs what it is told."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import paramiko


@contextlib.contextmanager
def ssh_serving(host_key: str, authorized: str) -> Iterator[int]:
    """Gives the port of a server that shows ``host_key`` (private, PEM) and lets root in with the key
    of ``authorized``, a line of an authorized_keys."""
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
                transport.add_server_key(paramiko.Ed25519Key.from_private_key(io.StringIO(host_key)))
                try:
                    transport.start_server(server=_Server(authorized))
                except (paramiko.SSHException, EOFError, OSError):
                    continue  # a client that does not trust us goes away

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)
    for transport in transports:
        transport.close()


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
