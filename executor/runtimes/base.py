"""What a runtime is: something that runs the processes of one task."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from executor.environment import ExecutorEnvironment
from executor.task import ProcessSpec, TaskDocument, TaskPayload


class CannotRun(Exception):
    """The task cannot be run here; the sentence tells its owner why.

    ``reason`` is Mesos's name of it, for the status update.
    """

    def __init__(self, message: str, reason: str = "REASON_CONTAINER_LAUNCH_FAILED") -> None:
        super().__init__(message)
        self.reason = reason


class Cancelled(Exception):
    """The task was stopped while it was being prepared or started."""


class Options(msgspec.Struct, frozen=True):
    """What the operator has decided about running tasks. Times in seconds.

    ``hard_cpu_limit``: containers get a CPU quota, not only a share. ``docker_patience``: how long an
    absent Docker daemon is waited for; ``address_patience``: how long an address that another container
    of this agent has; ``ports_patience``: how long a node may take until it listens on its ports.
    """

    hard_cpu_limit: bool = False
    docker_patience: float = 300.0
    pids_limit: int = 4096
    sandboxes_kept: int = 50
    address_patience: float = 20.0
    ports_patience: float = 300.0


class TaskContext(msgspec.Struct, frozen=True):
    """One task, with its variables filled in, and where it runs.

    ``sandbox`` is the task's directory, absolute. ``owner`` identifies this executor process on this
    machine (see :mod:`executor.identity`).
    """

    payload: TaskPayload
    document: TaskDocument
    sandbox: str
    environment: ExecutorEnvironment
    options: Options
    owner: str


class Started(msgspec.Struct, frozen=True):
    """A run is under way. ``pid`` is on the agent, 0 if unknown."""

    process: str
    run: int
    pid: int = 0


class Exited(msgspec.Struct, frozen=True):
    """A run has ended: with ``code``, or by ``signal``; ``detail`` is more for people.

    ``out_of_memory``: the kernel (or we) ended it for the memory it took.
    """

    process: str
    run: int
    code: int | None
    signal: int = 0
    out_of_memory: bool = False
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.out_of_memory

    def describe(self) -> str:
        """Returns how it ended, to stand after "process NAME"."""
        if self.code is not None:
            by_signal = 128 < self.code < 128 + signal.NSIG
            text = f"exited with code {self.code}"
            text += f" ({signal_name(self.code - 128)})" if by_signal else ""
        elif self.signal:
            text = f"was ended by {signal_name(self.signal)}"
        else:
            text = "was lost"
        return f"{text}: {self.detail}" if self.detail else text


class Broken(msgspec.Struct, frozen=True):
    """The whole task has to end: over its memory, its container is gone, …."""

    message: str
    reason: str


class Waiting(msgspec.Struct, frozen=True):
    """The task is held up, and will go on: "waiting for the Docker daemon"."""

    message: str


class Command(msgspec.Struct, frozen=True):
    """What is run beside a task: ``timeout`` in seconds; ``user`` None: whom the task runs as."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    timeout: float = 60.0
    user: str | None = None


class CommandEnd(msgspec.Struct, frozen=True):
    """How a command has ended. ``code`` None: not by itself, then ``problem`` says why in a sentence."""

    code: int | None
    problem: str = ""


Output = Callable[[Literal["stdout", "stderr"], bytes], None]

RuntimeEvent = Started | Exited | Broken | Waiting
Notify = Callable[[RuntimeEvent], None]


class Runtime(Protocol):
    """Runs the processes of one task.

    ``prepare``, ``start``, ``terminate`` and ``destroy`` are called from one thread, one after the
    other, and may block; ``cancel`` from any other makes them raise :class:`Cancelled` soon. Events
    are delivered on any thread, Started of a run before its Exited.
    """

    def prepare(self) -> None:
        """Makes ready what all processes share; raises :class:`CannotRun`."""

    def start(self, process: ProcessSpec, run: int) -> None:
        """Starts a run; a :class:`Started` follows. Raises :class:`CannotRun`."""

    def terminate(self, processes: tuple[str, ...]) -> None:
        """Sends SIGTERM to these processes and what they have started."""

    def destroy(self) -> None:
        """Ends everything at once."""

    def cancel(self) -> None: ...

    def close(self) -> None:
        """Ends what is left and frees everything; the sandbox stays. Callable at any time, twice."""

    def check(self, command: str, timeout: float) -> str | None:
        """Runs a health command beside the processes; returns why it failed, None if it did not."""

    def run_command(self, command: Command, output: Output, cancelled: threading.Event) -> CommandEnd:
        """Runs a command beside the processes, on any thread, until it ends, its time is up, or
        ``cancelled``. What it leaves running at its own end runs on; when it is killed, nothing does.
        """

    def listens(self, port: int, timeout: float) -> bool:
        """Returns whether something listens on a TCP port of the task's own address."""

    @property
    def container_id(self) -> str: ...

    @property
    def trouble(self) -> str | None:
        """What keeps this agent from running any such task: "" nothing, None: not known."""


_MISSING = (
    re.compile(r"exec (\S+) failed: No such file or directory$"),  # docker-init, which is tini
    re.compile(r"(?:^|: )([^:\s]+): (?:command )?not found$"),  # a shell
    re.compile(r"(?:^|: )([^:\s]+): No such file or directory$"),  # a shell, for a path
)


def explain_exit(code: int, last_words: str) -> str:
    """Returns what to add to an exit code: that a command is missing, or the last line of stderr."""
    if code == 0:
        return ""
    for pattern in _MISSING if code == 127 else ():
        match = pattern.search(last_words)
        if match:
            return f"the command {match.group(1)} does not exist"
    return last_words


def signal_name(number: int) -> str:
    """Returns ``SIGTERM`` for 15, ``signal 64`` for a number without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def task_environment(context: TaskContext, sandbox: str) -> dict[str, str]:
    """Returns the variables that every process of the task finds; ``sandbox`` as it sees it."""
    payload, environment = context.payload, context.environment
    variables = {
        "MESOS_SANDBOX": sandbox,
        "MESOS_DIRECTORY": sandbox,
        "MESOS_TASK_ID": payload.task_id,
        "MESOS_EXECUTOR_ID": environment.executor_id,
        "MESOS_FRAMEWORK_ID": environment.framework_id,
        "MESOS_AGENT_ID": environment.agent_id,
        "MESOS_HOSTNAME": payload.hostname,
        "AURORA_CLUSTER": payload.cluster,
        "AURORA_ROLE": payload.role,
        "AURORA_ENVIRONMENT": payload.environment,
        "AURORA_JOB": payload.name,
        "AURORA_INSTANCE": str(payload.instance),
    }
    for name, number in payload.ports.items():
        variables["PORT_" + "".join(c if c.isalnum() else "_" for c in name).upper()] = str(number)
    return variables
