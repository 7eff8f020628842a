"""Processes by identity: told apart from later ones with the same pid, watched, and ended whole.

Linux only: /proc and, where the kernel has them, pidfds (5.3); else the process is polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

_POLL = 0.2
# A tree that is killed is looked at again after so long (seconds), and given up after so long.
_ROUND = 0.005
_KILLED_SECS = 10.0
_PROC = Path("/proc")


class Identity(NamedTuple):
    """A process: its pid, and when it started in clock ticks after boot."""

    pid: int
    started: int


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name, in parentheses, may itself hold parentheses and blanks.
    fields = text[text.rindex(b")") + 2 :].split()
    return _Stat(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> Identity | None:
    """Returns who has this pid now, None if nobody (or only a zombie) has."""
    stat = _stat(pid)
    return None if stat is None or stat.state in "ZX" else Identity(pid, stat.started)


def alive(who: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identify(who.pid) == who


class Watch:
    """Calls ``gone`` once, on the running loop, when the process ends. ``cancel`` ends the watch."""

    def __init__(self, who: Identity, gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._who = who
        self._gone = gone
        self._timer: asyncio.TimerHandle | None = None
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.pidfd_open(who.pid)
        if not alive(who):
            self._loop.call_soon(self._ended)
        elif self._fd >= 0:
            self._loop.add_reader(self._fd, self._ended)
        else:
            self._poll()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._gone = lambda: None

    def _poll(self) -> None:
        if alive(self._who):
            self._timer = self._loop.call_later(_POLL, self._poll)
        else:
            self._ended()

    def _ended(self) -> None:
        gone = self._gone
        self.cancel()
        gone()


def send_signal(who: Identity, number: int) -> bool:
    """Signals exactly this process; returns whether it was there."""
    if not alive(who):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(who.pid, number)
        return True
    return False


def _everyone() -> Iterator[tuple[int, _Stat]]:
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None:
            yield int(entry), stat


def _marked(pid: int, marker: bytes) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return marker in environment.split(b"\0")


def members(leader: int, marker: str | None = None) -> set[Identity]:
    """Returns every process of a tree.

    Those in the session of ``leader``, all descendants of these, and those that carry ``marker``
    (``NAME=value``) in their environment: the last finds what left the session and lost its parent.
    """
    table = dict(_everyone())
    found = {pid for pid, stat in table.items() if pid == leader or stat.session == leader}
    if marker is not None:
        wanted = marker.encode()
        found |= {pid for pid in table if pid not in found and _marked(pid, wanted)}
    grown = True
    while grown:
        more = {pid for pid, stat in table.items() if stat.parent in found} - found
        found |= more
        grown = bool(more)
    found -= {os.getpid(), 1, 0}
    return {Identity(pid, table[pid].started) for pid in found if table[pid].state not in "ZX"}


def kill_tree(leader: int, marker: str | None = None) -> int:
    """Kills a tree with SIGKILL, until nothing of it is left; returns how many processes it had.

    Each round first stops what it found, so that nothing can fork away between finding and killing.
    What has been killed needs the CPU once more to end, and gets it late where many others want it.
    """
    count, give_up = 0, time.monotonic() + _KILLED_SECS
    while found := members(leader, marker):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for who in found:
                with contextlib.suppress(OSError):
                    send_signal(who, number)
        count = max(count, len(found))
        if time.monotonic() > give_up:
            log.error("%d processes of %d outlive SIGKILL", len(found), leader)
            break
        time.sleep(_ROUND)
    return count
