"""A world for the clusters of a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.plugins.world import World, world


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("plugins")) as running:
        yield running
