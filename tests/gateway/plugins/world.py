"""Clusters of plugins on a real scheduler, an embedded Mesos and real executors."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from executor.task import NodeFile
from framework.local.launcher import LocalMesos
from framework.local.options import DISK_PATH
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.model.jobs import JobKey
from framework.remote import Remote
from framework.service import SchedulerService
from framework.storage import Storage
from gateway.clusters.engine import Engine
from gateway.clusters.fleet import SchedulerFleet
from gateway.clusters.model import (
    Cluster,
    Group,
    LaunchRequest,
    NodeAsk,
    NodeRecord,
    NodeSpec,
)
from gateway.clusters.planning import Rules
from gateway.clusters.service import Clusters
from gateway.plugins.channels import Channels, ssh_files, transport_of
from gateway.plugins.loader import Plugins
from gateway.plugins.provider import PluginProvider
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView
from gateway.store import Store
from tests.framework.mesos.peer import eventually

ROOT = Path(__file__).resolve().parent.parent.parent.parent
RESOURCES = "cpus:8;mem:8192;disk:8192;ports:[31000-31999]"
SECRET = "5e" * 32
PATIENCE = 400.0


class Provider(PluginProvider):
    """Puts the keys into the nodes that are reached over SSH."""

    def files(self, cluster: Cluster, node: NodeRecord) -> Sequence[NodeFile]:
        user = next(
            g.extra.get("image_username", "root") for g in cluster.groups if g.name == node.group
        )
        return ssh_files(SECRET, node, user) if transport_of(cluster, node.group) == "ssh" else ()


class World:
    """A scheduler, a store, an engine. ``plugins`` may grow while it runs."""

    def __init__(self, directory: Path, agents: int = 3) -> None:
        self.mesos = LocalMesos(agents, RESOURCES, work_dir=directory / "mesos")
        self.mesos.start()
        self.plugins: dict[str, Plugin] = {}
        self.storage = Storage(str(directory / "state.db"))
        self.scheduler = SchedulerService(self.storage, self._driver)
        self.scheduler.start()
        self.remote = Remote(self.scheduler)
        self.store = Store(str(directory / "state.db"))
        self.store.fence = lambda: self.scheduler.status().epoch
        self.open = Channels(self.remote.run, lambda cluster_id: SECRET)
        fleet = SchedulerFleet(self.scheduler)
        self.engine = Engine(
            self.store,
            fleet,
            {"plugin": Provider(Plugins(self.plugins), self.open)},
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
        self.storage.close()
        self.mesos.stop()

    def _driver(self, sink: Any, framework_id: str | None) -> MesosDriver:
        assert self.mesos.address is not None
        executor = ExecutorSettings(
            command=f"exec {sys.executable} -P -m executor",
            environment=(("PYTHONPATH", str(ROOT)),),
            disk_path=f"{self.mesos.work_dir}/{DISK_PATH}",
        )
        address, settings = self.mesos.address, FrameworkSettings()
        return MesosDriver(address, settings, executor, sink, framework_id=framework_id)

    def _write_hosts(self, node: NodeRecord, text: str) -> None:
        assert node.task_id is not None
        where = "/etc/hosts" if node.spec.image else "hosts"
        ended = self.remote.run(node.task_id, ["sh", "-c", f"cat > {where}"], text.encode())
        assert ended.code == 0, ended

    def add(self, name: str, plugin: Plugin) -> None:
        plugin.name = name
        self.plugins[name] = plugin

    def launch(self, request: LaunchRequest) -> Cluster:
        """Returns the cluster when it is ready."""
        launched = self.clusters.launch(request)
        return self.settled(launched.cluster_id)

    def settled(self, cluster_id: str, timeout: float = PATIENCE) -> Cluster:
        """Returns the cluster when nothing is being done to it."""

        def look() -> Cluster | None:
            now = self.clusters.get(cluster_id)
            return None if now.is_busy else now

        try:
            found: Cluster = eventually(look, timeout)
        except AssertionError:
            events = [(e.step or e.node, e.text) for e in self.clusters.events(cluster_id)]
            raise AssertionError((self.clusters.get(cluster_id), events)) from None
        return found

    def delete(self, cluster_id: str) -> None:
        """Returns when the cluster is gone."""
        self.clusters.delete(cluster_id, "ann")
        eventually(lambda: self.clusters.get(cluster_id).is_gone, PATIENCE)

    def view(self, cluster_id: str) -> ClusterView:
        return ClusterView(self.clusters.get(cluster_id), self.open)


@contextlib.contextmanager
def world(directory: Path) -> Iterator[World]:
    made = World(directory)
    try:
        yield made
    finally:
        made.stop()


def group(
    name: str,
    processes: Sequence[str],
    spec: NodeSpec | None = None,
    node_configs: Mapping[str, Any] | None = None,
    **extra: Any,
) -> Group:
    spec = spec or NodeSpec(cpus=0.1, mem_mb=32, command="exec sleep 1000")
    values = {"id": f"id-of-{name}", "node_processes": list(processes), **extra}
    return Group(name, spec, {**values, "node_configs": node_configs or {}})


def request(
    plugin: tuple[str, str],
    groups: Sequence[tuple[Group, int]],
    cluster_configs: Mapping[str, Any] | None = None,
) -> LaunchRequest:
    """Returns a cluster of so many nodes of each group; each time one of another name."""
    name = f"c{uuid.uuid4().hex[:8]}"
    return LaunchRequest(
        key=f"sahara/ann/{name}",
        owner="ann",
        project="ann",
        provider="plugin",
        product=plugin,
        job_name=name,
        environment="sahara",
        name=name,
        groups=tuple(one for one, _ in groups),
        nodes=tuple(
            NodeAsk(f"{one.name}-{n}", one.name, one.spec) for one, count in groups for n in range(count)
        ),
        extra={"cluster_configs": cluster_configs or {}},
    )


def view_of(request: LaunchRequest, open_remote: Any = None, keep: Any = None) -> ClusterView:
    """Returns what a plugin sees of a cluster that is asked for."""
    nodes = tuple(
        NodeRecord(f"{request.job_name}-{n}", n, ask.name, ask.group, ask.spec)
        for n, ask in enumerate(request.nodes)
    )
    cluster = Cluster(
        "an-id",
        request.key,
        request.owner,
        request.provider,
        request.product,
        job=JobKey.of("devcluster", request.owner, request.environment, request.job_name),
        name=request.name,
        project=request.project,
        groups=request.groups,
        nodes=nodes,
        extra=request.extra,
    )
    return ClusterView(cluster, open_remote or _no_remote, keep)


def _no_remote(cluster: Cluster, node: NodeRecord) -> Any:
    raise AssertionError(f"nothing is to be run on {node.name}")
