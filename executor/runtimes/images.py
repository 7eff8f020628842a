"""A small container image made from this host's own files, for where none can be pulled.

``python -m executor.runtimes.images ping`` tells whether a Docker daemon answers, ``make TAG`` makes
the image, ``remove TAG`` removes it. The image holds a shell and a few basic commands: a static
busybox if the host has one, otherwise the host's own programs with the libraries they load.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import docker
import docker.errors

_COMMANDS = """
    sh cat chmod cp cut date dd df du echo env expr false find grep head hostname id kill ln ls mkdir
    mktemp mv nc nohup printf ps pwd rm rmdir sed seq setsid sleep sort stat tail tar test timeout
    touch tr trap true uname uniq wc wget which whoami yes httpd
"""
APPLETS = tuple(_COMMANDS.split())
_LIBRARY = re.compile(r"(/\S+)\s+\(0x[0-9a-f]+\)")


class NoShell(RuntimeError):
    """The host has no shell that could be put into an image."""


def rootfs() -> bytes:
    """Returns a tar archive with ``/bin/sh``, basic commands and ``/tmp``.

    Raises :class:`NoShell` if there is neither a static busybox nor a shell on this host.
    """
    busybox = shutil.which("busybox")
    if busybox is not None and not _libraries(busybox):
        return _tar({"bin/busybox": Path(busybox)}, links={f"bin/{a}": "busybox" for a in APPLETS})
    programs = {f"bin/{name}": Path(path) for name in APPLETS if (path := shutil.which(name))}
    if "bin/sh" not in programs:
        raise NoShell("neither busybox nor sh is on the PATH: no image can be made from this host")
    files = dict(programs)
    for program in programs.values():
        files.update({library.lstrip("/"): Path(library) for library in _libraries(str(program))})
    return _tar(files, links={})


def _libraries(program: str) -> list[str]:
    """Returns the absolute paths of the libraries a program loads; none for a static one."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return _LIBRARY.findall(listed.stdout)


def _tar(files: dict[str, Path], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("proc", 0o555), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, text in _accounts():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
        for name, path in sorted(files.items()):
            data = path.resolve().read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
        for name, target in sorted(links.items()):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def _accounts() -> Iterable[tuple[str, bytes]]:
    yield "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    yield "etc/group", b"root:x:0:\nnogroup:x:65534:\n"


def make(client: docker.DockerClient, tag: str) -> bool:
    """Makes the image ``tag``; returns False if it was there already."""
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        name, _, version = tag.partition(":")
        client.api.import_image_from_data(rootfs(), repository=name, tag=version or "latest")
        return True
    return False


def main(arguments: list[str] | None = None) -> int:
    """Runs one of the commands of the module's description; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m executor.runtimes.images")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ping", help="exit code 0 if a Docker daemon answers")
    for name in ("make", "remove"):
        commands.add_parser(name, help=f"{name} the image TAG").add_argument("tag")
    options = parser.parse_args(arguments)
    try:
        client = docker.from_env(timeout=60)
        try:
            if options.command == "ping":
                client.ping()
            elif options.command == "make":
                return 0 if make(client, options.tag) else 3
            else:
                client.images.remove(options.tag)
        finally:
            client.close()
    except (docker.errors.DockerException, NoShell, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
