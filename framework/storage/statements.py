"""The statements of a commit, compiled once: SQLAlchemy's own way takes longer than the database.

No column of ours needs a conversion on its way to the database, so rows go to the driver as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]


class RowWriter:
    """Writes rows into tables, over those with the same key if the table has a ``key``."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[tuple[str, str | None], tuple[str, tuple[str, ...] | None]] = {}

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
        name = (table.name, key)
        if name not in self._compiled:
            self._compiled[name] = self._compile(table, key)
        text, order = self._compiled[name]
        if order is None:
            connection.exec_driver_sql(text, list(rows))
        else:
            connection.exec_driver_sql(text, [tuple([row[c] for c in order]) for row in rows])

    def _compile(self, table: sa.Table, key: str | None) -> tuple[str, tuple[str, ...] | None]:
        """Returns the statement as the driver wants it, and the order of its columns if it counts."""
        names = [column.name for column in table.columns]
        if key is None:
            statement: Any = table.insert()
        else:
            make = sqlite.insert if self._dialect.name == "sqlite" else postgresql.insert
            insert = make(table)
            others = {name: insert.excluded[name] for name in names if name != key}
            statement = insert.on_conflict_do_update(index_elements=[key], set_=others)
        compiled = statement.compile(dialect=self._dialect, column_keys=names)
        order = tuple(compiled.positiontup) if compiled.positional else None
        return str(compiled), order
