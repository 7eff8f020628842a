"""Executor processes: their sandbox, their environment, their start.

Each executor leads a session and process group of its own, with the environment that Mesos 1.11 gives
it and nothing of the agent's (executor-env.* of the recordings).
"""

from __future__ import annotations

import logging
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.local import durations
from framework.local.fetcher import FetchFailed, fetch_all
from framework.local.settings import AgentTimes

log = logging.getLogger(__name__)

Json = dict[str, Any]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What mesos-containerizer's exit status 1 is to wait(2): the command could not be executed.
EXEC_FAILED = 256


class LaunchFailed(Exception):
    """The container could not be started; the text is for the task's status."""


@dataclass(frozen=True)
class Container:
    """What is to be started. ``user`` "" means the agent's own.

    ``switches``: the program itself becomes the user, so it starts as who the agent is.
    """

    directory: Path
    command: Json
    user: str
    environment: dict[str, str]
    switches: bool = False


@dataclass(frozen=True)
class _Account:
    uid: int
    gid: int
    groups: list[int]


def sandbox_path(root: Path, agent_id: str, framework_id: str, executor_id: str, run: str) -> Path:
    """Returns ``slaves/<id>/frameworks/<fid>/executors/<eid>/runs/<uuid>`` under ``root``."""
    executor = root / "slaves" / agent_id / "frameworks" / framework_id / "executors" / executor_id
    return executor / "runs" / run


def environment(
    *,
    agent_id: str,
    address: str,
    port: int,
    framework_id: str,
    executor: Json,
    directory: Path,
    checkpoint: bool,
    times: AgentTimes,
) -> dict[str, str]:
    """Returns what Mesos puts into an executor's environment."""
    grace = executor.get("shutdown_grace_period", {}).get("nanoseconds", 0) / 1e9
    result = {
        "LIBPROCESS_IP": address,
        "LIBPROCESS_PORT": "0",
        "MESOS_AGENT_ENDPOINT": f"{address}:{port}",
        "MESOS_CHECKPOINT": "1" if checkpoint else "0",
        "MESOS_DIRECTORY": str(directory),
        "MESOS_EXECUTOR_ID": executor["executor_id"]["value"],
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": durations.show(grace or times.executor_shutdown_grace),
        "MESOS_FRAMEWORK_ID": framework_id,
        "MESOS_HTTP_COMMAND_EXECUTOR": "0",
        "MESOS_SANDBOX": str(directory),
        "MESOS_SLAVE_ID": agent_id,
        "MESOS_SLAVE_PID": f"slave(1)@{address}:{port}",
        "PATH": _PATH,
        "PWD": str(directory),
    }
    if checkpoint:
        result["MESOS_RECOVERY_TIMEOUT"] = durations.show(times.recovery)
        result["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = durations.show(times.executor_reregistration)
    return result


def prepare(container: Container) -> None:
    """Makes the sandbox and fetches the URIs; blocks. Raises :class:`LaunchFailed`."""
    account = _account(container.user)
    directory = container.directory
    try:
        directory.mkdir(parents=True, mode=0o755)
        directory.chmod(0o750)
        latest = directory.parent / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(directory.name)
        for stream in ("stdout", "stderr"):
            (directory / stream).touch(0o644)
        fetch_all(container.command.get("uris", []), directory)
        if account is not None:
            _give(directory, account)
    except FetchFailed as error:
        raise LaunchFailed(
            f"Failed to fetch all URIs for container '{directory.name}': {error}"
        ) from error
    except OSError as error:
        raise LaunchFailed(f"Failed to prepare the sandbox: {error}") from error


def _account(user: str) -> _Account | None:
    """Returns whom to become, None to stay; raises :class:`LaunchFailed`."""
    me = os.geteuid()
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(me)
    except KeyError:
        if not user:
            return None
        raise LaunchFailed(f"Failed to get user information for '{user}': no such user") from None
    if entry.pw_uid == me:
        return None
    if me != 0:
        raise LaunchFailed(f"Failed to switch to user '{user}': the agent does not run as root")
    return _Account(entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid))


def _give(directory: Path, account: _Account) -> None:
    os.chown(directory, account.uid, account.gid)
    for path in directory.rglob("*"):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def start(container: Container) -> subprocess.Popen[bytes]:
    """Starts the command; raises :class:`LaunchFailed`, or ``OSError`` if it cannot be run."""
    command = container.command
    account = None if container.switches else _account(container.user)
    if command.get("shell", True):
        if "value" not in command:
            raise LaunchFailed("Shell specified but no command value provided")
        argv = ["/bin/sh", "-c", command["value"]]
        executable = None
    else:
        executable = command.get("value")
        if not executable:
            raise LaunchFailed("No command value provided")
        argv = command.get("arguments") or [executable]
    variables = command.get("environment", {}).get("variables", [])
    # Where the framework and Mesos name the same variable, Mesos's stands, but PATH is the framework's.
    wanted = {v["name"]: v["value"] for v in variables}
    mesos = {k: v for k, v in container.environment.items() if k != "PATH" or "PATH" not in wanted}
    with (
        open(container.directory / "stdout", "ab") as stdout,
        open(container.directory / "stderr", "ab") as stderr,
    ):
        return subprocess.Popen(
            argv,
            executable=executable,
            cwd=container.directory,
            env={**wanted, **mesos},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )


def wait_status(returncode: int) -> int:
    """Returns the raw wait(2) status of a Popen returncode: 768 for exit 3, 9 for SIGKILL (07, 34)."""
    return returncode << 8 if returncode >= 0 else -returncode
