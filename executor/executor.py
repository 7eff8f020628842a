"""The executor: many tasks at once, one agent, one framework."""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from executor.environment import ExecutorEnvironment
from executor.remote import Remote
from executor.runner import StatusReport, TaskRunner
from executor.runtimes.base import (
    CannotRun,
    Command,
    CommandEnd,
    Notify,
    Options,
    Output,
    Runtime,
    TaskContext,
)
from executor.sandbox import Sandboxes, read_document
from executor.task import Container, ProcessSpec, TaskDocument, TaskPayload, TaskSpec, decode_payload

logger = logging.getLogger(__name__)

# How many tasks that are over are remembered: a KILL for one of them can still be under way.
_REMEMBERED = 1000
_TERMINAL = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"})
# The name of the process that a task without processes has: its image's own entry point.
ENTRYPOINT = "main"


class Updates(Protocol):
    """What the executor needs of the driver."""

    def send_update(
        self, task_id: str, state: str, message: str = "", data: bytes = b"", **more: Any
    ) -> None: ...

    def drain(self, timeout: float) -> bool: ...

    def send_message(self, data: bytes) -> None: ...


class Executor:
    """Launches and kills tasks; the driver's :class:`executor.driver.Handler`.

    ``stopped`` is set when the executor has been shut down: its tasks are over and reported as far
    as the agent listens.
    """

    def __init__(
        self,
        environment: ExecutorEnvironment,
        options: Options,
        owner: str,
        choose_runtime: Callable[[TaskContext, Notify], Runtime],
    ) -> None:
        self.stopped = threading.Event()
        self.driver: Updates | None = None
        self._environment = environment
        self._options = options
        self._owner = owner
        self._choose_runtime = choose_runtime
        self._sandboxes = Sandboxes(environment.directory, options.sandboxes_kept)
        self._lock = threading.Lock()
        self._runners: dict[str, TaskRunner] = {}
        self._over: OrderedDict[str, str] = OrderedDict()
        self._ending = False
        self._idle_since = time.monotonic()
        self._remote = Remote(self._run_command, self._send_message)

    # -- the driver's calls --

    def launch(self, task: dict[str, Any]) -> None:
        """Starts a task from its Mesos TaskInfo; a payload that cannot be run becomes TASK_FAILED."""
        task_id = str(task["task_id"]["value"])
        with self._lock:
            if task_id in self._runners or task_id in self._over:
                logger.warning("task %s is launched again: ignored", task_id)
                return
            if self._ending:
                self._refuse(task_id, "the executor is shutting down", "REASON_EXECUTOR_TERMINATED")
                return
            try:
                runner = TaskRunner(self._context(task_id, task), self._choose_runtime, self._report)
            except (ValueError, OSError) as error:
                self._refuse(task_id, str(error), "REASON_TASK_INVALID")
                return
            except CannotRun as error:
                self._refuse(task_id, str(error), error.reason)
                return
            self._runners[task_id] = runner
        logger.info("task %s starts", task_id)
        runner.start()

    def kill(self, task_id: str) -> None:
        """Ends a task; of one that is over nothing follows, of one never seen TASK_KILLED.

        Without an answer the framework would wait in KILLING for a task that nobody holds.
        """
        with self._lock:
            runner = self._runners.get(task_id)
            if runner is None and task_id not in self._over:
                self._remember(task_id, "TASK_KILLED")
                self._send(StatusReport(task_id, "TASK_KILLED", "this executor has no such task"))
        if runner is not None:
            logger.info("task %s is to be killed", task_id)
            runner.kill("killed on request")

    def message(self, data: bytes) -> None:
        """Takes what the framework says about running tasks: commands to run beside them."""
        self._remote.received(data)

    def shutdown(self, reason: str) -> None:
        """Ends all tasks within the agent's grace period, on a thread of its own. Idempotent."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
        logger.info("shutting down: %s", reason)
        threading.Thread(target=self._shut_down, args=(reason,), name="shutdown").start()

    # -- for main --

    def idle_for(self) -> float:
        """Returns for how many seconds there has been no task."""
        with self._lock:
            return 0.0 if self._runners else time.monotonic() - self._idle_since

    # -- the inside --

    def _context(self, task_id: str, task: dict[str, Any]) -> TaskContext:
        data = task.get("data")
        if not data:
            raise ValueError("the task has no data: this executor runs only tasks of its own framework")
        payload = decode_payload(b64decode(data))
        if payload.task_id != task_id:
            raise ValueError(f"the payload is that of task {payload.task_id!r}, not of {task_id!r}")
        payload, document = read_document(payload)
        sandbox = self._sandboxes.create(task_id)
        return TaskContext(
            payload=payload,
            document=with_entrypoint(document, payload),
            sandbox=sandbox,
            environment=self._environment,
            options=self._options,
            owner=self._owner,
        )

    def _refuse(self, task_id: str, message: str, reason: str) -> None:
        logger.warning("task %s cannot run: %s", task_id, message)
        self._remember(task_id, "TASK_FAILED")
        self._send(StatusReport(task_id, "TASK_FAILED", message, reason))

    def _report(self, report: StatusReport) -> None:
        """Called by a runner, on its thread."""
        if report.state in _TERMINAL:
            with self._lock:
                self._runners.pop(report.task_id, None)
                self._remember(report.task_id, report.state)
                self._idle_since = time.monotonic()
            self._sandboxes.ended(report.task_id)
        logger.info("task %s: %s %s", report.task_id, report.state, report.message)
        self._send(report)

    def _remember(self, task_id: str, state: str) -> None:
        self._over[task_id] = state
        while len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)

    def _send(self, report: StatusReport) -> None:
        more: dict[str, Any] = {}
        if report.reason:
            more["reason"] = report.reason
        if report.healthy is not None:
            more["healthy"] = report.healthy
        if self.driver is not None:
            self.driver.send_update(report.task_id, report.state, report.message, report.data, **more)

    def _send_message(self, data: bytes) -> None:
        if self.driver is not None:
            self.driver.send_message(data)

    def _run_command(
        self, task_id: str, command: Command, output: Output, cancelled: threading.Event
    ) -> CommandEnd:
        with self._lock:
            runner = self._runners.get(task_id)
            over = task_id in self._over
        if runner is None:
            why = "is over" if over else "is none of this executor's"
            return CommandEnd(None, f"nothing can be run beside task {task_id}: it {why}")
        return runner.run_command(command, output, cancelled)

    def _shut_down(self, reason: str) -> None:
        grace = self._environment.shutdown_grace
        until = time.monotonic() + grace
        # A little of the time is for the last updates; the agent kills whoever is late.
        within = max(0.0, grace - min(1.0, grace * 0.2))
        with self._lock:
            runners = list(self._runners.values())
        for runner in runners:
            runner.kill(f"killed: {reason}", within)
        for runner in runners:
            runner.join(max(0.0, until - time.monotonic()))
        self._remote.close(max(0.5, until - time.monotonic()))
        if self.driver is not None:
            # Of more than a second the last one is for the exit.
            left = until - time.monotonic()
            self.driver.drain(max(0.0, min(1.0, left), left - 1.0))
        self.stopped.set()


def with_entrypoint(document: TaskDocument, payload: TaskPayload) -> TaskDocument:
    """Gives a task that has an image but no process one: the image's entry point (no command line)."""
    container: Container | None = payload.container
    if container is None or document.task.processes:
        return document
    task = TaskSpec(
        name=document.task.name,
        processes=(ProcessSpec(name=ENTRYPOINT, cmdline=""),),
        finalization_wait=document.task.finalization_wait,
    )
    return TaskDocument(
        task=task, health_check_config=document.health_check_config, lifecycle=document.lifecycle
    )
