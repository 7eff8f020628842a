"""The statements of a commit, compiled once: SQLAlchemy's own way takes longer than the database.

No column of ours needs a conversion on its way to the database, so rows go to the driver as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]


class _Compiled(msgspec.Struct, frozen=True):
    """``order``: the names of the parameters where the driver counts them, None where it names them."""

    text: str
    order: tuple[str, ...] | None

    def parameters(self, row: Row) -> Any:
        return row if self.order is None else tuple([row[name] for name in self.order])


class RowWriter:
    """Writes rows into tables, over those with the same key if a ``key`` is given.

    SQLite's driver is spoken to itself: its errors are ``sqlite3.Error``, others are SQLAlchemy's.
    """

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[str, _Compiled] = {}

    @property
    def can_upsert(self) -> bool:
        """Whether the database has ``INSERT … ON CONFLICT``."""
        return self._dialect.name in ("sqlite", "postgresql")

    def write(
        self, connection: sa.Connection, table: sa.Table, key: str | None, rows: Sequence[Row]
    ) -> None:
        """Inserts ``rows`` (all columns in each); with ``key``, over the rows that have the same one.

        ``key`` needs :attr:`can_upsert`.
        """
        if not rows:
            return
        name = f"{table.name} by {key}"
        if name not in self._compiled:
            names = [column.name for column in table.columns]
            self._compiled[name] = self._compile(self._insert(table, key), names)
        compiled = self._compiled[name]
        parameters = [compiled.parameters(row) for row in rows]
        if self._dialect.name == "sqlite":
            cursor = connection.connection.cursor()
            cursor.executemany(compiled.text, parameters)
            cursor.close()
        else:
            connection.exec_driver_sql(compiled.text, parameters)

    def change(self, connection: sa.Connection, name: str, statement: sa.Update, row: Row) -> int:
        """Executes ``statement``, always the same under ``name``; returns how many rows it changed."""
        if name not in self._compiled:
            self._compiled[name] = self._compile(statement, None)
        compiled = self._compiled[name]
        if self._dialect.name != "sqlite":
            return connection.exec_driver_sql(compiled.text, compiled.parameters(row)).rowcount
        cursor = connection.connection.cursor()
        cursor.execute(compiled.text, compiled.parameters(row))
        changed = cursor.rowcount
        cursor.close()
        return int(changed)

    def _insert(self, table: sa.Table, key: str | None) -> Any:
        if key is None:
            return table.insert()
        make: Any = sqlite.insert if self._dialect.name == "sqlite" else postgresql.insert
        insert = make(table)
        others = {c.name: insert.excluded[c.name] for c in table.columns if c.name != key}
        return insert.on_conflict_do_update(index_elements=[key], set_=others)

    def _compile(self, statement: Any, names: Sequence[str] | None) -> _Compiled:
        compiled = statement.compile(dialect=self._dialect, column_keys=names)
        return _Compiled(str(compiled), tuple(compiled.positiontup) if compiled.positional else None)
