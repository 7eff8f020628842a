"""The framework's side of Mesos: pymesos behind guards, events to a sink, actions into calls.

The guards (one class each): the subscription in :mod:`framework.mesos.guarded`, the calls in
:mod:`framework.mesos.calls`, the import in :mod:`framework.mesos.quiet`.
"""

from __future__ import annotations

import base64
import getpass
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from framework.core.messages import (
    Action,
    AgentLost,
    Decline,
    Disconnected,
    Launch,
    OfferRescinded,
    OffersReceived,
    Registered,
    StatusReceived,
)
from framework.mesos.calls import CallSender
from framework.mesos.executors import ExecutorSettings
from framework.mesos.guarded import GuardedDriver, Timing
from framework.mesos.interface import DriverStatus, MessageSink, SendMessage, Sink
from framework.mesos.quiet import Scheduler
from framework.mesos.session import Session
from framework.mesos.translate import HeldOffer, calls_for, read_offer, read_status
from framework.model.errors import Invalid, Unavailable

logger = logging.getLogger(__name__)

WEEK = 7 * 24 * 3600.0

# PARTITION_AWARE: an agent that cannot be reached makes its tasks TASK_UNREACHABLE, and they live on
# there; without it Mesos reports TASK_LOST and kills them when the agent is back, which takes the
# job's partition_policy from its author. (An agent that unregisters still gives TASK_LOST:
# recording 22-partition-aware.) GPU_RESOURCES: agents with GPUs offer nothing to frameworks without.
# Not RESERVATION_REFINEMENT or MULTI_ROLE: one role, in the simpler format of resources.
CAPABILITIES = ("PARTITION_AWARE", "GPU_RESOURCES")


class FrameworkSettings(msgspec.Struct, frozen=True):
    """What Mesos is told of the framework. ``failover_timeout`` in seconds, at least a week.

    ``user`` "" is the user this process runs as; ``hostname`` "" is this machine's.
    ``principal`` and ``secret`` authenticate it (HTTP Basic), if the master demands that.
    """

    name: str = "mesos-gateway"
    user: str = ""
    role: str = "*"
    hostname: str = ""
    webui_url: str = ""
    principal: str | None = None
    secret: str | None = None
    failover_timeout: float = 3 * WEEK

    def check(self) -> None:
        """Raises :class:`Invalid` with what would be right."""
        if self.failover_timeout < WEEK:
            raise Invalid(
                f"a failover timeout of {self.failover_timeout:g} s would let Mesos kill every task "
                f"after an outage of that length; give at least {WEEK:g} s (a week)"
            )
        if (self.principal is None) != (self.secret is None):
            raise Invalid("principal and secret belong together: give both or neither")


def framework_info(settings: FrameworkSettings, framework_id: str | None) -> dict[str, Any]:
    """Returns the FrameworkInfo in Mesos JSON. ``checkpoint``: executors outlive their agent's death."""
    info: dict[str, Any] = {
        "user": settings.user or getpass.getuser(),
        "name": settings.name,
        "role": settings.role,
        "hostname": settings.hostname or socket.gethostname(),
        "failover_timeout": settings.failover_timeout,
        "checkpoint": True,
        "capabilities": [{"type": capability} for capability in CAPABILITIES],
    }
    if settings.webui_url:
        info["webui_url"] = settings.webui_url
    if settings.principal is not None:
        info["principal"] = settings.principal
    if framework_id is not None:
        info["id"] = {"value": framework_id}
    return info


