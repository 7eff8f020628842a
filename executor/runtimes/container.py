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
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from executor.logs import ProcessLog
from executor.networks import explain_taken, is_gone, is_taken
from executor.node import archive
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
    Waiting,
    explain_exit,
)
from executor.runtimes.base import Output as CommandOutput
from executor.runtimes.docker_api import DockerApi, Down, Frames, NoSuchThing, Refused
from executor.runtimes.docker_networks import NodeNetworks
from executor.runtimes.docker_node import listens
from executor.runtimes.docker_options import (
    HOLD,
    OWNER,
    SANDBOX,
    ContainerOptions,
    command_of,
    container_name,
    container_options,
    explain_start,
    is_orphan,
    wait_for_networks,
)
from executor.runtimes.docker_output import Output, Past
from executor.runtimes.docker_processes import run_check, run_command, signal_exec
from executor.runtimes.host_paths import check_volumes, open_to
from executor.runtimes.nodes import prepare_node
from executor.task import ProcessSpec

logger = logging.getLogger(__name__)

T = TypeVar("T")
_RETRY_PAUSE = 0.5
# How often a network is made that others remove meanwhile.
_TRIES = 5
# Less than this between the end of the output and that of the container: nothing was cut off.
_TOGETHER = 0.5
# How long after the end of its output a container may still be on its way out.
_LINGER = 10.0
_NEVER = "0001-01-01T00:00:00Z"
_KILLED = 128 + signal.SIGKILL


