"""From the state of any earlier release to that of this one, with alembic.

A state knows its revision in the table ``scheduler_revision``. The first release had none, and
``scheduler_schema`` with the version 1 instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from framework.storage.tables import REVISION_TABLE, revisions

FIRST = "0001"


def script_directory() -> ScriptDirectory:
    """Returns the revisions, which lie beside this file."""
    return ScriptDirectory(str(Path(__file__).parent))


def known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in script_directory().walk_revisions())


def upgrade(connection: sa.Connection) -> None:
    """Brings the state to the newest revision within the connection's transaction: all or nothing."""
    scripts = script_directory()
    environment = EnvironmentContext(
        Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision)
    )
    environment.configure(connection=connection, version_table=REVISION_TABLE, transactional_ddl=True)
    if not _revisions(connection) and sa.inspect(connection).has_table("scheduler_schema"):
        environment.get_context().stamp(scripts, FIRST)
    with environment.begin_transaction():
        environment.run_migrations()


def _revisions(connection: sa.Connection) -> Mapping[str, None]:
    context = sa.inspect(connection)
    if not context.has_table(REVISION_TABLE):
        return {}
    return dict.fromkeys(connection.execute(sa.select(revisions.c.version_num)).scalars())
