"""The configuration files of Hadoop's nodes: who is where, and what has been asked for. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from gateway.plugins.exceptions import InvalidValue
from gateway.plugins.provisioning import settled
from gateway.plugins.vanilla.options import OPTIONS, V1, configs

# What the words of each version begin with that set a process's JVM.
_HEAPS = {
    V1: {
        "namenode": "HADOOP_NAMENODE_OPTS",
        "secondarynamenode": "HADOOP_SECONDARYNAMENODE_OPTS",
        "datanode": "HADOOP_DATANODE_OPTS",
        "jobtracker": "HADOOP_JOBTRACKER_OPTS",
        "tasktracker": "HADOOP_TASKTRACKER_OPTS",
    },
}
_HEAPS_3 = {
    "namenode": "HDFS_NAMENODE_OPTS",
    "secondarynamenode": "HDFS_SECONDARYNAMENODE_OPTS",
    "datanode": "HDFS_DATANODE_OPTS",
    "resourcemanager": "YARN_RESOURCEMANAGER_OPTS",
    "nodemanager": "YARN_NODEMANAGER_OPTS",
    "historyserver": "MAPRED_HISTORYSERVER_OPTS",
}


class Layout(msgspec.Struct, frozen=True):
    """Who is where: the host of each process that is one of a kind ("": it is not there), and the
    hosts of the workers. ``storage``: where a node's data goes. ``home`` is Hadoop's directory."""

    version: str
    home: str
    namenode: str
    secondarynamenode: str = ""
    jobtracker: str = ""
    resourcemanager: str = ""
    historyserver: str = ""
    datanodes: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()

    @property
    def conf(self) -> str:
        """The directory of the configuration."""
        return f"{self.home}/conf" if self.version == V1 else f"{self.home}/etc/hadoop"

    @property
    def pids(self) -> str:
        return f"{self.home}/pids"


def values(version: str, configuration: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns all options by target and name. Raises :class:`InvalidValue`."""
    found = settled(configs(version), configuration)
    general = found["general"]
    if not str(general["Hadoop home"]).startswith("/"):
        raise InvalidValue("the option 'Hadoop home' should be an absolute path")
    for name in ("Start timeout", "Decommission timeout"):
        if general[name] < 1:
            raise InvalidValue(f"the option {name!r} is {general[name]}, and should be 1 or more")
    if found["HDFS"]["dfs.replication"] < 1:
        raise InvalidValue("the option 'dfs.replication' should be 1 or more")
    for option in OPTIONS[version]:
        if option.place == "heap":
            heap = found[option.config.applicable_target][option.config.name]
            if heap < 1:
                raise InvalidValue(
                    f"the option {option.config.name!r} is {heap}, and should be 1 or more"
                )
    return found


