"""Whom the processes of a task run as, where there is no image."""

from __future__ import annotations

import grp
import os
import pwd

import msgspec

from executor.runtimes.base import CannotRun
from executor.task import TaskDocument, TaskPayload


class Account(msgspec.Struct, frozen=True):
    """Whom a process runs as; ``uid`` None: whoever the executor is."""

    name: str
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()


def user_of(payload: TaskPayload, document: TaskDocument) -> str | None:
    """Returns whom a task is to run as, None: as the executor does.

    Whom the task itself names has been judged by the gateway's policy. Raises :class:`CannotRun` if the
    operator lets all tasks run as one other user.
    """
    asked, given = document.task.user or None, payload.user
    if asked not in (None, given) and given not in (None, payload.role):
        raise CannotRun(
            f"the task asks to run as user {asked!r}, but all tasks here run as {given!r} (--task-user)",
            "REASON_TASK_INVALID",
        )
    return asked or given


def account(user: str | None) -> Account:
    """Returns the account for the task's user; raises :class:`CannotRun` if it cannot be had."""
    own = _own_name()
    if user is None or user == own:
        return Account(own)
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        raise CannotRun(
            f"the task should run as user {user!r}, which does not exist on this agent",
            "REASON_TASK_INVALID",
        ) from None
    if entry.pw_uid == os.geteuid():
        return Account(user)
    if os.geteuid() != 0:
        raise CannotRun(
            f"the task should run as user {user!r}, but the executor runs as {own!r}, "
            "and only root can change that",
            "REASON_TASK_INVALID",
        )
    groups = {entry.pw_gid, *(g.gr_gid for g in grp.getgrall() if user in g.gr_mem)}
    return Account(user, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
