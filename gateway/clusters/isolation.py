"""How a script is kept away from everything that is not its own: decided here, done by
:mod:`gateway.clusters.supervisor`.

Root gives every run a user of its own, so that no script can read another's directory, environment or
memory, nor the gateway's; where the kernel has Landlock, the files outside are closed to it as well.
Whoever is not root has Landlock alone. Where neither is possible scripts are refused, unless the
operator says that they are trusted (``none``).
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from framework.model.errors import Unavailable
from gateway import scripting
from gateway.clusters.supervisor import landlock_version

Isolation = Literal["auto", "none"]
SCRIPTING = Path(scripting.__file__).resolve().parent

# What programs need that are run by scripts: nothing here tells of the gateway.
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
_SETTINGS = (
    *("alternatives", "ca-certificates", "gai.conf", "group", "host.conf", "hosts", "ld.so.cache"),
    *("ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "passwd", "pki"),
    *("protocols", "resolv.conf", "services", "ssh/ssh_config", "ssh/ssh_config.d", "ssl", "timezone"),
)
_SYSTEM = (*_PROGRAMS, *(f"/etc/{name}" for name in _SETTINGS))
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")


class Limits(msgspec.Struct, frozen=True):
    """What one run may use: seconds of processor time, bytes of memory per process, bytes of a file,
    open files and, where its user is its own, processes."""

    cpu_secs: int = 3600
    memory_bytes: int = 4 * 1024**3
    file_bytes: int = 1024**3
    files: int = 1024
    processes: int = 512


class Confinement(msgspec.Struct, frozen=True):
    """What the supervisor makes of a run. ``uid`` None: the gateway's own user. ``reads_all``: the user
    passes over permissions of files that it may read (``read``, with Landlock only)."""

    uid: int | None
    reads_all: bool
    restricted: bool
    read: tuple[str, ...]
    write: tuple[str, ...]
    limits: dict[str, int]


class Isolator:
    """Gives each run its user and its confinement. ``uids`` are numbers that nobody else uses."""

    def __init__(
        self, mode: Isolation = "auto", uids: range = range(64000, 65000), limits: Limits | None = None
    ) -> None:
        self._mode = mode
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        # In turn, so that a number rests as long as possible before the next script has it.
        self._free = list(uids)
        self._is_root = os.geteuid() == 0
        self._landlock = landlock_version() > 0

    def problem(self) -> str | None:
        """Returns why scripts cannot be run here, None if they can."""
        if self._mode == "none":
            return None
        if self._is_root and not self._landlock:
            closed = [path for path in library_paths() if not _is_open_to_all(path)]
            if closed:
                return (
                    f"scripts of products run as users of their own, who cannot read {closed[0]}: "
                    "install the gateway where all users may read it, or start it with "
                    "--orchestrator-isolation none if every script is trusted with all that it has"
                )
        elif not self._is_root and not self._landlock:
            return (
                "scripts of products cannot be kept apart here: start the gateway as root, or on a "
                "kernel with Landlock (5.13), or with --orchestrator-isolation none if every script is "
                "trusted with all that the gateway has"
            )
        return None

    @contextmanager
    def confine(self, directory: Path) -> Iterator[Confinement]:
        """Gives a confinement for a run in ``directory``, which its user owns from then on.

        Raises :class:`Unavailable` if scripts cannot be run here, or not so many at a time.
        """
        problem = self.problem()
        if problem is not None:
            raise Unavailable(problem)
        own_user = self._is_root and self._mode == "auto"
        uid = self._take() if own_user else None
        try:
            if uid is not None:
                _give(directory, uid)
            yield self._confinement(directory, uid)
        finally:
            if uid is not None:
                with self._lock:
                    self._free.append(uid)

    def _take(self) -> int:
        with self._lock:
            if not self._free:
                raise Unavailable("as many scripts run as there are users for them; wait for one to end")
            return self._free.pop(0)

    def _confinement(self, directory: Path, uid: int | None) -> Confinement:
        restricted = self._landlock and self._mode == "auto"
        limits = {
            "CPU": self._limits.cpu_secs,
            "AS": self._limits.memory_bytes,
            "FSIZE": self._limits.file_bytes,
            "NOFILE": self._limits.files,
            "CORE": 0,
        }
        if uid is not None:
            limits["NPROC"] = self._limits.processes
        libraries = library_paths()
        return Confinement(
            uid=uid,
            reads_all=uid is not None and restricted and not all(map(_is_open_to_all, libraries)),
            restricted=restricted,
            read=(*_SYSTEM, *libraries),
            write=(*_DEVICES, str(directory)),
            limits=limits,
        )


def module_paths() -> tuple[str, ...]:
    """Returns where scripts find their modules: ours for them, and the installed libraries, but not
    the gateway's own code."""
    found = [str(SCRIPTING)]
    for path in sys.path:
        directory = Path(path) if path else Path.cwd()
        # Where the gateway is installed among its libraries it can be imported, to no avail.
        holds_gateway = (directory / "gateway").is_dir() and path not in _site_packages()
        if directory.is_dir() and not holds_gateway:
            found.append(str(directory.resolve()))
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return tuple(dict.fromkeys(p for p in found if p not in standard and "lib-dynload" not in p))


def library_paths() -> tuple[str, ...]:
    """Returns the directories that a script's Python reads: the interpreter's, and those of modules."""
    interpreter = Path(sys.executable)
    prefixes = [sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix]
    own = [*prefixes, str(interpreter.resolve().parent), *module_paths()]
    return tuple(dict.fromkeys(path for path in own if path and path != "/"))


def _site_packages() -> set[str]:
    return {*site.getsitepackages(), site.getusersitepackages()}


def _is_open_to_all(path: str) -> bool:
    """Whether everybody may enter a directory and read what it holds."""
    place = Path(path).resolve()
    try:
        return all(parent.stat().st_mode & 0o001 for parent in place.parents) and (
            place.stat().st_mode & 0o005 == 0o005
        )
    except OSError:
        return False


def _give(directory: Path, uid: int) -> None:
    """Makes a directory and what is in it the user's; nobody else has put anything there yet."""
    try:
        for place in (directory, *directory.rglob("*")):
            os.chown(place, uid, uid, follow_symlinks=False)
    except OSError as error:
        raise Unavailable(
            f"the gateway is root, but may not give files to the user {uid} of a script "
            f"({error.strerror}); --orchestrator-uids names users that exist here"
        ) from None
