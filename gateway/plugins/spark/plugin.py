"""The plugin ``spark``: a master and its workers, made, watched, grown and shrunk."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.plugins.exceptions import (
    CannotScale,
    InvalidComponentCount,
    NodeError,
    RedHealth,
    RequiredServiceMissing,
    YellowHealth,
)
from gateway.plugins.health import HealthCheck
from gateway.plugins.nodes import on_each, wait_for
from gateway.plugins.provisioning import Config
from gateway.plugins.remote import Remote
from gateway.plugins.spark import daemons
from gateway.plugins.spark.settings import (
    CONFIGS,
    MASTER,
    SLAVE,
    SPARK,
    Settings,
    executor_mb,
    recommended,
    settings,
    spark_defaults,
    spark_env,
)
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView, InstanceView, NodeGroupView


class SparkPlugin(Plugin):
    """A standalone Spark: a master and its workers."""

    def get_title(self) -> str:
        return "Apache Spark"

    def get_description(self) -> str:
        return (
            "Apache Spark as a standalone cluster: a master and workers, without Hadoop. Its image has "
            "Java and Spark."
        )

    def get_versions(self) -> Sequence[str]:
        return ["3.5"]

    def get_configs(self, version: str) -> Sequence[Config]:
        return CONFIGS

    def get_node_processes(self, version: str) -> Mapping[str, Sequence[str]]:
        return {SPARK: [MASTER, SLAVE]}

    def get_open_ports(self, node_group: NodeGroupView) -> Sequence[int]:
        node = _settings(node_group)
        ports = []
        if MASTER in node_group.node_processes:
            ports += [node.master_port, node.master_page]
        if SLAVE in node_group.node_processes:
            ports += [node.worker_port, node.worker_page]
        return ports

    # -- what is asked for --

    def validate(self, cluster: ClusterView) -> None:
        masters = cluster.count_of(MASTER)
        if masters < 1:
            raise RequiredServiceMissing("Spark master")
        if masters > 1:
            raise InvalidComponentCount("Spark master", "1", masters)
        _check_workers(cluster.count_of(SLAVE))
        for group in cluster.node_groups:
            _settings(group)

    def validate_scaling(
        self, cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
    ) -> None:
        """Only groups of workers change, and one worker stays."""
        workers = 0
        changed = {**existing, **additional}
        for group in cluster.node_groups:
            count = changed.get(str(group.id), int(group["count"]))
            # A group that is being added is none of the cluster's yet, for some callers.
            before = int(group["count"]) if str(group.id) not in additional else 0
            if MASTER in group.node_processes and count != before:
                processes = " ".join(group.node_processes)
                raise CannotScale(
                    str(group.name),
                    f"Spark plugin cannot scale nodegroup with processes: {processes}",
                )
            if SLAVE in group.node_processes:
                workers += count
        _check_workers(workers)

    def recommend_configs(self, cluster: ClusterView, scaling: bool = False) -> Mapping[str, Any]:
        """Workers share what their nodes have."""
        of_groups: dict[str, Any] = {}
        memory = []
        for group in cluster.groups_with(SLAVE):
            given = _settings(group)
            runs_master = MASTER in group.node_processes
            advice = recommended(group.flavor.vcpus, group.flavor.ram, runs_master, given)
            of_groups[str(group.name)] = {SPARK: advice}
            memory.append(given.worker_mb or advice["Worker memory"])
        found: dict[str, Any] = {"node_configs": of_groups}
        least = executor_mb(memory)
        if least is not None and not scaling:
            found["cluster_configs"] = {SPARK: {"Executor memory": least}}
        return found

    # -- what is done --

    def configure_cluster(self, cluster: ClusterView) -> None:
        self._configure(cluster, [one for group in cluster.node_groups for one in group.instances])

    def start_cluster(self, cluster: ClusterView) -> None:
        master = _master(cluster)
        node = _settings(master.node_group)
        with master.remote() as remote:
            daemons.start(remote, node, "master")
        workers = cluster.instances_with(SLAVE)
        self._start_workers(cluster, workers)
        page = f"http://{master.get_ip_or_dns_name()}:{node.master_page}"
        address = f"spark://{master.hostname()}:{node.master_port}"
        cluster.show({"Apache Spark": {"Web UI": page, "Master": address}})

    def scale_cluster(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        self._configure(cluster, instances)
        self._list_workers(cluster, cluster.instances_with(SLAVE))
        added = {one.id for one in instances}
        self._start_workers(cluster, [w for w in cluster.instances_with(SLAVE) if w.id in added])

    def decommission_nodes(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        """The master gives the workers nothing new, waits for what they do, and loses them."""
        gone = {one.id for one in instances}
        leaving = [one for one in cluster.instances_with(SLAVE) if one.id in gone]
        self._list_workers(cluster, [w for w in cluster.instances_with(SLAVE) if w.id not in gone])
        on_each(leaving, lambda one, remote: daemons.retire_worker(remote, _settings(one.node_group)))
        hosts = {one.hostname() for one in leaving}
        master = _master(cluster)
        node = _settings(master.node_group)
        with master.remote() as remote:

            def look() -> str | None:
                left = sorted(hosts & daemons.alive(remote, node.master_page))
                return f"the master still has the workers {', '.join(left)}" if left else None

            wait_for(look, node.start_secs)

    def get_health_checks(self, cluster: ClusterView) -> Sequence[HealthCheck]:
        return [HealthCheck("Spark workers", lambda: _health(cluster))]

    # -- how --

    def _configure(self, cluster: ClusterView, instances: Iterable[InstanceView]) -> None:
        master = _master(cluster).hostname()

        def write(instance: InstanceView, remote: Remote) -> None:
            node = _settings(instance.node_group)
            volumes = list(instance.volumes)
            files: dict[str, str | bytes] = {
                f"{node.home}/conf/spark-env.sh": spark_env(node, instance.hostname(), master, volumes),
                f"{node.home}/conf/spark-defaults.conf": spark_defaults(node, master),
            }
            remote.write_files_to(files, run_as_root=True)
            own = [f"{node.home}/{name}" for name in ("logs", "pids", "work")]
            own += [f"{path}/spark" for path in volumes]
            user = shlex.quote(instance.node_group.username)
            remote.execute_command(f"install -d -o {user} {shlex.join(own)}", run_as_root=True)

        on_each(instances, write)
        self._list_workers(cluster, cluster.instances_with(SLAVE))

    def _list_workers(self, cluster: ClusterView, workers: Iterable[InstanceView]) -> None:
        """Writes the list that Spark's own scripts go by."""
        master = _master(cluster)
        lines = "".join(f"{one.hostname()}\n" for one in workers)
        with master.remote() as remote:
            remote.write_file_to(f"{_settings(master.node_group).home}/conf/workers", lines, True)

    def _start_workers(self, cluster: ClusterView, workers: Sequence[InstanceView]) -> None:
        """Returns when the master can use all of them."""
        master = _master(cluster)
        node = _settings(master.node_group)
        url = f"spark://{master.hostname()}:{node.master_port}"
        on_each(
            workers,
            lambda one, remote: daemons.start(remote, _settings(one.node_group), "worker", url),
        )
        hosts = {one.hostname() for one in workers}
        with master.remote() as remote:

            def look() -> str | None:
                try:
                    missing = hosts - daemons.alive(remote, node.master_page)
                except NodeError as error:
                    return str(error)
                names = ", ".join(sorted(missing))
                return f"the master does not have the workers {names}" if missing else None

            wait_for(look, node.start_secs)


def _settings(group: NodeGroupView) -> Settings:
    return settings(group.configuration())


def _master(cluster: ClusterView) -> InstanceView:
    found = cluster.instances_with(MASTER)
    if not found:
        raise RequiredServiceMissing("Spark master")
    return found[0]


def _check_workers(count: int) -> None:
    if count < 1:
        raise InvalidComponentCount("Spark slave", "1 or more", count)


def _health(cluster: ClusterView) -> str:
    master = _master(cluster)
    hosts = {one.hostname() for one in cluster.instances_with(SLAVE)}
    with master.remote() as remote:
        try:
            there = hosts & daemons.alive(remote, _settings(master.node_group).master_page)
        except NodeError as error:
            raise RedHealth(f"the master of Spark does not answer: {error}") from error
    if not there:
        raise RedHealth("the master of Spark has no worker")
    if there != hosts:
        names = ", ".join(sorted(hosts - there))
        raise YellowHealth(f"the master of Spark does not have the workers {names}")
    return f"the master of Spark has all {len(hosts)} workers"
