"""The process runtime: a task's processes run on the agent itself, without an image."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping

from executor.logs import STREAMS, ProcessLog
from executor.runtimes.accounts import account, user_of
from executor.runtimes.base import (
    Broken,
    Cancelled,
    CannotRun,
    Command,
    CommandEnd,
    Exited,
    Notify,
    Output,
    Started,
    TaskContext,
    signal_name,
    task_environment,
)
from executor.runtimes.coordinator import Channel, Message
from executor.runtimes.memory import MemoryWatch
from executor.runtimes.nodes import furnish, node_variables, prepare_node
from executor.runtimes.process_pipes import Pipes
from executor.runtimes.process_runs import PATH, ProcessRun, exit_of, feed, shell_argv
from executor.runtimes.zygote import Zygote, ZygoteGone
from executor.sweep import CALL_VARIABLE, OWNER_VARIABLE, kill_marked, kill_task
from executor.task import ProcessSpec

logger = logging.getLogger(__name__)

OPEN_FILES = 65536
# How long (seconds) the end of a killed command is waited for.
_KILLED = 10.0


class ProcessRuntime:
    """See :class:`executor.runtimes.base.Runtime`. Memory is watched, not limited by the kernel."""

    container_id = ""
    trouble = None

    def __init__(self, context: TaskContext, notify: Notify, zygote: Zygote, watch: MemoryWatch) -> None:
        self._context = context
        self._notify = notify
        self._zygote = zygote
        self._watch = watch
        self._cancelled = False
        self._channel: Channel | None = None
        self._pid = 0
        self._runs: dict[str, ProcessRun] = {}
        self._pipes = Pipes()
        self._lock = threading.RLock()
        self._reader: threading.Thread | None = None
        self._empty = threading.Event()
        self._beside = 0
        self._exceeded = False
        self._gone = False
        self._closed = False
        self._node_variables: dict[str, str] = {}

    # -- the interface of a runtime --

    def prepare(self) -> None:
        self._account = account(user_of(self._context.payload, self._context.document))
        if self._account.uid is not None:
            os.chown(self._context.sandbox, self._account.uid, self._account.gid or 0)
        prepare_node(self._context)
        node = self._context.payload.node
        if node is not None:
            self._node_variables = node_variables(node, self._context.payload.disk_paths)
            furnish(self._context, self._account)
        try:
            self._channel, self._pid = self._zygote.coordinator()
        except ZygoteGone as error:
            raise CannotRun(str(error)) from error
        self._pipes.listen_to(self._channel)
        self._reader = threading.Thread(target=self._read, name="task-output", daemon=True)
        self._reader.start()
        limit = self._context.payload.mem_mb * 1024 * 1024
        self._watch.add(self._pid, limit, self._over_memory)

    def start(self, process: ProcessSpec, run: int) -> None:
        try:
            log = ProcessLog(self._context.sandbox, process, run)
        except OSError as error:
            raise CannotRun(f"the logs of process {process.name} cannot be written: {error}") from error
        argv = shell_argv(process.cmdline)
        self._launch(process.name, argv, lambda pipes: ProcessRun(process.name, run, log, pipes))

    def terminate(self, processes: tuple[str, ...]) -> None:
        self._send({"op": "signal", "keys": list(processes), "number": int(signal.SIGTERM)})

    def destroy(self) -> None:
        self._send({"op": "destroy"})

    def cancel(self) -> None:
        self._cancelled = True

    def check(self, command: str, timeout: float) -> str | None:
        key = self._key("check")
        try:
            run = self._launch(key, shell_argv(command), lambda pipes: ProcessRun(key, 0, None, pipes))
        except CannotRun as error:
            return str(error)
        if not run.ended.wait(timeout):
            self._send({"op": "signal", "keys": [key], "number": int(signal.SIGKILL)})
            return f"the health command did not end within {timeout:g} s"
        if run.trouble:
            return run.trouble
        if run.status == 0:
            return None
        output = run.output.decode("utf-8", "replace").strip()[-200:]
        how = exit_of(run, out_of_memory=False).describe()
        return f"the health command {how}{': ' + output if output else ''}"

    def run_command(self, command: Command, output: Output, cancelled: threading.Event) -> CommandEnd:
        if self._channel is None or self._closed:
            return CommandEnd(None, "the task does not run yet, or is over")
        if command.user not in (None, self._account.name):
            return CommandEnd(
                None,
                f"the command should run as user {command.user!r}, but the task runs as "
                f"{self._account.name!r}: without an image a command runs as its task does",
            )
        path = shutil.which(command.argv[0], path=PATH) or command.argv[0]
        if "/" not in path:
            return CommandEnd(127, f"the command {path} does not exist")
        key, mark = self._key("command"), uuid.uuid4().hex
        try:
            run = self._launch(
                key,
                [path, *command.argv[1:]],
                lambda pipes: ProcessRun(key, 0, None, pipes, output),
                {CALL_VARIABLE: mark},
                command.stdin,
            )
        except (CannotRun, Cancelled) as error:
            return CommandEnd(None, str(error) or "the task is over")
        return self._await_command(run, key, mark, command.timeout, cancelled)

    def listens(self, port: int, timeout: float) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._watch.remove(self._pid)
        if self._channel is not None and self._reader is not None:
            with self._lock:
                if not self._gone:
                    self._empty.clear()
                    self._send({"op": "destroy"})
            if not self._empty.wait(10):
                logger.warning("processes of %s outlive SIGKILL", self._context.payload.task_id)
            self._channel_shutdown()
            self._reader.join(10)
        self._pipes.close()

    # -- the inside --

    def _key(self, kind: str) -> str:
        """Returns a key that no process of the task has: their names have no slash."""
        with self._lock:
            self._beside += 1
            return f"/{kind}/{self._beside}"

    def _launch(
        self,
        key: str,
        argv: list[str],
        make_run: Callable[[dict[str, int]], ProcessRun],
        more: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> ProcessRun:
        if self._cancelled:
            raise Cancelled
        pipes = {stream: os.pipe2(os.O_CLOEXEC) for stream in STREAMS}
        entry = make_run({stream: reader for stream, (reader, _) in pipes.items()})
        passed = [writer for _, writer in pipes.values()]
        feeder = None
        if stdin:
            source, feeder = os.pipe2(os.O_CLOEXEC)
            passed.insert(0, source)
        message: Message = {
            "op": "start",
            "fds": len(passed),
            "key": key,
            "argv": argv,
            "cwd": self._context.sandbox,
            "env": {**self._variables(), **(more or {})},
            "user": self._account.name,
            "uid": self._account.uid,
            "gid": self._account.gid,
            "groups": list(self._account.groups),
            "nofile": OPEN_FILES,
        }
        try:
            with self._lock:
                if self._gone or self._channel is None:
                    self._discard(entry)
                    raise CannotRun("the process that starts the task's processes is gone")
                self._runs[key] = entry
                self._send(message, tuple(passed))
            if feeder is not None:
                threading.Thread(
                    target=feed, args=(feeder, stdin, entry.ended), name="input", daemon=True
                ).start()
                feeder = None
        finally:
            for fd in (*passed, *([feeder] if feeder is not None else [])):
                os.close(fd)
        return entry

    def _await_command(
        self, run: ProcessRun, key: str, mark: str, timeout: float, cancelled: threading.Event
    ) -> CommandEnd:
        deadline = time.monotonic() + timeout
        while not run.ended.wait(min(0.1, max(0.0, deadline - time.monotonic()))):
            if cancelled.is_set() or time.monotonic() >= deadline:
                self._send({"op": "signal", "keys": [key], "number": int(signal.SIGKILL), "alone": True})
                kill_marked(mark)
                run.ended.wait(_KILLED)
                why = "was cancelled" if cancelled.is_set() else f"did not end within {timeout:g} s"
                return CommandEnd(None, f"the command {why}, and was killed")
        if run.trouble:
            return CommandEnd(None, run.trouble)
        if run.status is None or (self._closed and os.WIFSIGNALED(run.status)):
            return CommandEnd(None, "the task has ended, and the command with it")
        code = os.waitstatus_to_exitcode(run.status)
        if code >= 0:
            return CommandEnd(code)
        return CommandEnd(128 - code, f"the command was ended by {signal_name(-code)}")

    @staticmethod
    def _discard(run: ProcessRun) -> None:
        """Frees a run whose pipes nobody reads from."""
        for fd in run.pipes.values():
            os.close(fd)
        run.pipes.clear()
        if run.log is not None:
            run.log.close()
        run.ended.set()

    def _variables(self) -> dict[str, str]:
        context = self._context
        return {
            "PATH": PATH,
            "HOME": context.sandbox,
            "USER": self._account.name,
            "LOGNAME": self._account.name,
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",  # noqa: S108 - what the job model says
            **task_environment(context, context.sandbox),
            **self._node_variables,
            OWNER_VARIABLE: context.owner,
        }

    def _send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        with self._lock:
            if self._channel is None:
                return
            try:
                self._channel.send(message, fds)
            except OSError as error:
                # The reader sees the end of the channel and reports every run as lost.
                logger.warning("the coordinator of %s is gone: %s", self._context.payload.task_id, error)

    def _over_memory(self, used: int) -> None:
        self._exceeded = True
        limit = self._context.payload.mem_mb
        self.destroy()
        self._notify(
            Broken(
                f"killed by the executor: out of memory (limit {limit} MiB, used {used >> 20} MiB)",
                "REASON_CONTAINER_LIMITATION_MEMORY",
            )
        )

    def _channel_shutdown(self) -> None:
        """Ends the reader: the coordinator exits when its channel ends."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.shutdown()

    def _read(self) -> None:
        """The reader thread: events of the coordinator, output of the processes."""
        channel = self._channel
        assert channel is not None
        try:
            while True:
                if self._pipes.move() and not self._hear(channel):
                    return
        finally:
            self._lose_all()
            self._empty.set()
            self._pipes.leave(channel)
            channel.close()

    def _hear(self, channel: Channel) -> bool:
        messages = channel.receive()
        for message, _ in messages or ():
            self._handle(message)
        return messages is not None

    def _handle(self, message: Message) -> None:
        event = message["event"]
        if event == "empty":
            self._empty.set()
            return
        with self._lock:
            run = self._runs.get(message["key"])
        if run is None:
            return
        if event == "started":
            self._pipes.follow(run)
            if run.log is not None:
                self._notify(Started(run.process, run.run, int(message["pid"])))
        elif event == "failed":
            run.trouble = message["text"]
            for stream in list(run.pipes):
                os.close(run.pipes.pop(stream))
            self._finish(message["key"], run)
        elif event == "exited":
            run.status = int(message["status"])
            self._pipes.drain(run)
            self._finish(message["key"], run)

    def _finish(self, key: str, run: ProcessRun) -> None:
        with self._lock:
            self._runs.pop(key, None)
        run.ended.set()
        if run.log is None:
            self._pipes.drop(run)
        elif run.trouble:
            self._pipes.drop(run)
            self._notify(
                Broken(f"process {run.process}: {run.trouble}", "REASON_CONTAINER_LAUNCH_FAILED")
            )
        else:
            self._notify(exit_of(run, self._exceeded))

    def _lose_all(self) -> None:
        """The coordinator is gone, and its children with it; not so their daemons, if it was killed."""
        if not self._closed:
            kill_task(self._context.owner, self._context.payload.task_id)
        self._pipes.drop_all()
        with self._lock:
            self._gone = True
            lost, self._runs = self._runs, {}
        for run in lost.values():
            self._discard(run)
            if not self._closed and run.log is not None:
                self._notify(
                    Exited(run.process, run.run, None, detail="the process that watched it is gone")
                )
