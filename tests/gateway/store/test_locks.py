"""Scheduler and gateway keep their state in one SQLite file, each with connections of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from framework.core.messages import SaveFrameworkId
from framework.storage import Storage
from gateway.store import Store

READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("select framework_id from scheduler_leader").fetchone()[0])
connection.close()
"""


def read(path: Path) -> str:
    """What another process reads, which then closes what it takes for the last connection."""
    command = [sys.executable, "-c", READ, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_second_opening_does_not_take_the_locks_of_the_first(tmp_path: Path) -> None:
    # SQLite's locks are POSIX's: closing any descriptor of the file drops all that the process has.
    # Then others believe that nobody has it open, and delete the log that is still written to.
    path = tmp_path / "state.db"
    storage = Storage(str(path))
    epoch = storage.claim_epoch()
    storage.commit((SaveFrameworkId("before"),), epoch)
    store = Store(str(path))
    log = path.with_name("state.db-wal")
    first = log.stat().st_ino
    assert read(path) == "before"
    assert log.stat().st_ino == first
    storage.commit((SaveFrameworkId("after"),), epoch)
    assert read(path) == "after"
    store.close()
    storage.close()
