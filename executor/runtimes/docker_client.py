"""The Docker SDK's client, with a reader of output that loses nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import docker

_HEADER = struct.Struct(">BxxxL")
_STDERR = 2


class Client(docker.APIClient):  # type: ignore[misc]  # the SDK has no types
    """The SDK (7.2) reads a hijacked stream from the socket itself, past the file object that has read
    the head of the answer: output that came in one piece with the head was lost. This one reads on from
    that file object.
    """

    def _read_from_socket(
        self, response: Any, stream: bool, tty: bool = True, demux: bool = False
    ) -> Any:
        if tty or not (stream and demux):
            return super()._read_from_socket(response, stream, tty, demux)
        self._disable_socket_timeout(self._get_raw_response_socket(response))
        return demultiplexed(response.raw._fp.fp)


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
