"""What travels from the framework to the executor, and what both understand of it.

This is the only module that framework and executor share. A :class:`TaskPayload` is the ``data`` of
a Mesos TaskInfo (JSON, base64 on the wire). Its ``executor_data`` is the JSON document that Aurora
clients call ``executorConfig.data``: the job as its author wrote it, with the run-time variables
(``{{mesos.instance}}``, ``{{thermos.ports[http]}}`` …) still in place. :func:`decode_task` turns it
into a :class:`TaskSpec`; :func:`bind` fills the variables in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

PAYLOAD_VERSION = 1


class Parameter(msgspec.Struct, frozen=True):
    """One Docker parameter, by its ``docker run`` name without the dashes: ("network", "host")."""

    name: str
    value: str


class Volume(msgspec.Struct, frozen=True):
    """A host path mounted into the container."""

    container_path: str
    host_path: str
    mode: Literal["RO", "RW"] = "RO"


class Container(msgspec.Struct, frozen=True):
    """The image a task runs in. ``None`` in a task's config means: no image, the bare agent.

    ``kind`` remembers how the author asked: ``docker`` (Docker(image=…)) or ``mesos``
    (Mesos(image=DockerImage(name, tag)), whose image here reads ``name:tag``).
    """

    image: str
    kind: Literal["docker", "mesos"] = "docker"
    parameters: tuple[Parameter, ...] = ()
    volumes: tuple[Volume, ...] = ()


class Attachment(msgspec.Struct, frozen=True):
    """One network interface of a node; the first is eth0, the second eth1, ….

    ``subnet`` is in CIDR notation. ``driver`` bridge: ``parent`` is the bridge on the agent ("": one
    that Docker makes); macvlan: the agent's interface.
    """

    network: str
    address: str
    subnet: str
    gateway: str | None = None
    driver: Literal["bridge", "macvlan"] = "bridge"
    parent: str = ""


class DiskMount(msgspec.Struct, frozen=True):
    """Where a node has one of the agent's data disks; which one that is comes with the offer."""

    destination: str
    mode: Literal["RO", "RW"] = "RW"


class NodeFile(msgspec.Struct, frozen=True):
    """A file that is there before anything of the node runs; root's, with these permissions."""

    path: str
    text: str
    mode: int = 0o644


