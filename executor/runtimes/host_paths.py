"""Host paths as they really are on the agent: the last check before they are mounted.

Whoever allowed a path judged its name. A link on the way would make another one of it: to ``/``, or to
the Docker daemon's socket, which is as good as root.
"""

from __future__ import annotations

import os

from executor.runtimes.base import CannotRun
from executor.task import Volume


def check_volumes(volumes: tuple[Volume, ...]) -> None:
    """Raises :class:`CannotRun` for a host path that leads elsewhere than it says."""
    for volume in volumes:
        real = os.path.realpath(volume.host_path)
        if real != os.path.normpath(volume.host_path):
            raise CannotRun(
                f"the host path {volume.host_path} is, or goes through, a symbolic link to {real} on "
                "this agent; name the real path, if the policy allows it"
            )
