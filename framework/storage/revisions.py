"""From the tables of any earlier release to those of this one, with alembic.

A database knows the revision of each chain in a table of one row.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory


class Chain(msgspec.Struct, frozen=True):
    """The revisions that lie in ``directory``; the newest is ``head``.

    ``table`` is where a database keeps which one it has. One that keeps none, and has the table
    ``unmarked``, has the revision ``first``.
    """

    directory: Path
    table: str
    head: str
    first: str = ""
    unmarked: str = ""

    def revision(self, connection: sa.Connection) -> str | None:
        """Returns what the database has; None: nothing that is marked."""
        if not sa.inspect(connection).has_table(self.table):
            return None
        marked = sa.table(self.table, sa.column("version_num", sa.String))
        found = connection.execute(sa.select(marked.c.version_num)).scalar()
        return None if found is None else str(found)

    def known(self) -> frozenset[str]:
        return frozenset(script.revision for script in self.scripts().walk_revisions())

    def upgrade(self, connection: sa.Connection) -> None:
        """Brings the tables to ``head`` within the connection's transaction: all or nothing."""
        # Only now: alembic takes its time to import, and is seldom needed.
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext

        scripts = self.scripts()
        environment = EnvironmentContext(
            Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision)
        )
        environment.configure(connection=connection, version_table=self.table, transactional_ddl=True)
        old = self.unmarked and sa.inspect(connection).has_table(self.unmarked)
        if old and self.revision(connection) is None:
            environment.get_context().stamp(scripts, self.first)
        with environment.begin_transaction():
            environment.run_migrations()

    def scripts(self) -> ScriptDirectory:
        from alembic.script import ScriptDirectory

        return ScriptDirectory(str(self.directory))
