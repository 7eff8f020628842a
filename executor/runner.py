"""The shell round a task's plan: one thread that takes events, asks the plan, and does what it says."""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from executor import lifecycle
from executor.health import PORT_TIMEOUT, Check, HealthMonitor, Verdict, http_check, ports_config
from executor.node import ports_sentence
from executor.plan import Action, Destroy, Outcome, Phase, ProcessStatus, Start, TaskPlan, Terminate
from executor.runtimes.base import (
    Broken,
    Cancelled,
    CannotRun,
    Command,
    CommandEnd,
    Exited,
    Notify,
    Output,
    Runtime,
    RuntimeEvent,
    Started,
    TaskContext,
    Waiting,
)
from executor.task import TaskReport

logger = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
# Aurora's convention: http health checks go to the port of this name, if the task has one.
HEALTH_PORT = "health"


class StatusReport(msgspec.Struct, frozen=True):
    """What the framework is told: a Mesos state, why, and a :class:`TaskReport` as JSON."""

    task_id: str
    state: str
    message: str = ""
    reason: str = ""
    data: bytes = b""
    healthy: bool | None = None


class _Kill(msgspec.Struct, frozen=True):
    message: str
    within: float | None = None


class _Prepared(msgspec.Struct, frozen=True):
    pass


class _Health(msgspec.Struct, frozen=True):
    verdict: Verdict
    message: str


class _Listening(msgspec.Struct, frozen=True):
    verdict: Verdict
    message: str


class _Farewelled(msgspec.Struct, frozen=True):
    heard: bool


_Event = RuntimeEvent | _Kill | _Prepared | _Health | _Listening | _Farewelled


