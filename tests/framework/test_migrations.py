"""States of earlier releases, on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from framework.model.errors import Invalid
from framework.model.tasks import TaskState
from framework.storage import Storage, StorageUnavailable
from framework.storage.migrations import CHAIN
from framework.storage.tables import metadata
from tests.framework.test_storage import KEY, path, place

__all__ = ["path", "place"]
OLD = Path(__file__).parent / "data" / "state-without-migrations.sql"


def engine_of(place: str) -> sa.Engine:
    with_driver = place.replace("postgresql://", "postgresql+psycopg://")
    return sa.create_engine(with_driver if "://" in place else f"sqlite:///{place}")


def fill(place: str) -> None:
    """Makes the state of the release that kept no revisions."""
    if "://" not in place:
        with sqlite3.connect(place) as file:
            file.executescript(OLD.read_text(encoding="utf-8"))
        file.close()
        return
    memory = sqlite3.connect(":memory:")
    memory.executescript(OLD.read_text(encoding="utf-8"))
    source = sa.create_engine("sqlite://", creator=lambda: memory, poolclass=sa.pool.StaticPool)
    tables = sa.MetaData()
    tables.reflect(source)
    target = engine_of(place)
    with source.connect() as reader, target.begin() as writer:
        tables.create_all(writer)
        for table in tables.sorted_tables:
            rows = [dict(row._mapping) for row in reader.execute(table.select())]
            if rows:
                writer.execute(table.insert(), rows)
    source.dispose()
    target.dispose()
    memory.close()


def revisions(place: str) -> list[str]:
    engine = engine_of(place)
    with engine.connect() as connection:
        found = [row[0] for row in connection.execute(sa.text(f"select * from {CHAIN.table}"))]
    engine.dispose()
    return found


def test_the_newest_revision_is_the_one_that_this_release_expects() -> None:
    assert CHAIN.scripts().get_heads() == [CHAIN.head]


def test_a_new_state_has_the_tables_that_the_code_knows(place: str) -> None:
    Storage(place).close()
    assert revisions(place) == [CHAIN.head]
    engine = engine_of(place)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": CHAIN.table})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_state_of_the_release_before_is_upgraded_with_all_that_is_in_it(place: str) -> None:
    fill(place)
    for _ in range(2):
        storage = Storage(place)
        snapshot = storage.load()
        assert [str(job.spec.key) for job in snapshot.jobs] == [str(KEY)]
        assert sorted(task.instance for task in snapshot.tasks) == [0, 1, 2]
        assert all(isinstance(task.state, TaskState) for task in snapshot.tasks)
        assert len(storage.events_after(0)) == 7
        storage.close()
    assert revisions(place) == [CHAIN.head]


def test_several_that_start_at_once_migrate_once(place: str) -> None:
    fill(place)
    failures: list[BaseException] = []

    def open_and_close() -> None:
        try:
            Storage(place).close()
        except StorageUnavailable as error:  # SQLite's patience may end first
            failures.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) < 4
    assert revisions(place) == [CHAIN.head]
    storage = Storage(place)
    assert len(storage.load().tasks) == 3
    storage.close()


def test_a_migration_that_fails_leaves_the_state_as_it_was(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place)
    monkeypatch.setattr("alembic.op.drop_table", _fail)
    with pytest.raises(RuntimeError, match="no table is dropped"):
        Storage(place)
    monkeypatch.undo()
    engine = engine_of(place)
    assert sa.inspect(engine).has_table("scheduler_schema")
    assert not sa.inspect(engine).has_table(CHAIN.table)
    engine.dispose()
    storage = Storage(place)
    assert len(storage.load().tasks) == 3
    storage.close()


def _fail(name: str) -> None:
    raise RuntimeError("no table is dropped today")


def test_a_state_of_a_later_release_is_refused(place: str, opened: Callable[..., Storage]) -> None:
    opened().close()
    engine = engine_of(place)
    with engine.begin() as connection:
        connection.execute(sa.text(f"update {CHAIN.table} set version_num = '0099'"))
    engine.dispose()
    with pytest.raises(Invalid, match="the scheduler_revision 0099, which this release does not know"):
        Storage(place)


@pytest.fixture
def opened(place: str) -> Callable[..., Storage]:
    return lambda: Storage(place)


def test_the_log_tells_of_the_state_and_not_of_plugins(tmp_path: Path) -> None:
    """In a process of its own: alembic tells of its plugins when it is imported."""
    place = tmp_path / "state.db"
    Storage(str(place)).close()
    with sqlite3.connect(place) as file:
        file.execute(f"update {CHAIN.table} set version_num = '9999'")
    file.close()
    code = (
        "import logging, sys; logging.basicConfig(level=logging.INFO); "
        "from framework.storage import Storage; Storage(sys.argv[1])"
    )
    run = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True)
    assert "9999, which this release does not know" in run.stderr
    assert "INFO:" not in run.stderr