class Node(msgspec.Struct, frozen=True):
    """What makes a task a node of a cluster: a machine with a name, addresses, disks.

    ``hosts`` are names and addresses that the node can resolve. ``disks`` stand in the order of the
    data disks that the task asks for. The task is RUNNING once all of ``check_ports`` are listened on.
    """

    hostname: str
    networks: tuple[Attachment, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    disks: tuple[DiskMount, ...] = ()
    files: tuple[NodeFile, ...] = ()
    check_ports: tuple[int, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


class TaskPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything the executor needs to run one task. Memory and disk in MiB, ports by name.

    ``disk_paths``: the host's path of each of the node's disks.
    """

    task_id: str
    cluster: str
    role: str
    environment: str
    name: str
    instance: int
    executor_data: str
    cpus: float
    mem_mb: int
    disk_mb: int
    gpus: int = 0
    ports: dict[str, int] = {}
    hostname: str = ""
    container: Container | None = None
    user: str | None = None
    pull_policy: Literal["always", "missing", "never"] = "missing"
    node: Node | None = None
    disk_paths: tuple[str, ...] = ()
    version: int = PAYLOAD_VERSION


def encode_payload(payload: TaskPayload) -> bytes:
    """Returns the JSON bytes of ``payload``."""
    return msgspec.json.encode(payload)


def decode_payload(data: bytes) -> TaskPayload:
    """Returns the payload in ``data``; raises ``ValueError`` saying what is wrong with it."""
    payload = msgspec.json.decode(data, type=TaskPayload)
    if payload.version != PAYLOAD_VERSION:
        raise ValueError(
            f"the task's payload has version {payload.version}, this executor reads version "
            f"{PAYLOAD_VERSION}: framework and executor must come from the same release"
        )
    return payload


# -- the task inside executor_data; field names and defaults are the job model's --


class RotatePolicy(msgspec.Struct, frozen=True):
    """``log_size`` in bytes, ``backups`` in files."""

    log_size: int = 100 * 1024 * 1024
    backups: int = 5


class Logger(msgspec.Struct, frozen=True):
    """Where a process's output goes, and whether its files are rotated."""

    destination: Literal["file", "console", "both", "none"] = "file"
    mode: Literal["standard", "rotate"] = "standard"
    rotate: RotatePolicy = RotatePolicy()


class ProcessSpec(msgspec.Struct, frozen=True):
    """One command line of a task. ``max_failures`` 0 means no limit; ``min_duration`` in seconds."""

    name: str
    cmdline: str
    max_failures: int = 1
    daemon: bool = False
    ephemeral: bool = False
    min_duration: int = 5
    final: bool = False
    logger: Logger | None = None


class OrderConstraint(msgspec.Struct, frozen=True):
    """Each process of ``order`` starts only after the one before it has succeeded."""

    order: tuple[str, ...] = ()


class TaskSpec(msgspec.Struct, frozen=True):
    """The processes of a task. ``finalization_wait`` in seconds; ``max_concurrency`` 0: no limit."""

    name: str = ""
    processes: tuple[ProcessSpec, ...] = ()
    constraints: tuple[OrderConstraint, ...] = ()
    max_failures: int = 1
    max_concurrency: int = 0
    finalization_wait: int = 30
    user: str | None = None


class HttpHealthChecker(msgspec.Struct, frozen=True):
    """Healthy is who answers so at ``endpoint``; a code of 0 stands for any below 400."""

    endpoint: str = "/health"
    expected_response: str = "ok"
    expected_response_code: int = 0


class ShellHealthChecker(msgspec.Struct, frozen=True):
    """Healthy is whose command ends with 0."""

    shell_command: str


class HealthChecker(msgspec.Struct, frozen=True):
    """One of the two."""

    http: HttpHealthChecker | None = None
    shell: ShellHealthChecker | None = None


class HealthCheckConfig(msgspec.Struct, frozen=True):
    """Times in seconds."""

    health_checker: HealthChecker = HealthChecker(http=HttpHealthChecker())
    initial_interval_secs: float = 15.0
    interval_secs: float = 10.0
    max_consecutive_failures: int = 0
    min_consecutive_successes: int = 1
    timeout_secs: float = 1.0


class HttpLifecycle(msgspec.Struct, frozen=True):
    """The endpoints asked before a task is signalled; waits in seconds."""

    port: str = "health"
    graceful_shutdown_endpoint: str = "/quitquitquit"
    shutdown_endpoint: str = "/abortabortabort"
    graceful_shutdown_wait_secs: int = 5
    shutdown_wait_secs: int = 5


class Lifecycle(msgspec.Struct, frozen=True):
    """What is done before a task is killed."""

    http: HttpLifecycle | None = None


class TaskDocument(msgspec.Struct, frozen=True):
    """The parts of ``executor_data`` that the executor acts on."""

    task: TaskSpec = TaskSpec()
    health_check_config: HealthCheckConfig | None = None
    lifecycle: Lifecycle | None = None


def decode_task(executor_data: str) -> TaskDocument:
    """Returns the task in ``executor_data``; raises ``ValueError`` naming the field at fault.

    Numbers may stand as strings ("3"), as the configuration language allows.
    """
    return msgspec.convert(msgspec.json.decode(executor_data.encode()), type=TaskDocument, strict=False)


_FIXED_PORT = re.compile(r"\s*[0-9]{1,9}\s*")


def resolve_portmap(portmap: Mapping[str, str]) -> dict[str, str | int]:
    """Returns what each name of an announced port map stands for: a port's name, or a fixed number.

    Raises ``ValueError`` for names that stand for each other.
    """
    resolved: dict[str, str | int] = {}
    for name in portmap:
        seen = {name}
        target = portmap[name]
        while target in portmap and portmap[target] != target:
            if target in seen:
                raise ValueError(f"announce.portmap: {name!r} leads back to itself")
            seen.add(target)
            target = portmap[target]
        resolved[name] = int(target) if _FIXED_PORT.fullmatch(target) else target
    return resolved


_REFERENCE = re.compile(r"\{\{([^{}]*)\}\}")


def run_time_bindings(payload: TaskPayload) -> dict[str, str]:
    """Returns what each run-time variable stands for in this task, by its name in the language."""
    bindings = {
        "mesos.instance": str(payload.instance),
        "mesos.hostname": payload.hostname,
        "mesos.role": payload.role,
        "mesos.cluster": payload.cluster,
        "thermos.task_id": payload.task_id,
        "thermos.user": payload.user or payload.role,
        "role": payload.role,
        "cluster": payload.cluster,
        "environment": payload.environment,
        "name": payload.name,
    }
    bindings.update({f"thermos.ports[{k}]": str(v) for k, v in payload.ports.items()})
    return bindings


def bind(text: str, bindings: Mapping[str, str]) -> str:
    """Fills the ``{{references}}`` of ``text`` in.

    ``{{&x}}`` is the language's way to write a literal ``{{x}}``. Raises ``ValueError`` naming the
    references that nothing is known for.
    """
    unknown: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name.startswith("&"):
            return "{{" + name[1:] + "}}"
        if name not in bindings:
            unknown.append(name)
            return match.group(0)
        return bindings[name]

    filled = _REFERENCE.sub(fill, text)
    if unknown:
        raise ValueError("unbound variables: " + ", ".join(sorted(set(unknown))))
    return filled


class TaskReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ``data`` of the executor's status updates: what the gateway shows of a running task.

    ``sandbox`` is the task's directory as an absolute path on the agent; the stdout of run ``n`` of
    process ``p`` lies at ``{sandbox}/.logs/{p}/{n}/stdout`` (stderr beside it), rotated files with
    ``.1``, ``.2`` … appended, newest first. ``container_id`` is Docker's. ``trouble`` is what keeps the
    agent from running such tasks at all (its Docker daemon does not answer): "" nothing, None unknown.
    """

    sandbox: str = ""
    container_id: str = ""
    processes: dict[str, Any] = {}
    trouble: str | None = None


def log_path(sandbox: str, process: str, run: int, stream: str) -> str:
    """Returns the path of a process's log, as :class:`TaskReport` describes it."""
    return f"{sandbox}/.logs/{process}/{run}/{stream}"
