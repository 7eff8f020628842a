"""Tasks begin, move and end here, and what the table says follows from it is done.

One rule drives everything: ``Job.wanted`` is what should run. A task that ends is replaced if its
instance is still wanted and the table (or the order to replace it) says so; otherwise the instance
leaves ``wanted``. So after each event every wanted instance has exactly one active task.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from framework.core.messages import Kill, Publish
from framework.core.settings import Settings
from framework.core.state import State
from framework.core.tasks import ENDING, Effect, advance, may_fail_again, was_interrupted
from framework.core.timing import penalty
from framework.model.jobs import JobKey, TaskConfig
from framework.model.tasks import TERMINAL, Home, Task, TaskState

# A Mesos id names directories: at most NAME_MAX characters (Mesos 1.11 refuses longer ones).
_ID_LENGTH = 255


def make_task_id(key: JobKey, instance: int, unique: str) -> str:
    """Returns Aurora's form of a task id: role-environment-name-instance-uuid, kept short enough."""
    tail = f"-{instance}-{unique}"
    head = f"{key.role}-{key.environment}-{key.name}"[: _ID_LENGTH - len(tail)]
    return re.sub(r"[^\w-]", "-", head + tail, flags=re.ASCII)


def home_after(ancestor: Task, config: TaskConfig) -> Home | None:
    """Returns where the successor of ``ancestor`` has to run; None: anywhere.

    A sticky task that ran has left something on the host. Another config is a new beginning.
    """
    if not config.sticky or config != ancestor.config:
        return None
    ran = any(event.state in (TaskState.STARTING, TaskState.RUNNING) for event in ancestor.events)
    if not ran or ancestor.hostname is None:
        return ancestor.home
    return Home(ancestor.hostname, ancestor.disks, ancestor.agent_id or "")


class StoryLine(msgspec.Struct, frozen=True, gc=False):
    """One transition, kept in memory for reports of defects."""

    at: float
    key: JobKey
    task_id: str
    previous: str
    state: str
    message: str

    def __str__(self) -> str:
        said = f": {self.message}" if self.message else ""
        return f"{self.at:.3f} {self.task_id} {self.previous or '-'} -> {self.state}{said}"


class End(msgspec.Struct, frozen=True, gc=False):
    """A task has ended. ``blameless``: neither its own doing nor its config's."""

    task: Task
    blameless: bool


