"""What a cluster is: groups of nodes, the nodes themselves, how far it is, what has happened to it.

Free of any API's words: the PaaS API and the Sahara API both render these values. A cluster is one
job of the scheduler; its nodes are the job's instances.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from framework.model.jobs import JobKey

# Of a text that is somebody else's, so many characters are kept.
LONGEST_TEXT = 16 * 1024


def storable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Returns what can be stored of a text: scripts and plugins say what they like, halves of
    characters included."""
    return text[:longest].encode("utf-8", "replace").decode()


class Phase(StrEnum):
    """How far a cluster is; the order is its life."""

    REGISTERED = "registered"
    SCHEDULING = "scheduling"
    SCHEDULED = "scheduled"
    CONFIGURING = "configuring"
    CONFIGURED = "configured"
    READY = "ready"
    RESIZING = "resizing"
    DELETING = "destroying"
    DELETED = "destroyed"
    FAILED = "error"


class NodeStatus(StrEnum):
    """What a node does; the words are those of the API."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "destroyed"


# -- what is asked for --


class NetworkAsk(msgspec.Struct, frozen=True):
    """One interface of a node: an address of this network's pool, any, or a certain one."""

    network: str
    interface: str = "eth0"
    address: str | None = None


class DiskAsk(msgspec.Struct, frozen=True):
    """A data disk of the agent: any, or (``disk``) the one with this name."""

    name: str
    destination: str
    mode: Literal["RO", "RW"] = "RW"
    disk: str | None = None


class NodeSpec(msgspec.Struct, frozen=True):
    """What a node is made of. Memory and scratch disk in MiB.

    ``image`` None: the server's default image, or plain processes. ``command`` None: the image's own.
    ``required_host``: the agent to be placed on. ``apart``: never on one agent with another node of the
    cluster that has one of these tags. ``parameters`` are Docker's, ``host_paths`` (host, container,
    mode); both are subject to the policy. ``properties``: what else is known of it, for scripts.
    """

    cpus: float
    mem_mb: int
    disk_mb: int = 0
    image: str | None = None
    command: str | None = None
    required_host: str | None = None
    tags: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    networks: tuple[NetworkAsk, ...] = ()
    disks: tuple[DiskAsk, ...] = ()
    check_ports: tuple[int, ...] = ()
    services: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    host_paths: tuple[tuple[str, str, Literal["RO", "RW"]], ...] = ()
    properties: dict[str, Any] = {}


class Group(msgspec.Struct, frozen=True):
    """Nodes that are alike: what one more of them is made of. ``extra`` is the API's own.

    ``stem``: what names of its nodes begin with, a number follows ("": as those that there are, or the
    group's name).
    """

    name: str
    spec: NodeSpec
    extra: dict[str, Any] = {}
    stem: str = ""


class Service(msgspec.Struct, frozen=True):
    """Configuration for the nodes that run a service; ``nodes`` are names."""

    name: str
    nodes: tuple[str, ...] = ()
    status: str = ""
    properties: dict[str, Any] = {}


class NodeAsk(msgspec.Struct, frozen=True):
    """A node that is to be: its name, the name of its group, what it is made of."""

    name: str
    group: str
    spec: NodeSpec


class LaunchRequest(msgspec.Struct, frozen=True):
    """A cluster that is to be. ``key`` is its unique name in the API that makes it; ``environment``
    and ``job_name`` name its job, together with the owner. ``lease_secs`` None: it stays.
    ``cluster_id`` "": it gets one.

    The other fields are those of :class:`Cluster`.
    """

    key: str
    owner: str
    provider: Literal["product", "plugin"]
    product: tuple[str, str]
    job_name: str
    nodes: tuple[NodeAsk, ...]
    groups: tuple[Group, ...] = ()
    services: tuple[Service, ...] = ()
    environment: str = "paas"
    name: str = ""
    project: str = ""
    dnsname: str = ""
    lease_secs: float | None = None
    shared: bool = False
    cluster_id: str = ""
    extra: dict[str, Any] = {}


# -- what there is --


