"""What a container listens on."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from executor import node
from executor.runtimes.docker_api import DockerApi, Down, NoSuchThing, Refused
from executor.runtimes.docker_processes import pid_inside
from executor.task import Attachment


def listens(
    docker: DockerApi,
    container: str,
    attachments: tuple[Attachment, ...],
    port: int,
    timeout: float,
) -> bool:
    """Returns whether a container listens on a TCP port.

    It is connected to. Where the agent does not reach its address, the kernel's list of the container's
    sockets tells.
    """
    try:
        about = docker.inspect(container)
    except (Down, Refused, NoSuchThing):
        return False
    address = node.probe_address(attachments) if attachments else _address_of(about)
    if address is not None:
        try:
            socket.create_connection((address, port), timeout).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            pass
        else:
            return True
    pid = int(about["State"].get("Pid") or 0)
    if pid <= 0 or pid_inside(pid, container) is None:
        return False
    tables = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            tables.append(Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii"))
    return port in node.listening_ports(*tables)


def _address_of(about: dict[str, object]) -> str | None:
    """Returns the address of a container that has the networks that its parameters say."""
    settings = about.get("NetworkSettings")
    attached = settings.get("Networks") if isinstance(settings, dict) else None
    for name, one in (attached or {}).items():
        if name == "host":
            return "127.0.0.1"
        if one.get("IPAddress"):
            return str(one["IPAddress"])
    return None
