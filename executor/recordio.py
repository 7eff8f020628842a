"""RecordIO: how Mesos frames the events of a subscription: ``<length>\\n<length bytes>``.

Shared with the framework: masters and agents speak alike.
"""

from __future__ import annotations

# A cluster of 100,000 offers stays under this; more is a peer that does not speak RecordIO.
MAX_RECORD = 512 * 1024 * 1024
_MAX_HEADER = len(str(MAX_RECORD))


class ProtocolError(Exception):
    """The peer does not speak the protocol; the sentence says what it sent instead."""


class RecordDecoder:
    """Takes a stream's bytes as they arrive, gives back whole records. Linear in the bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the records that ``data`` completes; raises :class:`ProtocolError`."""
        self._buffer += data
        records: list[bytes] = []
        start = 0
        while True:
            if self._length is None:
                end = self._buffer.find(b"\n", start, start + _MAX_HEADER + 1)
                if end < 0:
                    if len(self._buffer) - start > _MAX_HEADER:
                        raise ProtocolError(f"no record length in {self._excerpt(start)}")
                    break
                self._length = self._parse_length(start, end)
                start = end + 1
            if len(self._buffer) - start < self._length:
                break
            with memoryview(self._buffer) as view:
                records.append(bytes(view[start : start + self._length]))
            start += self._length
            self._length = None
        if start:
            del self._buffer[:start]
        return records

    def _parse_length(self, start: int, end: int) -> int:
        digits = bytes(self._buffer[start:end])
        if not digits.isdigit() or int(digits) > MAX_RECORD:
            raise ProtocolError(f"a record of length {digits!r}")
        return int(digits)

    def _excerpt(self, start: int) -> str:
        return repr(bytes(self._buffer[start : start + 40]))