class Interface(msgspec.Struct, frozen=True):
    """An address that a node has been given. ``subnet`` in CIDR notation."""

    name: str
    network: str
    address: str
    subnet: str
    gateway: str | None = None
    driver: Literal["bridge", "macvlan"] = "bridge"
    parent: str = ""


class NodeRecord(msgspec.Struct, frozen=True):
    """A node: ``index`` is its instance number in the job, never used twice within a cluster.

    ``disks`` are the names of the agent's disks, in the order of ``spec.disks``. ``said``: what the
    cluster's own script has called its status. ``hosts`` marks the names and addresses that the
    running node resolves ("": not known).
    """

    node_id: str
    index: int
    name: str
    group: str
    spec: NodeSpec
    status: NodeStatus = NodeStatus.QUEUED
    interfaces: tuple[Interface, ...] = ()
    disks: tuple[str, ...] = ()
    host: str | None = None
    task_id: str | None = None
    container_id: str = ""
    reason: str = ""
    said: str = ""
    hosts: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    extra: dict[str, Any] = {}

    @property
    def address(self) -> str | None:
        """The address that others reach it at: its last interface's."""
        return self.interfaces[-1].address if self.interfaces else None


class Operation(msgspec.Struct, frozen=True):
    """What is being done to a cluster; one at a time.

    ``kind`` run executes the provider's own verb (``verb``: stop, restart, status …). ``added`` and
    ``removed`` are names of nodes. ``done`` are the steps that have been completed, by name; the next
    one is repeated after a crash.
    """

    kind: Literal["create", "resize", "delete", "run"]
    operation_id: str
    started_at: float
    user: str = ""
    verb: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    done: tuple[str, ...] = ()


class Cluster(msgspec.Struct, frozen=True):
    """A cluster. ``key`` is its unique name in the API that made it (``clusters/U/P/V/ID`` …).

    ``owner`` is a user, ``project`` whose objects may be shared (a tenant; "" if the API has none).
    ``provider`` and ``product`` (name, version) say who configures it: ``product`` or ``plugin``.
    ``deleting``: it is to go, whatever else happens. ``failed_step``, ``failed_in`` and ``reason`` say
    which step of the last operation failed, in which phase, and why; while there is still an operation,
    what it has done is being undone. ``step`` is the step under way, ``progress`` 0 to 100.
    ``expires_at`` (seconds since the epoch) is the end of its lease. ``revision`` grows with every
    change of it or its nodes. ``shared``: other projects may look at it. ``extra`` is the API's.
    """

    cluster_id: str
    key: str
    owner: str
    provider: Literal["product", "plugin"]
    product: tuple[str, str]
    job: JobKey
    name: str = ""
    project: str = ""
    phase: Phase = Phase.REGISTERED
    deleting: bool = False
    step: str = ""
    progress: int = 0
    reason: str = ""
    failed_step: str = ""
    failed_in: Phase | None = None
    operation: Operation | None = None
    groups: tuple[Group, ...] = ()
    nodes: tuple[NodeRecord, ...] = ()
    services: tuple[Service, ...] = ()
    dnsname: str = ""
    said: str = ""
    next_index: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    expires_at: float | None = None
    revision: int = 0
    shared: bool = False
    extra: dict[str, Any] = {}

    @property
    def is_gone(self) -> bool:
        return self.phase is Phase.DELETED

    @property
    def is_busy(self) -> bool:
        """Whether an operation is under way."""
        return self.operation is not None

    def node(self, name: str) -> NodeRecord | None:
        return next((node for node in self.nodes if node.name == name), None)


class ClusterEvent(msgspec.Struct, frozen=True):
    """Something that happened. ``kind`` step: a step began or ended; output: a line that a script has
    put out (``stream``); node: a node changed. ``sequence`` grows over all clusters."""

    cluster_id: str
    at: float
    kind: Literal["step", "output", "node", "phase"]
    text: str
    step: str = ""
    node: str = ""
    stream: str = ""
    ok: bool | None = None
    operation_id: str = ""
    sequence: int = 0
