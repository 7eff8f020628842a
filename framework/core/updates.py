"""Rolling updates and restarts, worked off: one engine for both, a step after every event.

An instance is touched by making its new config what is wanted and ending its old task; the new one
follows when Mesos has reported that end (see :mod:`framework.core.lifecycle`). So a crash, an abort
or a rollback at any point leaves ``Job.wanted`` true. An instance is done when its new task has been
RUNNING for ``watch_secs``.
"""

from __future__ import annotations

import msgspec

from framework.core.lifecycle import End, Lifecycle
from framework.core.messages import Publish
from framework.core.reconciliation import Reconciler
from framework.core.rollout import ROLLING, Progress, is_back, target, with_status
from framework.core.tasks import ENDING
from framework.core.timing import Timers
from framework.model.jobs import JobKey, format_instances
from framework.model.tasks import TaskState
from framework.model.updates import Update, UpdateStatus

_S = UpdateStatus
_PAUSED = (
    "paused after a batch, as configured; to go on with the rest, cancel it (DELETE …/update) and begin "
    "the same update again"
)


class UpdateEngine:
    """Moves the active updates on. ``timers`` hold when one has to be looked at again, by its id."""

    def __init__(self, lifecycle: Lifecycle, reconciler: Reconciler) -> None:
        self.timers = Timers()
        self._lifecycle = lifecycle
        self._state = lifecycle.state
        self._reconciler = reconciler
        # Derived from the updates' events; built when needed, kept in step.
        self._progress: dict[str, Progress] = {}

    # -- from outside --

    def start(self, update: Update) -> None:
        self._put(update)
        self._publish(update, "")

    def change(self, update: Update, status: UpdateStatus, message: str = "") -> Update:
        """Takes an update to another status; raises :class:`Invalid` if it may not go there."""
        moved = with_status(update, status, self._state.now, message)
        if moved is update:
            return update
        if not moved.is_active or is_back(moved) is not is_back(update):
            self._progress.pop(update.update_id, None)
            self.timers.set(update.update_id, None)
        self._put(moved)
        self._publish(moved, update.status)
        if not moved.is_active:
            self._conclude(moved)
        return moved

    def count(self, end: End) -> None:
        """A task has ended: if it is the new task of an instance in progress, it has failed once."""
        task = end.task
        update = self._state.active_update(task.key)
        if update is None or end.blameless or task.instance not in self._at(update).begun:
            return
        finished = task.state is TaskState.FINISHED and not task.config.service
        told = any(event.state in ENDING for event in task.events)
        if told or finished or task.config != target(update, task.instance):
            return
        failures = {**update.failures, task.instance: update.failures.get(task.instance, 0) + 1}
        message = f"instance {task.instance} {task.state}: {task.events[-1].message}"
        self._put(msgspec.structs.replace(update, failures=failures, message=message))

    def step(self, key: JobKey) -> None:
        """Does for a job's active update whatever can be done now."""
        if not self._lifecycle.connected:
            return
        while (update := self._state.active_update(key)) is not None and update.status in ROLLING:
            if not self._step(update):
                return

    # -- one step --

    def _step(self, update: Update) -> bool:
        """Returns whether anything was done, so that there may be more to do."""
        progress = self._at(update)
        before = update
        update = self._look(update, progress)
        self._put_if(update, before)
        if len(progress.failed) > update.settings.max_failed_instances:
            self._give_up(update, progress)
            return True
        if progress.is_finished:
            self.change(update, _S.ROLLED_BACK if progress.back else _S.ROLLED_FORWARD)
            return True
        settings = update.settings
        pauses = settings.autopause_after_batch and settings.strategy != "queue" and not progress.back
        if pauses and update is not before and progress.is_between_groups:
            self.change(update, _S.ROLL_FORWARD_PAUSED, _PAUSED)
            return False
        for instance in progress.next_up(settings):
            update = progress.begin(update, instance, self._state.now)
            self._put(update)
            self._touch(update, instance)
        return update is not before

    def _look(self, update: Update, progress: Progress) -> Update:
        """Finishes those in progress that are done or have failed; sets the timer for the others."""
        now = self._state.now
        wake: float | None = None
        for instance in sorted(progress.begun):
            failures = update.failures.get(instance, 0)
            if failures > update.settings.max_per_instance_failures:
                update = progress.finish(update, instance, now, update.message or "failed")
                continue
            due = self._due(update, instance)
            if due is not None and due <= now:
                update = progress.finish(update, instance, now)
            elif due is not None:
                wake = due if wake is None else min(wake, due)
        self.timers.set(update.update_id, wake)
        return update

    def _due(self, update: Update, instance: int) -> float | None:
        """Returns from when on an instance in progress counts as done; None: not yet known."""
        record = self._state.jobs[update.key]
        task = record.active.get(instance)
        if task is None:
            # Removed, as wanted; or a batch task that has ended.
            return self._state.now
        if target(update, instance) is None or task.state is not TaskState.RUNNING:
            return None
        if task.task_id in self._reconciler.unanswered:
            # It ran when we last heard of it; whether it still does has been asked.
            return None
        return task.since + update.settings.watch_secs

    def _touch(self, update: Update, instance: int) -> None:
        """Makes what is wanted of an instance so: ends the old task, or creates the first one."""
        config = target(update, instance)
        key = update.key
        task = self._state.jobs[key].active.get(instance)
        if task is None and update.kind == "restart":
            return  # a batch task that has ended meanwhile: there is nothing to restart
        self._lifecycle.want(key, {instance: config})
        message = f"{update.kind} {update.update_id}"
        if task is None:
            if config is not None:
                self._lifecycle.create(key, instance, config, message=message)
            return
        if update.kind == "update" and task.config == config:
            return
        replaced = TaskState.RESTARTING if update.kind == "restart" else TaskState.KILLING
        self._lifecycle.retire(task, replaced, message)

    def _give_up(self, update: Update, progress: Progress) -> None:
        failed = format_instances(sorted(progress.failed))
        why = f"too many instances failed ({failed}): {update.message}"
        if update.settings.rollback_on_failure and update.kind == "update" and not progress.back:
            self.change(msgspec.structs.replace(update, failures={}), _S.ROLLING_BACK, why)
        else:
            self.change(update, _S.FAILED, why)

    # -- bookkeeping --

    def _at(self, update: Update) -> Progress:
        progress = self._progress.get(update.update_id)
        if progress is None:
            progress = self._progress[update.update_id] = Progress(update)
        return progress

    def _put(self, update: Update) -> None:
        self._state.save_update(update)

    def _put_if(self, update: Update, before: Update) -> None:
        if update is not before:
            self._put(update)

    def _conclude(self, update: Update) -> None:
        """An update has ended: the job's spec says what all instances now run; old updates go."""
        record = self._state.jobs[update.key]
        job = record.job
        configs = set(job.wanted.values())
        if update.kind == "update" and len(configs) == 1:
            spec = msgspec.structs.replace(job.spec, config=configs.pop(), instances=len(job.wanted))
            if update.status is _S.ROLLED_FORWARD:
                spec = msgspec.structs.replace(spec, update=update.settings)
            if spec != job.spec:
                self._state.save_job(msgspec.structs.replace(job, spec=spec))
        while len(record.updates) > self._lifecycle.settings.history_updates:
            self._state.drop_update(self._state.updates[next(iter(record.updates))])

    def _publish(self, update: Update, previous: str) -> None:
        self._state.changes.publish(
            Publish(
                at=self._state.now,
                kind="update",
                key=update.key,
                state=update.status,
                previous=previous,
                update_id=update.update_id,
                message=update.message,
            )
        )
