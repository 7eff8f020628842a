"""One instance of a job, and what its processes have written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Literal

import msgspec

from executor.task import decode_task, log_path
from framework.core.messages import InstanceState, JobView
from framework.model.errors import GatewayError, Invalid, NotFound, Unavailable
from framework.model.jobs import JobKey, format_instances
from framework.model.tasks import TERMINAL, Task
from gateway.api.alpha import bodies, views
from gateway.api.http import Answer, Call, Route, Stream
from gateway.context import Gateway
from gateway.logs import CHUNK

_FAR = 2**62
_TEXT = "text/plain; charset=UTF-8"


async def read_instance(call: Call, *segments: str) -> Answer:
    key, number = JobKey.of(*segments[:4]), _number(segments[4])
    view = await call.run(call.gateway.operations.job, key)
    state = _state(view, number)
    return Answer({**bodies.done(str(key)), "instance": views.instance(state, view)})


async def read_log(call: Call, *segments: str) -> Stream:
    key, number = JobKey.of(*segments[:4]), _number(segments[4])
    stream = call.query.choice("stream", ("stdout", "stderr"))
    run = call.query.integer("run", -1, 0, 10**6)
    offset = call.query.integer("offset", 0, 0, _FAR)
    length = call.query.integer("length", _FAR, 0, _FAR)
    follow = call.query.flag("follow")
    if follow:
        call.gateway.requests.admit_stream()
    view = await call.run(call.gateway.operations.job, key)
    task = _task(view, number, call.query.one("task"))
    process = _process(task, call.query.one("process"))
    tail = Tail(call.gateway, task, process, stream, None if run < 0 else run)
    await tail.begin(follow)
    return Stream(tail.read(offset, length, follow), _TEXT)


class Place(msgspec.Struct, frozen=True):
    """Where a log is: the agent's ``host:port``, the path there, the number of the run."""

    agent: str
    path: str
    run: int


