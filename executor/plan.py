"""Which processes of a task run next: a pure machine without clock, process or thread.

The semantics are those of Thermos. A task is ACTIVE until every process that counts (neither
``ephemeral`` nor ``final``) has succeeded, or ``max_failures`` of them have failed for good, or it is
told to stop. Then what still runs is terminated (CLEANING), the ``final`` processes run (FINALIZING),
and it is DONE. CLEANING and FINALIZING together take at most ``finalization_wait`` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter

import msgspec

from executor.task import ProcessSpec, TaskSpec


class Phase(StrEnum):
    """Where a task is; STOPPING: nothing new starts, and nobody has been signalled yet."""

    WAITING = "WAITING"
    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    CLEANING = "CLEANING"
    FINALIZING = "FINALIZING"
    DONE = "DONE"


class Outcome(StrEnum):
    """How a task ended, by the name of the Mesos state."""

    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"


class ProcessStatus(StrEnum):
    """Where a process of the task is."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Start(msgspec.Struct, frozen=True):
    """Start run ``run`` (from 0) of ``process``."""

    process: str
    run: int


class Terminate(msgspec.Struct, frozen=True):
    """Ask ``processes``, and whatever they have left behind, to end: SIGTERM."""

    processes: tuple[str, ...]


class Destroy(msgspec.Struct, frozen=True):
    """End everything of the task now: SIGKILL."""


Action = Start | Terminate | Destroy


class ProcessState(msgspec.Struct):
    """What has become of one process. ``runs`` counts its starts, ``ended_at`` is its last end."""

    spec: ProcessSpec
    after: frozenset[str]
    status: ProcessStatus = ProcessStatus.WAITING
    runs: int = 0
    failures: int = 0
    ended_at: float | None = None
    last_exit: str = ""

    @property
    def counts(self) -> bool:
        """Whether the task's outcome depends on this process."""
        return not self.spec.ephemeral and not self.spec.final


