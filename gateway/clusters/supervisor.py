"""A process between the gateway and a script that it does not trust. Run by its path; standard library.

It reads one line of JSON from its standard input (:class:`gateway.clusters.isolation.Confinement` says
what is in it), starts the script as the user, with the limits and within the files that are named
there, and ends with its status. When another line comes the script is asked to end (SIGTERM), and
made to (SIGKILL); when standard input ends without one, the gateway is dead, and the script is killed.
Whatever the script has started and left behind dies with it: orphans become children of this process,
and none is left when it ends, nor is the script's directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import struct
import sys
import time
from typing import Any, NoReturn

_PDEATHSIG, _KEEPCAPS, _SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = 1, 8, 36, 38, 47
_RAISE = 2
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION = 0x20080522
_GRACE_SECS = 5.0
# A script that could not even be started; what it says is on its standard error.
CANNOT_START = 125

# -- Landlock: the kernel's own list of what a process may open --

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE, _READ, _READ_DIR = 1, 2, 4, 8
# All that is done to files, by the version of the kernel's interface that brought it.
_HANDLED = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_ONLY_DIRECTORIES = ((1 << 14) - 1) & ~(_EXECUTE | _WRITE | _READ)
_SCOPED = 3  # no abstract sockets and no signals to the outside, from version 6 on


def landlock_version() -> int:
    """Returns the version of Landlock that the kernel has, 0 for none."""
    found = int(_libc().syscall(_CREATE_RULESET, None, 0, 1))
    return max(found, 0)


def restrict_files(read: list[str], write: list[str]) -> None:
    """Lets this process and all that it starts open what is below ``read``, and change what is below
    ``write``, and nothing else. Paths that are not there are left out. Raises ``OSError``."""
    version = landlock_version()
    if not version:
        raise OSError(0, "this kernel has no Landlock")
    handled = 0
    for since, bits in _HANDLED.items():
        handled |= bits if version >= since else 0
    attributes = struct.pack("QQQ", handled, 0, _SCOPED if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_CREATE_RULESET, ctypes.c_char_p(attributes), size, 0)
    try:
        for path in read:
            _allow(ruleset, path, (_EXECUTE | _READ | _READ_DIR) & handled)
        for path in write:
            _allow(ruleset, path, handled)
        _prctl(_NO_NEW_PRIVS, 1)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not os.path.isdir(path):
            access &= ~_ONLY_DIRECTORIES
        rule = struct.pack("=Qi", access, descriptor)
        _call(_ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0)
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: Any) -> int:
    answer = int(_libc().syscall(number, *arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc().prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# -- the script's side --


def _become(order: dict[str, Any], supervisor: int) -> NoReturn:
    """Turns the forked process into the script, or ends."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.closerange(3, 256)
        os.chdir(order["directory"])
        for name, value in order["limits"].items():
            _limit(getattr(resource, f"RLIMIT_{name}"), value)
        os.umask(0o077)
        if order["uid"] is not None:
            _switch_user(order["uid"], order["reads_all"])
        # Not before: changing the user forgets it.
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(CANNOT_START)
        if order["restricted"]:
            restrict_files(order["read"], order["write"])
        _prctl(_NO_NEW_PRIVS, 1)
        os.execve(order["argv"][0], order["argv"], order["environment"])
    except OSError as error:
        words = f"the script cannot be started: {error.strerror or error}"
        if error.filename:
            words += f": {error.filename}"
        os.write(2, (words + "\n").encode())
    finally:
        os._exit(CANNOT_START)


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (limit, limit))


def _switch_user(uid: int, reads_all: bool) -> None:
    """Becomes the user, for good. ``reads_all``: reads files as root does, which only makes sense
    where another rule says which files those are."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    if reads_all:
        _prctl(_KEEPCAPS, 1)
    os.setresuid(uid, uid, uid)
    if reads_all:
        bits = 1 << _CAP_DAC_READ_SEARCH
        header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
        data = struct.pack("6I", bits, bits, bits, 0, 0, 0)
        if _libc().capset(ctypes.c_char_p(header), ctypes.c_char_p(data)) != 0:
            raise OSError(ctypes.get_errno(), "the right to read files cannot be kept")
        _prctl(_AMBIENT, _RAISE, _CAP_DAC_READ_SEARCH)


# -- the supervisor's side --


def main() -> int:
    """Runs the script of the order on standard input; returns its status as a shell would."""
    order = json.loads(_first_line())
    _prctl(_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _become(order, supervisor)
    # What is read from the script is at its end when the script and its children have closed it.
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    try:
        return _watch(child)
    finally:
        _remove(order["directory"])


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            break
        line += part
    return line


def _watch(child: int) -> int:
    """Waits for the script's end, or for that of standard input."""
    descriptor = os.pidfd_open(child)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    ready = [number for number, _ in poll.poll()]
    if descriptor not in ready:
        # Whoever asks for the end says a word; who says none is dead, and may already have been
        # replaced by another that runs the script again.
        _end(child, descriptor, _GRACE_SECS if os.read(0, 4096) else 0.0)
    _, status = os.waitpid(child, 0)
    _end_orphans()
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status)


def _end(child: int, descriptor: int, grace: float) -> None:
    if grace:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGTERM)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(grace * 1000)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _end_orphans() -> None:
    """Kills what the script has left behind, children of children included."""
    # A thousand processes that never rest leave others little time. Only root may take more.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    pause = 0.001
    while True:
        for pid in _stopped():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def _stopped() -> set[int]:
    """Stops all that the script has left, and returns it. What is killed one after the other makes
    room for others of a script that does nothing but fork; what is stopped makes none, and no others."""
    stopped: set[int] = set()
    while found := _descendants() - stopped:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= found
    return stopped


def _remove(directory: str) -> None:
    """Removes the script's directory, also when the gateway is no more: it holds a key."""
    for place, names, _ in os.walk(directory):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _descendants() -> set[int]:
    """Returns the processes whose parent is this one, or one of those."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The name of the program may hold anything, so what follows its last parenthesis counts.
                fields = stat.read().rpartition(b")")[2].split()
                if len(fields) > 1:
                    children.setdefault(int(fields[1]), []).append(int(name))
    found: set[int] = set()
    parents = [os.getpid()]
    while parents:
        of_it = children.get(parents.pop(), [])
        found.update(of_it)
        parents.extend(of_it)
    return found


if __name__ == "__main__":
    sys.exit(main())
