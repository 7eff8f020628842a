"""A ZooKeeper in miniature: sessions, exists, getData, getChildren and their watches, on loopback."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_STAT = struct.Struct(">qqqqiiiqiiq")
_NO_NODE = -101
_CHILDREN_CHANGED, _CONNECTED = 4, 3
_EXISTS, _GET_DATA, _GET_CHILDREN, _PING, _GET_CHILDREN_2, _AUTH, _CLOSE = 3, 4, 8, 11, 12, 100, -11


class ZooKeeper:
    """Holds ``nodes`` (path -> data); :meth:`put` and :meth:`remove` tell those who watch.

    ``missed`` are the paths that were asked for and are not there.
    """

    def __init__(self, port: int = 0) -> None:
        self.nodes: dict[str, bytes] = {}
        self.auths: list[bytes] = []
        self.missed: list[str] = []
        self._watches: dict[str, set[socket.socket]] = {}
        self._clients: list[socket.socket] = []
        self._lock = threading.RLock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def put(self, path: str, data: bytes = b"") -> None:
        with self._lock:
            self.nodes[path] = data
            self._tell(path)

    def remove(self, path: str) -> None:
        with self._lock:
            del self.nodes[path]
            self._tell(path)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()
        for thread in self._threads:
            thread.join(10)

    def _tell(self, path: str) -> None:
        parent = path.rpartition("/")[0] or "/"
        for client in self._watches.pop(parent, set()):
            event = struct.pack(">iqiii", -1, -1, 0, _CHILDREN_CHANGED, _CONNECTED) + _text(parent)
            with contextlib.suppress(OSError):
                client.sendall(_frame(event))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            timeout = struct.unpack_from(">iqi", self._receive(client))[2]
            passwd = struct.pack(">i", 16) + b"p" * 16
            client.sendall(_frame(struct.pack(">iiq", 0, timeout, 1) + passwd + b"\0"))
            while True:
                request = self._receive(client)
                xid, kind = struct.unpack_from(">ii", request)
                with self._lock:
                    error, payload = self._answer(kind, request[8:], client)
                    client.sendall(_frame(struct.pack(">iqi", xid, 1, error) + payload))
                if kind == _CLOSE:
                    return

    def _answer(self, kind: int, body: bytes, client: socket.socket) -> tuple[int, bytes]:
        if kind == _AUTH:
            self.auths.append(body)
        if kind in (_PING, _CLOSE, _AUTH):
            return 0, b""
        length = struct.unpack_from(">i", body)[0]
        path, watch = body[4 : 4 + length].decode(), body[4 + length] == 1
        children = [p[len(path) + 1 :] for p in self.nodes if p.rpartition("/")[0] == path]
        if path not in self.nodes:
            self.missed.append(path)
            return _NO_NODE, b""
        stat = _STAT.pack(1, 1, 1, 1, 0, 0, 0, 0, len(self.nodes[path]), len(children), 1)
        if kind == _EXISTS:
            return 0, stat
        if kind == _GET_DATA:
            return 0, struct.pack(">i", len(self.nodes[path])) + self.nodes[path] + stat
        assert kind in (_GET_CHILDREN, _GET_CHILDREN_2)
        if watch:
            self._watches.setdefault(path, set()).add(client)
        listed = struct.pack(">i", len(children)) + b"".join(map(_text, children))
        return 0, listed + (stat if kind == _GET_CHILDREN_2 else b"")

    def _receive(self, client: socket.socket) -> bytes:
        return _exactly(client, struct.unpack(">i", _exactly(client, 4))[0])


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def _frame(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _text(text: str) -> bytes:
    return _frame(text.encode())