class TaskPlan:
    """The machine of one task. Every method takes ``at`` (monotonic seconds) and returns actions.

    The caller carries all actions out in order, and says so with :meth:`exited` for each start.
    """

    def __init__(self, task: TaskSpec) -> None:
        check(task)
        order = _order(task)
        self.processes = {p.name: ProcessState(spec=p, after=order[p.name]) for p in task.processes}
        self._sorted = tuple(TopologicalSorter(order).static_order())
        self.phase = Phase.WAITING
        self.outcome: Outcome | None = None
        self.message = ""
        self._max_failures = task.max_failures
        self._max_concurrency = task.max_concurrency
        self._finalization_wait = float(max(0, task.finalization_wait))
        self._deadline: float | None = None

    # -- what a reader may ask --

    @property
    def done(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(n for n, p in self.processes.items() if p.status is ProcessStatus.RUNNING)

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do, if nothing else happens before."""
        moments = [self._deadline] if self._deadline is not None else []
        if self.phase in (Phase.ACTIVE, Phase.FINALIZING) and self._free_slots():
            final = self.phase is Phase.FINALIZING
            moments += [
                p.ended_at + p.spec.min_duration
                for p in self._candidates(final)
                if p.ended_at is not None
            ]
        return min(moments, default=None)

    # -- events --

    def begin(self, at: float) -> list[Action]:
        """The task may start its processes."""
        if self.phase is not Phase.WAITING:
            return []
        self.phase = Phase.ACTIVE
        return self._advance(at)

    def exited(self, process: str, ok: bool, description: str, at: float) -> list[Action]:
        """A run has ended; ``description`` says how, for people: "exited with code 3"."""
        state = self.processes[process]
        if state.status is not ProcessStatus.RUNNING:
            return []
        state.ended_at = at
        state.last_exit = description
        state.status = self._status_after(state, ok)
        return self._advance(at)

    def tick(self, at: float) -> list[Action]:
        """Time has passed."""
        return self._advance(at)

    def stop(self, outcome: Outcome, message: str, at: float) -> list[Action]:
        """Nothing starts any more; the processes are about to be asked to end on their own."""
        if self.phase is Phase.WAITING:
            self._settle(outcome, message)
            self.phase = Phase.DONE
        elif self.phase is Phase.ACTIVE:
            self._settle(outcome, message)
            self.phase = Phase.STOPPING
        return self._advance(at)

    def terminate(
        self, outcome: Outcome, message: str, at: float, within: float | None = None
    ) -> list[Action]:
        """Ends the task: SIGTERM, the final processes, SIGKILL after ``finalization_wait``.

        ``within`` (seconds) shortens that wait, also of a task that is ending already. The first
        outcome that was given stays.
        """
        actions = self.stop(outcome, message, at)
        if self.phase is Phase.STOPPING:
            actions += self._clean(at)
        if within is not None and self._deadline is not None:
            self._deadline = min(at + max(0.0, within), self._deadline)
        return actions + self._advance(at)

    # -- the rules --

    def _status_after(self, state: ProcessState, ok: bool) -> ProcessStatus:
        if ok:
            again = state.spec.daemon and not state.spec.final
            return ProcessStatus.WAITING if again else ProcessStatus.SUCCEEDED
        state.failures += 1
        limit = state.spec.max_failures
        return ProcessStatus.FAILED if limit and state.failures >= limit else ProcessStatus.WAITING

    def _advance(self, at: float) -> list[Action]:
        actions: list[Action] = []
        if self.phase is Phase.ACTIVE and self._judge():
            actions += self._clean(at)
        if self.phase is Phase.STOPPING and not self.running:
            actions += self._clean(at)
        if self._deadline is not None and at >= self._deadline:
            actions.append(Destroy())
            self._deadline = None
            self.phase = Phase.DONE
        if self.phase is Phase.CLEANING and not self.running:
            self.phase = Phase.FINALIZING
        if self.phase is Phase.ACTIVE:
            actions += self._starts(at, final=False)
        if self.phase is Phase.FINALIZING:
            actions += self._starts(at, final=True)
            if not self.running and not any(self._candidates(final=True)):
                self.phase = Phase.DONE
                self._deadline = None
        return actions

    def _clean(self, at: float) -> list[Action]:
        self.phase = Phase.CLEANING
        self._deadline = at + self._finalization_wait
        return [Terminate(self.running)] if self.running else []

    def _judge(self) -> bool:
        """Settles the outcome if the processes have decided it."""
        counting = [p for p in self.processes.values() if p.counts]
        failed = [p for p in counting if p.status is ProcessStatus.FAILED]
        if self._max_failures and len(failed) >= self._max_failures:
            self._settle(Outcome.FAILED, _explain(failed))
            return True
        open_ = [p for p in counting if p.status in (ProcessStatus.WAITING, ProcessStatus.RUNNING)]
        if not open_:
            self._settle(Outcome.FINISHED, _explain(failed))
            return True
        blocked = self._blocked()
        if all(p.spec.name in blocked for p in open_):
            # Also an ephemeral process, which does not count itself, may be what others wait for.
            for_good = [p for p in self.processes.values() if p.status is ProcessStatus.FAILED]
            never = ", ".join(p.spec.name for p in open_)
            self._settle(Outcome.FAILED, f"{_explain(for_good)}; never started for that: {never}")
            return True
        return False

    def _settle(self, outcome: Outcome, message: str) -> None:
        if self.outcome is None:
            self.outcome, self.message = outcome, message

    def _blocked(self) -> set[str]:
        """Returns the processes that wait for one, at whatever distance, that has failed for good."""
        blocked: set[str] = set()
        for name in self._sorted:
            before = self.processes[name].after
            if any(n in blocked or self.processes[n].status is ProcessStatus.FAILED for n in before):
                blocked.add(name)
        return blocked

    def _free_slots(self) -> int:
        if not self._max_concurrency:
            return len(self.processes)
        return max(0, self._max_concurrency - len(self.running))

    def _candidates(self, final: bool) -> Iterable[ProcessState]:
        """The processes that wait for nothing but time and a free slot."""
        for state in self.processes.values():
            waits = state.status is ProcessStatus.WAITING and state.spec.final == final
            if waits and all(self.processes[n].status is ProcessStatus.SUCCEEDED for n in state.after):
                yield state

    def _starts(self, at: float, final: bool) -> list[Action]:
        actions: list[Action] = []
        slots = self._free_slots()
        for state in self._candidates(final):
            rested = state.ended_at is None or at >= state.ended_at + state.spec.min_duration
            if len(actions) < slots and rested:
                actions.append(Start(state.spec.name, state.runs))
        for action in actions:
            if isinstance(action, Start):
                started = self.processes[action.process]
                started.runs += 1
                started.status = ProcessStatus.RUNNING
        return actions


def _explain(failed: Iterable[ProcessState]) -> str:
    sentences = []
    for state in failed:
        times = f" ({state.failures} failures)" if state.failures > 1 else ""
        sentences.append(f"process {state.spec.name} {state.last_exit}{times}")
    return "; ".join(sentences)


def check(task: TaskSpec) -> None:
    """Raises ``ValueError`` with a sentence unless the processes can be put in an order."""
    names = [p.name for p in task.processes]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two processes of the task have the same name: {', '.join(twice)}")
    for name in names:
        if not name or name[0] == "." or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is not a name of a process: no '/', and no '.' at its start")
    known = set(names)
    for constraint in task.constraints:
        unknown = [n for n in constraint.order if n not in known]
        if unknown:
            raise ValueError(
                f"the order of the task names processes it does not have: {', '.join(unknown)}"
            )
    try:
        TopologicalSorter(_order(task)).prepare()
    except CycleError as error:
        cycle = " before ".join(error.args[1])
        raise ValueError(f"the order of the task's processes goes in a circle: {cycle}") from None


def _order(task: TaskSpec) -> Mapping[str, frozenset[str]]:
    """Returns for each process those that must have succeeded before it.

    Regular and final processes never run at the same time, so an order between the two says nothing.
    """
    final = {p.name: p.final for p in task.processes}
    before: dict[str, set[str]] = {p.name: set() for p in task.processes}
    for constraint in task.constraints:
        for earlier, later in zip(constraint.order, constraint.order[1:], strict=False):
            if final[earlier] == final[later]:
                before[later].add(earlier)
    return {name: frozenset(names) for name, names in before.items()}
