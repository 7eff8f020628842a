"""RecordIO, as the agent frames the events of a subscription: ``<length>\\n<length bytes>``."""

from __future__ import annotations

# A LAUNCH carries one task; what is longer than this comes from a peer that speaks something else.
MAX_RECORD = 64 * 1024 * 1024
_MAX_DIGITS = len(str(MAX_RECORD))


class NotRecordIO(Exception):
    """The peer does not speak RecordIO; the sentence shows what it sent."""


class Records:
    """Cuts a stream of bytes into records, in time linear in the bytes."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._wanted = -1

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the records that ``data`` completes; raises :class:`NotRecordIO`."""
        self._pending += data
        found: list[bytes] = []
        at = 0
        while True:
            if self._wanted < 0:
                newline = self._pending.find(b"\n", at, at + _MAX_DIGITS + 1)
                if newline < 0 and len(self._pending) - at <= _MAX_DIGITS:
                    break
                self._wanted = self._length(bytes(self._pending[at : max(newline, at)]))
                at = newline + 1
            if len(self._pending) - at < self._wanted:
                break
            with memoryview(self._pending) as view:
                found.append(bytes(view[at : at + self._wanted]))
            at += self._wanted
            self._wanted = -1
        del self._pending[:at]
        return found

    def _length(self, digits: bytes) -> int:
        if not digits.isdigit() or int(digits) > MAX_RECORD:
            raise NotRecordIO(f"expected the length of a record, got {bytes(self._pending[:40])!r}")
        return int(digits)
