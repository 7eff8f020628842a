"""pymesos's scheduler driver with the guards of a long-running framework.

What stays pymesos's: the SUBSCRIBE request, credentials, the dispatch of events to a ``Scheduler``.
What is replaced: the connection and its loop (:mod:`framework.mesos.stream`), the calls
(:mod:`framework.mesos.calls`), the end (never a TEARDOWN), the version probe (GPU_RESOURCES is
always sent), the detector's life.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from executor.recordio import ProtocolError
from executor.waker import Waker
from framework.mesos.backoff import Backoff
from framework.mesos.detector import Detector
from framework.mesos.interface import COUNTERS
from framework.mesos.masters import Address, Candidates, ZooKeeperUrl, parse_master
from framework.mesos.quiet import MesosSchedulerDriver, Scheduler
from framework.mesos.session import Session
from framework.mesos.stream import EventStream, Refused, Silent, StreamEnded
from framework.model.errors import Invalid

logger = logging.getLogger(__name__)


class Timing(msgspec.Struct, frozen=True):
    """Seconds. ``heartbeat_interval`` None: what the master says in SUBSCRIBED (15 s by default).

    A subscription that lasted ``settled_after`` counts as good: the next pause starts small again.
    """

    answer_timeout: float = 10.0
    call_timeout: float = 10.0
    first_pause: float = 0.25
    longest_pause: float = 12.0
    settled_after: float = 5.0
    heartbeats_missed: int = 5
    heartbeat_interval: float | None = None
    flush: float = 2.0


def fatal_sentence(message: str, framework_id: str | None) -> str | None:
    """Returns what an ERROR event means for the user if it means that we must not come back.

    Mesos 1.11: "Framework failed over" to the former subscriber when another subscribes with the
    same id; "Framework has been removed" to the SUBSCRIBE of one that was torn down, or was away
    for longer than its failover timeout. Any other ERROR may pass.
    """
    text = message.lower()
    if "failed over" in text:
        return (
            f"another scheduler has subscribed as framework {framework_id} ({message}): "
            "this one has stopped for good and must not take it back"
        )
    if "has been removed" in text or "completed framework" in text:
        return (
            f"Mesos has removed framework {framework_id} ({message}): it was torn down, or was away "
            "for longer than its failover timeout. Its tasks are gone; to go on as a new framework, "
            "stop this and run bin/framework with --new-framework"
        )
    return None


class GuardedDriver(MesosSchedulerDriver):
    """See the module. ``session`` is None while there is no subscription.

    ``framework`` is a FrameworkInfo; ``scheduler`` has pymesos's callbacks (they must not raise; if
    one does, it is logged and the event skipped).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        framework: dict[str, Any],
        master: str,
        *,
        principal: str | None = None,
        secret: str | None = None,
        timing: Timing | None = None,
    ) -> None:
        where = parse_master(master)
        super().__init__(
            scheduler,
            framework,
            master,
            implicit_acknowledgements=False,
            principal=principal,
            secret=secret,
            failover=True,
        )
        self._started = False
        self._io_thread: threading.Thread | None = None
        self.detector: Detector | None = None
        self.timing = timing or Timing()
        self.session: Session | None = None
        self.fatal: str | None = None
        # Why there was no subscription when there was last none.
        self.problem = "not subscribed yet"
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._zookeeper = where if isinstance(where, ZooKeeperUrl) else None
        self._candidates = Candidates(() if isinstance(where, ZooKeeperUrl) else where)
        self._state = threading.Lock()
        self._waker: Waker | None = None
        self._leave: str | None = None
        self._sessions = 0
        self._redirects = 0
        self._address: Address | None = None

    # -- what pymesos asks its subclass, or itself -------------------------------------------------

    @property
    def framework(self) -> dict[str, Any]:
        """The FrameworkInfo to subscribe with, as configured (pymesos would edit capabilities)."""
        return dict(self._framework)

    @property
    def framework_id(self) -> str | None:
        """The id we come back as; None until Mesos has given one."""
        value = self._framework.get("id", {}).get("value")
        return None if value is None else str(value)

    @framework_id.setter
    def framework_id(self, value: str) -> None:
        self._framework["id"] = {"value": value}

    @property
    def master(self) -> str | None:
        """``host:port`` of the master we talk to, or talked to last."""
        return None if self._address is None else str(self._address)

    @property
    def connected(self) -> bool:
        return self.session is not None

    def start(self) -> None:
        with self._state:
            if self._started or self._io_thread is not None:
                return
            self._started = True
        self._waker = Waker()
        self._io_thread = threading.Thread(target=self._run, name="mesos-stream", daemon=True)
        self._io_thread.start()
        if self._zookeeper is not None:
            self.detector = Detector(self._zookeeper, self)
            self.detector.start()

    def stop(self, failover: bool = True) -> None:
        """Ends the subscription and waits for its thread. Nothing is sent: the framework lives on."""
        del failover  # pymesos's interface; there is no other way to stop here
        detector, self.detector = self.detector, None
        if detector is not None:
            detector.stop()
        self._started = False
        self._wake()
        if self._io_thread is threading.current_thread():
            return
        if self._io_thread is not None:
            self._io_thread.join()
        if self._waker is not None:
            self._waker.close()

    def change_master(self, master: str | None) -> None:
        """ZooKeeper names the leading master, or says that there is none."""
        address = None if master is None else Address.parse(master)
        with self._state:
            news = self._candidates.lead(address)
        if news:
            self.resubscribe(f"ZooKeeper names master {address}" if address else "no master leads")

    def _shutdown(self) -> None:
        """pymesos would send TEARDOWN here."""

    def _teardown(self) -> None:
        raise RuntimeError("a framework is torn down by an operator's command only")

    def _send(self, body: Any, path: str = "", method: str = "", headers: Any = None) -> Any:
        raise RuntimeError("calls go through framework.mesos.calls")

    # -- the subscription -----------------------------------------------------------------------------

    def resubscribe(self, reason: str, session: Session | None = None) -> None:
        """Ends the present subscription (only ``session``, if given) and makes a new one."""
        with self._state:
            if session is not None and session is not self.session:
                return
            self._leave = reason
        self._wake()

    def follow(self, location: str, session: Session) -> None:
        """A call was redirected: the leader is elsewhere."""
        self._take_redirect(location, session.address)
        self.resubscribe(f"redirected to {location}", session)

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()

    def _run(self) -> None:
        """The thread: subscribe, read, pause, again, until stopped or told never to come back."""
        waker = self._waker
        assert waker is not None
        pauses = Backoff(self.timing.first_pause, self.timing.longest_pause)
        while self._started and self.fatal is None:
            with self._state:
                self._leave = None
                address = self._candidates.current()
            if address is None:
                self.problem = "ZooKeeper names no leading master"
                waker.wait(self.timing.longest_pause)
                continue
            began = time.monotonic()
            self.counters["attempts"] += 1
            pause = self._subscribe_once(address, waker)
            if time.monotonic() - began >= self.timing.settled_after:
                pauses.reset()
            if pause and self._started and self.fatal is None:
                waker.wait(pauses.next())
        self._started = False

    def _subscribe_once(self, address: Address, waker: Waker) -> bool:
        """Holds one subscription until it ends. Returns whether to pause before the next one."""
        self._address = address
        sessions = self._sessions
        pause = True
        try:
            request = self.gen_request()
            with EventStream(address, request, waker, self.timing.answer_timeout) as stream:
                self._follow_events(stream, address)
        except Refused as refusal:
            pause = self._refused(refusal, address)
        except (StreamEnded, ProtocolError, OSError) as error:
            self.problem = str(error)
            self.counters["watchdog"] += isinstance(error, Silent)
            with self._state:
                # Leaving for a leader that was named needs no pause, nor does it accuse the present.
                leaving = self._candidates.current() != address
                if not leaving and self._sessions == sessions:
                    self._candidates.failed()
            pause = not leaving
        except Exception as error:
            # A defect of ours ends a subscription, not the framework: it comes back, after a pause.
            self.problem = f"reading from master {address} failed unexpectedly: {error!r}"
            logger.critical("a subscription has ended in a way that was not foreseen", exc_info=True)
        if self._started:
            logger.warning("not subscribed to Mesos: %s", self.fatal or self.problem)
        self._close_session()
        return pause

    def _follow_events(self, stream: EventStream, address: Address) -> None:
        for event in stream.events():
            if event is not None:
                self._handle(event, stream, address)
            if self.fatal is not None:
                raise StreamEnded(self.fatal)
            if not self._started:
                raise StreamEnded("stopped")
            if self._leave is not None:
                raise StreamEnded(self._leave)

    def _handle(self, event: Mapping[str, Any], stream: EventStream, address: Address) -> None:
        kind = event.get("type", "")
        self.counters[f"event:{kind}"] += 1
        try:
            if kind == "SUBSCRIBED":
                self._subscribed(event["subscribed"], stream, address)
            self.on_event(event)
        except Exception as error:
            # An event that cannot be understood must not end the subscription, unless there is none
            # without it.
            if self.session is None:
                raise StreamEnded(
                    f"master {address} sends a {kind} that cannot be read: {error!r}"
                ) from error
            logger.exception("an event of type %r is skipped", kind)

    def _subscribed(self, info: Mapping[str, Any], stream: EventStream, address: Address) -> None:
        interval = self.timing.heartbeat_interval or info.get("heartbeat_interval_seconds") or 15.0
        stream.patience = interval * self.timing.heartbeats_missed
        self._sessions += 1
        self._redirects = 0
        self.counters["subscriptions"] += 1
        self.session = Session(
            number=self._sessions,
            address=address,
            stream_id=stream.stream_id,
            framework_id=info["framework_id"]["value"],
            authorization=self._basic_credential,
        )

    def on_subscribed(self, info: Mapping[str, Any]) -> None:
        """Replaces pymesos's, which cannot split an IPv6 address."""
        again = self.framework_id is not None
        self.framework_id = info["framework_id"]["value"]
        master = dict(info.get("master_info", {}))
        if again:
            self.sched.reregistered(self, master)
        else:
            self.sched.registered(self, info["framework_id"], master)

    def on_error(self, event: Mapping[str, Any]) -> None:
        message = str(event.get("message", "no message"))
        self.fatal = fatal_sentence(message, self.framework_id)
        self.problem = f"the master says: {message}"
        self.sched.error(self, message)

    def _refused(self, refusal: Refused, address: Address) -> bool:
        if refusal.status == 307 and refusal.location:
            self.problem = f"master {address} redirects to {refusal.location}"
            followed = self._take_redirect(refusal.location, address)
            # A second redirect without a subscription between them: the masters disagree, so wait.
            self._redirects += 1
            return not followed or self._redirects > 3
        hint = "; are principal and secret right?" if refusal.status == 401 else ""
        self.problem = f"master {address} refuses the subscription: {refusal}{hint}"
        if refusal.status == 503:
            with self._state:
                self._candidates.failed()
        return True

    def _take_redirect(self, location: str, base: Address) -> bool:
        try:
            leader = Address.of_location(location, base)
        except Invalid as error:
            self.problem = str(error)
            return False
        with self._state:
            return self._candidates.lead(leader)

    def _close_session(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            try:
                self.sched.disconnected(self)
            except Exception:
                logger.exception("the end of a subscription is not reported")
