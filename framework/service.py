"""The shell round the core: one thread, a queue, group commit, then the actions.

What is handled together is committed together, in one transaction; only then are Mesos's calls made,
the futures answered and the listeners told. So nothing is promised, launched or acknowledged before
it is durable, and a thousand requests cost one write to the disk.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec

from framework.clock import Clock
from framework.core.messages import Command, Counts, Event, OffersReceived, Snapshot, Tick
from framework.core.scheduler import Scheduler, Session
from framework.core.settings import Settings
from framework.inbox import CommandItem, EventItem, Inbox, Item, QueryItem, queries
from framework.lease import Always, Permit
from framework.listeners import Listeners
from framework.mesos.backoff import Backoff
from framework.mesos.executors import whereabouts
from framework.mesos.interface import Driver, Sink
from framework.model.errors import GatewayError, Unavailable
from framework.model.jobs import JobKey
from framework.status import ServiceStatus, Timing
from framework.storage import Fenced, Storage, StorageUnavailable, StoredEvent
from framework.turn import InternalError, Turn

logger = logging.getLogger(__name__)

T = TypeVar("T")
Listener = Callable[[StoredEvent], None]
MessageListener = Callable[[str, str, bytes], None]
MakeDriver = Callable[[Sink, str | None], Driver]
MakeCore = Callable[[Settings, Snapshot], Scheduler]

# A turn handles so many items, or so many seconds' worth of them, its commit included; longer no
# reader waits.
_TURN_ITEMS = 1000
_TURN_SECONDS = 0.1
_LEAST_SECONDS = 0.005
_IDLE_SECONDS = 5.0
_COUNT_SECONDS = 1.0
_HELD_SECONDS = 0.1
_ANSWER_SECONDS = 10.0
# A defect so soon after another is likely to be the same one again.
_BROKEN_SECONDS = 60.0


def make_scheduler(
    settings: Settings, snapshot: Snapshot, withheld: Mapping[str, Iterable[str]] | None = None
) -> Scheduler:
    """Returns the core that goes on from ``snapshot``; ``withheld`` are disks that no task is given."""
    return Scheduler(settings, snapshot, new_id=lambda: str(uuid.uuid4()), withheld=withheld)


class SchedulerService:
    """One scheduler: its core, its storage, its driver.

    ``make_driver`` builds a driver from a sink and the framework id (None: a new framework). The
    storage stays the caller's to close. ``permit`` is asked before every turn: while it refuses,
    requests are Unavailable, and what Mesos tells waits, unanswered. ``make_core`` makes a core of what
    is stored, whenever there is to be a new one: for who has something to add to it.
    """

    def __init__(
        self,
        storage: Storage,
        make_driver: MakeDriver,
        settings: Settings | None = None,
        clock: Clock | None = None,
        *,
        permit: Permit | None = None,
        make_core: MakeCore = make_scheduler,
    ) -> None:
        self._storage = storage
        self._permit = permit or Always()
        self._make_driver = make_driver
        self._settings = settings or Settings()
        self._make_core = make_core
        self._clock = clock or Clock()
        self._inbox = Inbox()
        self._listeners: Listeners[[StoredEvent]] = Listeners("events")
        self._messages: Listeners[[str, str, bytes]] = Listeners("executors")
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        # Held while the core is ahead of the storage, and while somebody reads it.
        self._turning = threading.Lock()
        self._core: Scheduler | None = None
        self._session: Session | None = None
        self._driver: Driver | None = None
        self._epoch = 0
        self._outage: str | None = None
        self._retry = Backoff(0.2, 5.0)
        self._retry_at = 0.0
        self._broken_at = -_BROKEN_SECONDS
        self._ended: str | None = "the scheduler has not been started"
        self._counts: Counts | None = None
        self._counted_at = 0.0
        self._uncounted = False
        self._durations: dict[str, Timing] = {}
        self._budget = _TURN_SECONDS  # for the core's part, given what the last commits took

    # -- any thread -------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes the state over and starts. Raises what the storage raises if it cannot be read."""
        self._epoch = self._storage.claim_epoch()
        snapshot = self._storage.load()
        self._clock.not_before(snapshot.latest)
        self._core = self._make_core(self._settings, snapshot)
        self._counts = self._core.counts()
        self._driver = self._make_driver(self._receive, snapshot.framework_id)
        self._driver.listen(self._messages.tell)
        self._ended = None
        self._thread.start()
        self._driver.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Does what is queued, commits, leaves Mesos (no TEARDOWN). Later requests are Unavailable.

        Raises ``TimeoutError`` if that takes longer than ``timeout`` seconds.
        """
        self._inbox.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise TimeoutError(f"the scheduler did not stop within {timeout:g} s")

    def submit(self, command: Command) -> Future[Any]:
        """Returns a future of the command's result, done once that is durable.

        It fails with a :class:`GatewayError` if the core refuses, :class:`Unavailable` if the state
        cannot be written now, :class:`InternalError` for a defect. ``at`` is stamped here.
        """
        future: Future[Any] = Future()
        self._enqueue(CommandItem(command, future, time.monotonic()), future)
        return future

    def query(self, read: Callable[[Scheduler], T]) -> Future[T]:
        """Returns a future of ``read(core)``, run between two turns: it sees exactly what is durable.

        Here and now if nothing is under way, otherwise on the service's thread. ``read`` must be
        quick and must neither keep nor change the core.
        """
        at_once = self.glance(read)
        if at_once is not None:
            return at_once
        future: Future[T] = Future()
        self._enqueue(QueryItem(read, future, time.monotonic()), future)
        return future

    def glance(self, read: Callable[[Scheduler], T]) -> Future[T] | None:
        """Returns a future of ``read(core)`` that is done, as :meth:`query`; None if that must wait."""
        if not self._inbox.nothing_asked or not self._turning.acquire(blocking=False):
            return None
        try:
            if self._ended or self._outage or self._permit.refusal() is not None:
                return None
            future: Future[T] = Future()
            QueryItem(read, future, 0.0).answer(self._core)
            return future
        finally:
            self._turning.release()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Has ``listener`` called with every event once it is durable, in order; returns the undo.

        It is called on the service's thread, so it must be quick.
        """
        return self._listeners.add(listener)

    def send_message(self, task_id: str, *data: bytes) -> None:
        """Says something to the executor of a task: Mesos delivers each of ``data`` once or not at all.

        Blocks for as long as a query does; not for the service's own thread. Raises :class:`NotFound`
        if the task does not run, :class:`Unavailable` if it does not run yet, or if nobody can say.
        """
        future = self.query(lambda core: core.get_task(task_id))
        try:
            agent_id, executor_id = whereabouts(future.result(_ANSWER_SECONDS))
        except TimeoutError:
            future.cancel()
            raise Unavailable(f"the scheduler has not answered for {_ANSWER_SECONDS:g} s") from None
        assert self._driver is not None
        for one in data:
            self._driver.message(agent_id, executor_id, one)

    def listen(self, listener: MessageListener) -> Callable[[], None]:
        """Has ``listener`` called with what executors say; returns the undo.

        It gets the agent's id, the executor's, and the bytes, on the driver's thread: it must be quick.
        """
        return self._messages.add(listener)

    def events_after(
        self,
        sequence: int,
        limit: int = 1000,
        *,
        cluster: str | None = None,
        role: str | None = None,
        key: JobKey | None = None,
    ) -> list[StoredEvent]:
        """See :meth:`Storage.events_after`; blocks while it reads."""
        return self._storage.events_after(sequence, limit, cluster=cluster, role=role, key=key)

    def teardown(self) -> None:
        """Has Mesos kill every task and forget the framework: an operator's command, nobody else's."""
        if self._driver is None:
            raise Unavailable("the scheduler has not been started")
        self._driver.teardown()

    @property
    def ended(self) -> str | None:
        """Why the scheduler does not run (any more), None while it does."""
        return self._ended

    def status(self) -> ServiceStatus:
        """Returns how it goes; cheap, from any thread."""
        driver = self._driver.status if self._driver is not None else None
        problems = [t for t in (self._ended, self._outage, self._permit.refusal()) if t is not None]
        if driver is not None and self._ended is None:
            if driver.fatal is not None:
                problems.append(driver.fatal)
            elif not driver.connected:
                problems.append(f"not connected to Mesos: {driver.problem or 'connecting'}")
        return ServiceStatus(
            ready=not problems,
            problems=tuple(problems),
            framework_id=driver.framework_id if driver else None,
            master=driver.master if driver else None,
            epoch=self._epoch,
            queued=len(self._inbox),
            counts=self._counts,
            durations=dict(self._durations),
            mesos=driver.counters if driver else {},
            calls_queued=driver.queued if driver else 0,
        )

    def _receive(self, event: Event) -> None:
        """The driver's sink."""
        self._inbox.put(EventItem(event, time.monotonic()))

    def _enqueue(self, item: Item, future: Future[Any]) -> None:
        refusal = self._ended or self._permit.refusal()
        if refusal is not None or not self._inbox.put(item):
            future.set_exception(Unavailable(refusal or "the scheduler is shutting down"))

    # -- the service's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        items: Sequence[Item] = ()
        try:
            while not self._inbox.finished:
                items = self._inbox.take(self._patience(), _TURN_ITEMS)
                if (refusal := self._permit.refusal()) is not None:
                    self._hold(items, refusal)
                    continue
                self._turn(items)
                self._count()
            self._ended = "the scheduler has been stopped"
        except Exception:
            logger.critical("the scheduler's thread has died", exc_info=True)
            self._ended = "the scheduler has failed; its log says why"
        finally:
            self._inbox.close()
            self._refuse([*items, *self._inbox.take(0.0, None)])
            if self._driver is not None:
                self._driver.stop()

    def _hold(self, items: Sequence[Item], refusal: str) -> None:
        """Nothing may be done now: requests are refused, what Mesos told waits."""
        for item in items:
            if not isinstance(item, EventItem):
                item.fail(Unavailable(refusal))
        if not self._inbox.closed:  # otherwise it is the next one's to hear
            self._inbox.put_back([item for item in items if isinstance(item, EventItem)])
            self._permit.wait(_HELD_SECONDS)

    def _patience(self) -> float:
        """Returns for how many seconds there is nothing to do unless something arrives."""
        longest = _COUNT_SECONDS if self._uncounted else _IDLE_SECONDS
        if self._outage is not None:
            return max(0.0, self._retry_at - time.monotonic())
        deadline = None if self._core is None or self._ended else self._core.next_deadline()
        if deadline is None:
            return longest
        # The floor keeps a deadline that does not move on from taking the whole processor.
        return min(longest, max(0.001, deadline - self._clock.now()))

    def _turn(self, items: Sequence[Item]) -> None:
        with self._turning:
            self._take_turn(items)

    def _take_turn(self, items: Sequence[Item]) -> None:
        if self._ended is None and self._outage is not None:
            self._try_again()
        if self._ended is not None or self._outage is not None:
            self._refuse(items)
            return
        # A reader waits for what was asked for before he asked, not for what Mesos has told.
        first = next((n for n, item in enumerate(items) if isinstance(item, CommandItem)), len(items))
        for query in queries(items[:first]):
            query.answer(self._core)
        turn, began = Turn(), time.monotonic()
        self._handle(items, turn)
        if self._commit(turn):
            for query in queries(items[first:]):
                query.answer(self._core)
        else:
            self._refuse(queries(items[first:]))
        wanted = self._budget * _TURN_SECONDS / max(time.monotonic() - began, _LEAST_SECONDS)
        self._budget = min(_TURN_SECONDS, max(_LEAST_SECONDS, wanted))

    def _handle(self, items: Sequence[Item], turn: Turn) -> None:
        """Has the core handle the items, as many as a turn has time for, and a Tick if one is due."""
        core, began = self._core, time.monotonic()
        assert core is not None
        for index, item in enumerate(items):
            if isinstance(item, QueryItem) or not item.begin():
                continue
            now = time.monotonic()
            if now - began > self._budget:
                self._inbox.put_back([i for i in items[index:] if not isinstance(i, QueryItem)])
                break
            self._took("wait", now - item.since)
            self._uncounted = True
            trusted = turn.handle(core, item, self._clock.now())
            if isinstance(item.event, OffersReceived):
                self._took("match", time.monotonic() - now)
            if not trusted:
                self._inbox.put_back([i for i in items[index + 1 :] if not isinstance(i, QueryItem)])
                return
        deadline = core.next_deadline()
        if deadline is not None and deadline <= self._clock.now():
            turn.handle(core, EventItem(Tick(at=0.0), began), self._clock.now())
        self._took("handle", time.monotonic() - began)

    def _commit(self, turn: Turn) -> bool:
        """Makes the turn durable and carries it out; False if it did not come to pass."""
        published: Sequence[StoredEvent] = ()
        began = time.monotonic()
        try:
            if turn.must_commit:
                published = self._storage.commit(turn.writes, self._epoch)
        except Fenced as error:
            self._depose(error)
            turn.fail(error)
            return False
        except StorageUnavailable as error:
            self._suspend(error)
            turn.fail(error)
            return False
        except Exception:
            defect = InternalError()
            logger.exception("%s in a commit", defect)
            turn.fail(defect)
            self._rebuild(f"a commit failed ({defect})")
            return False
        self._took("commit", time.monotonic() - began)
        assert self._driver is not None
        if turn.actions:
            self._driver.perform(turn.actions)
        turn.succeed()
        for event in published:
            self._listeners.tell(event)
        if turn.broken:
            self._rebuild("the core failed by a defect")
        return True

    def _refuse(self, items: Sequence[Item]) -> None:
        """Answers requests that cannot be served; what Mesos told is told again (see _rebuild)."""
        text = self._ended or self._outage or "the scheduler is shutting down"
        for item in items:
            if isinstance(item, QueryItem) and self._ended is None and self._core is not None:
                item.answer(self._core)  # the state can still be read
            elif not isinstance(item, EventItem):
                item.fail(Unavailable(text))

    # -- when the state cannot be written, or is not ours any more --------------------------------

    def _suspend(self, error: StorageUnavailable) -> None:
        """The core is ahead of the storage: it is dropped until the storage answers again."""
        logger.error("nothing can be written: %s", error)
        if self._core is not None:
            # What it knows of agents is as true as before. Its offers are not: some were used up by
            # launches that did not come to pass.
            session = self._core.session()
            self._session = msgspec.structs.replace(session, registered=False, offers=())
        self._outage = str(error)
        self._retry.reset()
        self._retry_at = time.monotonic() + self._retry.next()
        # What is durable can still be shown.
        self._core = None
        with contextlib.suppress(GatewayError):
            self._core = self._make_core(self._settings, self._storage.load())

    def _rebuild(self, why: str) -> None:
        """The core cannot be trusted, nor what it knew: a new one is made of what is durable."""
        self._core, self._session = None, None
        self._outage = why
        now = time.monotonic()
        # At once, but not again and again for what fails each time.
        if now - self._broken_at > _BROKEN_SECONDS:
            self._retry.reset()
            self._retry_at = now
        else:
            self._retry_at = now + self._retry.next()
        self._broken_at = now
        self._try_again()

    def _try_again(self) -> None:
        """Reads the state back, so that it can be shown; goes on if it can also be written."""
        if time.monotonic() < self._retry_at:
            return
        try:
            self._restore()
        except Fenced as error:
            self._depose(error)
        except GatewayError as error:
            self._outage = str(error)
            self._retry_at = time.monotonic() + self._retry.next()
        else:
            logger.warning("going on from the stored state after: %s", self._outage)
            self._outage = None
            # The new core knows neither offers nor what Mesos told meanwhile: Mesos shall tell again.
            if self._driver is not None:
                self._driver.resubscribe("the state was read back from storage")

    def _restore(self) -> None:
        try:
            self._storage.check(self._epoch)
        except StorageUnavailable:
            if self._core is None:
                self._core = self._make_core(self._settings, self._storage.load())
            raise
        # A commit that was given up may have come to pass since a core was made to be shown.
        core = self._make_core(self._settings, self._storage.load())
        published: Sequence[StoredEvent] = ()
        if self._session is not None:
            # Not registered, so there is nothing for the driver to do yet.
            outcome = core.adopt_session(self._session)
            published = self._storage.commit(outcome.writes, self._epoch)
        self._core, self._session = core, None
        for event in published:
            self._listeners.tell(event)

    def _depose(self, error: Fenced) -> None:
        logger.error("deposed: %s", error)
        self._ended = str(error)
        self._core = None
        if self._driver is not None:
            self._driver.stop()

    # -- measuring --------------------------------------------------------------------------------

    def _took(self, what: str, seconds: float) -> None:
        self._durations[what] = self._durations.get(what, Timing()).plus(seconds)

    def _count(self) -> None:
        now = time.monotonic()
        if self._uncounted and self._core is not None and now - self._counted_at >= _COUNT_SECONDS:
            self._counts, self._counted_at, self._uncounted = self._core.counts(), now, False
