"""The Docker SDK's client, with a reader that loses no output and a connection that leaves no socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import docker
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection

_HEADER = struct.Struct(">BxxxL")
_STDERR = 2


class Client(docker.APIClient):  # type: ignore[misc]  # the SDK has no types
    """The SDK (7.2) reads a hijacked stream from the socket itself, past the file object that has read
    the head of the answer: output that came in one piece with the head was lost. This one reads on from
    that file object.
    """

    _custom_adapter: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self._custom_adapter
        if isinstance(given, UnixHTTPAdapter):
            self._custom_adapter = _Adapter(
                f"http+unix://{given.socket_path}", given.timeout, max_pool_size=given.max_pool_size
            )
            self.mount("http+docker://", self._custom_adapter)
            given.close()

    def _read_from_socket(
        self, response: Any, stream: bool, tty: bool = True, demux: bool = False
    ) -> Any:
        if tty or not (stream and demux):
            return super()._read_from_socket(response, stream, tty, demux)
        self._disable_socket_timeout(self._get_raw_response_socket(response))
        return demultiplexed(response.raw._fp.fp)


class _Connection(UnixHTTPConnection):  # type: ignore[misc]
    """The SDK forgets the socket whose connect has failed, and leaves it to the garbage collection."""

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.unix_socket)
        except OSError:
            sock.close()
            raise
        self.sock = sock


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        pool = super().get_connection(url, proxies)
        pool._new_conn = lambda: _Connection(pool.base_url, pool.socket_path, pool.timeout)
        return pool


def demultiplexed(file: BinaryIO) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yields (stdout, stderr) of each frame until the stream ends; one that is cut off is left out.

    A frame is the number of its stream in one byte, three zeros, its length in four, its data (Docker's
    Engine API 1.41, ContainerAttach).
    """
    while len(head := file.read(_HEADER.size)) == _HEADER.size:
        number, length = _HEADER.unpack(head)
        data = file.read(length)
        if len(data) < length:
            return
        yield (None, data) if number == _STDERR else (data, None)