class DockerRuntime:
    """See :class:`executor.runtimes.base.Runtime`."""

    def __init__(self, context: TaskContext, notify: Notify, docker: DockerApi) -> None:
        self.container_id = ""
        self._context = context
        self._notify = notify
        self._docker = docker
        self._cancelled = threading.Event()
        self._closed = False
        self._destroyed = False
        self._created = False
        self._stop_signal = "SIGTERM"
        # When the container was started last, as far as we have seen it end; at first never.
        self._since = _NEVER
        processes = context.document.task.processes
        self._single = len(processes) == 1
        node = context.payload.node
        self._attachments = node.networks if node is not None else ()
        self._networks = NodeNetworks(
            docker,
            self._attachments,
            context.environment.framework_id,
            context.options.address_patience,
        )
        self._options = container_options(context, self._argv(processes))
        self._runs_entrypoint = self._options.create.get("entrypoint") is None
        self._connected = False
        self._name = container_name(context.payload.task_id)
        self._pids: dict[str, int] = {}
        self._followers: list[threading.Thread] = []
        self.trouble: str | None = None
        self._outages = 0
        self._output = Output()
        self._complete = False

    def _argv(self, processes: tuple[ProcessSpec, ...]) -> list[str] | None:
        if not self._single:
            return HOLD
        return command_of(processes[0].cmdline) if processes[0].cmdline else None

    # -- the interface of a runtime --

    def prepare(self) -> None:
        container = self._context.payload.container
        check_volumes(container.volumes if container else ())
        prepare_node(self._context)
        if self._context.payload.pull_policy == "always":
            self._pull()
        self._patiently(self._networks.ensure)
        if self._single and len(self._attachments) > 1:
            wait_for_networks(self._options, self._image_config(), len(self._attachments))
        self._create()
        self._put_files()
        about = self._patiently(lambda: self._docker.inspect(self.container_id))
        config = about.get("Config") or {}
        open_to(self._context.sandbox, str(config.get("User") or ""))
        if self._runs_entrypoint or "stop_signal" in self._options.create:
            self._stop_signal = str(config.get("StopSignal") or self._stop_signal)
        if not self._single:
            self._start_container()

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
        self._cancelled.set()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._cancelled.set()
        if self._created:
            self._docker.discard(self.container_id or self._name, self._networks.names)
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
        return listens(self._docker, self.container_id, self._attachments, port, timeout)

    # -- making the container --

    def _pull(self) -> None:
        image = self._options.image
        logger.info("pulling image %s", image)
        try:
            self._patiently(lambda: self._docker.pull(image, self._cancelled.is_set))
        except (Refused, NoSuchThing) as error:
            raise CannotRun(f"no such image {image}: it cannot be pulled: {error}") from error
        if self._cancelled.is_set():
            raise Cancelled

    def _image_config(self) -> dict[str, Any]:
        """Returns what the image says of itself; pulls it if it is not there."""
        try:
            about = self._patiently(lambda: self._docker.image(self._options.image))
        except NoSuchThing as error:
            self._pull_missing(error)
            about = self._patiently(lambda: self._docker.image(self._options.image))
        return about.get("Config") or {}

    def _create(self) -> None:
        self._created = True
        try:
            self.container_id = self._create_once()
        except NoSuchThing as error:
            if "image" not in str(error).lower():
                raise CannotRun(self._explain(str(error))) from error
            self._pull_missing(error)
            try:
                self.container_id = self._create_once()
            except NoSuchThing as again:
                raise CannotRun(f"no such image {self._options.image}: {again}") from again

    def _pull_missing(self, error: NoSuchThing) -> None:
        if self._context.payload.pull_policy == "never":
            raise CannotRun(
                f"no such image {self._options.image} on this agent, and the pull policy is 'never'"
            ) from error
        self._pull()

    def _put_files(self) -> None:
        """Writes the node's files into the container, which has not been started."""
        node = self._context.payload.node
        if node is None or not node.files:
            return
        data = archive(node.files)
        try:
            self._patiently(lambda: self._docker.put_archive(self.container_id, "/", data))
        except (Refused, NoSuchThing) as error:
            raise CannotRun(f"the node's files cannot be written into its container: {error}") from error

    def _create_once(self) -> str:
        try:
            return self._patiently(lambda: self._docker.create(self._name, self._options))
        except Refused as error:
            if error.status != 409:
                raise CannotRun(self._explain(str(error))) from error
        self._free_name()
        try:
            return self._patiently(lambda: self._docker.create(self._name, self._options))
        except Refused as error:
            raise CannotRun(self._explain(str(error))) from error

    def _free_name(self) -> None:
        """The name is taken: by a call whose answer was lost, by a dead executor, or by a stranger."""
        try:
            about = self._patiently(lambda: self._docker.inspect(self._name))
        except NoSuchThing:
            return
        labels = (about.get("Config") or {}).get("Labels") or {}
        if labels.get(OWNER) == self._context.owner or is_orphan(labels, self._context.environment):
            self._docker.discard(str(about["Id"]))
        else:
            self._name = f"{self._name}-{uuid.uuid4().hex[:8]}"

    def _start_container(self) -> None:
        """Starts the container, and connects it to all of its networks."""
        if self._connected:
            # Docker would attach it to all of them again, in any order.
            self._patiently(lambda: self._networks.disconnect_others(self.container_id))
        give_up, tries = time.monotonic() + self._context.options.address_patience, 0
        while True:
            try:
                self._start_once()
            except (Refused, NoSuchThing) as error:
                text, tries = str(error), tries + 1
                if "docker-init" in text and self._options.host.get("init"):
                    self._without_init()
                    return
                if self._attachments and is_gone(text) and tries <= _TRIES:
                    self._patiently(self._networks.ensure)
                elif self._attachments and is_taken(text) and time.monotonic() < give_up:
                    # It may be that of a container which is being removed.
                    self._cancelled.wait(_RETRY_PAUSE)
                else:
                    raise CannotRun(self._explain(text)) from error
            else:
                break
        self._connected = len(self._attachments) > 1
        self._patiently(lambda: self._networks.connect_others(self.container_id))

    def _start_once(self) -> None:
        asked = False

        def start() -> None:
            nonlocal asked
            again, asked = asked, True
            # If only the answer was lost, a second start would run the task a second time.
            if not again or self._docker.inspect(self.container_id)["State"]["StartedAt"] == self._since:
                self._docker.start(self.container_id)

        self._patiently(start)

    def _without_init(self) -> None:
        """This daemon has no docker-init: the command becomes the first process of its container."""
        logger.warning("the Docker daemon has no docker-init; containers run without it")
        self._docker.discard(self.container_id)
        self._options = ContainerOptions(
            self._options.image, self._options.create, {**self._options.host, "init": False}
        )
        self.container_id = self._create_once()
        self._put_files()
        self._start_container()

    def _explain(self, text: str) -> str:
        if self._attachments and is_taken(text):
            return explain_taken(self._attachments[:1])
        return explain_start(text, self._options.image, self._context.payload.ports)

    # -- one process: the container itself --

    def _start_single(self, process: ProcessSpec, run: int, log: ProcessLog) -> None:
        # Before the start, so that nothing of the output is missed. A later run replays nothing: the
        # stream of a restarted container begins with its attachment.
        before = self.container_id
        frames = self._patiently(lambda: self._docker.attach(self.container_id, replay=False))
        try:
            self._start_container()
            if self.container_id != before:
                frames.close()
                frames = self._patiently(lambda: self._docker.attach(self.container_id, replay=True))
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
            self._output.take(frames, log)
            while not self._has_ended(patience):
                self._take_the_rest(log)
                # A container that has closed its output runs on: ask ever less often.
                patience = min(_LINGER, 2 * patience)
            about = self._patiently(lambda: self._docker.inspect(self.container_id), at_most=True)
            state = about["State"]
            code = int(state.get("ExitCode", -1))
            oom = bool(state.get("OOMKilled")) or self._was_oom(code, since)
        except (NoSuchThing, Refused) as error:
            return Exited(process.name, run, None, detail=f"its container is gone: {error}")
        self._since = str(state.get("StartedAt") or "")
        detail = str(state.get("Error") or "") or explain_exit(code, log.last_words())
        return Exited(process.name, run, code, 0, oom, detail)

    def _was_oom(self, code: int | None, since: float) -> bool:
        """Whether the kernel killed for memory. The daemon may hear of that later than of the end."""
        deadline = time.monotonic() + _TOGETHER
        while code == _KILLED and not self._destroyed and time.monotonic() < deadline:
            with contextlib.suppress(Down):
                if self._docker.was_out_of_memory(self.container_id, since):
                    return True
            time.sleep(0.05)
        return False

    def _has_ended(self, patience: float) -> bool:
        """Returns whether the container ends within ``patience`` seconds, its output all taken.

        The two come together, unless the stream of output was cut off.
        """
        begun, outages = time.monotonic(), self._outages
        ended = self._patiently(lambda: self._docker.wait(self.container_id, patience), at_most=True)
        together = time.monotonic() - begun < _TOGETHER and outages == self._outages
        return ended and (together or self._complete)

    def _take_the_rest(self, log: ProcessLog) -> None:
        replay = self._output.is_replayable
        if not replay:
            logger.warning("some output of container %s is lost", self.container_id)
        frames = self._patiently(lambda: self._docker.attach(self.container_id, replay), at_most=True)
        outages = self._outages
        if not self._is_running():
            # It may have ended before it was attached: then the stream never would.
            frames.close()
            if replay:
                past = self._patiently(lambda: self._docker.past_output(self.container_id), at_most=True)
                self._output.take(past, log, replayed=True)
            self._complete = True
            return
        self._output.take(frames, log, replayed=replay)
        # If the container has ended by now, and nothing was cut off, there is no more.
        self._complete = not self._is_running() and outages == self._outages

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

    def _patiently(self, call: Callable[[], T], at_most: bool = False) -> T:
        """Calls until the daemon answers; after ``docker_patience`` seconds raises :class:`CannotRun`.

        ``at_most``: for a task that is being ended, too (its container may still run); otherwise
        raises :class:`Cancelled` as soon as the task is stopped.
        """
        give_up = time.monotonic() + self._context.options.docker_patience
        while True:
            if self._cancelled.is_set() and not at_most:
                raise Cancelled
            try:
                result = call()
            except Down as error:
                if self._closed:
                    raise Cancelled from error
                if time.monotonic() > give_up:
                    patience = self._context.options.docker_patience
                    raise CannotRun(
                        f"no answer from the Docker daemon for {patience:g} s: {error}"
                    ) from error
                if not self.trouble:
                    self.trouble = f"the Docker daemon does not answer: {error}"
                    self._outages += 1
                    self._notify(Waiting(f"waiting for the Docker daemon: {error}"))
                time.sleep(_RETRY_PAUSE)
            else:
                before, self.trouble = self.trouble, ""
                if before:
                    self._notify(Waiting("the Docker daemon answers again"))
                return result