class TaskRunner:
    """Runs one task from STARTING to its terminal state, which is the last thing it reports.

    ``make_runtime`` builds the runtime on the task's own thread; ``report`` must not block.
    """

    def __init__(
        self,
        context: TaskContext,
        make_runtime: Callable[[TaskContext, Notify], Runtime],
        report: Callable[[StatusReport], None],
    ) -> None:
        self.context = context
        self._report = report
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._plan = TaskPlan(context.document.task)
        self._runtime = make_runtime(context, self._events.put)
        self._hands = _Hands(self._events.put)
        self._ports_gate: HealthMonitor | None = None
        self._health: HealthMonitor | None = None
        self._farewells: list[lifecycle.Farewell] = []
        self._farewell_until: float | None = None
        self._farewell_cut: float | None = None
        self._by: float | None = None
        self._reason = ""
        self._healthy: bool | None = None
        self._announced = False
        self._pids: dict[str, int] = {}
        self._thread = threading.Thread(
            target=self._run, name=f"task-{context.payload.task_id[-12:]}", daemon=True
        )

    # -- for other threads --

    def start(self) -> None:
        self._thread.start()

    def kill(self, message: str, within: float | None = None) -> None:
        """Ends the task as its lifecycle says, in ``within`` seconds at most if given. Idempotent."""
        self._events.put(_Kill(message, within))

    def run_command(self, command: Command, output: Output, cancelled: threading.Event) -> CommandEnd:
        """Runs a command beside the task; blocks until it has ended."""
        return self._runtime.run_command(command, output, cancelled)

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the end; returns whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the thread --

    def _run(self) -> None:
        try:
            self._tell("TASK_STARTING")
            self._hands.do(self._prepare)
            while not self._plan.done:
                self._step()
            state, message = str(self._plan.outcome), self._plan.message
        except Exception:
            logger.exception("task %s: the executor fails", self.context.payload.task_id)
            state, message = (
                str(Outcome.FAILED),
                "the executor failed: its log in the executor's sandbox says how",
            )
        self._clean_up()
        self._tell(state, message)

    def _step(self) -> None:
        moments = [self._plan.next_deadline()]
        if self._plan.phase is Phase.STOPPING:
            moments += [self._farewell_until, self._farewell_cut]
        deadlines = [m for m in moments if m is not None]
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            self._perform(self._plan.tick(time.monotonic()))
        else:
            self._handle(event, time.monotonic())
        self._go_on_ending(time.monotonic())

    def _handle(self, event: _Event, at: float) -> None:
        match event:
            case _Prepared():
                self._perform(self._plan.begin(at))
            case Started():
                self._pids[event.process] = event.pid
                self._started()
            case Exited():
                self._pids.pop(event.process, None)
                self._perform(self._plan.exited(event.process, event.ok, self._describe(event), at))
            case Broken():
                self._reason = self._reason or event.reason
                self._perform(self._plan.terminate(Outcome.FAILED, event.message, at, within=0.0))
            case Waiting():
                self._tell("TASK_RUNNING" if self._announced else "TASK_STARTING", event.message)
            case _Kill():
                self._end(Outcome.KILLED, event.message, at, event.within)
            case _Health():
                self._health_changed(event, at)
            case _Listening():
                self._listening_changed(event, at)
            case _Farewelled():
                if self._plan.phase is Phase.STOPPING:
                    self._farewell_until = at + (self._farewells[0].wait if event.heard else 0.0)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    spec = self._plan.processes[action.process].spec
                    self._hands.do(functools.partial(self._runtime.start, spec, action.run))
                case Terminate():
                    self._hands.do(functools.partial(self._runtime.terminate, action.processes))
                case Destroy():
                    self._runtime.cancel()
                    self._hands.do(self._runtime.destroy)

    # -- the ends of the life of a task --

    def _prepare(self) -> None:
        self._runtime.prepare()
        self._events.put(_Prepared())

    def _started(self) -> None:
        if self._announced or self._ports_gate or self._health or self._plan.phase is not Phase.ACTIVE:
            return
        node = self.context.payload.node
        if node is None or not node.check_ports:
            self._is_up()
            return
        self._ports_gate = HealthMonitor(
            ports_config(self.context.options.ports_patience),
            functools.partial(self._check_ports, node.check_ports),
            self.context.sandbox,
            lambda v, m: self._events.put(_Listening(v, m)),
        )
        self._ports_gate.start()

    def _is_up(self) -> None:
        """The processes run, and listen on the ports that the task has to: its health is asked for."""
        check = self._check()
        config = self.context.document.health_check_config
        if check is None or config is None:
            self._announce()
            return
        self._health = HealthMonitor(
            config, check, self.context.sandbox, lambda v, m: self._events.put(_Health(v, m))
        )
        self._health.start()

    def _announce(self) -> None:
        self._announced = True
        self._tell("TASK_RUNNING")

    def _end(self, outcome: Outcome, message: str, at: float, within: float | None = None) -> None:
        """Asks the task to end; the rest follows in :meth:`_go_on_ending` and in the plan."""
        if within is not None:
            self._by = min(at + within, self._by if self._by is not None else at + within)
            # Half of a short time for asking, the other half for signals.
            self._farewell_cut = at + (self._by - at) / 2
        if self._plan.phase is Phase.ACTIVE and self._plan.running:
            self._farewells = list(lifecycle.farewells(self.context.document.lifecycle, self._ports))
            self._perform(self._plan.stop(outcome, message, at))
            self._say_farewell(outcome, message, at)
        elif self._plan.phase is not Phase.STOPPING:
            self._terminate(outcome, message, at)

    def _go_on_ending(self, at: float) -> None:
        if self._plan.phase is not Phase.STOPPING:
            return
        outcome, message = self._plan.outcome or Outcome.KILLED, self._plan.message
        if self._farewell_cut is not None and at >= self._farewell_cut:
            self._terminate(outcome, message, at)
        elif self._farewell_until is not None and at >= self._farewell_until:
            self._farewell_until = None
            self._farewells.pop(0)
            self._say_farewell(outcome, message, at)

    def _say_farewell(self, outcome: Outcome, message: str, at: float) -> None:
        if not self._farewells:
            self._terminate(outcome, message, at)
            return
        farewell = self._farewells[0]

        def ask() -> None:
            self._events.put(_Farewelled(lifecycle.ask(farewell, LOCALHOST)))

        threading.Thread(target=ask, name="farewell", daemon=True).start()

    def _terminate(self, outcome: Outcome, message: str, at: float) -> None:
        within = max(0.0, self._by - at) if self._by is not None else None
        self._perform(self._plan.terminate(outcome, message, at, within))

    def _clean_up(self) -> None:
        for monitor in (self._ports_gate, self._health):
            if monitor is not None:
                monitor.stop()
        self._runtime.cancel()
        self._hands.stop()
        self._runtime.close()

    # -- health --

    @property
    def _ports(self) -> dict[str, int]:
        return self.context.payload.ports

    def _check(self) -> Check | None:
        """Returns how this task's health is asked for, None if it is not."""
        config = self.context.document.health_check_config
        if config is None:
            return None
        checker, timeout = config.health_checker, config.timeout_secs
        if checker.shell is not None:
            return functools.partial(self._runtime.check, checker.shell.shell_command, timeout)
        if checker.http is not None and HEALTH_PORT in self._ports:
            return functools.partial(
                http_check, checker.http, LOCALHOST, self._ports[HEALTH_PORT], timeout
            )
        return None

    def _health_changed(self, event: _Health, at: float) -> None:
        if event.verdict is Verdict.HEALTHY:
            self._healthy = True
            if not self._announced:
                self._announce()
        elif event.verdict is Verdict.UNHEALTHY:
            self._healthy = False
            self._end(Outcome.FAILED, f"the task is not healthy: {event.message}", at)

    def _check_ports(self, ports: tuple[int, ...]) -> str | None:
        node = self.context.payload.node
        for port in ports:
            if node is not None and not self._runtime.listens(port, PORT_TIMEOUT):
                return ports_sentence(node, port, self.context.options.ports_patience)
        return None

    def _listening_changed(self, event: _Listening, at: float) -> None:
        if self._ports_gate is not None:
            # It gates what comes next, once.
            self._ports_gate.stop()
        if event.verdict is Verdict.HEALTHY and self._plan.phase is Phase.ACTIVE and not self._announced:
            self._is_up()
        elif event.verdict is Verdict.UNHEALTHY:
            self._end(Outcome.FAILED, event.message, at)

    # -- what is told --

    def _describe(self, event: Exited) -> str:
        if not event.out_of_memory:
            return event.describe()
        self._reason = "REASON_CONTAINER_LIMITATION_MEMORY"
        return f"was killed by the kernel: out of memory (limit {self.context.payload.mem_mb} MiB)"

    def _tell(self, state: str, message: str = "") -> None:
        reason = self._reason if state == Outcome.FAILED else ""
        report = TaskReport(
            sandbox=self.context.sandbox,
            container_id=self._runtime.container_id,
            processes={name: self._process_report(name) for name in self._plan.processes},
            trouble=self._runtime.trouble,
        )
        data = msgspec.json.encode(report)
        self._report(
            StatusReport(self.context.payload.task_id, state, message, reason, data, self._healthy)
        )

    def _process_report(self, name: str) -> dict[str, Any]:
        process = self._plan.processes[name]
        # A task that is done has no running process: what the plan did not see end was killed.
        ended = self._plan.done and process.status is ProcessStatus.RUNNING
        report: dict[str, Any] = {
            "state": "killed" if ended else str(process.status),
            "runs": process.runs,
        }
        if self._pids.get(name) and not ended:
            report["pid"] = self._pids[name]
        if process.last_exit:
            report["last"] = process.last_exit
        return report


class _Hands:
    """Does what may block, one thing after the other, on a thread of its own."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="task-hands", daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def stop(self, timeout: float = 15.0) -> None:
        """Lets what was asked for be done; returns when it is, or after ``timeout`` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Cancelled:
                continue
            except CannotRun as error:
                self._notify(Broken(str(error), error.reason))
            except Exception:
                logger.exception("a runtime fails")
                self._notify(
                    Broken("the executor failed: its own log says how", "REASON_EXECUTOR_TERMINATED")
                )
