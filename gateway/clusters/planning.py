"""From a cluster's nodes to the tasks of its job. Pure: values in, task configs or an error out."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from executor.task import Attachment, Container, DiskMount, Node, NodeFile, Parameter, Volume
from framework.model.errors import GatewayError, Invalid
from framework.model.jobs import Constraint, JobKey, JobSpec, Resources, TaskConfig, check_segment
from gateway.clusters.model import Cluster, LaunchRequest, NodeAsk, NodeRecord, NodeSpec
from gateway.clusters.networks import AddressAsk, Network, check_address
from gateway.clusters.requests import MOST_NODES
from gateway.policy import Policy, check

_HOSTNAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_REFERENCE = re.compile(r"\{\{([^{}]*)\}\}")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
_MOST_SEGMENT = 100
_MOST_PORT = 65535
_ENDING_SECS = 10
# What a node without an image does if nothing is said.
IDLE = "while :; do sleep 3600 & wait $!; done"


class Rules(msgspec.Struct, frozen=True):
    """What the server allows; ``default_image`` is the one of nodes that name none."""

    policy: Policy = Policy()
    default_image: str | None = None


# -- names ----------------------------------------------------------------------------------------


def job_key(cluster: str, owner: str, environment: str, name: str) -> JobKey:
    """Returns the key of a cluster's job; what is too long, or no name, is shortened to one."""
    return JobKey.of(cluster, segment(owner), segment(environment), segment(name))


def segment(text: str) -> str:
    """Returns ``text`` if it may stand in a job's key, else something like it, different for each."""
    plain = _OTHER.sub("_", text).lstrip("-")
    if plain == text and 0 < len(text) <= _MOST_SEGMENT and text not in (".", ".."):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain[: _MOST_SEGMENT - 13]}.{mark}"


def hostname(name: str) -> str:
    """Returns the host name of a node: its name, with "-" for the "_" that no host name has."""
    return name.replace("_", "-")


# -- whether it can be ----------------------------------------------------------------------------


def check_request(request: LaunchRequest, networks: Mapping[str, Network], rules: Rules) -> None:
    """Raises :class:`Invalid`, naming the node, for what can never be, Forbidden for what may not."""
    if not request.nodes:
        raise Invalid("a cluster has at least one node")
    if len(request.nodes) > MOST_NODES:
        raise Invalid(f"the cluster has {len(request.nodes)} nodes; {MOST_NODES} at most")
    check_segment("the name of the job's environment", request.environment)
    if not request.key or len(request.key) > 1000 or not request.owner or len(request.owner) > 200:
        raise Invalid("a cluster's key has 1 to 1000 characters, its owner 1 to 200")
    if request.lease_secs is not None and not 0 < request.lease_secs < 1e10:
        raise Invalid(f"a lease of {request.lease_secs} seconds is none; give a positive number")
    names = {node.name for node in request.nodes}
    for service in request.services:
        if missing := [name for name in service.nodes if name not in names]:
            raise Invalid(f"service {service.name}: there is no node {missing[0]!r}")
    key = job_key("check", request.owner, request.environment, request.job_name)
    _check_nodes(request.nodes, networks, rules, key)


def check_specs(cluster: Cluster, networks: Mapping[str, Network], rules: Rules) -> None:
    """Raises the same for the nodes of a cluster that has nodes to be added."""
    added = cluster.operation.added if cluster.operation is not None else ()
    names = [NodeAsk(node.name, node.group, node.spec) for node in cluster.nodes]
    _check_names(names)
    _check_nodes([ask for ask in names if ask.name in added], networks, rules, cluster.job)


def _check_nodes(
    nodes: Sequence[NodeAsk], networks: Mapping[str, Network], rules: Rules, key: JobKey
) -> None:
    _check_names(nodes)
    static: dict[tuple[str, str], str] = {}
    for node in nodes:
        try:
            _check_spec(node.spec, rules)
            _check_interfaces(node.name, node.spec, networks, static)
            config = _config(node.spec, node.group, Node(hostname(node.name)), rules, ())
            check(JobSpec(key, 1, config), rules.policy)
        except GatewayError as error:
            raise type(error)(f"node {node.name}: {error}") from None


