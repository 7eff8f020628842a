"""Host paths as they really are on the agent: the last check before they are mounted, and their owner.

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


def open_to(sandbox: str, user: str) -> None:
    """Lets the container's user write into the sandbox; a name is known only inside the image."""
    name, _, group = user.partition(":")
    if name in ("", "0", "root"):
        return
    try:
        if name.isdigit() and os.geteuid() == 0:
            os.chown(sandbox, int(name), int(group) if group.isdigit() else -1)
        else:
            os.chmod(sandbox, 0o1777)  # noqa: S103 - its user has no number here
    except OSError as error:
        raise CannotRun(f"the sandbox cannot be given to user {user}: {error}") from error
