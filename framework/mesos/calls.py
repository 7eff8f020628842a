"""The calls to the master: a thread, a bounded queue, one connection that is kept alive.

pymesos sends its calls on the caller's thread, holding its lock, with a timeout of a day.
"""

from __future__ import annotations

import http.client
import itertools
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from framework.core.messages import Action, Launch
from framework.mesos.connection import Answer, Connection
from framework.mesos.masters import Address
from framework.mesos.session import Session
from framework.model.errors import Unavailable

logger = logging.getLogger(__name__)

_PATH = "/api/v1/scheduler"
_LIMIT = 100_000
# So many calls may be on their way without an answer, as Mesos's own scheduler library has it: Mesos
# takes the calls of one connection in their order.
_WINDOW = 16

Call = Mapping[str, Any]
Request = tuple[str, bytes]  # the call's type, and its body
Encode = Callable[[Action, Session], Iterable[Call]]


class Subscription(Protocol):
    """What the sender knows of the subscription its calls belong to."""

    @property
    def session(self) -> Session | None: ...

    def resubscribe(self, reason: str, session: Session | None = None) -> None: ...

    def follow(self, location: str, session: Session) -> None: ...


def is_void(answer: Answer) -> bool:
    """Whether the answer says that the subscription is over though its stream still stands.

    Mesos 1.11: 403 "Framework is not subscribed"; 400 "Framework cannot be found"; 400 "The stream
    ID … didn't match the stream ID currently associated with framework ID …"; 503 "No leader
    elected". Any other 4xx is about the one call.
    """
    if answer.status in (403, 503):
        return True
    return answer.status == 400 and (
        "Framework cannot be found" in answer.text or "didn't match the stream ID" in answer.text
    )


