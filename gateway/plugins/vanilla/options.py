"""The options of Hadoop, each with the file that it belongs into. Defaults are Hadoop's own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from gateway.plugins.provisioning import Config, ConfigType, Scope

V1, V3 = "1.2.1", "3.4.1"
VERSIONS = (V1, V3)
# Sites are XML files of Hadoop's; "heap" are the heaps of its processes, "plugin" is for the plugin.
Place = Literal["core-site", "hdfs-site", "mapred-site", "yarn-site", "heap", "plugin"]
HDFS, MAPREDUCE, YARN, HADOOP = "HDFS", "MapReduce", "YARN", "Hadoop"


class Option(msgspec.Struct, frozen=True):
    """``process``: whose heap it is, where it is one."""

    place: Place
    config: Config
    process: str = ""


def _option(
    place: Place,
    target: str,
    name: str,
    default: Any,
    text: str,
    scope: Scope = "node",
    priority: Literal[1, 2] = 2,
    process: str = "",
) -> Option:
    kind: ConfigType = "string"
    if isinstance(default, bool):
        kind = "bool"
    elif isinstance(default, int):
        kind = "int"
    config = Config(name, target, scope, kind, None, default, True, text, priority)
    return Option(place, config, process)


def _heap(target: str, name: str, process: str) -> Option:
    text = f"Heap of the {process}'s JVM, in MiB"
    return _option("heap", target, name, 1024, text, "node", 1, process)


_PLUGIN = (
    _option(
        "plugin", "general", "Hadoop home", "/opt/hadoop", "Where it stands in the image", "cluster"
    ),
    _option(
        "plugin", "general", "Start timeout", 300, "How long the start may take, in seconds", "cluster"
    ),
    _option(
        "plugin",
        "general",
        "Decommission timeout",
        3600,
        "How long data may be moved away from nodes that go, in seconds",
        "cluster",
    ),
)
_REPLICATION = _option(
    "hdfs-site", HDFS, "dfs.replication", 3, "How many copies there are of a block", "cluster", 1
)
# Heaps have the names of Savanna's documents.
_OF_V1 = (
    *_PLUGIN,
    _option(
        "core-site",
        HDFS,
        "hadoop.tmp.dir",
        "/tmp/hadoop-${user.name}",  # noqa: S108 - Hadoop's default
        "A base for other temporary directories.",
    ),
    _option(
        "core-site",
        HDFS,
        "hadoop.native.lib",
        True,
        "Should native hadoop libraries, if present, be used.",
    ),
    _option("core-site", HDFS, "io.file.buffer.size", 4096, "Buffer of sequence files, in bytes"),
    _option("core-site", HDFS, "fs.trash.interval", 0, "Minutes that what is deleted is kept"),
    _REPLICATION,
    _option(
        "hdfs-site", HDFS, "dfs.block.size", "67108864", "Size of a new file's blocks", "cluster", 1
    ),
    _option("hdfs-site", HDFS, "dfs.permissions", True, "Whether permissions are checked", "cluster"),
    _option("hdfs-site", HDFS, "dfs.namenode.handler.count", 10, "Threads of the namenode"),
    _option("hdfs-site", HDFS, "dfs.datanode.handler.count", 3, "Threads of a datanode"),
    _option("hdfs-site", HDFS, "dfs.datanode.du.reserved", "0", "Bytes left free on each volume"),
    _option("hdfs-site", HDFS, "dfs.safemode.threshold.pct", "0.999f", "Share of blocks to leave it"),
    _option(
        "mapred-site", MAPREDUCE, "mapred.tasktracker.map.tasks.maximum", 2, "Maps at once", "node", 1
    ),
    _option(
        "mapred-site",
        MAPREDUCE,
        "mapred.tasktracker.reduce.tasks.maximum",
        2,
        "Reduces at once",
        "node",
        1,
    ),
    _option("mapred-site", MAPREDUCE, "mapred.child.java.opts", "-Xmx200m", "JVM of a task", "node", 1),
    _option("mapred-site", MAPREDUCE, "mapred.map.tasks", 2, "Maps of a job", "cluster"),
    _option("mapred-site", MAPREDUCE, "mapred.reduce.tasks", 1, "Reduces of a job", "cluster"),
    _option("mapred-site", MAPREDUCE, "io.sort.mb", 100, "Memory for sorting, in MiB"),
    _option("mapred-site", MAPREDUCE, "io.sort.factor", 10, "Streams merged at once"),
    _option("mapred-site", MAPREDUCE, "mapred.compress.map.output", False, "Whether maps compress"),
    _option("mapred-site", MAPREDUCE, "mapred.task.timeout", 600000, "Milliseconds without progress"),
    _heap(HDFS, "name_node_heap_size", "namenode"),
    _heap(HDFS, "secondary_name_node_heap_size", "secondarynamenode"),
    _heap(HDFS, "data_node_heap_size", "datanode"),
    _heap(MAPREDUCE, "job_tracker_heap_size", "jobtracker"),
    _heap(MAPREDUCE, "task_tracker_heap_size", "tasktracker"),
)
_OF_V3 = (
    *_PLUGIN,
    _option(
        "core-site",
        HADOOP,
        "hadoop.tmp.dir",
        "/tmp/hadoop-${user.name}",  # noqa: S108 - Hadoop's default
        "A base for other temporary directories.",
    ),
    _option("core-site", HADOOP, "io.file.buffer.size", 4096, "Buffer of sequence files, in bytes"),
    _option("core-site", HADOOP, "fs.trash.interval", 0, "Minutes that what is deleted is kept"),
    _option("core-site", HADOOP, "hadoop.http.staticuser.user", "dr.who", "Who the web pages act as"),
    _REPLICATION,
    _option(
        "hdfs-site", HDFS, "dfs.blocksize", "134217728", "Size of a new file's blocks", "cluster", 1
    ),
    _option(
        "hdfs-site", HDFS, "dfs.permissions.enabled", True, "Whether permissions are checked", "cluster"
    ),
    _option("hdfs-site", HDFS, "dfs.namenode.handler.count", 10, "Threads of the namenode"),
    _option("hdfs-site", HDFS, "dfs.datanode.handler.count", 10, "Threads of a datanode"),
    _option("hdfs-site", HDFS, "dfs.datanode.du.reserved", "0", "Bytes left free on each volume"),
    _option("hdfs-site", HDFS, "dfs.datanode.max.transfer.threads", 4096, "Transfers at once"),
    _option(
        "hdfs-site",
        HDFS,
        "dfs.namenode.safemode.threshold-pct",
        "0.999f",
        "Share of blocks that have to be there to leave the safe mode",
    ),
    _option("mapred-site", MAPREDUCE, "mapreduce.job.maps", 2, "Maps of a job", "cluster"),
    _option("mapred-site", MAPREDUCE, "mapreduce.job.reduces", 1, "Reduces of a job", "cluster"),
    _option("mapred-site", MAPREDUCE, "mapreduce.map.memory.mb", -1, "Memory of a map", "cluster", 1),
    _option(
        "mapred-site", MAPREDUCE, "mapreduce.reduce.memory.mb", -1, "Memory of a reduce", "cluster", 1
    ),
    _option("mapred-site", MAPREDUCE, "mapreduce.task.io.sort.mb", 100, "Memory for sorting, in MiB"),
    _option("mapred-site", MAPREDUCE, "mapreduce.task.io.sort.factor", 10, "Streams merged at once"),
    _option("mapred-site", MAPREDUCE, "mapreduce.map.output.compress", False, "Whether maps compress"),
    _option("mapred-site", MAPREDUCE, "mapreduce.task.timeout", 600000, "Milliseconds without progress"),
    _option(
        "mapred-site",
        MAPREDUCE,
        "yarn.app.mapreduce.am.resource.mb",
        1536,
        "Memory of a job's master, in MiB",
        "cluster",
    ),
    _option(
        "yarn-site",
        YARN,
        "yarn.nodemanager.resource.memory-mb",
        -1,
        "Memory of a node for containers, in MiB",
        "node",
        1,
    ),
    _option(
        "yarn-site", YARN, "yarn.nodemanager.resource.cpu-vcores", -1, "CPUs for containers", "node", 1
    ),
    _option(
        "yarn-site",
        YARN,
        "yarn.scheduler.minimum-allocation-mb",
        1024,
        "Least of a container",
        "cluster",
    ),
    _option(
        "yarn-site", YARN, "yarn.scheduler.maximum-allocation-mb", 8192, "Most of a container", "cluster"
    ),
    _option("yarn-site", YARN, "yarn.nodemanager.pmem-check-enabled", True, "Whether memory is limited"),
    _option("yarn-site", YARN, "yarn.nodemanager.vmem-check-enabled", True, "And virtual memory"),
    _option(
        "yarn-site", YARN, "yarn.log-aggregation-enable", False, "Whether logs go to HDFS", "cluster"
    ),
    _heap(HDFS, "NameNode Heap Size", "namenode"),
    _heap(HDFS, "SecondaryNameNode Heap Size", "secondarynamenode"),
    _heap(HDFS, "DataNode Heap Size", "datanode"),
    _heap(YARN, "ResourceManager Heap Size", "resourcemanager"),
    _heap(YARN, "NodeManager Heap Size", "nodemanager"),
    _heap(MAPREDUCE, "JobHistoryServer Heap Size", "historyserver"),
)
OPTIONS: Mapping[str, tuple[Option, ...]] = MappingProxyType({V1: _OF_V1, V3: _OF_V3})
PROCESSES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        V1: {
            HDFS: ("namenode", "datanode", "secondarynamenode"),
            MAPREDUCE: ("tasktracker", "jobtracker"),
        },
        V3: {
            HADOOP: (),
            HDFS: ("namenode", "datanode", "secondarynamenode"),
            YARN: ("resourcemanager", "nodemanager"),
            MAPREDUCE: ("historyserver",),
        },
    }
)
# Where others reach a process.
PORTS: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        V1: {
            "namenode": (8020, 50070),
            "secondarynamenode": (50090,),
            "datanode": (50010, 50020, 50075),
            "jobtracker": (8021, 50030),
            "tasktracker": (50060,),
        },
        V3: {
            "namenode": (9000, 9870),
            "secondarynamenode": (9868,),
            "datanode": (9864, 9866, 9867),
            "resourcemanager": (8030, 8031, 8032, 8033, 8088),
            "nodemanager": (8040, 8042, 13562),
            "historyserver": (10020, 19888),
        },
    }
)


def configs(version: str) -> tuple[Config, ...]:
    """Returns the options that a version of Hadoop offers."""
    return tuple(option.config for option in OPTIONS[version])