class MesosDriver:
    """A :class:`framework.mesos.interface.Driver` for a real master.

    ``master``: ``host:port``, several with commas, or ``zk://…/path``. ``framework_id``: as whom to
    come back, None to be given a new one. ``clock`` stamps the events (seconds since the epoch).
    Raises :class:`Invalid` for settings that cannot work.
    """

    def __init__(
        self,
        master: str,
        framework: FrameworkSettings,
        executor: ExecutorSettings,
        sink: Sink,
        *,
        framework_id: str | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        framework.check()
        executor.check()
        self._timing = timing or Timing()
        self._executor = executor
        self._role = framework.role
        self._offers = _Held()
        self._events = _Events(sink, self._offers, framework.role, executor, clock)
        self._driver = GuardedDriver(
            self._events,
            framework_info(framework, framework_id),
            master,
            principal=framework.principal,
            secret=framework.secret,
            timing=self._timing,
        )
        self._sender = CallSender(
            self._driver, self._encode, self._driver.counters, self._timing.call_timeout
        )
        self._started = False
        self._stopped = threading.Event()

    def start(self) -> None:
        """Returns at once; Registered comes through the sink when a master has accepted us."""
        self._started = True
        self._sender.start()
        self._driver.start()

    def perform(self, actions: Sequence[Action]) -> None:
        self._sender.put(actions)

    def message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        self._sender.put([SendMessage(agent_id, executor_id, data)])

    def listen(self, sink: MessageSink) -> None:
        self._events.messages = sink

    def resubscribe(self, reason: str) -> None:
        session = self._driver.session
        if session is not None:
            self._driver.resubscribe(reason, session)

    def stop(self) -> None:
        """Sends what has been given to :meth:`perform` (for two seconds at most), then leaves."""
        if not self._started or self._stopped.is_set():
            return
        self._stopped.set()
        if self._driver.connected:
            self._sender.flush(self._timing.flush)
        # The subscription first: its end must not find a sender that is gone.
        self._driver.stop()
        self._sender.stop()

    def teardown(self) -> None:
        """Has Mesos kill every task of the framework and forget it.

        Returns when Mesos has accepted that. Raises :class:`Unavailable` unless subscribed.
        """
        session = self._driver.session
        if session is None:
            raise Unavailable("the framework is not subscribed, so it cannot be torn down now")
        self._sender.send_now(
            {"type": "TEARDOWN", "framework_id": {"value": session.framework_id}}, session
        )

    @property
    def status(self) -> DriverStatus:
        driver = self._driver
        # Once: it may change at any time, and what is told of it must agree.
        connected = driver.connected
        return DriverStatus(
            connected=connected,
            master=driver.master,
            framework_id=driver.framework_id,
            fatal=driver.fatal or self._sender.fatal,
            problem=None if connected else driver.problem,
            counters=dict(driver.counters),
            queued=len(self._sender),
        )

    def _encode(self, action: Action, session: Session) -> Iterable[Mapping[str, Any]]:
        held: list[HeldOffer] = []
        if isinstance(action, Launch | Decline):
            held = self._offers.take(action.offer_ids)
        return calls_for(action, session.framework_id, self._role, self._executor, held)


class _Held:
    """The offers we hold, by id. Filled on the stream's thread, used on the calls'."""

    def __init__(self) -> None:
        self._offers: dict[str, HeldOffer] = {}
        self._lock = threading.Lock()

    def add(self, offers: Iterable[HeldOffer]) -> None:
        with self._lock:
            self._offers.update((offer.offer_id, offer) for offer in offers)

    def take(self, offer_ids: Iterable[str]) -> list[HeldOffer]:
        with self._lock:
            found = [self._offers.pop(offer_id, None) for offer_id in offer_ids]
        return [offer for offer in found if offer is not None]

    def clear(self) -> None:
        with self._lock:
            self._offers.clear()


class _Events(Scheduler):
    """pymesos's callbacks, on the stream's thread: each becomes an event for the sink."""

    def __init__(
        self,
        sink: Sink,
        offers: _Held,
        role: str,
        executor: ExecutorSettings,
        clock: Callable[[], float],
    ) -> None:
        self._sink = sink
        self._offers = offers
        self._role = role
        self._executor = executor
        self._clock = clock
        self.messages: MessageSink = lambda agent_id, executor_id, data: None

    def registered(self, driver: Any, framework_id: Mapping[str, Any], master: Any) -> None:
        self._sink(Registered(at=self._clock(), framework_id=framework_id["value"]))

    def reregistered(self, driver: Any, master: Any) -> None:
        self._sink(Registered(at=self._clock(), framework_id=driver.framework_id))

    def disconnected(self, driver: Any) -> None:
        self._offers.clear()
        self._sink(Disconnected(at=self._clock()))

    def resourceOffers(self, driver: Any, offers: Sequence[Mapping[str, Any]]) -> None:  # noqa: N802
        seen, held = [], []
        for offer in offers:
            try:
                one, kept = read_offer(offer, self._role, self._executor)
            except (KeyError, TypeError, ValueError, AttributeError):
                logger.exception("an offer cannot be read and is left alone: %.300r", offer)
                continue
            seen.append(one)
            held.append(kept)
        self._offers.add(held)
        self._sink(OffersReceived(at=self._clock(), offers=tuple(seen)))

    def inverseOffers(self, driver: Any, offers: Sequence[Any]) -> None:  # noqa: N802
        logger.info("%d agents are to be drained for maintenance; nothing is done about it", len(offers))

    def offerRescinded(self, driver: Any, offer_id: Mapping[str, Any]) -> None:  # noqa: N802
        self._offers.take((offer_id["value"],))
        self._sink(OfferRescinded(at=self._clock(), offer_id=offer_id["value"]))

    def statusUpdate(self, driver: Any, status: Mapping[str, Any]) -> None:  # noqa: N802
        self._sink(StatusReceived(at=self._clock(), update=read_status(status)))

    def frameworkMessage(  # noqa: N802
        self, driver: Any, executor_id: Mapping[str, Any], agent_id: Mapping[str, Any], message: str
    ) -> None:
        data = base64.b64decode(message, validate=True)
        self.messages(agent_id["value"], executor_id["value"], data)

    def slaveLost(self, driver: Any, agent_id: Mapping[str, Any]) -> None:  # noqa: N802
        self._sink(AgentLost(at=self._clock(), agent_id=agent_id["value"]))

    def executorLost(self, driver: Any, executor_id: Any, agent_id: Any, status: int) -> None:  # noqa: N802
        # The tasks' own updates follow. The status is what wait() gave (768: exit 3).
        logger.info("an executor on agent %s ended with wait status %s", agent_id["value"], status)

    def error(self, driver: Any, message: str) -> None:
        logger.error("the master reports an error: %s", message)
