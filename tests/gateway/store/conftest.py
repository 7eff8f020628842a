"""A store on each of the two databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.store import Store
from tests.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What --state says."""
    if request.param == "sqlite":
        return str(tmp_path / "state.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def opened(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Store]]:
    """Opens stores on the same state and closes them."""
    # Some tests have several that write at once: none gives up because the disk is slow.
    monkeypatch.setattr("gateway.store.sessions._BUSY", 60.0)
    monkeypatch.setattr("framework.storage.engine._STATEMENT", 60)
    monkeypatch.setattr("framework.storage.engine._TRANSACTION", 60.0)
    stores: list[Store] = []

    def open_one() -> Store:
        stores.append(Store(place))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()
