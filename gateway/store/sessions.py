"""Transactions of the gateway's store: one writer after the other, fenced, told of when durable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from framework.listeners import Listeners
from framework.storage import Fenced
from framework.storage.database import Database
from framework.storage.engine import in_memory, parse_url
from framework.storage.statements import Statements
from framework.storage.tables import leader
from gateway.store import tables
from gateway.store.migrations import CHAIN

logger = logging.getLogger(__name__)

# The number of the last transaction.
LAST_REVISION = sa.select(tables.counters.c.value).where(tables.counters.c.scope == "")
# Counts what leaves nothing behind that changed.
FORGOTTEN = "forgotten"
# The numbers of the last transaction, and of what has been forgotten, by their scopes.
STANDING = sa.select(tables.counters.c.scope, tables.counters.c.value).where(
    sa.or_(tables.counters.c.scope == "", tables.counters.c.scope == FORGOTTEN)
)
_COUNT = (
    tables.counters.update()
    .where(tables.counters.c.scope == sa.bindparam("mine"))
    .values(value=tables.counters.c.value + sa.bindparam("more"))
)
_COUNTED = sa.select(tables.counters.c.value).where(tables.counters.c.scope == sa.bindparam("mine"))
_KEEP_EPOCH = leader.update().where(leader.c.epoch == sa.bindparam("mine")).values(epoch=leader.c.epoch)
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


class Reader:
    """A transaction that reads. What is read often goes by :meth:`rows`, past SQLAlchemy's own way."""

    def __init__(self, connection: sa.Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    def execute(self, statement: sa.Executable, asks: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        """Executes any statement, SQLAlchemy's own way."""
        return self._connection.execute(statement, asks)

    def rows(self, statement: sa.Select[Any], **asks: Any) -> Sequence[Sequence[Any]]:
        """Returns what ``statement``, a constant, finds; nothing is converted, no parameter a list."""
        return self._statements.rows(self._connection, statement, asks)

    def value(self, statement: sa.Select[Any], **asks: Any) -> Any:
        """Returns the first column of the first row, None if there is no row."""
        found = self.rows(statement, **asks)
        return found[0][0] if found else None


class Session(Reader):
    """A transaction that writes. ``revision`` is its number: later transactions have higher ones.

    What every transaction does goes by :meth:`add` and :meth:`update`, past SQLAlchemy's own way.
    """

    def __init__(self, connection: sa.Connection, statements: Statements) -> None:
        super().__init__(connection, statements)
        self.changes: list[Change] = []
        self.revision = self.next_number("")

    def changed(self, kind: str, id: str, key: str = "") -> None:
        """Notes what is to be told after the commit."""
        change = Change(kind=kind, id=id, revision=self.revision, key=key)  # type: ignore[arg-type]
        if change not in self.changes:
            self.changes.append(change)

    def add(self, table: sa.Table, *rows: dict[str, Any]) -> None:
        """Inserts rows, with all their columns."""
        self._statements.write(self._connection, table, None, rows)

    def update(self, statement: sa.Update, row: dict[str, Any]) -> int:
        """Executes ``statement``, a constant; returns how many rows it changed."""
        return self._statements.change(self._connection, statement, row)

    def next_number(self, scope: str, count: int = 1) -> int:
        """Takes ``count`` numbers of the scope, the first of all being 1; returns the last of them."""
        if self.update(_COUNT, {"mine": scope, "more": count}) != 1:
            # Nobody else can do so at the same time: all writers hold the row of scope "".
            self.add(tables.counters, {"scope": scope, "value": count})
        return int(self.value(_COUNTED, mine=scope))


class Sessions:
    """Transactions on the database at ``url``, from any thread.

    Within :meth:`write`, all that the same thread does belongs to one transaction, whichever store it
    uses. ``fence`` gives the epoch that this process leads with; None: it is not asked.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, CHAIN, _BUSY)
        self._statements = Statements(self._database.dialect)
        # A state in memory has one process, and no table of leaders beside ours.
        self._fenced = not in_memory(parse_url(url))
        self.fence: Callable[[], int] | None = None
        self._local = threading.local()
        self._writing = threading.Lock()
        self._listeners: Listeners[[Change]] = Listeners("changes of the store")

    @property
    def is_writing(self) -> bool:
        """Whether this thread is in a transaction that writes."""
        return self._current() is not None

    @property
    def shown(self) -> str:
        return self._database.shown

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction, or the one that this thread is in. Raises Fenced, StorageUnavailable."""
        if (current := self._current()) is not None:
            yield current
            return
        if getattr(self._local, "reader", None) is not None:
            raise RuntimeError("nothing can be written within a transaction that reads")
        # SQLite lets those who wait for its lock starve; a lock of ours does not.
        with self._writing, self._database.transaction() as connection:
            self._check(connection)
            session = Session(connection, self._statements)
            self._local.session = session
            try:
                yield session
            finally:
                self._local.session = None
        for change in session.changes:
            self._listeners.tell(change)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A transaction that reads, or the one that this thread is in."""
        inherited: Reader | None = self._current() or getattr(self._local, "reader", None)
        if inherited is not None:
            yield inherited
            return
        with self._database.transaction(write=False) as connection:
            yield Reader(connection, self._statements)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Has all that this thread reads within it belong to one transaction; nothing is written."""
        with self.read() as reader:
            outer, self._local.reader = getattr(self._local, "reader", None), reader
            try:
                yield
            finally:
                self._local.reader = outer

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Has ``listener`` called after each commit, on the thread that made it; returns the undo.

        It must be quick. Two commits of two threads may be told in either order.
        """
        return self._listeners.add(listener)

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
        if self._statements.change(connection, _KEEP_EPOCH, {"mine": epoch}) != 1:
            raise Fenced(
                f"another scheduler has taken over the state in {self.shown}; "
                f"this one (epoch {epoch}) has stopped acting"
            )
