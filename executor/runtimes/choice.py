"""Which runtime a task gets: the one place that decides it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from executor.runtimes.base import CannotRun, Notify, Runtime, TaskContext
from executor.runtimes.memory import MemoryWatch
from executor.runtimes.process import ProcessRuntime
from executor.runtimes.zygote import Zygote

if TYPE_CHECKING:
    from executor.runtimes.docker import DockerService


class Runtimes:
    """Makes a runtime for each task, and holds what they share."""

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._memory = MemoryWatch()
        self._docker: DockerService | None = None
        self._docker_lock = threading.Lock()

    def choose(self, context: TaskContext, notify: Notify) -> Runtime:
        """Returns the docker runtime for a task with an image, otherwise the process runtime.

        Raises :class:`CannotRun` for a task with neither an image nor a process.
        """
        if context.payload.container is not None:
            return self.docker().runtime(context, notify)
        if not context.document.task.processes:
            raise CannotRun(
                "the task has neither a process nor an image: there is nothing to run",
                "REASON_TASK_INVALID",
            )
        return ProcessRuntime(context, notify, self._zygote, self._memory)

    def docker(self) -> DockerService:
        """Returns the connection to Docker, made on first use: its SDK takes long to import."""
        with self._docker_lock:
            if self._docker is None:
                from executor.runtimes.docker import DockerService

                self._docker = DockerService()
            return self._docker

    def close(self) -> None:
        if self._docker is not None:
            self._docker.close()
        self._zygote.close()
