"""The engine: one thread that moves clusters on, a step of one at a time, while this process leads.

What is to be done is decided by :mod:`gateway.clusters.course`, done by :mod:`gateway.clusters.acts`;
what takes its time is done in threads of :mod:`gateway.clusters.runs`. The engine looks at a cluster
when somebody has asked for something, when something has happened to its tasks, when a step has ended
or a time has come; and now and then, in case it has not heard of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from framework.core.messages import JobView
from framework.model.errors import GatewayError, NotFound, Unavailable
from framework.model.jobs import JobKey
from framework.storage import Fenced
from gateway.clusters import course
from gateway.clusters.acts import Acts, HostsWriter, Superseded, is_final
from gateway.clusters.agenda import Agenda
from gateway.clusters.course import Limits, Sight, Stage
from gateway.clusters.fleet import Fleet
from gateway.clusters.model import Cluster, Phase
from gateway.clusters.planning import Rules
from gateway.clusters.provider import Provider, Step
from gateway.clusters.runs import Run, Runs
from gateway.store import Store

logger = logging.getLogger(__name__)

_LONGEST = 5.0
_BUSY = 1.0
_NOT_LEADING = 1.0
# What was not heard of is found after so many ticks; of what is under way, at each.
_TICKS = 6
# How long a step may take to end that nobody wants any more.
_CANCEL_SECS = 10.0
_KILL_AGAIN_SECS = 5.0
_HOSTS_AGAIN_SECS = 30.0
_FORGET_AT_ONCE = 200


class Engine:
    """``term`` gives the epoch that this process leads with, None while it does not. ``clock`` gives
    seconds since the epoch; ``steps`` is how many steps of providers run at once."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        providers: Mapping[str, Provider],
        rules: Rules,
        clock: Callable[[], float],
        *,
        cluster_name: str,
        limits: Limits | None = None,
        term: Callable[[], int | None] = lambda: 0,
        write_hosts: HostsWriter | None = None,
        steps: int = 16,
        tick_secs: float = 10.0,
        cancel_secs: float = _CANCEL_SECS,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._acts = Acts(store, fleet, providers, rules, clock, write_hosts)
        self._clock = clock
        self._cluster_name = cluster_name
        self._limits = limits or Limits()
        self._term = term
        self._tick_secs = tick_secs
        self._cancel_secs = cancel_secs
        self._runs = Runs(steps, self.wake)
        self._current: int | None = None
        self._counts: dict[str, int] = {}
        self._agenda = Agenda(clock)
        self._news = threading.Event()
        self._jobs: dict[JobKey, str] = {}
        self._stages: dict[str, Stage] = {}
        self._unwanted: dict[str, float] = {}
        self._refreshed: dict[str, float] = {}
        self._ticked = float("-inf")
        self._ticks = 0
        self._stopping = threading.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="clusters", daemon=True)

    # -- any thread -----------------------------------------------------------------------------------

    def start(self) -> None:
        self._unsubscribe = self._fleet.subscribe(self._heard)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Ends; steps under way are cancelled, and go on in whoever leads next."""
        self._unsubscribe()
        self._stopping.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    @property
    def counts(self) -> dict[str, int]:
        """How many clusters are in each phase, as of the last tick; of one that does not lead, none."""
        return {str(phase): self._counts.get(phase, 0) for phase in Phase}

    def wake(self, cluster_id: str | None = None) -> None:
        """Has the engine look at a cluster, or whether it leads."""
        if cluster_id is not None:
            self._agenda.add(cluster_id)
        self._news.set()

    def _heard(self, key: JobKey) -> None:
        """The scheduler's listener: it must be quick."""
        if (cluster_id := self._jobs.get(key)) is not None:
            self.wake(cluster_id)

    # -- the engine's thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._news.clear()
                patience = self.turn()
                self._news.wait(patience)
        finally:
            self._leave(2.0)

    def turn(self) -> float:
        """Looks at all clusters that are due, once; returns after how many seconds to do so again."""
        try:
            term = self._term()
            if term is None:
                self._leave()
                return _NOT_LEADING
            if term != self._current:
                self._take_over(term)
            self._runs.look_after()
            self._tick()
            for cluster_id in self._agenda.take():
                if self._stopping.is_set():
                    break
                self._attend(cluster_id)
        except Fenced as error:
            logger.warning("clusters are left alone: %s", error)
            self._leave()
            return _NOT_LEADING
        except GatewayError as error:
            logger.warning("clusters have to wait: %s", error)
            return _NOT_LEADING
        except Exception:
            logger.exception("the engine of clusters failed; it goes on")
            return _LONGEST
        return self._patience()

    def _take_over(self, term: int) -> None:
        """Begins with what is stored, knowing nothing else."""
        self._leave()
        clusters = self._store.clusters.find(include_gone=False)
        self._jobs = {cluster.job: cluster.cluster_id for cluster in clusters}
        for cluster in clusters:
            self._agenda.add(cluster.cluster_id)
        self._current = term
        self._ticked = time.monotonic()
        self._counts = self._store.clusters.phases()
        unfinished = sum(cluster.is_busy for cluster in clusters)
        logger.info("%d clusters, %d of them unfinished", len(clusters), unfinished)

    def _leave(self, patience: float = 0.0) -> None:
        """Forgets everything, and has nothing under way."""
        if self._current is None:
            return
        self._current = None
        self._counts = {}
        self._runs.stop(patience)
        self._jobs.clear()
        self._stages.clear()
        self._unwanted.clear()
        self._refreshed.clear()
        self._agenda.clear()

    def _patience(self) -> float:
        longest = min(_LONGEST, max(0.0, self._ticked + self._tick_secs - time.monotonic()))
        if self._runs.busy:
            longest = min(longest, _BUSY)
        return min(longest, self._agenda.patience())

    def _tick(self) -> None:
        """Makes due what may have been missed; kills what has come back to a cluster that is gone."""
        if time.monotonic() < self._ticked + self._tick_secs:
            return
        self._ticked = time.monotonic()
        self._ticks += 1
        self._counts = self._store.clusters.phases()
        found = self._store.clusters.unfinished()
        if self._ticks % _TICKS == 0:
            found = self._store.clusters.find(include_gone=False)
            self._sweep()
            self._forget()
        for cluster in found:
            self.wake(cluster.cluster_id)

    def _sweep(self) -> None:
        for environment in sorted({"paas", *(key.environment for key in self._jobs)}):
            for key in self._fleet.live(self._cluster_name, environment):
                cluster = self._store.clusters.by_job(key)
                if cluster is None or cluster.phase not in (Phase.DELETED, Phase.FAILED):
                    continue
                if cluster.operation is None:
                    logger.warning("job %s runs, though its cluster is %s", key, cluster.phase)
                    self._fleet.kill(key, cluster.owner)

    def _forget(self) -> None:
        """Removes what is left of clusters that were deleted long ago, some at a time."""
        limits = self._limits
        outdated = self._store.clusters.outdated(
            self._clock() - limits.history_secs, limits.history_size, _FORGET_AT_ONCE
        )
        for cluster_id in outdated:
            self._store.clusters.forget(cluster_id)
        if outdated:
            logger.info("%d clusters that were deleted long ago are forgotten", len(outdated))

    def _attend(self, cluster_id: str) -> None:
        """Moves one cluster on by a step, if there is one; sees to it that it is looked at again."""
        try:
            again = self._advance(cluster_id)
        except Fenced:
            raise
        except Superseded:
            again = True
        except NotFound:
            return  # nobody knows it any more
        except Unavailable as error:
            self._later(cluster_id, str(error))
            return
        except Exception:
            logger.exception("the cluster %s cannot be moved on", cluster_id)
            self._later(cluster_id, "a defect")
            return
        self._agenda.went_well(cluster_id)
        if again:
            self.wake(cluster_id)

    def _later(self, cluster_id: str, why: str) -> None:
        seconds = self._agenda.later(cluster_id)
        logger.info("cluster %s waits for %.1f s: %s", cluster_id, seconds, why)

    # -- one cluster ----------------------------------------------------------------------------------

    def _advance(self, cluster_id: str) -> bool:
        """Does the next thing for a cluster; returns whether there may be another one at once."""
        cluster = self._store.clusters.get(cluster_id)
        if cluster.is_gone:
            self._jobs.pop(cluster.job, None)
            return False
        self._jobs[cluster.job] = cluster_id
        if cluster.expires_at is not None and not cluster.deleting:
            if cluster.expires_at <= self._clock():
                cluster = self._acts.expire(cluster)
            else:
                self._agenda.at(cluster_id, cluster.expires_at)
        run = self._runs.get(cluster_id)
        if run is not None:
            if run.operation_id != _operation(cluster):
                if not self._is_over(run):
                    return False
            elif run.ended.is_set():
                self._acts.stepped(run, self._stages[cluster_id])
                self._forget_run(run)
                return True
        cluster, view = self._acts.look(cluster)
        return self._go_on(cluster, view)

    def _is_over(self, run: Run) -> bool:
        """Whether a step that nobody wants any more has ended, or has had time enough to."""
        cluster_id = run.cluster.cluster_id
        run.cancel()
        until = self._unwanted.setdefault(cluster_id, self._clock() + self._cancel_secs)
        if not run.ended.is_set() and self._clock() < until:
            self._agenda.at(cluster_id, until)
            return False
        run.give_up(None)
        self._forget_run(run)
        return True

    def _forget_run(self, run: Run) -> None:
        cluster_id = run.cluster.cluster_id
        self._runs.drop(cluster_id)
        self._unwanted.pop(cluster_id, None)
        self._stages.pop(cluster_id, None)

    def _go_on(self, cluster: Cluster, view: JobView | None) -> bool:
        stage, run = course.stage_of(cluster), self._runs.get(cluster.cluster_id)
        steps: dict[str, Step] = {}
        try:
            if stage is not None and run is None:
                steps = self._acts.steps(cluster, stage)
            running = run.step if run is not None else ""
            sight = Sight(view, self._clock(), tuple(steps), running)
            return self._carry_out(cluster, course.decide(cluster, sight, self._limits), steps)
        except GatewayError as error:
            if not is_final(error) or stage is None:
                raise
            assert cluster.operation is not None
            if cluster.failed_step or cluster.operation.kind == "delete":
                # There is nothing to fall back to: it is tried until it succeeds.
                if stage.does != "provide":
                    raise Unavailable(str(error)) from error
                self._acts.done(cluster, stage)
            else:
                self._acts.fail(cluster, stage.name, str(error))
            return True

    def _carry_out(self, cluster: Cluster, action: course.Action, steps: Mapping[str, Step]) -> bool:
        match action:
            case course.Rest(until=until):
                self._agenda.at(cluster.cluster_id, until)
                self._refresh(cluster)
                return False
            case course.Wait(stage=stage, until=until):
                if not steps and self._runs.get(cluster.cluster_id) is None:
                    self._acts.begin(cluster, stage)
                self._agenda.at(cluster.cluster_id, until)
                return False
            case course.Pass(stage=stage):
                if stage.does == "place":
                    self._acts.placed(cluster, stage)
                else:
                    self._acts.done(cluster, stage)
                return True
            case course.Provide(stage=stage, step=name):
                cluster = self._acts.begin(cluster, stage, name)
                self._start(cluster, stage, steps[name])
                return False
            case course.Fail(step=step, reason=reason):
                self._acts.fail(cluster, step, reason)
                return True
            case course.Do(stage=stage):
                if stage.does != "end":
                    cluster = self._acts.begin(cluster, stage)
                return self._do(cluster, stage)
        raise TypeError(f"no act for {action}")

    def _do(self, cluster: Cluster, stage: Stage) -> bool:
        match stage.does:
            case "take":
                self._acts.take(cluster, stage)
            case "place":
                self._acts.place(cluster, stage)
            case "kill" | "remove":
                self._acts.kill(cluster, stage)
                self._acts.done(cluster, stage)
            case "gone":
                self._acts.kill(cluster, stage)
                self._agenda.at(cluster.cluster_id, self._clock() + _KILL_AGAIN_SECS)
                return False
            case "end":
                ended = self._acts.finish(cluster, stage)
                return not ended.is_gone
        return True

    def _start(self, cluster: Cluster, stage: Stage, step: Step) -> None:
        timeout = step.timeout
        if stage.moment == "deleting" and stage.does == "provide":
            timeout = min(timeout, self._limits.deleting_secs)
        self._stages[cluster.cluster_id] = stage
        self._runs.start(Run(self._store, self._clock, cluster, step.name, timeout, step.run))

    def _refresh(self, cluster: Cluster) -> None:
        """Has a cluster that rests know its names, if nodes have come back or could not be reached."""
        cluster_id = cluster.cluster_id
        if self._runs.get(cluster_id) is not None or not self._acts.needs_hosts(cluster):
            return
        now = self._clock()
        again = self._refreshed.get(cluster_id, now)
        self._agenda.at(cluster_id, max(again, now + _HOSTS_AGAIN_SECS))
        if again > now:
            return
        self._refreshed[cluster_id] = now + _HOSTS_AGAIN_SECS
        self._stages[cluster_id] = Stage("names", "hosts")
        run = Run(self._store, self._clock, cluster, "hosts", 600.0, self._acts.rewrite)
        self._runs.start(run)


def _operation(cluster: Cluster) -> str:
    return cluster.operation.operation_id if cluster.operation is not None else ""
