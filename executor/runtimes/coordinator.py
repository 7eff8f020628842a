"""The parent of one task's processes: a small single-threaded process, made by :mod:`.zygote`.

It makes every descendant of the task its own (as a *subreaper*), so none escapes by a double fork or
a new session; and when the executor is gone, the end of its socket tells it to end them all. Its
children die with it. It speaks JSON messages with a length before each (see :class:`Channel`).

Messages in:  ``start`` (key, argv, cwd, env, uid, gid, groups, user, nofile; two descriptors: stdout,
stderr, or three: stdin before them), ``signal`` (keys, number; ``alone``: nobody but their groups),
``destroy``.
Messages out: ``started`` (key, pid), ``failed`` (key, errno, text), ``exited`` (key, status),
``empty`` (nothing is left after ``destroy``).
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LENGTH_BYTES = 4
_libc = ctypes.CDLL(None, use_errno=True)

Message = dict[str, Any]


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Returns what one read gives, and the descriptors (up to ``most``) that came with it.

    Programs that are started here do not inherit them: ``socket.recv_fds`` would let them, since it
    ignores its flags.
    """
    fds = array.array("i")
    room = socket.CMSG_LEN(most * fds.itemsize)
    data, ancillary, _, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, fds.tolist()


class Channel:
    """JSON messages, with file descriptors beside them, over a Unix stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._bytes = bytearray()
        self._fds: list[int] = []

    def fileno(self) -> int:
        return self._sock.fileno()

    def shutdown(self) -> None:
        """Ends the stream for both sides; whoever reads sees its end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Raises ``OSError`` if the peer is gone."""
        body = json.dumps(message).encode()
        data = len(body).to_bytes(_LENGTH_BYTES, "big") + body
        sent = socket.send_fds(self._sock, [data], list(fds)) if fds else 0
        self._sock.sendall(data[sent:])

    def receive(self) -> list[tuple[Message, list[int]]] | None:
        """Returns the messages that one read completes, None at the end of the stream.

        Descriptors belong to the message in whose bytes they came.
        """
        try:
            data, fds = receive(self._sock, 65536, 16)
        except ConnectionError:
            return None
        self._fds += fds
        if not data:
            return None
        self._bytes += data
        return list(self._complete())

    def _complete(self) -> Iterator[tuple[Message, list[int]]]:
        while len(self._bytes) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._bytes[:_LENGTH_BYTES], "big")
            if len(self._bytes) < end:
                return
            message = json.loads(self._bytes[_LENGTH_BYTES:end])
            del self._bytes[:end]
            count = int(message.get("fds", 0))
            fds, self._fds = self._fds[:count], self._fds[count:]
            yield message, fds


def children_by_parent() -> dict[int, list[int]]:
    """Returns the pids of all processes of this machine, by the pid of their parent."""
    tree: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    text = file.read()
                parent = int(text[text.rindex(b")") + 2 :].split()[1])
                tree.setdefault(parent, []).append(int(name))
    return tree


def descendants(root: int, tree: dict[int, list[int]]) -> list[int]:
    """Returns all processes below ``root``, parents before children."""
    found: list[int] = []
    pending = list(tree.get(root, ()))
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += tree.get(pid, ())
    return found


def _send_signal(pid: int, number: int, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


class Coordinator:
    """The loop of the process; :meth:`run` returns when the executor is gone and nothing is left."""

    def __init__(self, sock: socket.socket) -> None:
        self._channel = Channel(sock)
        self._leaders: dict[int, str] = {}
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._destroying = False

    def run(self) -> None:
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while True:
                # While destroying, a fork that raced with the last round is found by the next one.
                ready = selector.select(0.02 if self._destroying else None)
                for key, _ in ready:
                    if key.fileobj is self._channel:
                        if not self._obey():
                            self._end()
                            return
                    else:
                        self._drain_wakeups()
                self._reap()
                if self._destroying:
                    self._destroying = self._kill_round()
                    if not self._destroying:
                        self._tell({"event": "empty"})

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_reader, 512):
                pass

    def _obey(self) -> bool:
        messages = self._channel.receive()
        for message, fds in messages or ():
            if message["op"] == "start":
                self._start(message, fds)
            elif message["op"] == "signal":
                alone = bool(message.get("alone"))
                self._signal(set(message["keys"]), int(message["number"]), alone)
            elif message["op"] == "destroy":
                self._destroying = True
        return messages is not None

    def _end(self) -> None:
        """The executor is gone, or done with the task: nothing may outlive it."""
        while self._kill_round():
            with contextlib.suppress(ChildProcessError):
                # A killed child may be reaped late (uninterruptible sleep): wait for whichever ends.
                os.waitpid(-1, 0)

    def _kill_round(self) -> bool:
        """Kills every descendant and reaps; returns whether there may be more."""
        for pid in descendants(os.getpid(), children_by_parent()):
            _send_signal(pid, signal.SIGKILL)
        return self._reap()

    def _reap(self) -> bool:
        """Reports the children that have ended; returns whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            key = self._leaders.pop(pid, None)
            if key is not None:
                self._tell({"event": "exited", "key": key, "status": status})

    def _signal(self, keys: set[str], number: int, alone: bool) -> None:
        """Signals the groups of these processes, and all of the task that no leader holds any more."""
        for pid, key in self._leaders.items():
            if key in keys:
                _send_signal(pid, number, group=True)
        if alone:
            return
        tree = children_by_parent()
        for pid in tree.get(os.getpid(), ()):
            if pid not in self._leaders:
                for orphan in (pid, *descendants(pid, tree)):
                    _send_signal(orphan, number)

    def _tell(self, message: Message) -> None:
        # If the executor is gone, the end of its socket is read next.
        with contextlib.suppress(OSError):
            self._channel.send(message)

    def _start(self, message: Message, fds: list[int]) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(message, fds, writer, parent)
        os.close(writer)
        for fd in fds:
            os.close(fd)
        with os.fdopen(reader, "rb") as report:
            trouble = report.read()
        if trouble:
            os.waitpid(pid, 0)
            self._tell({"event": "failed", "key": message["key"], **json.loads(trouble)})
            return
        self._leaders[pid] = message["key"]
        self._tell({"event": "started", "key": message["key"], "pid": pid})