class Tail:
    """The output of one process of a task, which may go on while it is read.

    ``run`` None: the newest run, and each one that follows it.
    """

    def __init__(
        self,
        gateway: Gateway,
        task: Task,
        process: str,
        stream: Literal["stdout", "stderr"] | str,
        run: int | None,
    ) -> None:
        self._gateway = gateway
        self._task = task
        self._process = process
        self._stream = stream
        self._run = run
        self._place: Place | None = None
        # Up to where the present file has been read; None: nothing of it has been.
        self._reached: int | None = None

    async def begin(self, follow: bool) -> None:
        """Raises what is wrong while that can still be answered; a follower waits for a log."""
        try:
            await self.locate()
        except NotFound:
            if not follow:
                raise

    async def locate(self) -> Place:
        """Returns where the log is; raises :class:`NotFound` while there is none."""
        task = self._task
        if not task.sandbox or task.agent_address is None:
            raise NotFound(
                f"instance {task.instance} has no log yet: its task is {task.state.value}"
                + (f" ({task.events[-1].message})" if task.events[-1].message else "")
            )
        runs = await self._runs(task.agent_address)
        if not runs or (self._run is not None and self._run not in runs):
            has = f"its runs are {format_instances(runs)}" if runs else "it has not started"
            raise NotFound(f"process {self._process!r} has no such log; {has}")
        run = max(runs) if self._run is None else self._run
        path = log_path(task.sandbox, self._process, run, self._stream)
        self._place = Place(task.agent_address, path, run)
        return self._place

    async def _runs(self, agent: str) -> list[int]:
        directory = f"{self._task.sandbox}/.logs/{self._process}"
        names = await self._gateway.files.names(agent, directory) or []
        return [int(name) for name in names if name.isascii() and name.isdigit()]

    async def read(self, offset: int, length: int, follow: bool) -> AsyncGenerator[bytes, None]:
        """Yields ``length`` bytes from ``offset``; ``follow``: until the task has ended."""
        left = length
        while left:
            # Asked before the reading: what was written before the task's end, or before the next run
            # began, is then read to the end.
            ended = not follow or await self._ended()
            following = await self._next_run() if follow and self._run is None else None
            async with contextlib.aclosing(self._new(offset, left)) as chunks:
                async for chunk in chunks:
                    left -= len(chunk)
                    yield chunk
            if following is not None:
                self._place, self._reached, offset = following, None, 0
            elif ended:
                return
            else:
                await asyncio.sleep(self._gateway.follow_secs)

    async def _new(self, offset: int, left: int) -> AsyncGenerator[bytes, None]:
        """Yields what there is at this moment: from ``offset`` on, or from where it was read to."""
        if self._place is None:
            with contextlib.suppress(NotFound):
                await self.locate()
        if self._place is None:
            return
        place, size = self._place, await self._size(self._place)
        if self._reached is not None and size < self._reached:
            # The file was full, and has another name now.
            older = msgspec.structs.replace(place, path=f"{place.path}.1")
            end = min(await self._size(older), self._reached + left)
            async with contextlib.aclosing(self._between(older, self._reached, end)) as chunks:
                async for chunk in chunks:
                    left -= len(chunk)
                    yield chunk
            self._reached = 0
        start = offset if self._reached is None else self._reached
        async with contextlib.aclosing(self._between(place, start, min(size, start + left))) as chunks:
            async for chunk in chunks:
                self._reached = start = start + len(chunk)
                yield chunk

    async def _size(self, place: Place) -> int:
        return await self._gateway.files.size(place.agent, place.path) or 0

    async def _between(self, place: Place, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of a file from ``start`` to ``end``, or to where it ends before that."""
        while start < end:
            length = min(CHUNK, end - start)
            chunk = await self._gateway.files.read(place.agent, place.path, start, length)
            if not chunk:
                return
            yield chunk
            start += len(chunk)

    async def _next_run(self) -> Place | None:
        """Returns where the run after the present one is, None while there is none."""
        place = self._place
        if place is None:
            return None
        later = [run for run in await self._runs(place.agent) if run > place.run]
        if not later:
            return None
        path = log_path(self._task.sandbox, self._process, min(later), self._stream)
        return Place(place.agent, path, min(later))

    async def _ended(self) -> bool:
        """Looks at the task again; a scheduler that is away for a moment ends nothing."""
        operations = self._gateway.operations
        try:
            view = await self._gateway.pool.run(operations.job, self._task.key)
        except Unavailable:
            return False
        except GatewayError:
            return True
        tasks = [state.task for state in view.instances] + list(view.history)
        present = next((task for task in tasks if task.task_id == self._task.task_id), None)
        if present is None:
            return True
        self._task = present
        return present.state in TERMINAL


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(f"instance {text[:60]!r} is not a number")
    return int(text)


def _state(view: JobView, number: int) -> InstanceState:
    for state in view.instances:
        if state.task.instance == number:
            return state
    numbers = format_instances([state.task.instance for state in view.instances])
    raise NotFound(f"job {view.job.spec.key} has no instance {number}; it has {numbers or 'none'}")


def _task(view: JobView, number: int, task_id: str | None) -> Task:
    """Returns the instance's task ``task_id``; by default the last one that has got to an agent."""
    present = _state(view, number).task
    tasks = [present]
    tasks += [t for t in view.history if t.instance == number and t.task_id != present.task_id]
    if task_id is None:
        return next((task for task in tasks if task.sandbox), present)
    for task in tasks:
        if task.task_id == task_id:
            return task
    raise NotFound(f"instance {number} of {view.job.spec.key} has no task {task_id[:300]!r}")


def _process(task: Task, wanted: str | None) -> str:
    """Returns the process whose log is meant: by default the last that is not a final one."""
    processes = {p.name: p for p in decode_task(task.config.executor_data).task.processes}
    if not processes:
        raise NotFound("the task has no process, hence no log")
    if wanted is not None and wanted not in processes:
        raise NotFound(f"there is no process {wanted[:60]!r}; there are {', '.join(processes)}")
    usual = [name for name, process in processes.items() if not process.final]
    chosen = wanted if wanted is not None else (usual or list(processes))[-1]
    logger = processes[chosen].logger
    if logger is not None and logger.destination in ("none", "console"):
        kept = "kept nowhere" if logger.destination == "none" else "in the executor's own output"
        raise NotFound(
            f"process {chosen!r} has no log: its logger's destination is {logger.destination!r}, "
            f"so what it writes is {kept}"
        )
    return chosen


_INSTANCE = "/alpha/jobs/{cluster}/{role}/{environment}/{name}/instances/{instance}"

ROUTES = (
    Route(
        "GET",
        _INSTANCE,
        read_instance,
        "One instance of a job",
        bodies.job_failed,
        answers=((200, "OneInstance"),),
    ),
    Route(
        "GET",
        _INSTANCE + "/logs",
        read_log,
        "What a process of an instance has written",
        bodies.job_failed,
        query=("stream", "offset", "length", "follow", "process", "run", "task"),
        answers=((200, "text/plain"),),
    ),
)
