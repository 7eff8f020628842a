"""Clusters for the tests of the local Mesos."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.framework.local.clusters import Cluster


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., Cluster]]:
    """Starts clusters; all end with the test, and nothing of them may be left."""
    started: list[Cluster] = []

    def start(agents: int = 1, *options: str, **more: str) -> Cluster:
        cluster = Cluster(agents, *options, **more)
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in started:
        cluster.stop()
