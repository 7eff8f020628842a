"""The scheduler as a pure machine: events in; writes, actions and a result out.

No clock, no I/O, no thread, no chance but the ids it is given. The caller makes the writes durable
before it carries the actions out, and passes a :class:`Tick` at :meth:`Scheduler.next_deadline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from framework.core import invariants
from framework.core.changes import Changes
from framework.core.commands import CommandDesk
from framework.core.lifecycle import Lifecycle
from framework.core.messages import (
    AbortUpdate,
    Action,
    AgentLost,
    Counts,
    CreateJob,
    Decline,
    Disconnected,
    Event,
    JobView,
    KillTasks,
    Launch,
    OfferRescinded,
    OffersReceived,
    Outcome,
    PauseUpdate,
    PendingReason,
    Plan,
    Publish,
    Registered,
    ResumeUpdate,
    Revive,
    Snapshot,
    StartRestart,
    StartUpdate,
    StatusReceived,
    Suppress,
    Tick,
)
from framework.core.offers import OfferBook
from framework.core.placing import CrowdSource, Placer
from framework.core.reconciliation import Reconciler
from framework.core.settings import Settings
from framework.core.state import State
from framework.core.statuses import StatusDesk
from framework.core.tasks import ENDING
from framework.core.timing import Timers, deadline, expiry
from framework.core.updates import UpdateEngine
from framework.core.views import Views
from framework.model.cluster import Offer
from framework.model.jobs import JobKey, JobSpec
from framework.model.tasks import ON_AGENT, Task, TaskState


class Session(msgspec.Struct, frozen=True):
    """What a scheduler knows that is not durable: the connection, the offers, the agents seen."""

    registered: bool
    now: float
    offers: tuple[Offer, ...] = ()
    agents: tuple[Offer, ...] = ()


class Scheduler:
    """One framework's jobs and tasks. Not thread-safe: one caller at a time, reads included.

    ``snapshot`` is the durable state to go on from; ``new_id`` returns a new unique text (a UUID).
    """

    def __init__(
        self, settings: Settings, snapshot: Snapshot = Snapshot(), *, new_id: Callable[[], str]
    ) -> None:
        self.settings = settings
        self._changes = Changes()
        self._state = State(snapshot, self._changes)
        self._lifecycle = Lifecycle(settings, self._state, new_id)
        self._book = OfferBook(settings)
        self._reconciler = Reconciler(settings)
        self._engine = UpdateEngine(self._lifecycle, self._reconciler)
        self._statuses = StatusDesk(self._lifecycle, self._book, self._reconciler)
        self._desk = CommandDesk(self._lifecycle, self._engine)
        self._placer = Placer(self._lifecycle, self._book)
        self._views = Views(
            self._lifecycle, self._book, self._placer, self._reconciler, self._desk
        )
        self._timers = Timers()
        self._registered_at: float | None = None