def _check_names(nodes: Sequence[NodeAsk]) -> None:
    seen: dict[str, str] = {}
    for node in nodes:
        name = hostname(node.name).lower()
        if not _HOSTNAME.fullmatch(name):
            raise Invalid(
                f"{node.name[:80]!r} is not a name for a node: use letters, digits, '-' and '.', at "
                "most 63, beginning and ending with a letter or a digit"
            )
        if name in seen:
            raise Invalid(f"two nodes have the same name: {seen[name]} and {node.name}")
        seen[name] = node.name


def _check_spec(spec: NodeSpec, rules: Rules) -> None:
    if not 0 < spec.cpus < float("inf") or not 0 < spec.mem_mb < 2**40 or not 0 <= spec.disk_mb < 2**40:
        raise Invalid(
            f"it asks for {spec.cpus} cpus, {spec.mem_mb} MiB of memory and {spec.disk_mb} MiB of disk; "
            "cpus and memory have to be more than 0"
        )
    for port in spec.check_ports:
        if not 1 <= port <= _MOST_PORT:
            raise Invalid(f"{port} is not a port; 1 to {_MOST_PORT} are")
    for name, value in spec.environment:
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise Invalid(f"{name[:80]!r} is not the name of a variable, or its value holds a NUL")
    _check_disks(spec)
    if (spec.parameters or spec.host_paths) and _image(spec, rules) is None:
        raise Invalid("it has docker parameters or host paths, and no image that they could be for")


def _check_disks(spec: NodeSpec) -> None:
    named = [disk.disk for disk in spec.disks if disk.disk is not None]
    if named and len(named) < len(spec.disks):
        raise Invalid("some of its disks are named and some are not; name all of them, or none")
    if len(set(named)) < len(named):
        raise Invalid("it names a disk twice")
    places = [disk.destination for disk in spec.disks]
    for place in places:
        if not place.startswith("/") or posixpath.normpath(place) != place or place in ("/", "//"):
            raise Invalid(f"{place[:200]!r} is no absolute path to have a disk at")
    if len(set(places)) < len(places):
        raise Invalid("it has two disks at the same path")


def _check_interfaces(
    name: str,
    spec: NodeSpec,
    networks: Mapping[str, Network],
    static: dict[tuple[str, str], str],
) -> None:
    for what, values in (
        ("interface", [ask.interface for ask in spec.networks]),
        ("network", [ask.network for ask in spec.networks]),
    ):
        if twice := [value for value in values if values.count(value) > 1]:
            raise Invalid(f"it has the {what} {twice[0][:80]} twice")
    for ask in spec.networks:
        if not _INTERFACE.fullmatch(ask.interface):
            raise Invalid(f"{ask.interface[:80]!r} is not the name of an interface")
        if (network := networks.get(ask.network)) is None:
            known = ", ".join(sorted(networks)) or "none"
            raise Invalid(f"there is no network {ask.network[:80]!r} (there are: {known})")
        if ask.address is not None:
            address = check_address(network, ask.address)
            if (other := static.setdefault((network.name, address), name)) != name:
                raise Invalid(f"it wants the address {address}, which node {other} wants, too")


# -- the tasks ------------------------------------------------------------------------------------


def configs(
    cluster: Cluster,
    nodes: Iterable[NodeRecord],
    rules: Rules,
    files: Callable[[NodeRecord], Sequence[NodeFile]],
) -> dict[int, TaskConfig]:
    """Returns what each of ``nodes`` runs, by instance; their addresses have been given to them."""
    known = hosts(cluster)
    found: dict[int, TaskConfig] = {}
    for record in nodes:
        node = Node(
            hostname=hostname(record.name),
            networks=tuple(
                Attachment(i.network, i.address, i.subnet, i.gateway, i.driver, i.parent)
                for i in record.interfaces
            ),
            hosts=known,
            disks=tuple(DiskMount(disk.destination, disk.mode) for disk in record.spec.disks),
            files=tuple(files(record)),
            check_ports=record.spec.check_ports,
            environment=record.spec.environment,
        )
        metadata = (("cluster", cluster.key), ("node", record.name))
        found[record.index] = _config(record.spec, record.group, node, rules, metadata)
    return found


