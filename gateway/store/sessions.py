"""Transactions of the gateway's store: one writer after the other, fenced, told of when durable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import msgspec
import sqlalchemy as sa

from framework.storage import Fenced
from framework.storage.database import Database
from framework.storage.engine import in_memory, parse_url
from framework.storage.tables import leader
from gateway.store import tables
from gateway.store.migrations import CHAIN

logger = logging.getLogger(__name__)

# SQLite lets one of many that wait for its lock starve; the scheduler's commits come between ours.
_BUSY = 10.0


class Change(msgspec.Struct, frozen=True):
    """Something that is durable now.

    ``id`` is the cluster's id, the key of a kv entry, the name of a network, ``name/version`` of a
    product, ``host/name`` of a disk, ``kind/id`` of an object; ``key`` a cluster's (or kv entry's) key.
    ``revision`` numbers the transaction.
    """

    kind: Literal["cluster", "events", "product", "network", "disk", "kv", "object"]
    id: str
    revision: int
    key: str = ""


class Session:
    """A transaction that writes. ``revision`` is its number: later transactions have higher ones."""

    def __init__(self, connection: sa.Connection, revision: int) -> None:
        self.connection = connection
        self.revision = revision
        self.changes: list[Change] = []

    def changed(self, kind: str, id: str, key: str = "") -> None:
        """Notes what is to be told after the commit."""
        change = Change(kind=kind, id=id, revision=self.revision, key=key)  # type: ignore[arg-type]
        if change not in self.changes:
            self.changes.append(change)


class Sessions:
    """Transactions on the database at ``url``, from any thread.

    Within :meth:`write`, all that the same thread does belongs to one transaction, whichever store it
    uses. ``fence`` gives the epoch that this process leads with; None: it is not asked.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, CHAIN, _BUSY)
        # A state in memory has one process, and no table of leaders beside ours.
        self._fenced = not in_memory(parse_url(url))
        self.fence: Callable[[], int] | None = None
        self._local = threading.local()
        self._writing = threading.Lock()
        self._listeners: tuple[Callable[[Change], None], ...] = ()
        self._listeners_lock = threading.Lock()

    @property
    def shown(self) -> str:
        return self._database.shown

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction, or the one that this thread is in. Raises Fenced, StorageUnavailable."""
        if (current := self._current()) is not None:
            yield current
            return
        # SQLite lets those who wait for its lock starve; a lock of ours does not.
        with self._writing, self._database.transaction() as connection:
            self._check(connection)
            session = Session(connection, next_number(connection, ""))
            self._local.session = session
            try:
                yield session
            finally:
                self._local.session = None
        for change in session.changes:
            self._tell(change)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that reads, or the one that this thread is in."""
        current = self._current()
        with (
            nullcontext(current.connection)
            if current is not None
            else self._database.transaction(write=False) as connection
        ):
            yield connection

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Has ``listener`` called after each commit, on the thread that made it; returns the undo.

        It must be quick. Two commits of two threads may be told in either order.
        """
        with self._listeners_lock:
            self._listeners += (listener,)

        def unsubscribe() -> None:
            with self._listeners_lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def close(self) -> None:
        self._database.close()

    def _current(self) -> Session | None:
        session: Session | None = getattr(self._local, "session", None)
        return session

    def _check(self, connection: sa.Connection) -> None:
        if self.fence is None or not self._fenced:
            return
        epoch = self.fence()
        # A write, so that nobody can claim the next epoch until this transaction is over.
        mine = leader.update().where(leader.c.epoch == epoch).values(epoch=epoch)
        if connection.execute(mine).rowcount != 1:
            raise Fenced(
                f"another scheduler has taken over the state in {self.shown}; "
                f"this one (epoch {epoch}) has stopped acting"
            )

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                logger.exception("a listener failed on a change of %s %s", change.kind, change.id)


def next_number(connection: sa.Connection, scope: str, count: int = 1) -> int:
    """Takes ``count`` numbers of the scope, the first of all being 1; returns the last of them."""
    table = tables.counters
    mine = table.c.scope == scope
    changed = connection.execute(table.update().where(mine).values(value=table.c.value + count))
    if changed.rowcount != 1:
        # Nobody else can do so at the same time: all writers hold the row of scope "".
        connection.execute(table.insert().values(scope=scope, value=count))
    return int(connection.execute(sa.select(table.c.value).where(mine)).scalar_one())
