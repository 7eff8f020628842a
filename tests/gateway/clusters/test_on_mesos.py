"""Clusters on a real scheduler, an embedded Mesos and real executors: many at once, and none left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from framework.local.launcher import LocalMesos
from framework.local.options import DISK_PATH
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.model.errors import Unavailable
from framework.remote import Remote
from framework.service import SchedulerService, make_scheduler
from framework.storage import Storage
from gateway.clusters.disks import DiskRecord, Disks, withheld
from gateway.clusters.engine import Engine
from gateway.clusters.fleet import SchedulerFleet
from gateway.clusters.model import (
    Cluster,
    DiskAsk,
    Group,
    NetworkAsk,
    NodeAsk,
    NodeRecord,
    NodeSpec,
    NodeStatus,
    Phase,
)
from gateway.clusters.networks import DiskMark, Network, expand
from gateway.clusters.planning import Rules
from gateway.clusters.service import Clusters
from gateway.store import Store
from tests.framework.mesos.peer import eventually
from tests.gateway.clusters.doubles import ScriptedProvider, a_request

ROOT = Path(__file__).resolve().parent.parent.parent.parent
CLUSTERS, NODES = 20, 5
PATIENCE = 180.0
# Nobody else's processes have this on their command line.
MARK = f"1000.{os.getpid()}"


def executor(work_dir: Path) -> ExecutorSettings:
    return ExecutorSettings(
        command=f"exec {sys.executable} -P -m executor",
        environment=(("PYTHONPATH", str(ROOT)),),
        disk_path=f"{work_dir}/{DISK_PATH}",
    )


class World:
    """A scheduler, a store, an engine."""

    def __init__(self, mesos: LocalMesos, state: Path) -> None:
        self.mesos = mesos
        self.state = str(state)
        self.provider = ScriptedProvider()
        self.storage = Storage(self.state)
        self.start()
        self.store.networks.define(Network("n", "10.0.0.0/16", expand(["10.0.1.1-10.0.1.120"])))

    def start(self) -> None:
        def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
            assert self.mesos.address is not None
            return MesosDriver(
                self.mesos.address,
                FrameworkSettings(),
                executor(self.mesos.work_dir),
                sink,
                framework_id=framework_id,
            )

        self.store = store = Store(self.state)
        self.scheduler = SchedulerService(
            self.storage, make_driver, make_core=lambda s, now: make_scheduler(s, now, withheld(store))
        )
        self.scheduler.start()
        self.remote = Remote(self.scheduler)
        self.disks = Disks(store, self.scheduler)
        self.store.fence = lambda: self.scheduler.status().epoch
        fleet = SchedulerFleet(self.scheduler)
        self.engine = Engine(
            self.store,
            fleet,
            {"product": self.provider},
            Rules(),
            time.time,
            cluster_name="devcluster",
            term=lambda: self.scheduler.status().epoch,
            write_hosts=self._write_hosts,
        )
        self.clusters = Clusters(self.store, self.engine, fleet, Rules(), "devcluster", time.time)
        self.engine.start()

    def stop(self) -> None:
        self.engine.stop()
        self.remote.close()
        self.scheduler.stop()
        self.store.close()

    def _write_hosts(self, node: NodeRecord, text: str) -> None:
        assert node.task_id is not None
        ended = self.remote.run(node.task_id, ["sh", "-c", "cat > hosts"], text.encode())
        assert ended.code == 0, ended

    def hosts(self, node: NodeRecord) -> list[str]:
        """The names that a node resolves: it has them in its sandbox, for it is no container."""
        assert node.task_id is not None
        text = self.remote.run(node.task_id, ["cat", "hosts"]).stdout.decode()
        return [line.split()[1] for line in text.splitlines()]

    def hosts_with_disks(self, count: int) -> list[str]:
        """Waits until the scheduler knows the disks of so many agents, and returns their hosts."""

        def look() -> list[str] | None:
            found = list(self.scheduler.query(lambda core: list(core.disks())).result(60))
            return found if len(found) == count else None

        hosts: list[str] = eventually(look, PATIENCE)
        return hosts

    def wait(self, cluster: Cluster, until: Callable[[Cluster], bool]) -> Cluster:
        def look() -> Cluster | None:
            now = self.clusters.get(cluster.cluster_id)
            return now if until(now) else None

        try:
            found: Cluster = eventually(look, PATIENCE)
        except AssertionError:
            events = [(e.step or e.node, e.text) for e in self.clusters.events(cluster.cluster_id)]
            reasons = self.clusters.pending_reasons(cluster.cluster_id)
            raise AssertionError((self.clusters.get(cluster.cluster_id), events, reasons)) from None
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("clusters")
    resources = "cpus:8;mem:4096;disk:8192;ports:[31000-31999];dataDisks:{disk1,disk2}"
    mesos = LocalMesos(3, resources, work_dir=directory / "mesos")
    mesos.start(timeout=120.0)
    world = World(mesos, directory / "state.db")
    yield world
    world.stop()
    world.storage.close()
    mesos.stop()


def settled(cluster: Cluster) -> bool:
    return cluster.operation is None


def spec(**fields: Any) -> NodeSpec:
    values: dict[str, Any] = {
        "cpus": 0.1,
        "mem_mb": 16,
        "command": f"exec sleep {MARK}",
        "networks": (NetworkAsk("n"),),
    }
    return NodeSpec(**{**values, **fields})


def launch(world: World, number: int, count: int, node: NodeSpec) -> Cluster:
    nodes = tuple(NodeAsk(f"slave{n}", "slave", node) for n in range(count))
    request = a_request(number=number, nodes=nodes, groups=(Group("slave", node),))
    return world.clusters.launch(request)


def processes() -> int:
    """How many nodes there are on this machine."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += entry.read_bytes() == f"sleep\0{MARK}\0".encode()
        except OSError:
            continue
    return found


