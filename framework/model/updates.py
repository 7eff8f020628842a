"""Rolling updates and restarts: both replace the instances of a job a batch at a time."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from framework.model.jobs import JobKey, TaskConfig, UpdateSettings


class UpdateStatus(StrEnum):
    """Aurora's JobUpdateStatus."""

    ROLLING_FORWARD = "ROLLING_FORWARD"
    ROLLING_BACK = "ROLLING_BACK"
    ROLL_FORWARD_PAUSED = "ROLL_FORWARD_PAUSED"
    ROLL_BACK_PAUSED = "ROLL_BACK_PAUSED"
    ROLL_FORWARD_AWAITING_PULSE = "ROLL_FORWARD_AWAITING_PULSE"
    ROLL_BACK_AWAITING_PULSE = "ROLL_BACK_AWAITING_PULSE"
    ROLLED_FORWARD = "ROLLED_FORWARD"
    ROLLED_BACK = "ROLLED_BACK"
    ABORTED = "ABORTED"
    ERROR = "ERROR"
    FAILED = "FAILED"


UPDATE_TERMINAL = frozenset(
    {
        UpdateStatus.ROLLED_FORWARD,
        UpdateStatus.ROLLED_BACK,
        UpdateStatus.ABORTED,
        UpdateStatus.ERROR,
        UpdateStatus.FAILED,
    }
)


class InstanceAction(StrEnum):
    """Aurora's JobUpdateAction; an instance that no event names has not been touched."""

    INSTANCE_UPDATING = "INSTANCE_UPDATING"
    INSTANCE_UPDATED = "INSTANCE_UPDATED"
    INSTANCE_UPDATE_FAILED = "INSTANCE_UPDATE_FAILED"
    INSTANCE_ROLLING_BACK = "INSTANCE_ROLLING_BACK"
    INSTANCE_ROLLED_BACK = "INSTANCE_ROLLED_BACK"
    INSTANCE_ROLLBACK_FAILED = "INSTANCE_ROLLBACK_FAILED"


class UpdateEvent(msgspec.Struct, frozen=True, gc=False):
    """The update came into ``status``."""

    at: float
    status: UpdateStatus
    message: str = ""


class InstanceEvent(msgspec.Struct, frozen=True, gc=False):
    """Something was done to an instance."""

    at: float
    instance: int
    action: InstanceAction
    message: str = ""


class Update(msgspec.Struct, frozen=True, gc=False):
    """One rolling change of a job.

    ``kind`` ``restart`` replaces instances by tasks of the same config; ``update`` moves them from
    ``initial`` to ``desired`` (config per instance; an instance absent from ``desired`` is removed,
    one absent from ``initial`` is added). ``scope`` are the instances that it touches.
    ``failures`` counts, per instance, the failed tries in the present direction.
    """

    update_id: str
    key: JobKey
    kind: Literal["update", "restart"]
    status: UpdateStatus
    settings: UpdateSettings
    scope: tuple[int, ...]
    initial: dict[int, TaskConfig]
    desired: dict[int, TaskConfig]
    user: str
    created_at: float
    events: tuple[UpdateEvent, ...] = ()
    instance_events: tuple[InstanceEvent, ...] = ()
    failures: dict[int, int] = {}
    message: str = ""

    @property
    def is_active(self) -> bool:
        return self.status not in UPDATE_TERMINAL