class Lifecycle:
    """Moves tasks. ``connected``: a kill sent now would arrive; otherwise it is sent on registration.

    ``ended`` are the ends of this event, for the updates to count.
    """

    def __init__(self, settings: Settings, state: State, new_id: Callable[[], str]) -> None:
        self.settings = settings
        self.state = state
        self.connected = False
        self.ended: list[End] = []
        self.log: deque[StoryLine] = deque(maxlen=settings.story_length)
        self._new_id = new_id

    # -- what is wanted --

    def want(self, key: JobKey, changes: Mapping[int, TaskConfig | None]) -> None:
        """Makes these configs what these instances should run; None: nothing."""
        job = self.state.jobs[key].job
        if all(job.wanted.get(i) == config for i, config in changes.items()):
            return
        wanted = {**job.wanted, **changes}
        kept = {i: config for i, config in wanted.items() if config is not None}
        self.state.save_job(msgspec.structs.replace(job, wanted=kept))

    def create(
        self,
        key: JobKey,
        instance: int,
        config: TaskConfig,
        *,
        message: str = "",
        ancestor: Task | None = None,
        failures: int = 0,
        penalty_secs: float = 0.0,
        gang: str = "",
    ) -> Task:
        """Starts a new try of an instance: PENDING, or THROTTLED for ``penalty_secs``."""
        now = self.state.now
        task = Task(
            task_id=make_task_id(key, instance, self._new_id()),
            key=key,
            instance=instance,
            config=config,
            state=TaskState.INIT,
            events=(),
            restarts=ancestor.restarts + 1 if ancestor else 0,
            failures=failures,
            ancestor_id=ancestor.task_id if ancestor else None,
            throttle_until=now + penalty_secs if penalty_secs else 0.0,
            penalty_secs=penalty_secs,
            gang=gang,
            home=home_after(ancestor, config) if ancestor else None,
        )
        to = TaskState.THROTTLED if penalty_secs else TaskState.PENDING
        task, _ = advance(task, to, at=now, message=message)
        self.state.save_task(task)
        self._tell(task, "", task.state, message)
        return task

    def new_gang(self) -> str:
        """Returns an id for tasks that are to be placed together."""
        return self._new_id()

    # -- transitions --

    def move(
        self,
        task: Task,
        to: TaskState,
        message: str = "",
        source: str = "scheduler",
        *,
        blameless: bool = False,
    ) -> None:
        """Takes ``task`` (with whatever fields the caller has changed) to ``to``, and what follows.

        ``blameless``: if this ends the task, its successor is neither throttled nor its update
        charged. Raises :class:`IllegalTransition`.
        """
        moved, effects = advance(task, to, at=self.state.now, message=message, source=source)
        if moved is task:
            if self.state.tasks.get(task.task_id) != task:
                self.state.save_task(task)
            return
        if Effect.DELETE in effects:
            self.state.drop_task(self.state.tasks[task.task_id])
            self._tell(task, task.state, TaskState.KILLED, message)
            return
        self.state.save_task(moved)
        self._tell(moved, task.state, moved.state, message)
        if Effect.KILL in effects:
            self.kill(moved)
        if Effect.LOSE in effects:
            # LOST from PARTITIONED kills; from a state in which it was told to end it need not.
            if moved.state in ENDING:
                self.kill(moved)
            self.move(moved, TaskState.LOST, message, source, blameless=blameless)
        elif moved.state in TERMINAL:
            self._after(task, moved, effects, blameless)

    def kill(self, task: Task) -> None:
        if self.connected:
            self.state.changes.act(Kill(task_id=task.task_id, agent_id=task.agent_id))

    def retire(self, task: Task, to: TaskState, message: str) -> None:
        """Ends an active task on our own account; ``to`` is KILLING, or RESTARTING.

        One that is on no agent is gone at once. If its instance is wanted, a new one follows (now,
        or when Mesos has reported the end); in a gang that waits it takes the old one's place.
        """
        if task.state in (TaskState.PENDING, TaskState.THROTTLED):
            self.move(task, TaskState.KILLING, message)
            config = self.state.jobs[task.key].job.wanted.get(task.instance)
            if config is not None:
                self.create(
                    task.key, task.instance, config, message=message, ancestor=task, gang=task.gang
                )
        elif task.state not in ENDING or (to is TaskState.KILLING and task.state is not to):
            self.move(task, to, message)

    def _after(self, before: Task, task: Task, effects: frozenset[Effect], blameless: bool) -> None:
        """A task has ended: replace it, or let its instance leave what is wanted."""
        self.ended.append(End(task, blameless))
        config = self.state.jobs[task.key].job.wanted.get(task.instance)
        if config is not None:
            failed = Effect.COUNT_FAILURE in effects
            again = (
                Effect.RESCHEDULE in effects
                or task.config.service
                or before.state in ENDING
                or (failed and may_fail_again(task))
            )
            if again:
                self._replace(task, config, failed, blameless)
            else:
                self.want(task.key, {task.instance: None})
        self._prune(task.key)

    def _replace(self, task: Task, config: TaskConfig, failed: bool, blameless: bool) -> None:
        message = f"follows {task.task_id} ({task.state})"
        if config != task.config or was_interrupted(task):
            self.create(task.key, task.instance, config, message=message, ancestor=task)
            return
        delay = 0.0 if blameless else penalty(task, self.settings)
        if delay:
            message += f", which ran for less than {self.settings.flapping_secs:g} s: waits {delay:g} s"
        self.create(
            task.key,
            task.instance,
            config,
            message=message,
            ancestor=task,
            failures=task.failures + failed,
            penalty_secs=delay,
        )

    def _prune(self, key: JobKey) -> None:
        record = self.state.jobs[key]
        while len(record.ended) > self.settings.history_tasks:
            self.state.drop_task(self.state.tasks[next(iter(record.ended))])

    def _tell(self, task: Task, previous: str, state: TaskState, message: str) -> None:
        now = self.state.now
        self.log.append(StoryLine(now, task.key, task.task_id, previous, state, message))
        self.state.changes.publish(
            Publish(
                at=now,
                kind="task",
                key=task.key,
                state=state,
                previous=previous,
                instance=task.instance,
                task_id=task.task_id,
                message=message,
            )
        )
