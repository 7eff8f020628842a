"""Processes in a container: signals, for which Docker has no call, and health commands."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import uuid

from executor.runtimes.base import Command, CommandEnd, Output
from executor.runtimes.coordinator import children_by_parent, descendants
from executor.runtimes.docker_api import DockerApi, Down, NoSuchThing, Refused
from executor.runtimes.docker_options import SANDBOX, command_of
from executor.sweep import CALL_VARIABLE, kill_marked

_CHECK_OUTPUT = 200
# After so long (seconds) it is asked again whether a health command has ended, whose output has.
_PAUSE = 0.02
# How long (seconds) the rest of a command's output is waited for: since some came last, and altogether.
_REST = 2.0
_LONGEST_REST = 30.0
# Kills the processes whose environment holds "$0".
_KILL_SCRIPT = [
    "/bin/sh",
    "-c",
    'for p in /proc/[0-9]*; do grep -q "$0" $p/environ 2>/dev/null && kill -9 ${p#/proc/}; done; true',
]
logger = logging.getLogger(__name__)


def signal_exec(docker: DockerApi, container: str, pid: int, number: int) -> None:
    """Signals a process that was started in the container (``pid`` on the host), and its descendants.

    Where the daemon's processes are ours to see and signal it is done directly, otherwise by ``kill``
    inside the container.
    """
    if pid <= 1:
        return
    inside = pid_inside(pid, container)
    if inside is None:
        logger.warning("process %d of container %s cannot be signalled", pid, container)
        return
    try:
        for one in (*descendants(pid, children_by_parent()), pid):
            # One that has just ended must not keep the others from hearing it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, number)
    except PermissionError:
        # The group of an exec's first process has its pid: runc makes it a session leader.
        script = 'kill -s "$0" -- "-$1" || kill -s "$0" "$1"'
        argv = ["/bin/sh", "-c", script, str(number), str(inside)]
        try:
            docker.exec_start(docker.exec_create(container, argv, user="0")).close()
        except (Down, Refused, NoSuchThing) as error:
            logger.warning("signal %d to process %d: %s", number, pid, error)


def run_check(docker: DockerApi, container: str, command: str, timeout: float) -> str | None:
    """Runs a health command in the container; returns what is wrong, None if nothing is."""
    try:
        argv = command_of(command)
        process = docker.exec_create(container, argv, workdir=SANDBOX)
        frames = docker.exec_start(process)
    except (Down, Refused, NoSuchThing) as error:
        return f"the health command cannot be run: {error}"
    output, deadline = bytearray(), time.monotonic() + timeout

    def read() -> None:
        try:
            for _, data in frames:
                output.extend(data[: max(0, 65536 - len(output))])
        except (Down, Refused) as error:
            logger.debug("output of a health command: %s", error)

    reader = threading.Thread(target=read, name="health-output", daemon=True)
    reader.start()
    reader.join(timeout)
    try:
        about = docker.exec_inspect(process)
        # A busy daemon hears of the end some time after that of the output.
        while about.get("Running") and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            about = docker.exec_inspect(process)
        if about.get("Running"):
            signal_exec(docker, container, int(about.get("Pid") or 0), signal.SIGKILL)
            return f"the health command did not end within {timeout:g} s"
    except (Down, Refused, NoSuchThing) as error:
        return f"the health command cannot be followed: {error}"
    finally:
        frames.close()
    code = about.get("ExitCode")
    text = output.decode("utf-8", "replace").strip()[-_CHECK_OUTPUT:]
    return (
        None if code == 0 else f"the health command exited with code {code}{': ' + text if text else ''}"
    )


def run_command(
    docker: DockerApi, container: str, command: Command, output: Output, cancelled: threading.Event
) -> CommandEnd:
    """See :meth:`executor.runtimes.base.Runtime.run_command`."""
    mark = uuid.uuid4().hex
    try:
        process = docker.exec_create(
            container,
            list(command.argv),
            stdin=bool(command.stdin),
            user=command.user or "",
            environment=[f"{CALL_VARIABLE}={mark}"],
        )
        frames = docker.exec_start(process, command.stdin)
    except (Down, Refused, NoSuchThing) as error:
        return CommandEnd(None, f"the command cannot be run: {error}")

    read_last = time.monotonic()

    def read() -> None:
        nonlocal read_last
        try:
            for stream, data in frames:
                output("stderr" if stream == "stderr" else "stdout", data)
                read_last = time.monotonic()
        except (Down, Refused) as error:
            logger.debug("output of a command: %s", error)

    reader = threading.Thread(target=read, name="command-output", daemon=True)
    reader.start()
    try:
        end = _follow(docker, process, reader, command.timeout, cancelled)
        if end is None:
            _kill(docker, container, process, mark, command.user)
            why = "was cancelled" if cancelled.is_set() else f"did not end within {command.timeout:g} s"
            end = CommandEnd(None, f"the command {why}, and was killed")
        # What it has left behind may hold its output open, and even go on writing.
        since, until = time.monotonic(), time.monotonic() + _LONGEST_REST
        while reader.is_alive() and time.monotonic() < min(max(since, read_last) + _REST, until):
            reader.join(0.1)
        return end
    except (Down, Refused, NoSuchThing) as error:
        return CommandEnd(None, f"the command cannot be followed: {error}")
    finally:
        frames.close()


def _follow(
    docker: DockerApi,
    process: str,
    reader: threading.Thread,
    timeout: float,
    cancelled: threading.Event,
) -> CommandEnd | None:
    """Waits for the end of an exec; returns None if it is to be killed."""
    deadline, pause = time.monotonic() + timeout, 0.01
    while True:
        about = docker.exec_inspect(process)
        if not about.get("Running") and about.get("ExitCode") is not None:
            return CommandEnd(int(about["ExitCode"]))
        if cancelled.is_set() or time.monotonic() >= deadline:
            return None
        # The end of the output and of the process come together, mostly.
        until = min(deadline, time.monotonic() + pause)
        while time.monotonic() < until and not cancelled.is_set():
            if reader.is_alive():
                reader.join(min(0.1, max(0.0, until - time.monotonic())))
                if not reader.is_alive():
                    break
            else:
                cancelled.wait(min(0.1, max(0.0, until - time.monotonic())))
        pause = min(1.0, 2 * pause)


def _kill(docker: DockerApi, container: str, process: str, mark: str, user: str | None) -> None:
    """Kills an exec and whatever it has started: by its mark, from here or else from within."""
    kill_marked(mark)
    about = docker.exec_inspect(process)
    if about.get("Running"):
        # We do not see the container's processes, or may not signal them.
        argv = [*_KILL_SCRIPT, f"{CALL_VARIABLE}={mark}"]
        with contextlib.closing(
            docker.exec_start(docker.exec_create(container, argv, user=user or ""))
        ) as frames:
            for _ in frames:
                pass
        signal_exec(docker, container, int(about.get("Pid") or 0), signal.SIGKILL)


def pid_inside(pid: int, container_id: str) -> int | None:
    """Returns the pid that host process ``pid`` has in its container; None if it is not in this one."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii", errors="replace") as file:
            if container_id not in file.read():
                return None
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
    except OSError:
        return None
    return None
