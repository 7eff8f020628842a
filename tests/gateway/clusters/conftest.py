"""An engine over a store in memory and a scheduler of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.store import Store
from tests.gateway.clusters.doubles import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    store = Store("sqlite://")
    bench = Bench(store)
    yield bench
    bench.engine._leave(5.0)
    store.close()
