"""The docker runtime: a task's processes run in one container made from its image.

A task with one process is that container's own command: nothing is between them, so exit code and out
of memory are exact. With several processes the container holds them: each is an *exec* in it, so that
all see the same files. A task without processes runs what its image says.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable

from executor.logs import ProcessLog
from executor.runtimes.base import (
    Broken,
    Cancelled,
    CannotRun,
    Command,
    CommandEnd,
    Exited,
    Notify,
    Started,
    TaskContext,
    explain_exit,
)
from executor.runtimes.base import Output as CommandOutput
from executor.runtimes.docker_api import DockerApi, Down, Frames, NoSuchThing, Refused
from executor.runtimes.docker_node import listens
from executor.runtimes.docker_options import (
    HOLD,
    SANDBOX,
    command_of,
    container_options,
)
from executor.runtimes.docker_output import Output, Past
from executor.runtimes.docker_processes import run_check, run_command, signal_exec
from executor.runtimes.host_paths import check_volumes, open_to
from executor.runtimes.making import TaskContainer
from executor.runtimes.nodes import prepare_node
from executor.runtimes.patience import Patience
from executor.task import ProcessSpec

logger = logging.getLogger(__name__)

# Less than this between the end of the output and that of the container: nothing was cut off.
_TOGETHER = 0.5
# A busy daemon hears of the kernel's reason so much later than of the end; most hear of it at once.
_REASON_SECS = 3.0
_REASON_PAUSES = (0.05, 0.4)
# How long after the end of its output a container may still be on its way out.
_LINGER = 10.0
_KILLED = 128 + signal.SIGKILL


class DockerRuntime:
    """See :class:`executor.runtimes.base.Runtime`."""

    def __init__(self, context: TaskContext, notify: Notify, docker: DockerApi) -> None:
        self._context = context
        self._notify = notify
        self._docker = docker
        self._patiently = Patience(context.options.docker_patience, notify)
        self._destroyed = False
        self._stop_signal = "SIGTERM"
        processes = context.document.task.processes
        self._single = len(processes) == 1
        options = container_options(context, self._argv(processes))
        self._runs_entrypoint = options.create.get("entrypoint") is None
        self._container = TaskContainer(context, docker, self._patiently, options)
        self._pids: dict[str, int] = {}
        self._followers: list[threading.Thread] = []
        self._output = Output()
        # Of the present run: whether all of its output has been taken, and how often the daemon had been
        # away when it was attached to.
        self._complete = False
        self._outages = 0

    @property
    def container_id(self) -> str:
        return self._container.id

    @property
    def trouble(self) -> str | None:
        return self._patiently.trouble

    def _argv(self, processes: tuple[ProcessSpec, ...]) -> list[str] | None:
        if not self._single:
            return HOLD
        return command_of(processes[0].cmdline) if processes[0].cmdline else None

    # -- the interface of a runtime --

    def prepare(self) -> None:
        container = self._context.payload.container
        check_volumes(container.volumes if container else ())
        prepare_node(self._context)
        self._container.make(waits=self._single)
        about = self._patiently(lambda: self._docker.inspect(self.container_id))
        config = about.get("Config") or {}
        open_to(self._context.sandbox, str(config.get("User") or ""))
        if self._runs_entrypoint or "stop_signal" in self._container.options.create:
            self._stop_signal = str(config.get("StopSignal") or self._stop_signal)
        if not self._single:
            self._container.start()

    def start(self, process: ProcessSpec, run: int) -> None:
        try:
            log = ProcessLog(self._context.sandbox, process, run)
        except OSError as error:
            raise CannotRun(f"the logs of process {process.name} cannot be written: {error}") from error
        try:
            if self._single:
                self._start_single(process, run, log)
            else:
                self._start_exec(process, run, log)
        except BaseException:
            log.close()
            raise

    def terminate(self, processes: tuple[str, ...]) -> None:
        if self._single:
            self._signal_container(self._stop_signal)
        else:
            for name in processes:
                signal_exec(self._docker, self.container_id, self._pids.get(name, 0), signal.SIGTERM)

    def destroy(self) -> None:
        self._destroyed = True
        self._signal_container("SIGKILL")

    def cancel(self) -> None:
        self._patiently.cancelled.set()

    def close(self) -> None:
        if self._patiently.closed:
            return
        self._patiently.closed = True
        self._patiently.cancelled.set()
        self._container.discard()
        for follower in self._followers:
            follower.join(_LINGER)

    def check(self, command: str, timeout: float) -> str | None:
        return run_check(self._docker, self.container_id, command, timeout)

    def run_command(
        self, command: Command, output: CommandOutput, cancelled: threading.Event
    ) -> CommandEnd:
        if not self.container_id:
            return CommandEnd(None, "the container of the task does not run yet")
        return run_command(self._docker, self.container_id, command, output, cancelled)

    def listens(self, port: int, timeout: float) -> bool:
        attachments = self._container.attachments
        return listens(self._docker, self.container_id, attachments, port, timeout)

    # -- one process: the container itself --

    def _start_single(self, process: ProcessSpec, run: int, log: ProcessLog) -> None:
        # Before the start, so that nothing of the output is missed. A later run replays nothing: the
        # stream of a restarted container begins with its attachment.
        frames: Frames = Past([])

        def attach() -> None:
            nonlocal frames
            frames.close()
            frames = self._patiently(lambda: self._docker.attach(self.container_id, replay=False))
            self._outages, self._complete = self._patiently.outages, False

        try:
            self._container.start(attach)
        except BaseException:
            frames.close()
            raise
        self._follow(process, run, lambda: self._follow_container(process, run, log, frames))

    def _follow_container(
        self, process: ProcessSpec, run: int, log: ProcessLog, frames: Frames
    ) -> Exited:
        """Takes the output until the container has ended, across outages of the daemon."""
        since = time.time()
        patience = _TOGETHER
        try:
            whole = self._output.take(frames, log)
            while not self._has_ended(patience, whole):
                whole = self._take_the_rest(log)
                # A container that has closed its output runs on: ask ever less often.
                patience = min(_LINGER, 2 * patience)
            about = self._patiently(lambda: self._docker.inspect(self.container_id), at_most=True)
            state = about["State"]
            code = int(state.get("ExitCode", -1))
            oom = bool(state.get("OOMKilled")) or self._was_oom(code, since)
        except (NoSuchThing, Refused) as error:
            return Exited(process.name, run, None, detail=f"its container is gone: {error}")
        self._container.since = str(state.get("StartedAt") or "")
        detail = str(state.get("Error") or "") or explain_exit(code, log.last_words())
        return Exited(process.name, run, code, 0, oom, detail)

    def _was_oom(self, code: int | None, since: float) -> bool:
        """Whether the kernel killed for memory. The daemon may hear of that later than of the end."""
        deadline, (pause, longest) = time.monotonic() + _REASON_SECS, _REASON_PAUSES
        while code == _KILLED and not self._destroyed and time.monotonic() < deadline:
            with contextlib.suppress(Down):
                if self._docker.was_out_of_memory(self.container_id, since):
                    return True
            time.sleep(pause)
            pause = min(2 * pause, longest)
        return False

    def _has_ended(self, patience: float, whole: bool) -> bool:
        """Returns whether the container ends within ``patience`` seconds, its output all taken.

        The two come together, unless the stream of output was cut off (it was not ``whole``, or the
        daemon was away since it began).
        """
        begun = time.monotonic()
        ended = self._patiently(lambda: self._docker.wait(self.container_id, patience), at_most=True)
        together = time.monotonic() - begun < _TOGETHER and self._outages == self._patiently.outages
        return ended and (self._complete or (whole and together))

    def _take_the_rest(self, log: ProcessLog) -> bool:
        """Takes what was missed, and what comes; returns whether its stream ended by itself."""
        replay = self._output.is_replayable
        if not replay:
            logger.warning("some output of container %s is lost", self.container_id)
        frames = self._patiently(lambda: self._docker.attach(self.container_id, replay), at_most=True)
        self._outages = self._patiently.outages
        if not self._is_running():
            # It may have ended before it was attached: then the stream never would.
            frames.close()
            if replay:
                past = self._patiently(lambda: self._docker.past_output(self.container_id), at_most=True)
                self._output.take(past, log, replayed=True)
            self._complete = True
            return True
        whole = self._output.take(frames, log, replayed=replay)
        # If the container has ended by now, and nothing was cut off, there is no more.
        self._complete = whole and not self._is_running() and self._outages == self._patiently.outages
        return whole

    def _is_running(self) -> bool:
        about = self._patiently(lambda: self._docker.inspect(self.container_id), at_most=True)
        return bool(about["State"].get("Running"))

    # -- several processes: execs in a container that holds them --

    def _start_exec(self, process: ProcessSpec, run: int, log: ProcessLog) -> None:
        try:
            argv = command_of(process.cmdline)
            identity = self._patiently(
                lambda: self._docker.exec_create(self.container_id, argv, workdir=SANDBOX)
            )
            frames = self._exec_start(identity)
            self._pids[process.name] = self._pid_of(identity)
        except (Refused, NoSuchThing) as error:
            raise CannotRun(
                f"process {process.name} cannot be started in its container: {error}"
            ) from error
        self._follow(process, run, lambda: self._follow_exec(process, run, log, identity, frames))

    def _exec_start(self, identity: str) -> Frames:
        asked = False

        def start() -> Frames:
            nonlocal asked
            again, asked = asked, True
            try:
                return self._docker.exec_start(identity)
            except Refused as error:
                if not again or error.status != 409:
                    raise
            logger.warning("what process %s writes is lost, as was the answer to its start", identity)
            return Past([])

        return self._patiently(start)

    def _follow_exec(
        self, process: ProcessSpec, run: int, log: ProcessLog, identity: str, frames: Frames
    ) -> Exited:
        since = time.time()
        Output().take(frames, log)
        deadline = time.monotonic() + _LINGER
        try:
            about = self._patiently(lambda: self._docker.exec_inspect(identity), at_most=True)
            while about.get("Running") and self._is_up():
                # An exec whose output ended early goes on: ask for it ever less often.
                time.sleep(0.02 if time.monotonic() < deadline else 1.0)
                about = self._patiently(lambda: self._docker.exec_inspect(identity), at_most=True)
            code = about.get("ExitCode")
            oom = self._was_oom(code, since)
        except (Refused, NoSuchThing, Down) as error:
            return Exited(process.name, run, None, detail=f"its container is gone: {error}")
        self._pids.pop(process.name, None)
        return Exited(process.name, run, code, 0, oom, explain_exit(code or 0, log.last_words()))

    def _pid_of(self, identity: str) -> int:
        """Returns the pid (on the agent) of an exec that was just started; 0 if it has ended already.

        The daemon answers the start before it knows the pid.
        """
        deadline = time.monotonic() + _LINGER
        while True:
            about = self._patiently(lambda: self._docker.exec_inspect(identity))
            if about.get("Pid") or about.get("ExitCode") is not None or time.monotonic() > deadline:
                return int(about.get("Pid") or 0)
            time.sleep(0.01)

    def _is_up(self) -> bool:
        return bool(self._docker.inspect(self.container_id).get("State", {}).get("Running"))

    # -- both --

    def _follow(self, process: ProcessSpec, run: int, follow: Callable[[], Exited]) -> None:
        def body() -> None:
            try:
                ended = follow()
            except Cancelled:
                ended = Exited(process.name, run, None)
            except CannotRun as error:
                self._notify(Broken(f"process {process.name} was lost: {error}", error.reason))
                return
            self._notify(ended)

        self._notify(Started(process.name, run, self._pids.get(process.name, 0)))
        thread = threading.Thread(target=body, name="container-output", daemon=True)
        self._followers.append(thread)
        thread.start()

    def _signal_container(self, name: str) -> None:
        if not self.container_id:
            return
        try:
            self._docker.kill(self.container_id, name)
        except (Refused, NoSuchThing) as error:
            logger.debug("%s to container %s: %s", name, self.container_id, error)
        except Down as error:
            # Nothing reaches the container now; its removal is tried until it succeeds.
            logger.warning("%s to container %s: %s", name, self.container_id, error)