def job_spec(cluster: Cluster, nodes: Mapping[int, TaskConfig]) -> JobSpec:
    """Returns the summary of the cluster's job: how many, and what one of them is like."""
    return JobSpec(cluster.job, len(nodes), nodes[min(nodes)])


def address_asks(nodes: Iterable[NodeRecord]) -> list[AddressAsk]:
    """Returns the addresses that ``nodes`` are to have, node after node, in the order of interfaces."""
    return [
        AddressAsk(node.name, ask.network, ask.interface, ask.address)
        for node in nodes
        for ask in node.spec.networks
    ]


def hosts(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    """Returns the names and the addresses that the cluster's nodes resolve each other by.

    That is the address in the first network that all of them are in, or else each one's last.
    """
    within = [[i.network for i in node.interfaces] for node in cluster.nodes if node.interfaces]
    common = next((name for name in (within[0] if within else ()) if all(name in w for w in within)), "")
    found: list[tuple[str, str]] = []
    for node in cluster.nodes:
        shared = (i.address for i in node.interfaces if i.network == common)
        if (address := next(shared, node.address)) is not None:
            found.append((hostname(node.name), address))
    return tuple(found)


def hosts_text(cluster: Cluster) -> str:
    """Returns what stands in /etc/hosts of each node."""
    lines = ["127.0.0.1\tlocalhost", *(f"{address}\t{name}" for name, address in hosts(cluster))]
    return "\n".join(lines) + "\n"


def hosts_mark(cluster: Cluster) -> str:
    """Returns a short mark of these names and addresses: another one if anything of them differs."""
    return hashlib.sha256(hosts_text(cluster).encode()).hexdigest()[:16]


def _config(
    spec: NodeSpec, group: str, node: Node, rules: Rules, metadata: tuple[tuple[str, str], ...]
) -> TaskConfig:
    named = tuple(disk.disk for disk in spec.disks if disk.disk is not None)
    return TaskConfig(
        resources=Resources(
            cpus=spec.cpus,
            mem_mb=spec.mem_mb,
            disk_mb=spec.disk_mb,
            data_disks=len(spec.disks),
            disk_names=named,
        ),
        executor_data=_document(node.hostname, spec, rules),
        constraints=_constraints(spec),
        container=_container(spec, rules),
        service=True,
        max_task_failures=-1,
        metadata=metadata,
        node=node,
        tags=tuple(dict.fromkeys((*spec.tags, group))),
        sticky=bool(spec.disks),
    )


def _constraints(spec: NodeSpec) -> tuple[Constraint, ...]:
    found = [Constraint.parse(name, value) for name, value in spec.attributes]
    if spec.required_host is not None:
        found.append(Constraint("host", "value", (spec.required_host,)))
    found += [Constraint("host", "limit", limit=1, among=tag) for tag in spec.apart]
    return tuple(found)


def _image(spec: NodeSpec, rules: Rules) -> str | None:
    return spec.image if spec.image is not None else rules.default_image


def _container(spec: NodeSpec, rules: Rules) -> Container | None:
    image = _image(spec, rules)
    if image is None:
        return None
    return Container(
        image=image,
        parameters=tuple(Parameter(name, value) for name, value in spec.parameters),
        volumes=tuple(Volume(inside, outside, mode) for outside, inside, mode in spec.host_paths),
    )


def _document(name: str, spec: NodeSpec, rules: Rules) -> str:
    """The executor's JSON: the command as the one process, or none for the image's entry point."""
    command = spec.command
    if command is None and _image(spec, rules) is None:
        command = IDLE
    processes = []
    if command is not None:
        # The run-time variables of jobs are none of a node's: its command is taken as it stands.
        literal = _REFERENCE.sub(r"{{&\1}}", command)
        processes.append({"name": "node", "cmdline": literal, "max_failures": 1})
    task = {"name": name, "processes": processes, "finalization_wait": _ENDING_SECS}
    return json.dumps({"task": task}, sort_keys=True)
