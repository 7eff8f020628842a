"""One of several schedulers that share a state: it serves while it is elected, and only then.

To become the leader is to claim the next epoch, to load the state and to come back to Mesos as the
framework that is stored there. To step down is to leave Mesos without a TEARDOWN: the tasks run on.
Both may happen any number of times in the life of a process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from framework.core.messages import Command
from framework.core.scheduler import Scheduler
from framework.election import FRAMEWORK, Standing
from framework.lease import Lease, Permit
from framework.listeners import Listeners
from framework.mesos.backoff import Backoff
from framework.model.errors import GatewayError, Invalid, Unavailable
from framework.model.jobs import JobKey
from framework.service import Listener, MessageListener, SchedulerService
from framework.status import ServiceStatus
from framework.storage import Storage, StoredEvent

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long one that could not lead lets the others try, at first and at most. One that was deposed by
# a stranger does so for as long as that.
_REST_SECONDS = 10.0
_SHORT_REST_SECONDS = 1.0
_LOOK_SECONDS = 0.5
# A client that comes back after this finds a leader, as a rule.
_RETRY_AFTER = 2


class Candidate(Protocol):
    """What is used of :class:`framework.election.Election`."""

    url: str

    @property
    def standing(self) -> Standing: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def resign(self, rest: float) -> None: ...

    @property
    def framework(self) -> str | None: ...

    def remember(self, framework: str) -> None: ...


class Replica:
    """Has a :class:`SchedulerService` for each time that it leads, and passes requests to it.

    ``make_election`` is given what to call when the standing has changed; ``make_service`` builds a
    service that acts only while its permit allows; ``storage`` is what that service writes to.
    """

    def __init__(
        self,
        make_election: Callable[[Callable[[], None]], Candidate],
        make_service: Callable[[Permit], SchedulerService],
        storage: Storage,
    ) -> None:
        self._news = threading.Event()
        self._election = make_election(self._news.set)
        self._make_service = make_service
        self._storage = storage
        self._service: SchedulerService | None = None
        self._lease: Lease | None = None
        self._failure: str | None = None
        self._rest = Backoff(_SHORT_REST_SECONDS, _REST_SECONDS)
        self._seen: tuple[bool, str | None] = (False, None)
        self._listeners: Listeners[[StoredEvent]] = Listeners("events")
        self._messages: Listeners[[str, str, bytes]] = Listeners("executors")
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
        self.terms = 0

    # -- how it stands: any thread -----------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the others reach this one."""
        return self._election.url

    @property
    def leads(self) -> bool:
        """Whether requests are answered here, now."""
        lease = self._lease
        return self._service is not None and lease is not None and lease.refusal() is None

    @property
    def serves(self) -> bool:
        """Whether this one has a scheduler; it may be held up for a moment, unlike one that leads."""
        return self._service is not None

    @property
    def leader(self) -> str | None:
        """Where the leader is, this one or another; None while there is none, or nobody knows."""
        return self._election.standing.leader

    @property
    def problem(self) -> str | None:
        """Why there is no leader, or why this one, elected, does not lead (yet)."""
        standing = self._election.standing
        if standing.problem is not None:
            return standing.problem
        if standing.lease is None or self.leads:
            return None
        # A lease is dropped as soon as the connection is lost, before the election has said anything.
        held_up = standing.lease.refusal()
        return self._failure or held_up or "this replica has been elected and is reading the state"

    @property
    def failure(self) -> str | None:
        """Why this one could not lead when it was last its turn."""
        return self._failure

    def watch(self, watcher: Callable[[], None]) -> None:
        """Has ``watcher`` called when this one begins or ceases to serve, or :attr:`leader` changes."""
        self._watchers += (watcher,)

    def status(self) -> ServiceStatus:
        """Returns how it goes: the service's status, or a standby's, which is ready if another leads."""
        service = self._service
        if service is not None:
            return service.status()
        problem = self.problem
        problems = tuple(dict.fromkeys(text for text in (problem, self._failure) if text))
        return ServiceStatus(
            ready=problem is None,
            problems=() if problem is None else problems,
            framework_id=None,
            master=None,
            epoch=0,
            queued=0,
            counts=None,
            durations={},
            mesos={},
        )

    # -- requests, as to a SchedulerService: any thread --------------------------------------------

    def submit(self, command: Command) -> Future[Any]:
        """See :meth:`SchedulerService.submit`."""
        service = self._service
        return service.submit(command) if service is not None else self._refused()

    def query(self, read: Callable[[Scheduler], T]) -> Future[T]:
        """See :meth:`SchedulerService.query`."""
        service = self._service
        return service.query(read) if service is not None else self._refused()

    def glance(self, read: Callable[[Scheduler], T]) -> Future[T] | None:
        """See :meth:`SchedulerService.glance`."""
        service = self._service
        return service.glance(read) if service is not None else None

    def unavailable(self) -> Unavailable:
        """Returns what to tell a client whose request cannot be answered here."""
        why = self.problem or f"{self.leader} leads"
        return Unavailable(f"no answer can be given here: {why}", retry_after=_RETRY_AFTER)

    def _refused(self) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(self.unavailable())
        return future

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See :meth:`SchedulerService.subscribe`; it holds from one service to the next."""
        return self._listeners.add(listener)

    def send_message(self, task_id: str, *data: bytes) -> None:
        """See :meth:`SchedulerService.send_message`; :class:`Unavailable` unless this one leads."""
        service = self._service
        if service is None:
            raise self.unavailable()
        service.send_message(task_id, *data)

    def listen(self, listener: MessageListener) -> Callable[[], None]:
        """See :meth:`SchedulerService.listen`; it holds from one service to the next."""
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
        """See :meth:`Storage.events_after`."""
        return self._storage.events_after(sequence, limit, cluster=cluster, role=role, key=key)

    # -- its life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Stands for election; returns at once."""
        self._thread.start()
        self._election.start()

    def stop(self) -> None:
        """Does what is queued, leaves Mesos (no TEARDOWN), then lets another one lead, at once."""
        self._stopping.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._election.stop()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._news.clear()
                self._step()
                self._news.wait(_LOOK_SECONDS)
        except Exception:
            logger.critical("this replica has failed", exc_info=True)
            self._failure = "this replica has failed and stands for election no more; its log says why"
            self._election.resign(float("inf"))
        finally:
            self._step_down("it is stopping")

    def _step(self) -> None:
        """Does what the election asks for."""
        standing = self._election.standing
        service = self._service
        if service is not None and standing.lease is not self._lease:
            self._step_down(standing.problem or f"{standing.leader} leads")
        elif service is not None and service.ended is not None:
            # Elected, and yet deposed: somebody who does not stand for election took the state.
            self._failure = service.ended
            self._step_down(service.ended)
            self._election.resign(_REST_SECONDS)
        elif service is not None and (framework := service.status().framework_id) is not None:
            self._election.remember(framework)
        if self._service is None and standing.lease is not None and standing.lease.refusal() is None:
            self._lead(standing.lease)
        self._tell_watchers()

    def _lead(self, lease: Lease) -> None:
        service = self._make_service(lease)
        service.subscribe(self._listeners.tell)
        service.listen(self._messages.tell)
        try:
            self._check_state()
            service.start()
        except GatewayError as error:
            self._failure = f"this replica was elected and cannot lead: {error}"
            logger.error("%s", self._failure)
            self._election.resign(self._rest.next())
            return
        self._rest.reset()
        self._lease, self._service, self._failure = lease, service, None
        self.terms += 1
        logger.info("leading, in epoch %d", service.status().epoch)

    def _check_state(self) -> None:
        """Raises :class:`Invalid` if the state is not the one that the other replicas share.

        With a state of its own this replica would make a new framework, and the tasks of the present
        one would be nobody's.
        """
        known, stored = self._election.framework, self._storage.framework_id()
        if known is not None and known != stored:
            raise Invalid(
                f"the replicas run the framework {known}, and the state here "
                + (f"belongs to {stored}" if stored else "knows none")
                + ": all must have the same --state. If the framework was replaced on purpose, "
                f"delete the node {FRAMEWORK!r} below the path of --ha in ZooKeeper"
            )

    def _step_down(self, why: str) -> None:
        service, self._service, self._lease = self._service, None, None
        if service is None:
            return
        logger.warning("stepping down: %s", why)
        self._tell_watchers()
        try:
            service.stop()
        except TimeoutError as error:
            # It hangs in a commit, say. Whatever it still writes is refused if another one leads.
            logger.error("%s", error)

    def _tell_watchers(self) -> None:
        seen = (self.serves, self.leader)
        if seen != self._seen:
            self._seen = seen
            for watcher in self._watchers:
                watcher()
