"""A service with the real core, storage and driver, against a cluster on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.service import SchedulerService
from framework.storage import Storage
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import QUICK, eventually
from tests.framework.service.world import Make, WatchedStorage


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def storage(path: Path) -> Iterator[WatchedStorage]:
    storage = WatchedStorage(str(path))
    yield storage
    storage.close()


@pytest.fixture
def make_service(cluster: Cluster, storage: WatchedStorage) -> Iterator[Make]:
    """Makes started services and stops them; afterwards no thread of theirs may be left."""
    before = set(threading.enumerate())
    services: list[SchedulerService] = []

    def make(storage: Storage = storage, **options: Any) -> SchedulerService:
        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            return MesosDriver(
                cluster.address,
                FrameworkSettings(user="nobody"),
                ExecutorSettings(command="/opt/executor"),
                sink,
                framework_id=framework_id,
                timing=QUICK,
            )

        service = SchedulerService(storage, make_driver, Settings(), **options)
        services.append(service)
        service.start()
        return service

    yield make
    storage.gate.set()
    for service in services:
        service.stop(60)
    names = ("mesos-", "scheduler")
    assert [t for t in set(threading.enumerate()) - before if t.name.startswith(names)] == []


@pytest.fixture
def service(make_service: Make, cluster: Cluster, storage: WatchedStorage) -> SchedulerService:
    """A service that is ready, and has stored its registration: what a test now finds in a commit, or
    does to one, is the test's own."""
    service = make_service()
    eventually(lambda: service.status().ready)
    eventually(lambda: storage.framework_id() == cluster.framework_id)
    return service
