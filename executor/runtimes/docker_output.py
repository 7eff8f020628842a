"""A container's output, taken from streams that may break off while the container goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from executor.logs import STREAMS, ProcessLog
from executor.runtimes.docker_api import Down, Frames

logger = logging.getLogger(__name__)

# What the daemon keeps of a container's output (docker_options: two files of 16 MiB) holds at least this
# much of it, as its json-file driver writes it: each line in an envelope.
_KEPT = 16 * 1024 * 1024
_ENVELOPE = 90


class Output:
    """Counts what one container has written, over all of its runs, so that a replay can be skipped."""

    def __init__(self) -> None:
        self._total = dict.fromkeys(STREAMS, 0)
        self._lines = 0

    @property
    def is_replayable(self) -> bool:
        """Whether the daemon still has everything from the beginning."""
        return sum(self._total.values()) + self._lines * _ENVELOPE < _KEPT

    def take(self, frames: Frames, log: ProcessLog, replayed: bool = False) -> bool:
        """Moves output to the log until the stream ends; returns whether it ended by itself.

        ``replayed``: the stream begins with all that the container has ever written; what was taken
        of it before is left out.
        """
        position = dict.fromkeys(STREAMS, 0) if replayed else dict(self._total)
        try:
            for stream, data in frames:
                new = data[max(0, self._total[stream] - position[stream]) :]
                position[stream] += len(data)
                if new:
                    self._total[stream] = position[stream]
                    self._lines += new.count(b"\n") + 1
                    log.write(stream, new)
        except Down as error:
            logger.info("the output of a container is interrupted: %s", error)
            return False
        finally:
            frames.close()
        return True


class Past:
    """Output that is there already."""

    def __init__(self, pairs: list[tuple[str, bytes]]) -> None:
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return iter(self._pairs)

    def close(self) -> None:
        """Nothing is held."""
