"""From what ``--state`` says to an engine, with SQLite made durable."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from framework.model.errors import Invalid, without_password

# How long a PostgreSQL server may take to be reached, for a statement, and for a whole transaction
# before its connection is cut; in seconds.
_CONNECT = 3
_STATEMENT = 5
_TRANSACTION = 10.0
# A leader that is stopped in the middle of a commit must let go of its lock before another is elected.
_IDLE = 4
# How long SQLite waits for another's lock, in seconds; the service tries again after that.
BUSY = 2.0
# Set on a connection that only reads: its transaction takes no lock.
READ_ONLY = "scheduler_read_only"


def is_sqlite(url: sa.URL) -> bool:
    """Whether the database is a SQLite."""
    return url.get_backend_name() == "sqlite"


def in_memory(url: sa.URL) -> bool:
    """Whether the database is a SQLite without a file, which only one connection sees."""
    return is_sqlite(url) and url.database in (None, "", ":memory:")


def parse_url(text: str) -> sa.URL:
    """Returns the URL of a URL or a path; makes a SQLite file (private) and its directory.

    Raises :class:`Invalid` with the place and what is wrong with it.
    """
    if not text.strip():
        raise Invalid("no place is given for the state; write a path or a database URL")
    if "://" in text:
        try:
            url = sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError):
            raise Invalid(
                f"{without_password(text)!r} is not a database URL; write "
                "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or the path of a SQLite file"
            ) from None
    else:
        url = sa.URL.create("sqlite", database=text)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if not is_sqlite(url):
        raise Invalid(
            f"the state cannot be kept in {url.get_backend_name()!r}: give the path of a SQLite file, "
            "or postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    if in_memory(url):
        return url
    path = Path(str(url.database)).expanduser()
    if path.is_dir() or str(url.database).endswith("/"):
        path = path / "scheduler.db"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Job configurations hold what their authors put there: nobody else's to read.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        # Only asked, never opened: closing a file drops all locks that this process has on it (POSIX),
        # those of another connection to it too, and SQLite would then lose what that one writes.
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (FileExistsError, NotADirectoryError) as error:
        raise Invalid(f"the state cannot be kept in {path}: {path.parent} is not a directory") from error
    except OSError as error:
        raise Invalid(f"the state cannot be kept in {path}: {error.strerror}") from error
    return url.set(database=str(path.absolute()))


def make_engine(url: sa.URL, busy_secs: float = BUSY) -> sa.Engine:
    """Returns an engine; raises :class:`Invalid` if no driver for the URL is installed.

    ``busy_secs``: how long SQLite waits for another's lock.
    """
    options: dict[str, Any] = {}
    if is_sqlite(url):
        options["connect_args"] = {"timeout": busy_secs, "check_same_thread": False}
        if in_memory(url):
            options["poolclass"] = StaticPool
        else:
            # The connection that wrote last has the file's pages; any other reads them again.
            options["pool_use_lifo"] = True
    else:
        options["pool_size"] = 4
        options["pool_timeout"] = _CONNECT
        options["connect_args"] = {
            "connect_timeout": _CONNECT,
            "application_name": "mesos-gateway",
            "options": f"-c statement_timeout={_STATEMENT}s -c lock_timeout={_STATEMENT}s "
            f"-c idle_in_transaction_session_timeout={_IDLE}s -c synchronous_commit=on",
        }
    try:
        engine = sa.create_engine(url, **options)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        shown = url.render_as_string(hide_password=True)
        raise Invalid(f"no database can be reached by {shown}: {error}") from error
    if is_sqlite(url):
        sa.event.listen(engine, "connect", _sqlite_connect)
        sa.event.listen(engine, "begin", _sqlite_begin)
    else:
        sa.event.listen(engine, "checkout", _Ping(engine.dialect.dbapi))
    return engine


class _Ping:
    """Asks whether a pooled connection is still good: the server may have been restarted since.

    SQLAlchemy's own ping would wait for ever for a server that hangs.
    """

    def __init__(self, driver: Any) -> None:
        self._error = driver.Error

    def __call__(self, connection: Any, record: object, proxy: object) -> None:
        try:
            with _cut_after(_CONNECT, connection.fileno()):
                connection.execute("SELECT 1")
                connection.rollback()
        except self._error as error:
            raise sa.exc.DisconnectionError(str(error)) from error


@contextlib.contextmanager
def patience(connection: sa.Connection) -> Iterator[None]:
    """Cuts a connection to a server that does not answer any more: the driver alone would wait for ever.

    What the server made of a commit is then not known; whoever asked has to look.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    with _cut_after(_TRANSACTION, driver.fileno()):
        yield


@contextlib.contextmanager
def _cut_after(seconds: float, descriptor: int) -> Iterator[None]:
    timer = threading.Timer(seconds, _cut, (descriptor,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _sqlite_connect(connection: sqlite3.Connection, record: object) -> None:
    # The driver's own BEGINs come too late (before the first write) and never immediate.
    connection.isolation_level = None
    try:
        # A file that may not be written has no WAL either; the first write says so.
        if not _readonly(connection):
            connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute("PRAGMA synchronous=FULL").close()
    except sqlite3.Error:
        connection.close()
        raise


def _readonly(connection: sqlite3.Connection) -> bool:
    path: str = connection.execute("PRAGMA database_list").fetchone()[2]
    return bool(path) and not os.access(path, os.W_OK)


def _sqlite_begin(connection: sa.Connection) -> None:
    # IMMEDIATE: to wait for the lock now, not to fail with it in the middle.
    reading = connection.get_execution_options().get(READ_ONLY, False)
    # Past SQLAlchemy, as statements are: this is a part of every transaction.
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
    cursor.close()
