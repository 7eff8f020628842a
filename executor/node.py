"""What makes a task a node, as values: names, variables, files. No I/O.

A node with an image is a container with a hostname, networks, disks and files of its own. Without one
it is the task's processes in their sandbox: there they find ``hosts``, ``disks/1`` … (links) and the
node's files below ``root``; networks have no effect.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Iterable

from executor import networks
from executor.task import Attachment, Node, NodeFile, TaskPayload

# Docker writes these itself, over whatever the image has there.
_DOCKERS_OWN = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})
_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*"
)
_VARIABLE = re.compile(r"[^=\0]+")
_WAIT_SECS = 30

# Runs its arguments once these interfaces are up: "$1" is how many there are, besides lo. An interface
# is up after it has got its address.
_WAIT = """
n=$1; shift; tries=0; i=0
while [ $i -lt $n ]; do
  flags=
  [ -r /sys/class/net/eth$i/flags ] && read flags < /sys/class/net/eth$i/flags
  case $flags in
    *[13579bdfBDF]) i=$((i + 1)) ;;
    *) if [ $tries -ge LIMIT ]; then
         echo "the network interface eth$i is not there after SECS s" >&2; exit 1
       fi
       tries=$((tries + 1))
       sleep 0.1 2>/dev/null || { sleep 1; tries=$((tries + 9)); } ;;
  esac
done
exec "$@"
""".replace("LIMIT", str(_WAIT_SECS * 10)).replace("SECS", str(_WAIT_SECS))


def check(payload: TaskPayload) -> None:
    """Raises ``ValueError`` with a sentence for a node that cannot be."""
    node = payload.node
    if node is None:
        return
    if not _HOSTNAME.fullmatch(node.hostname):
        raise ValueError(f"{node.hostname!r} is not a name of a host")
    networks.check(node.networks)
    if len(node.disks) != len(payload.disk_paths):
        raise ValueError(
            f"node {node.hostname} has {len(node.disks)} disks, but was given {len(payload.disk_paths)}"
        )
    for path in (*(d.destination for d in node.disks), *(f.path for f in node.files)):
        if not path.startswith("/") or posixpath.normpath(path) != path or path == "/" or "\0" in path:
            raise ValueError(f"{path!r} is not an absolute path to a disk or a file of a node")
    own = sorted(_DOCKERS_OWN & {f.path for f in node.files})
    if own:
        raise ValueError(f"{own[0]} of a node is made from its names and addresses, it can be no file")
    for name, _ in node.environment:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is not a name of a variable")
    for host, address in node.hosts:
        if not _HOSTNAME.fullmatch(host) or not re.fullmatch(r"[0-9A-Fa-f.:]+", address):
            raise ValueError(f"{host!r} with {address!r} is not a name and an address of a host")


def hosts_of(node: Node) -> list[tuple[str, str]]:
    """Returns the names and addresses that the node resolves, its own with its first address."""
    hosts = list(node.hosts)
    if node.networks and node.hostname not in {name for name, _ in hosts}:
        hosts.append((node.hostname, node.networks[0].address))
    return hosts


def hosts_file(node: Node) -> str:
    """Returns :func:`hosts_of` in the format of ``/etc/hosts``."""
    lines = ["127.0.0.1\tlocalhost", *(f"{address}\t{name}" for name, address in hosts_of(node))]
    return "\n".join(lines) + "\n"


def environment_of(node: Node) -> dict[str, str]:
    """Returns the variables that every process of the node finds."""
    return {"NODE_HOSTNAME": node.hostname, **dict(node.environment)}


def waiting(interfaces: int, argv: Iterable[str]) -> list[str]:
    """Returns the argv that waits for eth0 … of the container, then runs ``argv``."""
    return ["/bin/sh", "-c", _WAIT, "sh", str(interfaces), *argv]


def archive(files: Iterable[NodeFile]) -> bytes:
    """Returns the files, root's, as a tar archive to be unpacked at ``/``.

    It names no directory: those that exist keep their modes, Docker makes the others.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            data = file.text.encode()
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(data), file.mode & 0o7777
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def probe_address(attachments: Iterable[Attachment]) -> str | None:
    """Returns the address by which the agent itself reaches a node; None if there is none.

    The parent of a macvlan interface and the interface itself never hear each other.
    """
    return next((a.address for a in attachments if a.driver == "bridge"), None)


# -- sockets, as the kernel lists them in /proc/PID/net/tcp and tcp6 --

_LISTEN = "0A"
_LOOPBACK = re.compile(r"[0-9A-F]{6}7F|0{24}01000000")


def listening_ports(*tables: str) -> set[int]:
    """Returns the ports that are listened on, other than on loopback only."""
    ports: set[int] = set()
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                if not _LOOPBACK.fullmatch(address):
                    ports.add(int(port, 16))
    return ports


def ports_sentence(node: Node, port: int, limit: float) -> str:
    """Returns what is wrong with a node that does not listen on ``port`` in time (seconds)."""
    return f"port {port} of node {node.hostname} is not listened on after {limit:g} s"
