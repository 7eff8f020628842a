"""Data clusters of the fake plugin on an embedded Mesos with real executors: plain processes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
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
from gateway.dataprocessing.service import DataProcessing, data_processing
from gateway.dataprocessing.status import CREATING, SCALING, UNDOING, description_of, status_of
from gateway.dataprocessing.verification import verification_of
from gateway.dataprocessing.verifier import Verifier
from gateway.plugins import loader
from gateway.plugins.calls import PluginCalls
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
        self.plugins = plugins = loader.load([FAKE])
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
        self.words: dict[str, list[str]] = defaultdict(list)
        self._noting = threading.Lock()
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
            # What was looked at first is noted first, whichever threads have committed.
            with self._noting:
                word = status_of(self.store.clusters.get(change.id))
                if self.words[change.id][-1:] != [word]:
                    self.words[change.id].append(word)

    def wait(self, cluster: Cluster, until: Callable[[Cluster], bool]) -> Cluster:
        def look() -> Cluster | None:
            now = self.store.clusters.get(cluster.cluster_id)
            return now if until(now) else None

        found: Cluster = eventually(look, timeout=PATIENCE)
        return found

    def active(self, cluster: Cluster) -> Cluster:
        """Waits until a cluster is active and verified, and until the words tell it, too.

        They are told after what they tell of is stored; a word that came later would be taken for
        one of what is done next.
        """

        def is_active(now: Cluster) -> bool:
            told = self.words[cluster.cluster_id][-1:] == ["Active"]
            return told and status_of(now) == "Active" and not now.extra.get("verification_due")

        return self.wait(cluster, is_active)

    def gone(self, cluster: Cluster) -> None:
        """Waits until a cluster is no more, and nothing of it either."""
        self.wait(cluster, lambda c: c.is_gone)
        assert self.running(cluster) == []
        assert self.store.secrets.names(cluster.cluster_id) == []
        assert self.store.networks.of(cluster.cluster_id) == []

    def running(self, cluster: Cluster) -> list[str]:
        """Returns the names of the nodes whose tasks the scheduler has."""

        def tasks(core: Any) -> list[str]:
            view = core.get_job(cluster.job)
            active = [state.task for state in view.instances if state.task.is_active]
            return sorted(task.config.node.hostname for task in active)

        found: list[str] = self.scheduler.query(tasks).result(30)
        return found

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
    made = real.data.launches.create(TENANT, given("real"))
    cluster = real.active(made)
    words = real.words[made.cluster_id]
    assert in_order(words, CREATING), words
    seen = verification_of(cluster)
    assert seen is not None
    assert seen.status == "GREEN"
    assert real.run(cluster, cluster.nodes[2], "echo $((6 * 7))").strip() == "42"
    told = len(words)
    clusters.scale(TENANT, made.cluster_id, {"resize_node_groups": [{"name": "worker", "count": 3}]})
    assert len(real.active(made).nodes) == 4
    assert in_order(words[told:], SCALING), words
    told = len(words)
    down = {"name": "worker", "count": 2, "instances": ["real-worker-0"]}
    clusters.scale(TENANT, made.cluster_id, {"resize_node_groups": [down]})
    left = real.active(made)
    assert [n.name for n in left.nodes] == ["real-master-0", "real-worker-1", "real-worker-2"]
    assert in_order(words[told:], SCALING), words
    clusters.delete(TENANT, made.cluster_id)
    real.gone(made)


@pytest.mark.parametrize("method", ["configure_cluster", "start_cluster"])
def test_a_creation_that_fails_leaves_nothing(real: Real, method: str) -> None:
    failing = {"general": {"Fail at": method}}
    made = real.data.launches.create(TENANT, given(f"f-{method[:5]}", cluster_configs=failing))
    failed = real.wait(made, lambda c: c.phase == "error")
    assert f"{method} fails" in description_of(failed)
    assert real.running(failed) == []
    real.data.clusters.delete(TENANT, made.cluster_id)
    real.gone(made)


# -- scaling that fails: it ends as recorded, Active with the reason ---------------------------------

EXTRA = {
    "name": "extra",
    "count": 1,
    "flavor_id": "42",
    "node_processes": ["datanode"],
}


@pytest.mark.parametrize(
    ("method", "asked", "left"),
    [
        # New nodes go again; those that had to go have gone before.
        (
            "scale_cluster",
            {"add_node_groups": [EXTRA], "resize_node_groups": [{"name": "worker", "count": 1}]},
            ["master-0", "worker-0"],
        ),
        # Nodes that were to go stay, and none comes.
        (
            "decommission_nodes",
            {"add_node_groups": [EXTRA], "resize_node_groups": [{"name": "worker", "count": 1}]},
            ["master-0", "worker-0", "worker-1"],
        ),
    ],
)
def test_a_scaling_that_fails_leaves_an_active_cluster(
    real: Real, method: str, asked: dict[str, Any], left: list[str]
) -> None:
    name = f"s-{method[:5]}"
    failing = {"general": {"Fail at": method}}
    made = real.data.launches.create(TENANT, given(name, cluster_configs=failing))
    cluster = real.active(made)
    tasks = {node.name: node.task_id for node in cluster.nodes}
    told = len(real.words[made.cluster_id])
    real.data.clusters.scale(TENANT, made.cluster_id, asked)
    after = real.active(made)
    nodes = [f"{name}-{node}" for node in left]
    assert [node.name for node in after.nodes] == nodes
    assert [group.name for group in after.groups] == ["master", "worker"]
    # Nodes that stay are those that were there, untouched; nothing of the others runs.
    assert {node.name: node.task_id for node in after.nodes} == {node: tasks[node] for node in nodes}
    eventually(lambda: real.running(after) == nodes, timeout=PATIENCE)
    assert description_of(after).startswith(f"{method} fails, as the option")
    assert real.data.clusters.progress(after)[-1].ok is False
    words = real.words[made.cluster_id][told:]
    undoing = next(n for n, word in enumerate(words) if word in UNDOING)
    assert in_order(words[:undoing], SCALING), words
    assert in_order(words[undoing:], UNDOING), words
    assert words[-1] == "Active"
    assert real.run(after, after.nodes[0], "echo $((6 * 7))").strip() == "42"
    real.data.clusters.delete(TENANT, made.cluster_id)
    real.gone(made)


# -- deletion: it always ends ------------------------------------------------------------------------


def test_a_deletion_ends_though_its_plugin_fails(real: Real) -> None:
    failing = {"general": {"Fail at": "on_terminate_cluster"}}
    made = real.active(real.data.launches.create(TENANT, given("d-fails", cluster_configs=failing)))
    told = len(real.words[made.cluster_id])
    real.data.clusters.delete(TENANT, made.cluster_id)
    real.gone(made)
    assert real.words[made.cluster_id][told:] == ["Deleting"]
    story = [event.text for event in real.store.events.read(made.cluster_id)]
    assert any("on_terminate_cluster fails, as the option" in text for text in story)


def test_a_deletion_is_forced_while_its_plugin_hangs(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, called = threading.Event(), threading.Event()

    def hang(cluster: object) -> None:
        called.set()
        free.wait(PATIENCE)

    monkeypatch.setattr(real.plugins.get("fake"), "on_terminate_cluster", hang)
    made = real.active(real.data.launches.create(TENANT, given("d-hangs")))
    real.data.clusters.delete(TENANT, made.cluster_id)
    assert called.wait(PATIENCE)
    assert status_of(real.store.clusters.get(made.cluster_id)) == "Deleting"
    assert len(real.running(made)) == 3
    real.data.clusters.delete(TENANT, made.cluster_id, force=True)
    real.gone(made)
    free.set()


def test_a_deletion_ends_a_scaling_that_hangs(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    free, called = threading.Event(), threading.Event()

    def hang(cluster: object, instances: object) -> None:
        called.set()
        free.wait(PATIENCE)

    monkeypatch.setattr(real.plugins.get("fake"), "scale_cluster", hang)
    made = real.active(real.data.launches.create(TENANT, given("d-scaling")))
    real.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [EXTRA]})
    assert called.wait(PATIENCE)
    assert len(real.running(made)) == 4
    real.data.clusters.delete(TENANT, made.cluster_id)
    real.gone(made)
    free.set()


def test_a_deletion_ends_a_scaling_that_finds_no_room(real: Real) -> None:
    made = real.active(real.data.launches.create(TENANT, given("s-large")))
    large = {**EXTRA, "count": 9, "flavor_id": "2"}
    real.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [large]})
    real.wait(made, lambda c: status_of(c) == "Scaling: Spawning")
    real.data.clusters.delete(TENANT, made.cluster_id)
    real.gone(made)
    # Once it is being deleted it is called nothing else.
    words = real.words[made.cluster_id]
    assert set(words[words.index("Deleting") :]) == {"Deleting"}