def test_twenty_clusters_at_once_are_all_ready_and_leave_nothing(world: World) -> None:
    with ThreadPoolExecutor(CLUSTERS) as pool:
        launched = list(pool.map(lambda n: launch(world, n, NODES, spec()), range(CLUSTERS)))
    # One that can never be does not keep the others from being placed.
    never = launch(world, CLUSTERS, 2, spec(cpus=99.0))
    ready = [world.wait(cluster, settled) for cluster in launched]
    assert {(c.phase, c.reason) for c in ready} == {(Phase.READY, "")}
    addresses = [node.address for cluster in ready for node in cluster.nodes]
    assert len(set(addresses)) == CLUSTERS * NODES
    assert {node.status for c in ready for node in c.nodes} == {NodeStatus.RUNNING}
    eventually(lambda: processes() == CLUSTERS * NODES, PATIENCE)
    reasons = eventually(lambda: world.clusters.pending_reasons(never.cluster_id), PATIENCE)
    assert any("needs 99" in reason.reason for reason in reasons["slave0"]), reasons
    for cluster in (*ready, never):
        world.clusters.delete(cluster.cluster_id)
    for cluster in (*ready, never):
        assert world.wait(cluster, settled).phase is Phase.DELETED
        assert world.store.networks.of(cluster.cluster_id) == []
    eventually(lambda: processes() == 0, PATIENCE)
    assert SchedulerFleet(world.scheduler).live("devcluster", "paas") == []


