"""Deliberate defects of the core, each a small change of one rule: the property test must find them.

Whoever adds an invariant to ``tests/framework/core/test_faults.py`` adds here what would break it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from framework.core import lifecycle, placing, scheduler, statuses
from framework.core.lifecycle import Lifecycle
from framework.core.matching import Ask
from framework.core.messages import Acknowledge, Kill
from framework.core.offers import Held, OfferBook
from framework.core.reconciliation import Reconciler
from framework.core.rollout import Progress
from framework.core.scheduler import Scheduler
from framework.core.statuses import StatusDesk
from framework.core.updates import UpdateEngine
from framework.model.tasks import TaskState

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]


def _without(action: type[Any], where: type[Any], method: str, patch: Patch) -> None:
    """Has a method lose the actions of one kind."""
    original = getattr(where, method)

    def mutated(self: Any, *args: Any) -> Any:
        changes = (self._state if hasattr(self, "_state") else self.state).changes
        before = len(changes.actions)
        result = original(self, *args)
        changes.actions[before:] = [a for a in changes.actions[before:] if not isinstance(a, action)]
        return result

    patch.setattr(where, method, mutated)


def a_twin_is_not_killed(patch: Patch) -> None:
    _without(Kill, StatusDesk, "receive", patch)


def no_kill_is_sent(patch: Patch) -> None:
    patch.setattr(Lifecycle, "kill", lambda self, task: None)


def a_kill_is_sent_once(patch: Patch) -> None:
    patch.setattr(scheduler, "ENDING", frozenset())
    patch.setattr("framework.core.timing.next_kill", lambda *_: math.inf)


def nothing_is_acknowledged(patch: Patch) -> None:
    _without(Acknowledge, StatusDesk, "receive", patch)


def what_the_master_made_is_acknowledged(patch: Patch) -> None:
    original = StatusDesk.receive

    def receive(self: StatusDesk, update: Any) -> None:
        if not update.uuid:
            self._state.changes.act(Acknowledge(update))
        original(self, update)

    patch.setattr(StatusDesk, "receive", receive)


def an_offer_is_used_twice(patch: Patch) -> None:
    original = OfferBook.use

    def use(self: OfferBook, agent_id: str) -> tuple[str, ...]:
        offers = self.held[agent_id].offers
        used = original(self, agent_id)
        self.held[agent_id] = Held(offers, 0.0)
        self._agent_of.update((offer.offer_id, agent_id) for offer in offers)
        return used

    patch.setattr(OfferBook, "use", use)


def offers_outlive_the_connection(patch: Patch) -> None:
    patch.setattr(OfferBook, "void", lambda self: None)


def a_rescinded_offer_is_kept(patch: Patch) -> None:
    patch.setattr(OfferBook, "rescind", lambda self, offer_id: None)


def the_executor_costs_nothing(patch: Patch) -> None:
    patch.setattr(placing.Placer, "ask", lambda self, group: Ask(group.config))


def a_port_is_given_twice(patch: Patch) -> None:
    patch.setattr("framework.core.matching.without", lambda ranges, numbers: tuple(ranges))
    patch.setattr("framework.core.matching.choose_ports", lambda r, count, cursor: [r[0].begin] * count)


def a_batch_is_too_large(patch: Patch) -> None:
    patch.setattr(Progress, "next_up", lambda self, settings: [i for g in self.waiting for i in g])


def the_next_batch_does_not_wait(patch: Patch) -> None:
    def next_up(self: Progress, settings: Any) -> list[int]:
        return list(self.waiting[0]) if self.waiting else []

    patch.setattr(Progress, "next_up", next_up)


def a_failure_is_not_counted(patch: Patch) -> None:
    original = Lifecycle._replace

    def replace(self: Lifecycle, task: Any, config: Any, failed: bool, blameless: bool) -> None:
        original(self, task, config, False, blameless)

    patch.setattr(Lifecycle, "_replace", replace)


def a_penalty_is_forgotten(patch: Patch) -> None:
    patch.setattr(lifecycle, "penalty", lambda task, settings: 0.0)


def nothing_is_reconciled(patch: Patch) -> None:
    patch.setattr(Reconciler, "_calls", lambda self, tasks: [])


def a_silent_task_is_waited_for_for_ever(patch: Patch) -> None:
    patch.setattr("framework.core.timing.expiry", lambda *_: None)
    patch.setattr(scheduler, "expiry", lambda *_: None)


def every_report_is_believed(patch: Patch) -> None:
    patch.setattr(statuses, "allowed", lambda task, to: True)


def an_ended_task_lives_again(patch: Patch) -> None:
    original = StatusDesk.receive

    def receive(self: StatusDesk, update: Any) -> None:
        task = self._state.tasks.get(update.task_id)
        if task is not None and task.state is TaskState.LOST and update.state == "TASK_RUNNING":
            self._state.save_task(msgspec.structs.replace(task, state=TaskState.RUNNING))
        original(self, update)

    patch.setattr(StatusDesk, "receive", receive)


def the_lost_are_not_replaced(patch: Patch) -> None:
    original = Lifecycle._after

    def after(self: Lifecycle, before: Any, task: Any, effects: Any, blameless: bool) -> None:
        if task.state is not TaskState.LOST:
            original(self, before, task, effects, blameless)

    patch.setattr(Lifecycle, "_after", after)


def a_wish_is_not_stored(patch: Patch) -> None:
    original = Scheduler.handle

    def handle(self: Scheduler, event: Any) -> Any:
        outcome = original(self, event)
        jobs = [w for w in outcome.writes if type(w).__name__ == "SaveJob"]
        return msgspec.structs.replace(outcome, writes=tuple(w for w in outcome.writes if w not in jobs))

    patch.setattr(Scheduler, "handle", handle)


def an_update_forgets_to_look(patch: Patch) -> None:
    patch.setattr(UpdateEngine, "_look", lambda self, update, progress: update)


def a_kill_is_taken_for_an_end(patch: Patch) -> None:
    original = Lifecycle.retire

    def retire(self: Lifecycle, task: Any, to: TaskState, message: str) -> None:
        original(self, task, to, message)
        now = self.state.tasks.get(task.task_id)
        if now is not None and now.state is TaskState.KILLING:
            self.move(now, TaskState.KILLED, message)

    patch.setattr(Lifecycle, "retire", retire)


MUTANTS: tuple[Mutant, ...] = (
    a_twin_is_not_killed,
    no_kill_is_sent,
    a_kill_is_sent_once,
    nothing_is_acknowledged,
    what_the_master_made_is_acknowledged,
    an_offer_is_used_twice,
    offers_outlive_the_connection,
    a_rescinded_offer_is_kept,
    the_executor_costs_nothing,
    a_port_is_given_twice,
    a_batch_is_too_large,
    the_next_batch_does_not_wait,
    a_failure_is_not_counted,
    a_penalty_is_forgotten,
    nothing_is_reconciled,
    a_silent_task_is_waited_for_for_ever,
    every_report_is_believed,
    an_ended_task_lives_again,
    the_lost_are_not_replaced,
    a_wish_is_not_stored,
    an_update_forgets_to_look,
    a_kill_is_taken_for_an_end,
)