class CallSender:
    """Sends what :meth:`put` is given, in order. ``encode`` makes an action the calls it takes.

    Calls of a session that is over are dropped, and counted: after the next registration the core
    decides anew. A call that fails ends the session, so that reconciliation tells what became of it;
    so does a defect of ours. ``fatal`` is a sentence once nothing will be sent any more.
    """

    def __init__(
        self,
        subscription: Subscription,
        encode: Encode,
        counters: Counter[str],
        timeout: float,
        limit: int = _LIMIT,
    ) -> None:
        self._subscription = subscription
        self._encode = encode
        self._counters = counters
        self._timeout = timeout
        self._limit = limit
        self._queue: deque[tuple[Session, Action]] = deque()
        self._condition = threading.Condition()
        self._busy = False
        self._closing = False
        self._connection: Connection | None = None
        self.fatal: str | None = None
        self._thread = threading.Thread(target=self._run_until_closed, name="mesos-calls", daemon=True)

    def __len__(self) -> int:
        """How many actions wait."""
        return len(self._queue)

    def start(self) -> None:
        self._thread.start()

    def put(self, actions: Sequence[Action]) -> None:
        """Takes the actions over; never blocks."""
        session = self._subscription.session
        with self._condition:
            mute = session is None or self._closing or self.fatal is not None
            room = 0 if mute else max(0, self._limit - len(self._queue))
            taken = actions[:room]
            if session is not None:
                self._queue.extend((session, action) for action in taken)
            self._condition.notify_all()
        lost = len(actions) - len(taken)
        if lost:
            self._counters["dropped"] += lost
            logger.info(
                "%d calls are dropped: %s",
                lost,
                self.fatal or ("not subscribed" if mute else "the queue is full"),
            )

    def flush(self, seconds: float) -> bool:
        """Waits until everything put so far is sent; False if that takes longer."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._queue and not self._busy, seconds)

    def stop(self) -> None:
        """Ends the thread at once, also out of a call that hangs."""
        with self._condition:
            self._closing = True
            self._counters["dropped"] += len(self._queue)
            self._queue.clear()
            self._condition.notify_all()
            if self._connection is not None:
                self._connection.cut()
        if self._thread.ident is not None:
            self._thread.join()

    def send_now(self, call: Call, session: Session) -> None:
        """Sends one call from this thread, past the queue. Raises :class:`Unavailable` if refused."""
        connection = Connection(session.address, self._timeout)
        try:
            answer = connection.post(_PATH, msgspec.json.encode(call), session.headers())
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"master {session.address} does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status not in (200, 202):
            raise Unavailable(f"master {session.address} answers {answer.status}: {answer.text.strip()}")

    # -- the thread -------------------------------------------------------------------------------

    def _run_until_closed(self) -> None:
        try:
            self._run()
        except BaseException as error:
            # Nothing would be sent any more, and nobody would know why.
            self.fatal = f"the thread that sends calls to Mesos has ended: {error!r}; see the log"
            raise

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    break
                taken = [self._queue.popleft() for _ in range(min(_WINDOW, len(self._queue)))]
                self._busy = True
            # A launch waits until every other call is answered: it might end the subscription.
            for (session, _), group in itertools.groupby(
                taken, key=lambda pair: (pair[0], isinstance(pair[1], Launch))
            ):
                try:
                    self._carry_out(session, [action for _, action in group])
                except Exception as error:
                    logger.critical("calls have failed in a way that was not foreseen", exc_info=True)
                    self._begin_anew(error, session)
        self._disconnect()

    def _begin_anew(self, error: Exception, session: Session) -> None:
        """Nobody knows what was sent: Mesos tells it after the next registration."""
        self._counters["failed"] += 1
        self._disconnect()
        reason = f"the sending of calls to master {session.address} failed unexpectedly: {error!r}"
        self._subscription.resubscribe(reason, session)

    def _carry_out(self, session: Session, actions: Sequence[Action]) -> None:
        calls: list[Request] = []
        for action in actions:
            if session is not self._subscription.session:
                self._counters["dropped"] += 1
                continue
            try:
                encoded = [(c["type"], msgspec.json.encode(c)) for c in self._encode(action, session)]
            except Exception:
                # One action that cannot be expressed must not silence all that follow.
                self._counters["failed"] += 1
                logger.exception("an action of type %s is not carried out", type(action).__name__)
            else:
                calls += encoded
        for start in range(0, len(calls), _WINDOW):
            self._send(calls[start : start + _WINDOW], session)

    def _send(self, calls: Sequence[Request], session: Session) -> None:
        """Sends calls one behind the other; after one that failed nothing of the session is sent."""
        if session is not self._subscription.session:
            self._counters["dropped"] += len(calls)
            return
        self._counters["calls"] += len(calls)
        left = deque(calls)
        try:
            self._exchange(left, session)
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            self._counters["failed"] += len(left)
            if not self._closing:
                reason = (
                    f"a {left[0][0]} call to master {session.address} failed: "
                    f"{error or type(error).__name__}"
                )
                logger.warning("%s", reason)
                self._subscription.resubscribe(reason, session)

    def _exchange(self, left: deque[Request], session: Session) -> None:
        """Sends the calls and takes each out of ``left`` when its answer is there.

        They are sent once more if the kept connection was stale, unless one of them is an ACCEPT: its
        offers would be used up by the first, and Mesos would report the tasks as lost while they
        start.
        """
        connection = self._connect(session.address)
        fresh = connection.calls == 0
        try:
            self._answers(connection, left, session)
        except (OSError, http.client.HTTPException):
            self._disconnect()
            if fresh or self._closing or any(kind == "ACCEPT" for kind, _ in left):
                raise
        else:
            return
        self._answers(self._connect(session.address), left, session)

    def _answers(self, connection: Connection, left: deque[Request], session: Session) -> None:
        connection.write(_PATH, [body for _, body in left], session.headers())
        while left:
            answer = connection.read()
            kind, _ = left.popleft()
            self._judge(kind, answer, session)

    def _judge(self, kind: str, answer: Answer, session: Session) -> None:
        if answer.status in (200, 202):
            return
        self._counters["refused"] += 1
        if answer.status == 307 and answer.location:
            self._subscription.follow(answer.location, session)
            return
        text = f"master {session.address} answers {kind} with {answer.status}: {answer.text.strip()}"
        logger.warning("%s", text)
        if is_void(answer):
            self._subscription.resubscribe(text, session)

    def _connect(self, address: Address) -> Connection:
        connection = self._connection
        if connection is not None and connection.address == address and not connection.is_stale():
            return connection
        self._disconnect()
        with self._condition:
            if self._closing:
                raise OSError("stopping")
            self._connection = Connection(address, self._timeout)
            return self._connection

    def _disconnect(self) -> None:
        with self._condition:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
