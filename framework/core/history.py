"""What is forgotten: ended tasks and updates that are too old, then jobs of which nothing is left.

How many are kept per job is seen to where they end (lifecycle.py, updates.py).
"""

from __future__ import annotations

from framework.core.lifecycle import Lifecycle
from framework.core.messages import Publish
from framework.core.state import JobRecord


def prune(lifecycle: Lifecycle) -> None:
    """Forgets everything older than ``history_secs``. Costs a look at every job."""
    state = lifecycle.state
    limit = state.now - lifecycle.settings.history_secs
    for key, record in list(state.jobs.items()):
        _prune_job(lifecycle, record, limit)
        if record.is_live or record.ended or record.updates or record.job.created_at > limit:
            continue
        state.drop_job(key)
        state.touched_jobs.pop(key, None)
        state.changes.publish(
            Publish(at=state.now, kind="job", key=key, state="DELETED", previous="ENDED")
        )


def _prune_job(lifecycle: Lifecycle, record: JobRecord, limit: float) -> None:
    state = lifecycle.state
    # Oldest first, so the first that is young enough ends it.
    for task_id in list(record.ended):
        task = state.tasks[task_id]
        if task.since > limit:
            break
        state.drop_task(task)
    for update_id in list(record.updates):
        update = state.updates[update_id]
        ended_at = update.events[-1].at if update.events else update.created_at
        if update.is_active or ended_at > limit:
            break
        state.drop_update(update)
