"""Signals for the processes of a container, for which Docker has no call."""

from __future__ import annotations

import logging
import os

from executor.runtimes.coordinator import children_by_parent, descendants
from executor.runtimes.docker_api import DockerApi, Down, NoSuchThing, Refused

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
