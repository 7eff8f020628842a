"""Reading configurations in a worker process that is killed when it takes too long or too much."""

from __future__ import annotations

from collections.abc import Mapping

from framework.model.errors import Invalid, TooLarge
from framework.model.jobs import JobSpec
from gateway.jobs.limits import Limits
from gateway.jobs.plain import read_plain
from gateway.jobs.reading import JobList, read_jobs
from gateway.workers import WorkerDied, WorkerMemory, WorkerProcesses, WorkerTimedOut

PRELOAD = ("gateway.jobs.reading", "gateway.clusters.rendering")


def evaluation_workers(most: int, limits: Limits | None = None) -> WorkerProcesses:
    """Returns a pool of at most ``most`` processes for :class:`JobReader`; the caller closes it."""
    limits = limits or Limits()
    return WorkerProcesses(most, memory_bytes=limits.memory_bytes, runs=500, preload=PRELOAD)


class JobReader:
    """Reads job configurations in ``workers``, within ``limits``."""

    def __init__(self, workers: WorkerProcesses, limits: Limits | None = None) -> None:
        self._workers = workers
        self._limits = limits or Limits()

    def read_at_once(
        self, source: bytes, bindings: Mapping[str, str] | None = None
    ) -> list[JobSpec] | None:
        """Returns the jobs of a small, plain JSON body; None for everything else (:mod:`.plain`)."""
        return None if bindings else read_plain(source, self._limits)

    def read(self, source: bytes, user: str, bindings: Mapping[str, str] | None = None) -> JobList:
        """Returns the jobs in ``source`` as :func:`gateway.jobs.read_jobs` does.

        Raises what that raises; :class:`Invalid` also if it takes too much time or memory;
        ``Unavailable`` if no worker could do it.
        """
        if len(source) > self._limits.source_bytes:
            raise TooLarge(
                f"the configuration has {len(source)} bytes, at most {self._limits.source_bytes} "
                "are accepted"
            )
        plain = self.read_at_once(source, bindings)
        if plain is not None:
            return JobList(plain)
        arguments = (source, user, dict(bindings or {}), self._limits)
        try:
            try:
                return self._workers.run(_read, *arguments, timeout=self._limits.seconds)
            except WorkerDied:
                # Perhaps the kernel was short of memory: reading is pure, so once more does no harm.
                return self._workers.run(_read, *arguments, timeout=self._limits.seconds)
        except WorkerTimedOut:
            raise Invalid(
                f"the configuration took longer than {self._limits.seconds:g} seconds to evaluate; "
                "make it simpler"
            ) from None
        except WorkerMemory:
            raise Invalid(
                f"the configuration needed more than {self._limits.memory_bytes // 2**20} MiB of memory "
                "to evaluate; make it smaller"
            ) from None


def _read(source: bytes, user: str, bindings: dict[str, str], limits: Limits) -> JobList:
    return read_jobs(source, user=user, bindings=bindings, limits=limits)
