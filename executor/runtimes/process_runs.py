"""One run of a process, a check or a command on the agent itself, as the process runtime follows it."""

from __future__ import annotations

import os
import select
import shutil
import threading

from executor.logs import ProcessLog
from executor.runtimes.base import Exited, Output, explain_exit

READ = 64 * 1024
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProcessRun:
    """One run under way: where its output goes, and the reading ends of its two pipes.

    What has no log is no process of the task: a command (``sink``), or a check (its words are kept).
    """

    def __init__(
        self,
        process: str,
        run: int,
        log: ProcessLog | None,
        pipes: dict[str, int],
        sink: Output | None = None,
    ) -> None:
        self.process, self.run, self.log, self.pipes, self.sink = process, run, log, pipes, sink
        self.output = bytearray()
        self.ended = threading.Event()
        self.status: int | None = None
        self.trouble = ""

    def write(self, stream: str, data: bytes) -> None:
        if self.log is not None:
            self.log.write(stream, data)
        elif self.sink is not None:
            self.sink("stderr" if stream == "stderr" else "stdout", data)
        elif len(self.output) < READ:
            self.output += data


def shell_argv(command: str) -> list[str]:
    """Returns the words that run a command line: in bash where there is one."""
    return [shutil.which("bash", path=PATH) or "/bin/sh", "-c", command]


def feed(fd: int, data: bytes, ended: threading.Event) -> None:
    """Writes what a command reads, until it has ended; closes ``fd``."""
    os.set_blocking(fd, False)
    view, room = memoryview(data), select.poll()
    room.register(fd, select.POLLOUT)
    try:
        while view and not ended.is_set():
            if room.poll(200):
                view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass  # it does not read on
    finally:
        os.close(fd)


def exit_of(run: ProcessRun, out_of_memory: bool) -> Exited:
    """Returns how a process that has ended has done so, with its last words."""
    status = run.status if run.status is not None else 0
    words = run.log.last_words() if run.log is not None else ""
    if os.WIFSIGNALED(status):
        return Exited(run.process, run.run, None, os.WTERMSIG(status), out_of_memory, words)
    code = os.waitstatus_to_exitcode(status)
    return Exited(run.process, run.run, code, 0, out_of_memory, explain_exit(code, words))