def _become(message: Message, fds: list[int], report: int, parent: int) -> NoReturn:
    """Turns the forked child into the process; reports why if that fails."""
    step = "prepare"
    try:
        os.setsid()
        if len(fds) == 2:
            fds = [os.open("/dev/null", os.O_RDONLY), *fds]
        for target, source in enumerate(fds):
            os.dup2(source, target, inheritable=True)
        signal.set_wakeup_fd(-1)
        for one in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ):
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_files(int(message["nofile"]))
        step = f"enter {message['cwd']}"
        os.chdir(message["cwd"])
        if message["uid"] is not None:
            step = f"become the user {message['user']}"
            os.setgroups(message["groups"])
            os.setgid(message["gid"])
            os.setuid(message["uid"])
        # After setuid, which clears it. If the coordinator died meanwhile, nobody would signal.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        step = f"run {message['argv'][0]}"
        os.execve(message["argv"][0], message["argv"], message["env"])
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else 0
        text = f"cannot {step}: {os.strerror(number) if number else error}"
        os.write(report, json.dumps({"errno": number, "text": text}).encode())
    finally:
        os._exit(127)


def _limit_files(wanted: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def main(sock: socket.socket) -> NoReturn:
    """Runs in the forked process and never returns."""
    code = 1
    try:
        Coordinator(sock).run()
        code = 0
    except BaseException as error:
        sys.stderr.write(f"the coordinator of a task fails: {error!r}\n")
        raise
    finally:
        os._exit(code)
