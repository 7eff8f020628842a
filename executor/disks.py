"""The data disks of nodes: directories of the agent that are there, or that may be made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable


def work_dir(sandbox: str) -> str:
    """Returns the work directory of the agent whose executor has this sandbox, "" if that has none.

    Mesos's agents run executors below ``WORK_DIR/slaves/…``.
    """
    above, found, _ = sandbox.rpartition("/slaves/")
    return above if found else ""


def prepare_disks(paths: Iterable[str], below: str) -> None:
    """Makes the directories (root's, 0755) whose parents exist; with all parents under ``below``.

    Raises ``ValueError`` with a sentence for a disk that is not there, ``OSError`` for one that cannot
    be made.
    """
    for path in paths:
        if os.path.isdir(path):
            continue
        name, parent = os.path.basename(path), os.path.dirname(path)
        if os.path.lexists(path):
            raise ValueError(f"{path}, the data disk {name}, is no directory on this agent")
        if below and path.startswith(below.rstrip("/") + "/"):
            os.makedirs(parent, mode=0o755, exist_ok=True)
        if not os.path.isdir(parent):
            raise ValueError(
                f"the agent has no {parent} for the data disk {name}: make it, or mount its disks there"
            )
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