def test_a_cluster_survives_a_restart_grows_and_heals(world: World) -> None:
    disks = (DiskAsk("data", "/data"),)
    launched = launch(world, 100, 2, spec(disks=disks, apart=("slave",)))
    world.stop()
    world.start()
    ready = world.wait(launched, settled)
    assert (ready.phase, ready.reason) == (Phase.READY, "")
    assert len({node.host for node in ready.nodes}) == 2
    assert all(len(node.disks) == 1 for node in ready.nodes)
    world.clusters.resize(launched.cluster_id, {"slave": 1}, ["slave0"])
    resized = world.wait(launched, settled)
    assert (resized.phase, resized.reason) == (Phase.READY, "")
    assert [node.name for node in resized.nodes] == ["slave1", "slave2"]
    before = resized.nodes[0]
    for node in resized.nodes:
        assert world.hosts(node) == ["localhost", "slave1", "slave2"]
    world.clusters.restart_node(launched.cluster_id, "slave1")
    healed = world.wait(
        launched,
        lambda c: c.nodes[0].task_id != before.task_id and c.nodes[0].status is NodeStatus.RUNNING,
    )
    assert (healed.nodes[0].host, healed.nodes[0].disks) == (before.host, before.disks)
    assert healed.nodes[0].interfaces == before.interfaces
    # It has begun with the names of the launch; the present ones are written into it.
    healed = world.wait(launched, lambda c: c.nodes[0].hosts == c.nodes[1].hosts)
    assert world.hosts(healed.nodes[0]) == ["localhost", "slave1", "slave2"]
    eventually(lambda: processes() == 2, PATIENCE)
    world.clusters.delete(launched.cluster_id)
    assert world.wait(launched, settled).phase is Phase.DELETED
    eventually(lambda: processes() == 0, PATIENCE)


def test_marked_disks_are_given_to_nobody(world: World) -> None:
    """Not after a restart either; those in use, free and marked are told apart."""
    first = world.wait(launch(world, 200, 1, spec(disks=(DiskAsk("data", "/data"),))), settled)
    assert (first.phase, first.reason) == (Phase.READY, "")
    home, used = first.nodes[0].host, first.nodes[0].disks[0]
    assert home is not None
    # Each agent is known once it has offered something, which one that runs nothing may do later.
    hosts = world.hosts_with_disks(3)
    names = ("disk1", "disk2")
    for host in hosts:
        for name in names:
            # The disk in use is marked, too: its node keeps it.
            world.disks.mark(DiskMark(host, name, "used", "the operator's", "x"))
    assert set(world.disks.of(home)) == {
        DiskRecord(used, home, "used", first.key, first.nodes[0].name, first.owner),
        *(DiskRecord(n, home, "used", "the operator's", "x") for n in names if n != used),
    }
    second = launch(world, 201, 1, spec(disks=(DiskAsk("data", "/data"),)))
    reasons = eventually(lambda: world.clusters.pending_reasons(second.cluster_id), PATIENCE)
    assert "disk" in str(reasons["slave0"]), reasons
    world.stop()
    world.start()
    reasons = eventually(lambda: world.clusters.pending_reasons(second.cluster_id), PATIENCE)
    world.hosts_with_disks(3)
    # It may have a task by now, which waits: none of its disks is given to it.
    waiting = world.clusters.get(second.cluster_id).nodes[0]
    assert (waiting.status, waiting.host, waiting.disks) == (NodeStatus.QUEUED, None, ())
    other = next(host for host in hosts if host != home)
    world.disks.mark(DiskMark(other, "disk2"))
    second = world.wait(second, settled)
    assert (second.phase, second.nodes[0].host, second.nodes[0].disks) == (
        Phase.READY,
        other,
        ("disk2",),
    )
    for host in hosts:
        for name in names:
            world.disks.mark(DiskMark(host, name))
    assert [(d.name, d.status) for d in world.disks.of(other)] == [("disk1", "free"), ("disk2", "used")]
    for cluster in (first, second):
        world.clusters.delete(cluster.cluster_id)
        world.wait(cluster, settled)
    eventually(lambda: processes() == 0, PATIENCE)
    eventually(lambda: {d.status for d in world.disks.of(other)} == {"free"}, PATIENCE)


def test_what_the_scheduler_could_not_be_told_is_told_again(world: World) -> None:
    world.stop()
    store = Store(world.state)
    disks = Disks(store, world.scheduler)
    with pytest.raises(Unavailable):
        disks.mark(DiskMark("agent", "disk1", "used"))
    disks.say_again()
    assert store.disks.list("agent", "used")
    store.disks.put(DiskMark("agent", "disk1"))
    store.close()
    world.start()
