"""What the service asks of a driver, without pymesos: the protocol, and the state it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from framework.core.messages import Action, Event

# Always reported, also while they are 0.
COUNTERS = ("calls", "dropped", "refused", "failed", "subscriptions", "attempts", "watchdog")

Sink = Callable[[Event], None]
# Takes what an executor says: agent id, executor id, the bytes. Called on any thread; must be quick.
MessageSink = Callable[[str, str, bytes], None]


class SendMessage(Action, frozen=True):
    """MESSAGE: Mesos hands ``data`` to the executor once or not at all; the core knows nothing of it."""

    agent_id: str
    executor_id: str
    data: bytes


class DriverStatus(msgspec.Struct, frozen=True):
    """How it stands with Mesos.

    ``master`` is ``host:port`` of the master we are, or were last, in contact with. ``fatal`` is a
    sentence when the driver has given up for good, ``problem`` one while it keeps trying.
    ``counters``: :data:`COUNTERS` (calls sent, and of them dropped, refused, failed; subscriptions,
    attempts at one, ends by silence) and ``event:TYPE`` for each type of event received.
    """

    connected: bool = False
    master: str | None = None
    framework_id: str | None = None
    fatal: str | None = None
    problem: str | None = None
    counters: dict[str, int] = {}
    queued: int = 0


class Driver(Protocol):
    """A connection to Mesos that survives its failures.

    It reports through the sink it was made with: Registered, Disconnected, OffersReceived,
    OfferRescinded, StatusReceived, AgentLost. The sink may be called on any thread.
    """

    def start(self) -> None: ...

    def perform(self, actions: Sequence[Action]) -> None:
        """Carries the actions out, in order, without blocking; drops them while disconnected."""

    def message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Says something to an executor, without blocking; drops it while disconnected."""

    def listen(self, sink: MessageSink) -> None:
        """Has what executors say handed to ``sink``, and to no other; for before the start."""

    def resubscribe(self, reason: str) -> None:
        """Has Mesos tell everything anew: Disconnected, then Registered, will follow if connected."""

    def stop(self) -> None:
        """Ends the connection; the framework and its tasks stay alive in Mesos."""

    def teardown(self) -> None:
        """Ends the framework: Mesos kills all of its tasks. Only ever on an operator's command."""

    @property
    def status(self) -> DriverStatus: ...
