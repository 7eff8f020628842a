"""A way to Docker on which calls fail: refused by the daemon, their answers lost, or overtaken."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable

from tests.executor.docker_proxy import DockerProxy

_CALL = re.compile(rb"(GET|POST|DELETE) /(?:v[\d.]+/)?(\S+) HTTP/1\.1\r\n")
CALLS = {
    "create": re.compile(r"POST containers/create"),
    "start": re.compile(r"POST containers/\w+/start"),
    "inspect": re.compile(r"GET containers/[\w-]+/json"),
    "attach": re.compile(r"POST containers/\w+/attach"),
    "exec": re.compile(r"POST exec/\w+/start"),
    "wait": re.compile(r"POST containers/\w+/wait"),
}


class Fault:
    """What happens to the next ``times`` calls of one kind.

    ``status``: they are answered so, and not passed on; else ``lost``: they are passed on, and the
    connection ends with their answer; else ``meanwhile`` is done before they are passed on.
    """

    def __init__(
        self,
        call: str,
        *,
        status: int = 0,
        message: str = "",
        lost: bool = False,
        meanwhile: Callable[[], None] | None = None,
        times: int = 1,
    ) -> None:
        self.pattern = CALLS[call]
        self.status = status
        self.message = message
        self.lost = lost
        self.meanwhile = meanwhile
        self.left = times

    def answer(self) -> bytes:
        body = json.dumps({"message": self.message}).encode()
        head = f"HTTP/1.1 {self.status} X\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class FaultyProxy(DockerProxy):
    """A :class:`DockerProxy` whose ``faults`` the calls meet, each the first that is meant for it."""

    def __init__(self, path) -> None:
        self.faults: list[Fault] = []
        self.met = 0
        super().__init__(path)

    def _fault_of(self, data: bytes) -> Fault | None:
        call = _CALL.match(data)
        if call is None:
            return None
        text = f"{call[1].decode()} {call[2].decode()}"
        with self._lock:
            for fault in self.faults:
                if fault.left and fault.pattern.match(text):
                    fault.left -= 1
                    self.met += 1
                    return fault
        return None

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        losing = threading.Event()
        other = threading.Thread(target=self._back, args=(server, client, losing), daemon=True)
        other.start()
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                fault = self._fault_of(data)
                if fault is not None and fault.status:
                    self._read_body(client, data)
                    client.sendall(fault.answer())
                    continue
                if fault is not None and fault.lost:
                    losing.set()
                if fault is not None and fault.meanwhile is not None:
                    fault.meanwhile()
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        other.join()
        client.close()
        server.close()
        with self._lock:
            self._connections -= {client, server}

    @staticmethod
    def _read_body(client: socket.socket, data: bytes) -> None:
        """A body may follow its head in a packet of its own."""
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        left = int(length[1]) - len(body) if length else 0
        while left > 0 and (more := client.recv(left)):
            left -= len(more)

    @staticmethod
    def _back(server: socket.socket, client: socket.socket, losing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if losing.is_set():
                    break
                client.sendall(data)
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
