"""The statements of every commit and look, compiled once: SQLAlchemy's own way takes longer than the
database.

No column of ours that goes this way needs a conversion, so rows pass to and from the driver as they are.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]


class _Compiled(msgspec.Struct, frozen=True):
    """``order``: the names of the parameters where the driver counts them, None where it names them.
    ``constant``: the values that the statement brings along."""

    text: str
    order: tuple[str, ...] | None
    constant: Row

    def parameters(self, row: Row) -> Any:
        whole = {**self.constant, **row} if self.constant else row
        return whole if self.order is None else tuple([whole[name] for name in self.order])


class Statements:
    """Executes statements that are made once and kept, as constants are: each is compiled for good.

    SQLite's driver is spoken to itself: its errors are ``sqlite3.Error``, others are SQLAlchemy's.
    """

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._is_sqlite = dialect.name == "sqlite"
        self._compiled: dict[Hashable, _Compiled] = {}

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
        compiled = self._compiled.get((table, key))
        if compiled is None:
            names = [column.name for column in table.columns]
            compiled = self._compile((table, key), self._insert(table, key), names)
        parameters = [compiled.parameters(row) for row in rows]
        if self._is_sqlite:
            cursor = connection.connection.cursor()
            cursor.executemany(compiled.text, parameters)
            cursor.close()
        else:
            connection.exec_driver_sql(compiled.text, parameters)

    def change(self, connection: sa.Connection, statement: sa.Update, row: Row) -> int:
        """Executes ``statement``; returns how many rows it changed."""
        compiled = self._compiled.get(statement) or self._compile(statement, statement)
        parameters = compiled.parameters(row)
        if not self._is_sqlite:
            return connection.exec_driver_sql(compiled.text, parameters).rowcount
        cursor = connection.connection.cursor()
        cursor.execute(compiled.text, parameters)
        changed = cursor.rowcount
        cursor.close()
        return int(changed)

    def rows(
        self, connection: sa.Connection, statement: sa.Select[Any], asks: Row
    ) -> Sequence[Sequence[Any]]:
        """Returns what ``statement`` finds. It has no list among its parameters."""
        compiled = self._compiled.get(statement) or self._compile(statement, statement)
        parameters = compiled.parameters(asks)
        if not self._is_sqlite:
            return connection.exec_driver_sql(compiled.text, parameters).all()
        cursor = connection.connection.cursor()
        cursor.execute(compiled.text, parameters)
        found = cursor.fetchall()
        cursor.close()
        return found

    def _insert(self, table: sa.Table, key: str | None) -> Any:
        if key is None:
            return table.insert()
        make: Any = sqlite.insert if self._is_sqlite else postgresql.insert
        insert = make(table)
        others = {c.name: insert.excluded[c.name] for c in table.columns if c.name != key}
        return insert.on_conflict_do_update(index_elements=[key], set_=others)

    def _compile(self, key: Hashable, statement: Any, names: Sequence[str] | None = None) -> _Compiled:
        compiled = statement.compile(dialect=self._dialect, column_keys=names)
        order = tuple(compiled.positiontup) if compiled.positional else None
        constant = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        made = self._compiled[key] = _Compiled(str(compiled), order, constant if names is None else {})
        return made
