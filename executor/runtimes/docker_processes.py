"""Processes in a container: signals, for which Docker has no call, and health commands."""

from __future__ import annotations

import logging
import os
import signal
import threading

from executor.runtimes.coordinator import children_by_parent, descendants
from executor.runtimes.docker_api import DockerApi, Down, NoSuchThing, Refused
from executor.runtimes.docker_options import SANDBOX, command_of

_CHECK_OUTPUT = 200
logger = logging.getLogger(__name__)


def signal_exec(docker: DockerApi, container: str, pid: int, number: int) -> None:
    """Signals a process that was started in the container (``pid`` on the host), and its descendants.

    Where the daemon's processes are ours to see and signal it is done directly, otherwise by ``kill``
    inside the container.
    """
    if pid <= 1:
        return
    inside = _pid_inside(pid, container)
    if inside is None:
        logger.warning("process %d of container %s cannot be signalled", pid, container)
        return
    try:
        for one in (*descendants(pid, children_by_parent()), pid):
            os.kill(one, number)
    except ProcessLookupError:
        return
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
    output = bytearray()

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


def _pid_inside(pid: int, container_id: str) -> int | None:
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
