"""The options of Spark, and the files that they make. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.plugins.exceptions import InvalidValue
from gateway.plugins.provisioning import Config, Scope, settled

SPARK = "Spark"
MASTER, SLAVE = "master", "slave"
# What a JVM, the system and its files need beside the heaps, in MiB.
_OVERHEAD_MB = 256
_LEAST_WORKER_MB = 512


def _config(
    name: str, default: Any, text: str, scope: Scope = "cluster", priority: int = 2, kind: str = ""
) -> Config:
    return Config(
        name,
        SPARK,
        scope,
        "int" if kind == "int" or isinstance(default, int) else "string",
        default_value=default,
        is_optional=True,
        description=text,
        priority=1 if priority == 1 else 2,
    )


CONFIGS: tuple[Config, ...] = (
    _config("Worker memory", None, "What a worker gives to executors, in MiB", "node", 1, "int"),
    _config("Worker cores", None, "How many tasks a worker runs at once", "node", 1, "int"),
    _config("Master heap size", 512, "Heap of the master's JVM, in MiB", "node", 1),
    _config("Worker heap size", 512, "Heap of a worker's own JVM, in MiB", "node", 1),
    _config("Executor memory", None, "spark.executor.memory, in MiB", priority=1, kind="int"),
    _config("Master port", 7077, "Where applications are submitted to"),
    _config("Master webui port", 8080, "The master's page"),
    _config("Worker port", 7078, "Where a worker is spoken to by the master"),
    _config("Worker webui port", 8081, "A worker's page"),
    _config("Spark home", "/opt/spark", "Where Spark stands in the image"),
    _config("Properties", "", "Lines of spark-defaults.conf: a name, a blank, a value"),
    _config("Start timeout", 300, "How long the start may take, in seconds"),
    _config(
        "Decommission timeout",
        120,
        "How long a worker's tasks may go on when it is taken away, in seconds",
    ),
)


class Settings(msgspec.Struct, frozen=True):
    """The options of one node. Memory in MiB, times in seconds; ``properties`` are lines."""

    home: str
    master_port: int
    master_page: int
    worker_port: int
    worker_page: int
    worker_mb: int | None
    worker_cores: int | None
    master_heap_mb: int
    worker_heap_mb: int
    executor_mb: int | None
    properties: tuple[str, ...]
    start_secs: int
    decommission_secs: int


def settings(configuration: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Returns the options of a node, by what has been given. Raises :class:`InvalidValue`."""
    values = settled(CONFIGS, configuration)[SPARK]
    for name, value in values.items():
        if isinstance(value, int) and value < 1:
            raise InvalidValue(f"the option {name!r} of Spark is {value}, and should be 1 or more")
        if name.endswith("port") and value > 65535:
            raise InvalidValue(f"the option {name!r} of Spark is {value}, which is no port")
    home = values["Spark home"].rstrip("/")
    if not home.startswith("/"):
        raise InvalidValue(f"the option 'Spark home' is {home!r}, and should be an absolute path")
    return Settings(
        home,
        values["Master port"],
        values["Master webui port"],
        values["Worker port"],
        values["Worker webui port"],
        values["Worker memory"],
        values["Worker cores"],
        values["Master heap size"],
        values["Worker heap size"],
        values["Executor memory"],
        _properties(values["Properties"]),
        values["Start timeout"],
        values["Decommission timeout"],
    )


def _properties(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines()]
    kept = tuple(line for line in lines if line and not line.startswith("#"))
    for line in kept:
        if len(line.split(None, 1)) != 2:
            raise InvalidValue(
                f"the option 'Properties' of Spark has the line {line!r:.100}; a line is a name, a "
                "blank, and a value"
            )
    return kept


def spark_env(node: Settings, host: str, master: str, storage: Sequence[str]) -> str:
    """Returns spark-env.sh of the node ``host``; ``storage`` are directories for its data."""
    variables: dict[str, object] = {
        "SPARK_LOCAL_HOSTNAME": host,
        "SPARK_MASTER_HOST": master,
        "SPARK_MASTER_PORT": node.master_port,
        "SPARK_MASTER_WEBUI_PORT": node.master_page,
        "SPARK_WORKER_PORT": node.worker_port,
        "SPARK_WORKER_WEBUI_PORT": node.worker_page,
        "SPARK_LOG_DIR": f"{node.home}/logs",
        "SPARK_PID_DIR": f"{node.home}/pids",
        "SPARK_IDENT_STRING": "cluster",
        "SPARK_WORKER_DIR": f"{node.home}/work",
    }
    if node.worker_mb is not None:
        variables["SPARK_WORKER_MEMORY"] = f"{node.worker_mb}m"
    if node.worker_cores is not None:
        variables["SPARK_WORKER_CORES"] = node.worker_cores
    if storage:
        variables["SPARK_LOCAL_DIRS"] = ",".join(f"{path}/spark" for path in storage)
        variables["SPARK_WORKER_DIR"] = f"{storage[0]}/spark/work"
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    # Each daemon starts in an environment of its own: its heap is given where it is started.
    return "\n".join(["# Written by the gateway's Spark plugin.", *lines, ""])


def spark_defaults(node: Settings, master: str) -> str:
    """Returns spark-defaults.conf: what applications have that are submitted from the node."""
    lines = [f"spark.master spark://{master}:{node.master_port}", "spark.decommission.enabled true"]
    lines.append("spark.storage.decommission.enabled true")
    if node.executor_mb is not None:
        lines.append(f"spark.executor.memory {node.executor_mb}m")
    # The last line of a name counts.
    return "\n".join(["# Written by the gateway's Spark plugin.", *lines, *node.properties, ""])


def recommended(cpus: float, ram_mb: int, runs_master: bool, given: Settings) -> dict[str, int]:
    """Returns options of a worker on a node with so many CPUs and so much memory."""
    heaps = given.worker_heap_mb + (given.master_heap_mb if runs_master else 0)
    return {
        "Worker cores": max(1, int(cpus)),
        "Worker memory": max(_LEAST_WORKER_MB, ram_mb - heaps - _OVERHEAD_MB),
    }


def executor_mb(workers_mb: Iterable[int]) -> int | None:
    """Returns the memory of an executor that fits into each worker, at most Spark's own default."""
    smallest = min(workers_mb, default=None)
    return None if smallest is None or smallest >= 1024 else smallest
