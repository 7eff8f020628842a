"""How a rolling change proceeds, as pure functions of its :class:`Update`: order, groups, status.

Order as Aurora's JobUpdateController: instances that are added first, then those that change, then
those that are removed, each by number; a rollback goes back over what was touched, in reverse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from framework.model.errors import Invalid
from framework.model.jobs import TaskConfig, UpdateSettings
from framework.model.updates import (
    InstanceAction,
    InstanceEvent,
    Update,
    UpdateEvent,
    UpdateStatus,
)

_S = UpdateStatus
_A = InstanceAction
STATUS_TABLE: Final = {
    _S.ROLLING_FORWARD: "ROLLING_BACK ROLL_FORWARD_PAUSED ROLL_FORWARD_AWAITING_PULSE ROLLED_FORWARD "
    "ABORTED FAILED ERROR",
    _S.ROLLING_BACK: "ROLL_BACK_PAUSED ROLL_BACK_AWAITING_PULSE ROLLED_BACK ABORTED ERROR FAILED",
    _S.ROLL_FORWARD_PAUSED: "ROLLING_BACK ROLLING_FORWARD ROLL_FORWARD_AWAITING_PULSE ABORTED ERROR",
    _S.ROLL_BACK_PAUSED: "ROLLING_BACK ROLL_BACK_AWAITING_PULSE ABORTED ERROR",
    _S.ROLL_FORWARD_AWAITING_PULSE: "ROLLING_BACK ROLLING_FORWARD ROLL_FORWARD_PAUSED ABORTED ERROR",
    _S.ROLL_BACK_AWAITING_PULSE: "ROLLING_BACK ROLL_BACK_PAUSED ABORTED ERROR",
}
ROLLING = (_S.ROLLING_FORWARD, _S.ROLLING_BACK)
_BACK = (_S.ROLLING_BACK, _S.ROLL_BACK_PAUSED, _S.ROLL_BACK_AWAITING_PULSE)
_BEGUN = {False: _A.INSTANCE_UPDATING, True: _A.INSTANCE_ROLLING_BACK}
_DONE = {False: _A.INSTANCE_UPDATED, True: _A.INSTANCE_ROLLED_BACK}
_FAILED = {False: _A.INSTANCE_UPDATE_FAILED, True: _A.INSTANCE_ROLLBACK_FAILED}
_FORWARD_ACTIONS = frozenset({_BEGUN[False], _DONE[False], _FAILED[False]})


def with_status(update: Update, status: UpdateStatus, at: float, message: str = "") -> Update:
    """Returns the update in ``status``; the same one if it is in it. Raises :class:`Invalid`."""
    if update.status is status:
        return update
    if status not in STATUS_TABLE.get(update.status, "").split():
        raise Invalid(f"Cannot transition update from {update.status} to {status}")
    return msgspec.structs.replace(
        update,
        status=status,
        message=message,
        events=(*update.events, UpdateEvent(at=at, status=status, message=message)),
    )


def is_back(update: Update) -> bool:
    """Whether the update is on its way back."""
    return update.status in _BACK


def target(update: Update, instance: int) -> TaskConfig | None:
    """Returns what ``instance`` is to run in the present direction; None: nothing."""
    return (update.initial if is_back(update) else update.desired).get(instance)


def forward_order(update: Update) -> list[int]:
    """Returns the instances in the order of the way forward: added, changed, removed."""
    scope = sorted(update.scope)
    added = [i for i in scope if i not in update.initial]
    removed = [i for i in scope if i not in update.desired]
    changed = [i for i in scope if i in update.initial and i in update.desired]
    return added + changed + removed


def groups(order: Sequence[int], settings: UpdateSettings) -> list[list[int]]:
    """Returns ``order`` in batches; the last size repeats. The queue strategy has a single one."""
    if settings.strategy == "queue":
        return [list(order)] if order else []
    sizes = [max(1, size) for size in settings.group_sizes] or [1]
    if settings.strategy == "batch":
        sizes = sizes[:1]
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = sizes[min(len(batches), len(sizes) - 1)]
        batches.append(list(order[start : start + size]))
        start += size
    return batches


class Progress:
    """Where an update stands in its present direction, derived from its events.

    ``waiting``: the groups still to come, the first perhaps half begun; ``begun`` are in progress;
    ``done`` and ``failed`` are finished with.
    """

    def __init__(self, update: Update) -> None:
        back = is_back(update)
        last: dict[int, InstanceAction] = {}
        touched: set[int] = set()
        for event in update.instance_events:
            if event.action in _FORWARD_ACTIONS:
                touched.add(event.instance)
            if (event.action in _FORWARD_ACTIONS) is not back:
                last[event.instance] = event.action
        batches = groups(forward_order(update), update.settings)
        if back:
            batches = [[i for i in reversed(g) if i in touched] for g in reversed(batches)]
        left = [deque(i for i in batch if i not in last) for batch in batches]
        self.waiting = deque(batch for batch in left if batch)
        self.back = back
        self.begun = {i for i, action in last.items() if action is _BEGUN[back]}
        self.done = {i for i, action in last.items() if action is _DONE[back]}
        self.failed = {i for i, action in last.items() if action is _FAILED[back]}

    @property
    def is_finished(self) -> bool:
        return not self.begun and not self.waiting

    def next_up(self, settings: UpdateSettings) -> list[int]:
        """Returns the instances to begin with now: a whole group, or as many as the queue lets in."""
        if not self.waiting:
            return []
        if settings.strategy == "queue":
            size = max(1, settings.group_sizes[0]) if settings.group_sizes else 1
            return list(islice(self.waiting[0], max(0, size - len(self.begun))))
        return [] if self.begun else list(self.waiting[0])

    @property
    def is_between_groups(self) -> bool:
        """Whether a group has been finished and another one is to come."""
        return not self.begun and bool(self.waiting) and bool(self.done or self.failed)

    def begin(self, update: Update, instance: int, at: float) -> Update:
        """Notes that an instance, the first of those waiting, is being changed."""
        self.waiting[0].remove(instance)
        if not self.waiting[0]:
            self.waiting.popleft()
        self.begun.add(instance)
        return _noted(update, instance, _BEGUN[self.back], at)

    def finish(self, update: Update, instance: int, at: float, failure: str = "") -> Update:
        """Notes the end of an instance's change; ``failure`` says why, "" for success."""
        self.begun.discard(instance)
        (self.failed if failure else self.done).add(instance)
        action = _FAILED[self.back] if failure else _DONE[self.back]
        return _noted(update, instance, action, at, failure)


def _noted(
    update: Update, instance: int, action: InstanceAction, at: float, message: str = ""
) -> Update:
    event = InstanceEvent(at=at, instance=instance, action=action, message=message)
    return msgspec.structs.replace(update, instance_events=(*update.instance_events, event))
