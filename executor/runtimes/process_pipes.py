"""The pipes that the runs of a task's processes put their output into, moved to where it goes."""

from __future__ import annotations

import os
import selectors

from executor.runtimes.coordinator import Channel
from executor.runtimes.process_runs import READ, ProcessRun

# How much of a stream is read at once before the others have their turn.
_TURN = 16 * READ


class Pipes:
    """All open pipes of a task, and the coordinator's channel among them. One thread's."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def listen_to(self, channel: Channel) -> None:
        """Has :meth:`move` look at the channel, too."""
        self._selector.register(channel, selectors.EVENT_READ)

    def leave(self, channel: Channel) -> None:
        """Looks at the channel no more."""
        self._selector.unregister(channel)

    def follow(self, run: ProcessRun) -> None:
        """Reads from a run's pipes from now on."""
        for stream, fd in run.pipes.items():
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, (run, stream))

    def move(self) -> bool:
        """Waits until there is something, and moves it; returns whether the channel has something."""
        heard = False
        for key, _ in self._selector.select():
            if key.data is None:
                heard = True
            else:
                self._pump(*key.data)
        return heard

    def drain(self, run: ProcessRun) -> None:
        """Moves all that a run has put out."""
        for stream in list(run.pipes):
            self._pump(run, stream, to_the_end=True)

    def drop(self, run: ProcessRun) -> None:
        """Reads from a run no more; its log is complete."""
        for stream in list(run.pipes):
            self._close(run, stream)
        if run.log is not None:
            run.log.close()

    def drop_all(self) -> None:
        """Reads what is there, and then no more; of ended runs, too, whose stragglers hold pipes."""
        seen = {id(key.data[0]): key.data[0] for key in self._selector.get_map().values() if key.data}
        for run in seen.values():
            for stream in list(run.pipes):
                self._pump(run, stream)
            self.drop(run)

    def close(self) -> None:
        """Frees the selector; the pipes are closed by :meth:`drop`."""
        self._selector.close()

    def _pump(self, run: ProcessRun, stream: str, to_the_end: bool = False) -> None:
        """Moves output from a pipe to the log: what is there now, or up to a turn of it."""
        fd = run.pipes.get(stream)
        if fd is None:
            return
        moved = 0
        while to_the_end or moved < _TURN:
            try:
                data = os.read(fd, READ)
            except BlockingIOError:
                return
            if not data:
                self._close(run, stream)
                return
            run.write(stream, data)
            moved += len(data)
            if moved > 64 * _TURN:
                return  # what a process has left behind writes without end

    def _close(self, run: ProcessRun, stream: str) -> None:
        fd = run.pipes.pop(stream)
        self._selector.unregister(fd)
        os.close(fd)
        if not run.pipes and run.log is not None:
            run.log.close()
