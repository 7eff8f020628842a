"""Makes coordinators by forking: cheap, and safe because the forking process has one thread.

The zygote is itself forked by the executor before that starts its first thread, so it needs no
interpreter start and finds its modules wherever they came from (a pex, too). If it dies another is
started, as a program: the executor has threads by then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import NoReturn

from executor.runtimes import coordinator
from executor.runtimes.coordinator import Channel

logger = logging.getLogger(__name__)

# Arguments: where modules are found, as JSON, and the number of the socket's descriptor.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from executor.runtimes.zygote import serve; serve(int(sys.argv[2]))"
)


class ZygoteGone(Exception):
    """The process that starts tasks has died."""


class Zygote:
    """The executor's end."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self.pid = pid

    @classmethod
    def start(cls) -> Zygote:
        """Forks the zygote. To be called before this process has a second thread."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _serve_and_exit(theirs)
        theirs.close()
        return cls(ours, pid)

    def coordinator(self) -> tuple[Channel, int]:
        """Returns the channel to a new coordinator, and its pid; raises :class:`ZygoteGone`."""
        with self._lock:
            try:
                return self._ask()
            except ZygoteGone as error:
                logger.error("%s; another is started", error)
                self._replace()
                return self._ask()

    def close(self) -> None:
        """Ends the zygote; coordinators end with their own channels."""
        self._sock.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _ask(self) -> tuple[Channel, int]:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._sock, [b"c"], [theirs.fileno()])
                reply = self._sock.recv(16, socket.MSG_WAITALL)
        except OSError as error:
            ours.close()
            raise ZygoteGone(f"the process that starts tasks is gone: {error}") from error
        if not reply:
            ours.close()
            raise ZygoteGone("the process that starts tasks is gone")
        return Channel(ours), int(reply)

    def _replace(self) -> None:
        self.close()
        self._sock, theirs = socket.socketpair()
        argv = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())]
        with theirs:
            theirs.set_inheritable(True)
            try:
                self.pid = os.posix_spawn(sys.executable, argv, os.environ)
            except OSError as error:
                raise ZygoteGone(f"the process that starts tasks cannot be started: {error}") from error


def serve(fd: int) -> NoReturn:
    """Is the zygote, in a process of its own, for whoever holds the other end of socket ``fd``."""
    os.set_inheritable(fd, False)
    _serve_and_exit(socket.socket(fileno=fd))


def _serve_and_exit(sock: socket.socket) -> NoReturn:
    code = 1
    try:
        _serve(sock)
        code = 0
    except BaseException as error:
        sys.stderr.write(f"the zygote fails: {error!r}\n")
        raise
    finally:
        os._exit(code)


def _serve(sock: socket.socket) -> None:
    # A session of its own: a signal to the executor's group must not hit whoever cleans up after it.
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds = coordinator.receive(sock, 1, 1)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            sock.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            coordinator.main(socket.socket(fileno=fds[0]))
        os.close(fds[0])
        sock.sendall(b"%16d" % pid)
