"""Data clusters of the fake plugin on an embedded Mesos with real executors: plain processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.local.launcher import LocalMesos
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.remote import Remote
from framework.service import SchedulerService
from framework.storage import Storage
from gateway.clusters import keys
from gateway.clusters.engine import Engine
from gateway.clusters.fleet import SchedulerFleet
from gateway.clusters.model import Cluster, NodeRecord
from gateway.clusters.planning import Rules
from gateway.clusters.service import Clusters
from gateway.dataprocessing.calls import PluginCalls
from gateway.dataprocessing.service import DataProcessing, data_processing
from gateway.dataprocessing.status import CREATING, SCALING, description_of, status_of
from gateway.dataprocessing.verification import Verifier, verification_of
from gateway.plugins import loader
from gateway.plugins.channels import Channels
from gateway.plugins.provider import PluginProvider
from gateway.store import Store
from tests.framework.mesos.peer import eventually
from tests.gateway.clusters.test_on_mesos import executor
from tests.gateway.dataprocessing.world import CATALOGUE, FAKE, IMAGE_ID, NETWORK, TENANT

PATIENCE = 240.0


class Real:
    """A scheduler, a store, an engine, a verifier; ``words`` are the statuses seen of each cluster."""

    def __init__(self, mesos: LocalMesos, state: str) -> None:
        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            assert mesos.address is not None
            settings = executor(mesos.work_dir)
            return MesosDriver(
                mesos.address, FrameworkSettings(), settings, sink, framework_id=framework_id
            )

        self.storage = Storage(state)
        self.scheduler = SchedulerService(self.storage, make_driver)
        self.scheduler.start()
        self.store = Store(state)
        self.store.fence = self.term
        self.remote = Remote(self.scheduler)
        plugins = loader.load([FAKE])
        self.channels = Channels(self.remote.run, self._secret)
        fleet = SchedulerFleet(self.scheduler)
        self.engine = Engine(
            self.store,
            fleet,
            {"plugin": PluginProvider(plugins, self.channels, self._secret)},
            Rules(),
            time.time,
            cluster_name="devcluster",
            term=self.term,
        )
        clusters = Clusters(self.store, self.engine, fleet, Rules(), "devcluster", time.time)
        calls = PluginCalls()
        self.data: DataProcessing = data_processing(
            self.store, clusters, plugins, CATALOGUE, time.time, calls
        )
        self.verifier = Verifier(self.store, plugins, self.channels, calls, self.term, time.time)
        self.words: dict[str, list[str]] = {}
        self.store.subscribe(self._note)
        self.engine.start()
        self.verifier.start()

    def term(self) -> int:
        return self.scheduler.status().epoch

    def stop(self) -> None:
        self.verifier.stop()
        self.engine.stop()
        self.remote.close()
        self.scheduler.stop()
        self.store.close()
        self.storage.close()

    def _secret(self, cluster_id: str) -> str | None:
        return self.store.secrets.get(cluster_id, keys.SECRET)

    def _note(self, change: Any) -> None:
        if change.kind == "cluster":
            word = status_of(self.store.clusters.get(change.id))
            seen = self.words.setdefault(change.id, [])
            if not seen or seen[-1] != word:
                seen.append(word)

    def wait(self, cluster: Cluster, until: Callable[[Cluster], bool]) -> Cluster:
        def look() -> Cluster | None:
            now = self.store.clusters.get(cluster.cluster_id)
            return now if until(now) else None

        found: Cluster = eventually(look, timeout=PATIENCE)
        return found

    def active(self, cluster: Cluster) -> Cluster:
        return self.wait(
            cluster, lambda c: status_of(c) == "Active" and not c.extra.get("verification_due")
        )

    def nothing_left(self, cluster: Cluster) -> bool:
        def tasks(core: Any) -> int:
            view = core.get_job(cluster.job)
            return sum(state.task.is_active for state in view.instances)

        return self.scheduler.query(tasks).result(30) == 0

    def run(self, cluster: Cluster, node: NodeRecord, command: str) -> str:
        with self.channels(cluster, node) as remote:
            return str(remote.execute_command(command)[1])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    root: Path = tmp_path_factory.mktemp("mesos")
    mesos = LocalMesos(1, "cpus:4;mem:2048;disk:4096;ports:[31000-31100]", work_dir=root / "mesos")
    mesos.start()
    real = Real(mesos, str(root / "state.db"))
    yield real
    real.stop()
    mesos.stop()


def given(name: str, **fields: Any) -> dict[str, Any]:
    def group(group_name: str, count: int, process: str) -> dict[str, Any]:
        return {
            "name": group_name,
            "count": count,
            "flavor_id": "42",
            "node_processes": [process],
        }

    return {
        "name": name,
        "plugin_name": "fake",
        "hadoop_version": "0.1",
        "default_image_id": IMAGE_ID,
        "neutron_management_network": NETWORK,
        "node_groups": [group("master", 1, "namenode"), group("worker", 2, "datanode")],
        **fields,
    }


def in_order(words: list[str], order: tuple[str, ...]) -> bool:
    places = [order.index(word) for word in words]
    return places == sorted(set(places))


def test_a_cluster_lives_grows_shrinks_and_leaves_nothing(real: Real) -> None:
    clusters = real.data.clusters
    made = clusters.create(TENANT, given("real"))
    cluster = real.active(made)
    assert in_order(real.words[made.cluster_id], CREATING)
    seen = verification_of(cluster)
    assert seen is not None
    assert seen.status == "GREEN"
    assert real.run(cluster, cluster.nodes[2], "echo $((6 * 7))").strip() == "42"
    real.words.clear()
    clusters.scale(TENANT, made.cluster_id, {"resize_node_groups": [{"name": "worker", "count": 3}]})
    assert len(real.active(made).nodes) == 4
    assert in_order(real.words[made.cluster_id], SCALING)
    real.words.clear()
    down = {"name": "worker", "count": 2, "instances": ["real-worker-0"]}
    clusters.scale(TENANT, made.cluster_id, {"resize_node_groups": [down]})
    left = real.active(made)
    assert [n.name for n in left.nodes] == ["real-master-0", "real-worker-1", "real-worker-2"]
    assert in_order(real.words[made.cluster_id], SCALING)
    clusters.delete(TENANT, made.cluster_id)
    real.wait(made, lambda c: c.is_gone)
    assert real.nothing_left(made)
    assert real.store.secrets.names(made.cluster_id) == []


@pytest.mark.parametrize("method", ["configure_cluster", "start_cluster"])
def test_a_creation_that_fails_leaves_nothing(real: Real, method: str) -> None:
    failing = {"general": {"Fail at": method}}
    made = real.data.clusters.create(TENANT, given(f"f-{method[:5]}", cluster_configs=failing))
    failed = real.wait(made, lambda c: c.phase == "error")
    assert f"{method} fails" in description_of(failed)
    assert real.nothing_left(failed)
    real.data.clusters.delete(TENANT, made.cluster_id)
    real.wait(made, lambda c: c.is_gone)
