"""Process trees end whole, watches tell once, and a pid alone is no identity."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from framework.local import processes
from framework.local.processes import (
    Identity,
    Watch,
    alive,
    identify,
    kill_tree,
    members,
    send_signal,
)
from tests.framework.local.clusters import until


def start(script: str, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, env={**os.environ, **env})


def test_a_tree_ends_with_what_left_its_session() -> None:
    marker = f"TREE_TEST={os.getpid()}"
    name, value = marker.split("=")
    leader = start("setsid sleep 1000 & (sleep 1000 & sleep 1000) & sleep 1000", **{name: value})
    found = until(lambda: members(leader.pid, marker) if len(members(leader.pid, marker)) >= 5 else None)
    # What left the session and lost its parent is found by its environment.
    leader.kill()
    leader.wait()
    assert kill_tree(leader.pid, marker) >= 4
    assert not any(alive(who) for who in found)
    assert members(leader.pid, marker) == set()


def test_a_fork_bomb_ends() -> None:
    leader = start("while :; do sleep 1000 & sleep 0.01; done")
    until(lambda: len(members(leader.pid)) > 5)
    kill_tree(leader.pid)
    leader.wait()
    assert members(leader.pid) == set()


def test_what_is_killed_may_take_its_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many want the CPU, as it needs it once more."""

    def late(who: Identity, number: int) -> bool:
        if number == signal.SIGKILL and who not in killers:
            killers[who] = threading.Timer(0.5, send_signal, (who, number))
            killers[who].start()
        return True

    killers: dict[Identity, threading.Timer] = {}
    leader = start("sleep 1000 & sleep 1000")
    until(lambda: len(members(leader.pid)) == 3)
    monkeypatch.setattr(processes, "send_signal", late)
    assert kill_tree(leader.pid) == 3
    assert members(leader.pid) == set()
    leader.wait()
    for killer in killers.values():
        killer.join()


def test_another_process_of_the_same_pid_is_not_the_same() -> None:
    mine = identify(os.getpid())
    assert mine is not None
    assert alive(mine)
    assert not alive(Identity(mine.pid, mine.started + 1))


def test_a_watch_tells_once() -> None:
    async def scene() -> list[str]:
        told: list[str] = []
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        who = identify(child.pid)
        assert who is not None
        done = asyncio.Event()
        watch = Watch(who, lambda: (told.append("gone"), done.set()))
        cancelled = Watch(who, lambda: told.append("never"))
        cancelled.cancel()
        assert told == []
        child.communicate(b"\n")
        await asyncio.wait_for(done.wait(), 60)
        again = asyncio.Event()
        Watch(who, again.set)  # it is gone already
        await asyncio.wait_for(again.wait(), 60)
        watch.cancel()
        return told

    assert asyncio.run(scene()) == ["gone"]


def test_without_pidfds_the_process_is_polled(monkeypatch) -> None:
    def missing(pid: int) -> int:
        raise OSError("no pidfds")

    monkeypatch.setattr(os, "pidfd_open", missing)
    test_a_watch_tells_once()
