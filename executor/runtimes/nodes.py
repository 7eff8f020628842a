"""Nodes: what is made ready before their processes run."""

from __future__ import annotations

import os
import posixpath

from executor import node
from executor.disks import prepare_disks, work_dir
from executor.logs import open_directory
from executor.runtimes.accounts import Account
from executor.runtimes.base import CannotRun, TaskContext
from executor.task import Node, NodeFile

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def prepare_node(context: TaskContext) -> None:
    """Checks the task's node, if it is one, and makes its disks' directories; raises ``CannotRun``."""
    try:
        node.check(context.payload)
    except ValueError as error:
        raise CannotRun(str(error), "REASON_TASK_INVALID") from None
    try:
        prepare_disks(context.payload.disk_paths, work_dir(context.environment.directory))
    except (ValueError, OSError) as error:
        raise CannotRun(f"a data disk of the task is not ready: {error}") from error


def node_variables(machine: Node, disk_paths: tuple[str, ...]) -> dict[str, str]:
    """Returns the variables of a node without an image: its disks are where the agent has them."""
    disks = {f"NODE_DISK_{number}": path for number, path in enumerate(disk_paths, 1)}
    return {**node.environment_of(machine), **disks}


def furnish(context: TaskContext, account: Account) -> None:
    """Puts a node's things into its sandbox: ``hosts``, ``disks/1`` …, its files below ``root``.

    They belong to the task's user, as do the disks themselves. Raises :class:`CannotRun`.
    """
    machine = context.payload.node
    if machine is None:
        return
    try:
        _write(context.sandbox, NodeFile("hosts", node.hosts_file(machine)), account)
        for file in machine.files:
            _write(context.sandbox, NodeFile(f"root{file.path}", file.text, file.mode), account)
        for number, path in enumerate(context.payload.disk_paths, 1):
            directory = open_directory(context.sandbox, "disks")
            try:
                os.symlink(path, str(number), dir_fd=directory)
            finally:
                os.close(directory)
            if account.uid is not None:
                os.chown(path, account.uid, account.gid or 0)
    except OSError as error:
        raise CannotRun(f"the node cannot be made ready: {error}") from error


def _write(sandbox: str, file: NodeFile, account: Account) -> None:
    above, name = posixpath.split(file.path)
    directory = open_directory(sandbox, *(part for part in above.split("/") if part))
    try:
        descriptor = os.open(name, _NEW, 0o600, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as out:
            if account.uid is not None:
                os.fchown(descriptor, account.uid, account.gid or 0)
            os.fchmod(descriptor, file.mode & 0o7777)
            out.write(file.text.encode())
    finally:
        os.close(directory)