def site_xml(properties: Mapping[str, Any]) -> str:
    """Returns a file of Hadoop's, with the properties in the order of their names."""
    lines = ['<?xml version="1.0"?>', "<configuration>"]
    for name, value in sorted(properties.items()):
        lines.append(
            f"  <property><name>{escape(name)}</name><value>{escape(_text(value))}</value></property>"
        )
    return "\n".join([*lines, "</configuration>", ""])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def sites(
    layout: Layout, configuration: Mapping[str, Mapping[str, Any]], storage: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Returns the properties of each site of a node: what has been given, and who is where.

    What nobody has given is left to Hadoop's defaults; where things are cannot be given.
    """
    given: dict[str, dict[str, Any]] = {"core-site": {}, "hdfs-site": {}, "mapred-site": {}}
    if layout.version != V1:
        given["yarn-site"] = {}
    known = values(layout.version, configuration)
    for option in OPTIONS[layout.version]:
        target, name = option.config.applicable_target, option.config.name
        if option.place in given and configuration.get(target, {}).get(name) is not None:
            given[option.place][name] = known[target][name]
    placed = _placed_v1(layout, storage) if layout.version == V1 else _placed_v3(layout, storage)
    return {site: {**own, **placed.get(site, {})} for site, own in given.items()}


def _paths(storage: Sequence[str], what: str) -> str:
    return ",".join(f"{path}/{what}" for path in storage)


def _placed_v1(layout: Layout, storage: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        "core-site": {"fs.default.name": f"hdfs://{layout.namenode}:8020"},
        "hdfs-site": {
            "dfs.name.dir": _paths(storage, "hdfs/name"),
            "dfs.data.dir": _paths(storage, "hdfs/data"),
            "dfs.hosts": f"{layout.conf}/dn.incl",
            "dfs.hosts.exclude": f"{layout.conf}/dn.excl",
        },
    }
    if layout.secondarynamenode:
        found["hdfs-site"]["dfs.secondary.http.address"] = f"{layout.secondarynamenode}:50090"
    if layout.jobtracker:
        found["mapred-site"] = {
            "mapred.job.tracker": f"{layout.jobtracker}:8021",
            "mapred.system.dir": "/mapred/mapredsystem",
            "mapred.local.dir": _paths(storage, "mapred/local"),
            "mapred.hosts": f"{layout.conf}/tt.incl",
            "mapred.hosts.exclude": f"{layout.conf}/tt.excl",
        }
    return found


def _placed_v3(layout: Layout, storage: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        "core-site": {"fs.defaultFS": f"hdfs://{layout.namenode}:9000"},
        "hdfs-site": {
            "dfs.namenode.name.dir": _paths(storage, "hdfs/namenode"),
            "dfs.datanode.data.dir": _paths(storage, "hdfs/datanode"),
            "dfs.hosts": f"{layout.conf}/dn-include",
            "dfs.hosts.exclude": f"{layout.conf}/dn-exclude",
        },
        "mapred-site": {"mapreduce.framework.name": "yarn" if layout.resourcemanager else "local"},
    }
    if layout.secondarynamenode:
        address = f"{layout.secondarynamenode}:9868"
        found["hdfs-site"]["dfs.namenode.secondary.http-address"] = address
    if layout.resourcemanager:
        found["yarn-site"] = {
            "yarn.resourcemanager.hostname": layout.resourcemanager,
            "yarn.resourcemanager.nodes.include-path": f"{layout.conf}/nm-include",
            "yarn.resourcemanager.nodes.exclude-path": f"{layout.conf}/nm-exclude",
            "yarn.nodemanager.aux-services": "mapreduce_shuffle",
            "yarn.nodemanager.local-dirs": _paths(storage, "yarn/local"),
        }
        for what in ("yarn.app.mapreduce.am.env", "mapreduce.map.env", "mapreduce.reduce.env"):
            found["mapred-site"][what] = f"HADOOP_MAPRED_HOME={layout.home}"
    if layout.historyserver:
        found["mapred-site"]["mapreduce.jobhistory.address"] = f"{layout.historyserver}:10020"
        page = f"{layout.historyserver}:19888"
        found["mapred-site"]["mapreduce.jobhistory.webapp.address"] = page
        if layout.resourcemanager:
            found["yarn-site"]["yarn.log.server.url"] = f"http://{page}/jobhistory/logs/"
    return found


def env_lines(layout: Layout, configuration: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what is added to hadoop-env.sh: where logs and pids go, and the heaps."""
    known = values(layout.version, configuration)
    variables = {
        "HADOOP_LOG_DIR": f"{layout.home}/logs",
        "HADOOP_PID_DIR": layout.pids,
        "HADOOP_IDENT_STRING": "cluster",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    names = _HEAPS.get(layout.version, _HEAPS_3)
    for option in OPTIONS[layout.version]:
        if option.place == "heap":
            heap = known[option.config.applicable_target][option.config.name]
            variable = names[option.process]
            lines.append(f'export {variable}="-Xmx{heap}m ${variable}"')
    return "\n".join([*lines, ""])


def node_files(
    layout: Layout, configuration: Mapping[str, Mapping[str, Any]], storage: Sequence[str]
) -> dict[str, str]:
    """Returns the files of a node by path; hadoop-env.sh, which the image has its own of, is left."""
    properties = sites(layout, configuration, storage)
    files = {f"{layout.conf}/{site}.xml": site_xml(found) for site, found in properties.items()}
    return {**files, **host_files(layout)}


def host_files(layout: Layout, leaving: Iterable[str] = ()) -> dict[str, str]:
    """Returns the lists of hosts that masters go by: who may join, and who is to go."""
    gone = sorted(leaving)
    if layout.version == V1:
        names = ("dn.incl", "dn.excl", "tt.incl", "tt.excl")
    else:
        names = ("dn-include", "dn-exclude", "nm-include", "nm-exclude")
    lists: tuple[Iterable[str], ...] = (layout.datanodes, gone, layout.workers, gone)
    return {
        f"{layout.conf}/{name}": "".join(f"{host}\n" for host in hosts)
        for name, hosts in zip(names, lists, strict=True)
    }


def decommissioned(report: str) -> frozenset[str]:
    """Returns the hosts that ``dfsadmin -report`` calls decommissioned, by name and by address."""
    found: set[str] = set()
    for block in report.split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        fields = {name.strip(): value.strip() for name, _, value in lines}
        if fields.get("Decommission Status") == "Decommissioned":
            found.add(fields.get("Hostname", ""))
            found.add(fields.get("Name", "").split(":")[0])
    return frozenset(found - {""})


def live_datanodes(report: str) -> int:
    """Returns how many datanodes work, as ``dfsadmin -report`` of either version says."""
    for line in report.splitlines():
        if line.startswith("Live datanodes"):
            return int("".join(c for c in line.partition("(")[2] if c.isdigit()) or 0)
        if line.startswith("Datanodes available:"):
            words = line.partition(":")[2].split()
            return int(words[0]) if words and words[0].isdigit() else 0
    return 0
