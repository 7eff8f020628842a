"""A world of data clusters for a file of tests; each test makes its own clusters in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store import Store
from tests.gateway.dataprocessing.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path: Path = tmp_path_factory.mktemp("data") / "state.db"
    store = Store(str(path))
    world = World(store)
    world.start()
    yield world
    world.stop()
    store.close()
