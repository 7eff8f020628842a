"""The durable record of the scheduler's state: one transaction per commit, fenced by an epoch.

SQLite by default (one file, WAL, synchronous), or any database SQLAlchemy can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import sqlalchemy as sa

from framework.core.messages import Snapshot, Write
from framework.model.errors import Invalid, Unavailable
from framework.model.jobs import JobKey
from framework.storage import tables
from framework.storage.database import Database, StorageUnavailable
from framework.storage.migrations import CHAIN
from framework.storage.records import (
    JOB,
    TASK,
    UPDATE,
    Batch,
    Owner,
    StoredEvent,
    Unpacker,
    event_row,
    fold,
    read_event,
)
from framework.storage.statements import Statements

_KEPT_EVENTS = 100_000
_CHUNK = 500
_TABLES = {JOB: tables.jobs, TASK: tables.tasks, UPDATE: tables.updates}
_CLAIMED = (
    tables.leader.update()
    .where(tables.leader.c.epoch == sa.bindparam("mine"))
    .values(epoch=sa.bindparam("mine"))
)
# And what is stored is what was stored last.
_GOES_ON = _CLAIMED.where(
    sa.func.coalesce(sa.select(sa.func.max(tables.events.c.sequence)).scalar_subquery(), 0)
    == sa.bindparam("last")
)


class Fenced(Unavailable):
    """Another scheduler has claimed the state; this one must not act any more."""

    code = "unavailable"


class Storage:
    """``url`` is a path (a directory: ``scheduler.db`` in it) or a SQLAlchemy URL.

    Opens, and on first use creates, the tables. Raises :class:`Invalid` for what is not, or no
    longer, this scheduler's database, and :class:`StorageUnavailable`. ``commit`` and ``load`` are
    the service thread's; ``events_after`` may be called on any thread.
    """

    def __init__(self, url: str, *, kept_events: int = _KEPT_EVENTS) -> None:
        self._kept_events = kept_events
        self._sequence = 0
        self._pruned = 0
        self._references = _References()
        self._database = Database(url, CHAIN)
        self._statements = Statements(self._database.dialect)

    # -- the service's ----------------------------------------------------------------------------

    def claim_epoch(self) -> int:
        """Takes the state over: returns an epoch higher than any before, which alone may commit."""
        with self._database.transaction() as connection:
            connection.execute(tables.leader.update().values(epoch=tables.leader.c.epoch + 1))
            return int(connection.execute(sa.select(tables.leader.c.epoch)).scalar_one())

    def load(self) -> Snapshot:
        """Returns the whole state.

        Raises :class:`StorageUnavailable`, and :class:`Invalid` naming a row that cannot be read.
        """
        with self._database.transaction(write=False) as connection:
            bodies = dict(_rows(connection, tables.configs.c.hash, tables.configs.c.body))
            found = {
                kind: _rows(connection, table.c.id, table.c.body) for kind, table in _TABLES.items()
            }
            framework_id = connection.execute(sa.select(tables.leader.c.framework_id)).scalar_one()
            last = connection.execute(sa.select(sa.func.max(tables.events.c.sequence))).scalar_one()
        references = _References()
        read = self._readers(bodies)
        values: dict[str, list[Any]] = {kind: [] for kind in _TABLES}
        for kind, rows in found.items():
            for row_id, body in rows:
                try:
                    value, used = read[kind](body)
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    raise Invalid(
                        f"{kind} {row_id} in {self._database.shown} cannot be read: {error}"
                    ) from error
                values[kind].append(value)
                references.set((kind, row_id), used)
        references.found(bodies.keys())
        self._references = references
        self._sequence = last or 0
        return Snapshot(
            tuple(values[JOB]), tuple(values[TASK]), tuple(values[UPDATE]), framework_id=framework_id
        )

    def commit(self, writes: Sequence[Write], epoch: int) -> tuple[StoredEvent, ...]:
        """Makes ``writes`` durable, all or none; returns the published events with their numbers.

        Raises :class:`Fenced` or :class:`StorageUnavailable`; the latter, too, if the database is not
        the one that was written last (restored, or a replica that lags): it has to be loaded first.
        """
        batch = fold(writes)
        unused = self._references.unused()
        events = tuple(
            StoredEvent(sequence, event)
            for sequence, event in enumerate(batch.published, self._sequence + 1)
        )
        with self._database.transaction() as connection:
            mine = {"mine": epoch, "last": self._sequence}
            if self._statements.change(connection, _GOES_ON, mine) != 1:
                self._fence(connection, epoch)
                raise StorageUnavailable(
                    f"the state in {self._database.shown} is another than was stored last: the database "
                    "has been restored, or a replica of it has taken over"
                )
            self._write(connection, batch, unused)
            rows = [event_row(e.sequence, e.event) for e in events]
            self._statements.write(connection, tables.events, None, rows)
            last = self._sequence + len(events)
            prune = last - self._pruned > self._kept_events + self._kept_events // 10
            if prune:
                outdated = tables.events.c.sequence <= last - self._kept_events
                connection.execute(tables.events.delete().where(outdated))
        # Only what is durable counts.
        self._sequence = last
        self._pruned = last - self._kept_events if prune else self._pruned
        self._references.written(batch, unused)
        return events

    def check(self, epoch: int) -> None:
        """Raises :class:`Fenced` or :class:`StorageUnavailable` unless a commit could be made now.

        Waits for one that is still under way, though nobody waits for its answer any more: what is
        loaded after this is all that there is.
        """
        with self._database.transaction() as connection:
            self._fence(connection, epoch)

    def framework_id(self) -> str | None:
        """Returns the id that Mesos has given to the framework of this state, None before that."""
        with self._database.transaction(write=False) as connection:
            found = connection.execute(sa.select(tables.leader.c.framework_id)).scalar_one()
        return None if found is None else str(found)

    def forget_framework(self, epoch: int) -> None:
        """Forgets the framework id: the next registration is that of a new framework."""
        with self._database.transaction() as connection:
            self._fence(connection, epoch)
            connection.execute(tables.leader.update().values(framework_id=None))

    # -- anybody's --------------------------------------------------------------------------------

    def events_after(
        self,
        sequence: int,
        limit: int = 1000,
        *,
        cluster: str | None = None,
        role: str | None = None,
        key: JobKey | None = None,
    ) -> list[StoredEvent]:
        """Returns at most ``limit`` events after ``sequence``, oldest first, of one job or role.

        What is older than the retention (100,000 events) is gone: the first number may leap.
        """
        table = tables.events
        query = sa.select(table.c.sequence, table.c.body).where(table.c.sequence > sequence)
        if cluster is not None:
            query = query.where(table.c.cluster == cluster)
        if role is not None:
            query = query.where(table.c.role == role)
        if key is not None:
            query = query.where(table.c.job == str(key))
        with self._database.transaction(write=False) as connection:
            rows = connection.execute(query.order_by(table.c.sequence).limit(limit)).all()
        return [read_event(row[0], row[1]) for row in rows]

    def close(self) -> None:
        self._database.close()

    # -- within -----------------------------------------------------------------------------------

    def _readers(self, configs: Mapping[str, str]) -> Mapping[str, Callable[[str], tuple[Any, Any]]]:
        try:
            unpacker = Unpacker(configs)
        except ValueError as error:
            raise Invalid(
                f"a task's configuration in {self._database.shown} cannot be read: {error}"
            ) from error
        return {JOB: unpacker.job, TASK: unpacker.task, UPDATE: unpacker.update}

    def _fence(self, connection: sa.Connection, epoch: int) -> None:
        # A write, so that nobody can claim the next epoch until this transaction is over.
        if self._statements.change(connection, _CLAIMED, {"mine": epoch}) != 1:
            raise Fenced(
                f"another scheduler has taken over the state in {self._database.shown}; "
                f"this one (epoch {epoch}) has stopped acting"
            )

    def _write(self, connection: sa.Connection, batch: Batch, unused: AbstractSet[str]) -> None:
        if unused:
            # Those that come back are written again below.
            _delete(connection, tables.configs.c.hash, unused)
        stored = self._references.stored
        new = [
            {"hash": key, "body": body}
            for key, body in batch.configs.items()
            if key not in stored or key in unused
        ]
        self._upsert(connection, tables.configs, "hash", new)
        for kind, table in _TABLES.items():
            _delete(connection, table.c.id, batch.deleted.get(kind, ()))
            self._upsert(connection, table, "id", list(batch.rows.get(kind, {}).values()))
        if batch.framework_id is not None:
            connection.execute(tables.leader.update().values(framework_id=batch.framework_id))

    def _upsert(
        self, connection: sa.Connection, table: sa.Table, key: str, rows: list[dict[str, Any]]
    ) -> None:
        """Writes rows over those with the same ``key``."""
        if self._statements.can_upsert:
            self._statements.write(connection, table, key, rows)
        else:
            _delete(connection, table.c[key], [row[key] for row in rows])
            self._statements.write(connection, table, None, rows)


class _References:
    """Which configs are stored, and how many rows refer to each.

    Texts and numbers in dicts, however many: the garbage collector leaves such dicts out, but would walk
    through every set and Counter, and every tuple that is new.
    """

    def __init__(self) -> None:
        self.stored: dict[str, None] = {}
        # By the owner's kind and id; the hashes with spaces between them.
        self._used: dict[str, str] = {}
        self._count: dict[str, int] = {}
        self._unused: set[str] = set()

    def set(self, owner: Owner, used: frozenset[str]) -> None:
        """``owner`` refers to ``used`` now, and to nothing else."""
        name = " ".join(owner)
        before = self._used.pop(name, "").split()
        if used:
            self._used[name] = " ".join(used)
        for key in used:
            self._count[key] = self._count.get(key, 0) + 1
        for key in before:
            self._count[key] -= 1
            if not self._count[key]:
                del self._count[key]
                self._unused.add(key)
        self._unused.difference_update(used)

    def found(self, stored: Iterable[str]) -> None:
        """These are stored; called once, after every owner is known."""
        self.stored.update(dict.fromkeys(stored))
        self._unused = self.stored.keys() - self._count.keys()

    def written(self, batch: Batch, removed: AbstractSet[str]) -> None:
        """The batch is durable, and ``removed`` are gone, except those that it brought back."""
        for key in removed:
            self.stored.pop(key, None)
        self._unused -= removed
        self.stored.update(dict.fromkeys(batch.configs))
        for owner, used in batch.owners.items():
            self.set(owner, used)

    def unused(self) -> frozenset[str]:
        """Returns the stored configs that nothing refers to."""
        return frozenset(key for key in self._unused if key in self.stored)


def _rows(connection: sa.Connection, *columns: sa.Column[Any]) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.execute(sa.select(*columns))]


def _delete(connection: sa.Connection, column: sa.Column[Any], ids: Iterable[str]) -> None:
    wanted = sorted(ids)
    for start in range(0, len(wanted), _CHUNK):
        some = column.in_(wanted[start : start + _CHUNK])
        connection.execute(column.table.delete().where(some))
