"""A database with its tables in the newest shape, and transactions whose errors are ours."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import sqlalchemy as sa

from framework.model.errors import Invalid, Unavailable
from framework.storage.engine import (
    BUSY,
    READ_ONLY,
    in_memory,
    is_sqlite,
    make_engine,
    parse_url,
    patience,
)
from framework.storage.revisions import Chain

logger = logging.getLogger(__name__)

# Any number that nobody else locks.
_MIGRATION_LOCK = 0x6D65736F


class StorageUnavailable(Unavailable):
    """The database does not take, or give, what was asked; later it may."""

    code = "unavailable"


class Database:
    """``url`` is a path (a directory: ``scheduler.db`` in it) or a SQLAlchemy URL.

    Opens, and on first use creates, the tables of ``chain``. Raises :class:`Invalid` for what is not,
    or no longer, this program's database, and :class:`StorageUnavailable`. Usable on any
    thread. ``busy_secs``: how long another's lock on a SQLite file is waited for.
    """

    def __init__(self, url: str, chain: Chain, busy_secs: float = BUSY) -> None:
        self._url = parse_url(url)
        self._chain = chain
        # In memory there is one connection for everybody; elsewhere everybody has his own.
        self._lock = threading.RLock() if in_memory(self._url) else None
        self._engine = make_engine(self._url, busy_secs)
        self.dialect = self._engine.dialect
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def shown(self) -> str:
        """What it is called towards people, without the password."""
        if is_sqlite(self._url):
            return self._url.database or "memory"
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator[sa.Connection]:
        """A transaction; SQLAlchemy's and the driver's errors become ours."""
        try:
            with self._lock or nullcontext(), self._engine.connect() as connection:
                connection.execution_options(**{READ_ONLY: not write})
                with patience(connection), connection.begin():
                    yield connection
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise self._explain(error) from error

    def close(self) -> None:
        self._engine.dispose()

    def _prepare(self) -> None:
        with self.transaction() as connection:
            if not is_sqlite(self._url):
                # Two that start at the same time do not both migrate; SQLite's write lock sees to that.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            revision = self._chain.revision(connection)
            if revision != self._chain.head:
                self._migrate(connection, revision)

    def _migrate(self, connection: sa.Connection, revision: str | None) -> None:
        # It tells of every step and plugin, the latter when it is imported.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        if revision is not None and revision not in self._chain.known():
            raise Invalid(
                f"the state in {self.shown} has the {self._chain.table} {revision}, which this release "
                f"does not know (its own is {self._chain.head}): start the release that wrote it, or a "
                "newer one"
            )
        self._chain.upgrade(connection)
        # There are two chains in one state, each with a number of its own.
        logger.info("the state in %s has the %s %s now", self.shown, self._chain.table, self._chain.head)

    def _explain(self, error: Exception) -> Exception:
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, sqlite3.DatabaseError) and "not a database" in str(cause):
            return Invalid(f"{self.shown} is not a SQLite database; give another path for the state")
        return StorageUnavailable(f"the state in {self.shown} cannot be used now: {cause}")
