"""Clusters of plugins on a real scheduler, an embedded Mesos and real executors."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from gateway.plugins.channels import Channels
from gateway.plugins.loader import Plugins
from gateway.plugins.provider import PluginProvider
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView
from gateway.store import Store
from tests.e2e.harness import eventually

ROOT = Path(__file__).resolve().parent.parent.parent.parent
RESOURCES = "cpus:8;mem:8192;disk:8192;ports:[31000-31999]"
PATIENCE = 180.0


class World:
    """A scheduler, a store, an engine. ``plugins`` may grow while it runs; with a ``secret`` the nodes
    that are made have keys for SSH."""

    def __init__(self, directory: Path, agents: int = 3) -> None:
        self.mesos = LocalMesos(agents, RESOURCES, work_dir=directory / "mesos")
        self.mesos.start(timeout=120.0)
        self.plugins: dict[str, Plugin] = {}
        self.secret: str | None = None
        self.storage = Storage(str(directory / "state.db"))
        self.scheduler = SchedulerService(self.storage, self._driver)
        self.scheduler.start()
        self.remote = Remote(self.scheduler)
        self.store = Store(str(directory / "state.db"))
        self.store.fence = lambda: self.scheduler.status().epoch
        self.open = Channels(self.remote.run, self._secret_of)
        fleet = SchedulerFleet(self.scheduler)
        self.engine = Engine(
            self.store,
            fleet,
            {"plugin": PluginProvider(Plugins(self.plugins), self.open, self._secret_of)},
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

    def _secret_of(self, cluster_id: str) -> str | None:
        return self.secret

    def _write_hosts(self, node: NodeRecord, text: str) -> None:
        assert node.task_id is not None
        where = "/etc/hosts" if node.spec.image else "hosts"
        ended = self.remote.run(node.task_id, ["sh", "-c", f"cat > {where}"], text.encode())
        assert ended.code == 0, ended

    def add(self, name: str, plugin: Plugin) -> None:
        plugin.name = name
        self.plugins[name] = plugin

    def launch(self, request: LaunchRequest, timeout: float = PATIENCE) -> Cluster:
        """Returns the cluster when nothing more is done to it."""
        launched = self.clusters.launch(request)
        return self.settled(launched.cluster_id, timeout)

    def settled(self, cluster_id: str, timeout: float = PATIENCE) -> Cluster:
        """Returns the cluster when nothing is being done to it."""

        try:
            return eventually(
                lambda: self.clusters.get(cluster_id), lambda now: not now.is_busy, timeout
            )
        except AssertionError:
            events = [(e.step or e.node, e.text) for e in self.clusters.events(cluster_id)]
            raise AssertionError((self.clusters.get(cluster_id), events)) from None

    def delete(self, cluster_id: str) -> None:
        """Returns when the cluster is gone."""
        self.clusters.delete(cluster_id, "ann")
        eventually(lambda: self.clusters.get(cluster_id), lambda now: now.is_gone, PATIENCE)

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
