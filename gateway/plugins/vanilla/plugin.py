"""The plugin ``vanilla``: Hadoop's own releases, from images that have them."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.plugins.exceptions import NodeError, RedHealth, RequiredServiceMissing, YellowHealth
from gateway.plugins.health import HealthCheck
from gateway.plugins.nodes import on_each, wait_for
from gateway.plugins.provisioning import Config
from gateway.plugins.remote import Remote
from gateway.plugins.spi import Plugin
from gateway.plugins.vanilla import rules
from gateway.plugins.vanilla.files import (
    Layout,
    decommissioned,
    env_lines,
    host_files,
    live_datanodes,
    node_files,
    values,
)
from gateway.plugins.vanilla.options import PORTS, PROCESSES, V1, VERSIONS, configs
from gateway.plugins.views import ClusterView, InstanceView, NodeGroupView

# The order of the start: who is asked before those that ask.
_ORDER = (
    ("namenode",),
    ("secondarynamenode", "datanode"),
    ("jobtracker", "resourcemanager"),
    ("tasktracker", "nodemanager"),
    ("historyserver",),
)
_TOOLS = {"resourcemanager": "yarn", "nodemanager": "yarn", "historyserver": "mapred"}
_PAGES = {
    "namenode": ("HDFS", {V1: 50070}, 9870),
    "jobtracker": ("MapReduce", {V1: 50030}, 0),
    "resourcemanager": ("YARN", {}, 8088),
    "historyserver": ("MapReduce JobHistory Server", {}, 19888),
}
_ENV = "cluster-env.sh"


class VanillaPlugin(Plugin):
    """Hadoop as it is released."""

    def get_title(self) -> str:
        return "Vanilla Apache Hadoop"

    def get_description(self) -> str:
        return (
            "Apache Hadoop as it is released: HDFS with MapReduce (1.2.1), or with YARN (3.4.1). Its "
            "images have Java and Hadoop."
        )

    def get_versions(self) -> Sequence[str]:
        return VERSIONS

    def get_configs(self, version: str) -> Sequence[Config]:
        return configs(version)

    def get_node_processes(self, version: str) -> Mapping[str, Sequence[str]]:
        return PROCESSES[version]

    def get_open_ports(self, node_group: NodeGroupView) -> Sequence[int]:
        ports = PORTS[str(node_group.cluster.hadoop_version)]
        return [port for process in node_group.node_processes for port in ports.get(process, ())]

    def validate(self, cluster: ClusterView) -> None:
        rules.validate(cluster)

    def validate_scaling(
        self, cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
    ) -> None:
        rules.validate_scaling(cluster, existing, additional)

    def recommend_configs(self, cluster: ClusterView, scaling: bool = False) -> Mapping[str, Any]:
        return rules.recommended(cluster, scaling)

    # -- what is done --

    def validate_images(
        self, cluster: ClusterView, test_only: bool = False, image_arguments: Any = None
    ) -> None:
        """Raises :class:`NodeError` for nodes whose image has no Hadoop where it should be."""
        home = layout_of(cluster).home
        tool = shlex.quote(f"{home}/bin/{'hadoop' if cluster.hadoop_version == V1 else 'hdfs'}")

        def look(instance: InstanceView, remote: Remote) -> None:
            if remote.execute_command(f"test -x {tool}", raise_when_error=False)[0]:
                raise NodeError(
                    f"the image of {instance.hostname()} has no Hadoop in {home}: the option 'Hadoop "
                    "home' says where it is looked for"
                )

        on_each(_all(cluster), look)

    def configure_cluster(self, cluster: ClusterView) -> None:
        self._configure(cluster, _all(cluster))

    def start_cluster(self, cluster: ClusterView) -> None:
        layout = layout_of(cluster)
        for processes in _ORDER:
            on_each(_all(cluster), _starter(layout, processes))
            if "datanode" in processes:
                self._await_datanodes(cluster, layout)
        cluster.show(_pages(cluster))

    def scale_cluster(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        layout = layout_of(cluster)
        self._configure(cluster, instances)
        self._refresh(cluster, layout)
        for processes in _ORDER:
            on_each(instances, _starter(layout, processes))
        self._await_datanodes(cluster, layout)

    def decommission_nodes(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        """Moves the data away first: nothing is stopped before there are copies of it elsewhere."""
        gone = {one.id for one in instances}
        hosts = {one.hostname() for one in instances}
        self._refresh(cluster, layout_of(cluster), hosts)
        storing = [one for one in cluster.instances_with("datanode") if one.id in gone]
        self._await_moved(cluster, storing)
        layout = layout_of(cluster, without=gone)
        on_each(instances, lambda one, remote: _stop(layout, one, remote))
        self._refresh(cluster, layout)

    def get_health_checks(self, cluster: ClusterView) -> Sequence[HealthCheck]:
        return [HealthCheck("HDFS datanodes", lambda: _health(cluster))]

    # -- how --

    def _configure(self, cluster: ClusterView, instances: Iterable[InstanceView]) -> None:
        layout = layout_of(cluster)

        def write(instance: InstanceView, remote: Remote) -> None:
            group = instance.node_group
            configuration = group.configuration()
            storage = instance.storage_paths()
            files = node_files(layout, configuration, storage)
            env = f"{layout.conf}/{_ENV}"
            remote.write_files_to({**files, env: env_lines(layout, configuration)}, True)
            base = shlex.quote(f"{layout.conf}/hadoop-env.sh")
            # The image's own file says where Java is; ours comes after it, once.
            remote.execute_command(
                f"grep -qs {_ENV} {base} || printf '\\n. %s\\n' {shlex.quote(env)} >> {base}", True
            )
            own = [f"{layout.home}/logs", layout.pids]
            own += [f"{path}/{what}" for path in storage for what in ("hdfs", "yarn", "mapred")]
            user = shlex.quote(group.username)
            remote.execute_command(f"install -d -o {user} {shlex.join(own)}", True)

        on_each(instances, write)

    def _refresh(self, cluster: ClusterView, layout: Layout, leaving: Iterable[str] = ()) -> None:
        """Tells the masters which hosts may join, and which are to go."""
        files = host_files(layout, leaving)
        hdfs = "hadoop" if layout.version == V1 else "hdfs"
        commands = {
            "namenode": f"bin/{hdfs} dfsadmin -refreshNodes",
            "jobtracker": "bin/hadoop mradmin -refreshNodes",
            "resourcemanager": "bin/yarn rmadmin -refreshNodes",
        }

        def tell(instance: InstanceView, remote: Remote) -> None:
            remote.write_files_to(files, True)
            for process, command in commands.items():
                if process in instance.node_group.node_processes:
                    remote.execute_command(f"{shlex.quote(layout.home)}/{command}")

        on_each([one for one in _all(cluster) if _is_master(one)], tell)

    def _await_datanodes(self, cluster: ClusterView, layout: Layout) -> None:
        wanted = len(layout.datanodes)
        with _namenode(cluster).remote() as remote:

            def look() -> str | None:
                live = live_datanodes(_report(remote, layout))
                return f"the namenode has {live} of {wanted} datanodes" if live < wanted else None

            wait_for(look, _seconds(cluster, "Start timeout"))

    def _await_moved(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        layout = layout_of(cluster)
        with _namenode(cluster).remote() as remote:

            def look() -> str | None:
                done = decommissioned(_report(remote, layout))
                left = [
                    one.hostname()
                    for one in instances
                    if not {one.hostname(), one.fqdn(), one.internal_ip} & done
                ]
                return f"HDFS still moves the data of {', '.join(left)} away" if left else None

            wait_for(look, _seconds(cluster, "Decommission timeout"))


def layout_of(cluster: ClusterView, without: Iterable[str] = ()) -> Layout:
    """Returns who is where; ``without`` these instances, by id."""
    version, gone = str(cluster.hadoop_version), set(without)

    def hosts(process: str) -> tuple[str, ...]:
        return tuple(one.hostname() for one in cluster.instances_with(process) if one.id not in gone)

    def host(process: str) -> str:
        return next(iter(hosts(process)), "")

    if not host("namenode"):
        raise RequiredServiceMissing("namenode")
    general = values(version, cluster.cluster_configs.to_dict())["general"]
    return Layout(
        version,
        str(general["Hadoop home"]).rstrip("/"),
        host("namenode"),
        host("secondarynamenode"),
        host("jobtracker"),
        host("resourcemanager"),
        host("historyserver"),
        hosts("datanode"),
        hosts("tasktracker" if version == V1 else "nodemanager"),
    )


def _all(cluster: ClusterView) -> list[InstanceView]:
    return [one for group in cluster.node_groups for one in group.instances]


def _namenode(cluster: ClusterView) -> InstanceView:
    return cluster.instances_with("namenode")[0]


def _is_master(instance: InstanceView) -> bool:
    masters = {"namenode", "jobtracker", "resourcemanager"}
    return not masters.isdisjoint(instance.node_group.node_processes)


def _seconds(cluster: ClusterView, name: str) -> float:
    known = values(str(cluster.hadoop_version), cluster.cluster_configs.to_dict())
    return float(known["general"][name])


def _report(remote: Remote, layout: Layout) -> str:
    tool = "hadoop" if layout.version == V1 else "hdfs"
    said = remote.execute_command(
        f"{shlex.quote(layout.home)}/bin/{tool} dfsadmin -report", raise_when_error=False
    )
    return said[1]


def _daemon(layout: Layout, verb: str, process: str) -> str:
    home = shlex.quote(layout.home)
    if layout.version == V1:
        return f"{home}/bin/hadoop-daemon.sh {verb} {process}"
    return f"{home}/bin/{_TOOLS.get(process, 'hdfs')} --daemon {verb} {process}"


def _starter(layout: Layout, processes: Iterable[str]) -> Callable[[InstanceView, Remote], None]:
    return lambda instance, remote: _start(layout, instance, remote, processes)


def _start(layout: Layout, instance: InstanceView, remote: Remote, processes: Iterable[str]) -> None:
    """Starts those of the processes that the instance has, and that do not run."""
    for process in processes:
        if process not in instance.node_group.node_processes:
            continue
        if process == "namenode":
            _format(layout, instance, remote)
        pid = shlex.quote(f"{layout.pids}/hadoop-cluster-{process}.pid")
        remote.execute_command(
            f"kill -0 $(cat {pid} 2>/dev/null) 2>/dev/null || {_daemon(layout, 'start', process)}"
        )


def _format(layout: Layout, instance: InstanceView, remote: Remote) -> None:
    """Makes the file system of a new namenode; one that is there stays."""
    name = "hdfs/name" if layout.version == V1 else "hdfs/namenode"
    there = shlex.quote(f"{instance.storage_paths()[0]}/{name}/current")
    tool = "hadoop namenode -format" if layout.version == V1 else "hdfs namenode -format -nonInteractive"
    command = f"{shlex.quote(layout.home)}/bin/{tool}"
    remote.execute_command(f"test -d {there} || {command} < /dev/null")


def _stop(layout: Layout, instance: InstanceView, remote: Remote) -> None:
    for process in reversed([p for some in _ORDER for p in some]):
        if process in instance.node_group.node_processes:
            with contextlib.suppress(NodeError):  # it does not run: that is what is wanted
                remote.execute_command(_daemon(layout, "stop", process))


def _pages(cluster: ClusterView) -> dict[str, dict[str, str]]:
    """Returns where the web pages of the masters are."""
    found: dict[str, dict[str, str]] = {}
    for process, (service, ports, port) in _PAGES.items():
        for instance in cluster.instances_with(process):
            number = ports.get(str(cluster.hadoop_version), port)
            found[service] = {"Web UI": f"http://{instance.get_ip_or_dns_name()}:{number}"}
    return found


def _health(cluster: ClusterView) -> str:
    layout = layout_of(cluster)
    with _namenode(cluster).remote() as remote:
        live = live_datanodes(_report(remote, layout))
    wanted = len(layout.datanodes)
    if not live:
        raise RedHealth("HDFS has no datanode that works")
    if live < wanted:
        raise YellowHealth(f"HDFS has {live} of {wanted} datanodes")
    return f"HDFS has all {wanted} datanodes"
