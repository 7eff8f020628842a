"""The gateway's own state, beside the scheduler's in the same database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from framework.model.warming import warm_up
from gateway.store.clusters import ClusterStore, EventStore
from gateway.store.entries import KvStore, ProductStore, SecretStore
from gateway.store.live import LiveClusters
from gateway.store.networks import DiskStore, NetworkStore
from gateway.store.objects import ObjectStore
from gateway.store.revocations import Revocations
from gateway.store.sessions import LAST_REVISION, Change, Sessions


class Store:
    """``url`` is what ``--state`` says. Usable on any thread.

    Opens, and on first use creates, the tables; raises what :class:`framework.storage.Storage` raises.
    Writing raises StorageUnavailable, and ``Fenced`` if the scheduler's epoch is not what ``fence``
    says any more: then another process leads, and nothing has been written.
    """

    def __init__(self, url: str) -> None:
        # Its readers are many threads, from the first moment on.
        warm_up()
        self._sessions = Sessions(url)
        self.products = ProductStore(self._sessions)
        self.clusters = ClusterStore(self._sessions)
        self.events = EventStore(self._sessions)
        self.live = LiveClusters(self._sessions)
        self.networks = NetworkStore(self._sessions)
        self.disks = DiskStore(self._sessions)
        self.secrets = SecretStore(self._sessions)
        self.kv = KvStore(self._sessions)
        self.objects = ObjectStore(self._sessions)
        self.revocations = Revocations(self.objects, self.transaction)

    @property
    def fence(self) -> Callable[[], int] | None:
        """Gives the epoch that this process leads with; None: nobody asks."""
        return self._sessions.fence

    @fence.setter
    def fence(self, fence: Callable[[], int] | None) -> None:
        self._sessions.fence = fence

    @contextmanager
    def transaction(self) -> Iterator[int]:
        """Makes one commit of all that this thread writes within it; gives the commit's revision.

        Everybody else waits meanwhile: it must be quick, and do nothing but use the store.
        """
        with self._sessions.write() as session:
            yield session.revision

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Makes one transaction of all that this thread reads within it: to read many small things one
        by one takes several times as long. Nothing can be written meanwhile."""
        with self._sessions.reading():
            yield

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Has ``listener`` called after each commit; returns the undo. See :class:`Sessions`."""
        return self._sessions.subscribe(listener)

    def revision(self) -> int:
        """Returns the number of the last commit."""
        with self._sessions.read() as reader:
            return int(reader.value(LAST_REVISION))

    def close(self) -> None:
        self._sessions.close()
