"""What runs in the processes of :mod:`gateway.workers`: the nursery, and the workers that it forks.

The nursery imports what is to be preloaded and obeys two commands from its socket, each a frame of
JSON: ``["fork", memory_bytes]``, followed by the worker's socket, is answered by the pid;
``["kill", pid]`` by the wait status. It has a single thread, so its forks are whole.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import math
import os
import pickle
import resource
import signal
import socket
import time
import traceback
from typing import Any, NoReturn

from gateway.frames import receive_frame, send_frame

_PR_SET_PDEATHSIG = 1


def main(control_fd: int, preload: list[str]) -> NoReturn:
    """Serves the commands of the pool until its end of the socket is closed."""
    _ignore_signals()
    control = socket.socket(fileno=control_fd)
    for module in preload:
        importlib.import_module(module)
    gc.freeze()  # what is loaded stays shared with the workers
    children: set[int] = set()
    try:
        while True:
            name, argument = json.loads(receive_frame(control))
            answer = _fork(control, argument, children) if name == "fork" else _kill(argument, children)
            send_frame(control, json.dumps(answer).encode())
    except (OSError, EOFError):  # the gateway is gone, or has closed the pool
        for pid in tuple(children):
            _kill(pid, children)
    finally:
        os._exit(0)


def _ignore_signals() -> None:
    """Ctrl-C and a stop of the whole group are for the gateway, which ends us when it is ready.

    Handlers, not SIG_IGN, because that would be inherited by the programs a worker starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def _fork(control: socket.socket, memory_bytes: int | None, children: set[int]) -> int:
    """Returns the pid of a new worker, 0 if the system has no room for one."""
    _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    connection = socket.socket(fileno=descriptors[0])
    nursery = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        connection.close()
        return 0
    if pid == 0:
        control.close()
        _work(connection, memory_bytes, nursery)
    connection.close()
    children.add(pid)
    return pid


def _kill(pid: int, children: set[int]) -> int:
    """Ends a child, if it has not ended yet; until it is reaped here, its pid is its own."""
    if pid not in children:
        return 0
    children.discard(pid)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _work(connection: socket.socket, memory_bytes: int | None, nursery: int) -> NoReturn:
    """A worker's life: one request after the other, until the socket ends."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != nursery:
            os._exit(0)
        if memory_bytes is not None:
            _limit_memory(memory_bytes)
        connection.settimeout(None)
        while True:
            outcome = _answer(receive_frame(connection))
            send_frame(connection, outcome)
    except (OSError, EOFError):
        status = 0
    finally:
        os._exit(status)


def _limit_memory(extra: int) -> None:
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))


def _limit_processor(seconds: float) -> None:
    """Lets the kernel end a run that outlives even the gateway's patience."""
    used = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))


def _answer(request: bytes) -> bytes:
    try:
        function, args, timeout = pickle.loads(request)  # noqa: S301 - from our own parent, by a pipe
        _limit_processor(timeout)
        outcome: tuple[str, Any] = ("result", function(*args))
        return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps(("memory", None))
    except BaseException as error:  # noqa: BLE001 - it travels to the caller, whatever it is
        return _pickled_error(error)


def _pickled_error(error: BaseException) -> bytes:
    """The exception itself if pickle can carry it there and back, else its words."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        message = pickle.dumps(("error", error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(message)  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - any of its methods may fail; its words do not
        substitute = RuntimeError(f"{type(error).__name__}: {error}")
        substitute.add_note("".join(traceback.format_exception(error)))
        return pickle.dumps(("error", substitute))
    return message
