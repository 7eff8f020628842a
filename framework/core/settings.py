"""Every time and limit of the scheduler, once."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """How the scheduler behaves. Times in seconds, memory in MiB.

    Executor: ``executor_cpus``, ``executor_mem_mb`` are found on an agent beside the first task.

    Jobs: ``max_instances`` per job; ``max_update_failures`` bounds instances x failures per instance.

    Flapping: a run shorter than ``flapping_secs`` delays the next try by ``throttle_initial_secs``,
    doubling to ``throttle_max_secs``.

    Timeouts: a transient state ends after ``transient_timeout_secs``; a kill is sent again after
    ``kill_retry_secs``, then after twice that, and so on. ``unknown_grace_secs`` is how long a task
    that ran is waited for when a master does not know it: a master without a registry forgets its
    agents when it restarts, and they come back within their ping timeout (Mesos: 75 s) and back-off.

    Reconciliation: unanswered tasks are asked for again after ``reconcile_initial_secs``, doubling to
    ``reconcile_max_secs``; everything every ``reconcile_interval_secs``; at most ``reconcile_batch``
    tasks in one call.

    Offers: held ``offer_hold_secs`` while tasks are pending that do not fit, then declined for
    ``refuse_secs``; for ``idle_refuse_secs`` when nothing is pending. REVIVE is repeated after
    ``revive_interval_secs`` without any offer. For ``attributes_grace_secs`` after a registration,
    tasks on agents whose attributes are not known yet count against every value of a limit.

    Gangs: while one waits, offers are held ``gang_hold_secs`` and then all declined together, for
    ``gang_refuse_secs``, so that they come back together. A gang that has waited ``gang_patience_secs``
    has the offers to itself in every second stretch of that length (see turns.py).

    History: ``history_tasks`` terminated tasks and ``history_updates`` ended updates per job, none
    older than ``history_secs``, looked through every ``prune_interval_secs``; ``story_length``
    transitions of all tasks in memory.
    """

    executor_cpus: float = 0.1
    executor_mem_mb: float = 64.0
    max_instances: int = 4000
    max_update_failures: int = 20_000
    flapping_secs: float = 300.0
    throttle_initial_secs: float = 30.0
    throttle_max_secs: float = 300.0
    transient_timeout_secs: float = 300.0
    kill_retry_secs: float = 15.0
    unknown_grace_secs: float = 150.0
    reconcile_initial_secs: float = 5.0
    reconcile_max_secs: float = 60.0
    reconcile_interval_secs: float = 900.0
    reconcile_batch: int = 1000
    offer_hold_secs: float = 5.0
    refuse_secs: float = 5.0
    idle_refuse_secs: float = 60.0
    revive_interval_secs: float = 60.0
    attributes_grace_secs: float = 60.0
    gang_hold_secs: float = 15.0
    gang_refuse_secs: float = 1.0
    gang_patience_secs: float = 60.0
    history_tasks: int = 100
    history_updates: int = 10
    history_secs: float = 30 * 86_400.0
    prune_interval_secs: float = 3600.0
    story_length: int = 10_000
