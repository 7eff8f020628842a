"""The document that a product's template renders to -> groups, nodes and services. Pure.

Every problem is told with its path (``nodes.slave0.cpu: …``), all of them at once.
"""

from __future__ import annotations

import ipaddress
import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from framework.model.jobs import SEGMENT
from gateway.clusters import joining
from gateway.clusters.docker_opts import DockerOptions, WrongOption
from gateway.clusters.docker_opts import parse as parse_docker_opts
from gateway.clusters.fields import WORD, Reader, as_number
from gateway.clusters.model import DiskAsk, Group, NetworkAsk, NodeAsk, NodeSpec, Service
from gateway.clusters.options import kind_of
from gateway.clusters.requests import MOST_DISKS, MOST_NODES
from gateway.jobs.faults import invalid, shown, suggestion

_MOST_NETWORKS = 8
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_FIELDS = ("dnsname", "nodes", "services")
_NODE_FIELDS = frozenset(
    {"docker_image", "docker_opts", "command", "environment", "cpu", "mem", "port", "check_ports"}
    | {"required_node", "group", "anti_affinity", "tags", "services", "properties"}
    | {"use_custom_disks", "disks", "networks"}
)
# What the registry has of a node; old templates carry placeholders for it.
_IGNORED = frozenset({"name", "id", "status", "host", "clustername", "clusterdn", "hostname", "type"})
_DISK_FIELDS = ("destination", "origin", "mode", "type", "name")
_NETWORK_FIELDS = ("type", "networkname", "address", "name", "device", "bridge", "gateway", "netmask")


class ClusterDocument(msgspec.Struct, frozen=True):
    """What a template has asked for; nodes in the order in which they stand there."""

    dnsname: str
    groups: tuple[Group, ...]
    nodes: tuple[NodeAsk, ...]
    services: tuple[Service, ...]


def read_document(document: Any) -> ClusterDocument:
    """Returns the cluster that a rendered document describes; raises :class:`Invalid`."""
    reader = Reader()
    if not isinstance(document, dict):
        raise invalid(
            [f"the document: expects an object with dnsname, nodes, services, not {kind_of(document)}"]
        )
    reader.only(document, "", _FIELDS)
    dnsname = reader.text(document, "dnsname", "") or ""
    if dnsname and (len(dnsname) > 253 or not _NAME.fullmatch(dnsname[:63])):
        reader.say("dnsname", f"{shown(dnsname)} is not a name: use letters, digits, '-', '_' and '.'")
    nodes = _nodes(reader, document.get("nodes"))
    if nodes is None:
        # What is said of nodes that nobody has looked at would only hide it.
        raise invalid(reader.problems)
    services = _services(reader, document.get("services"), {node.name for node in nodes})
    if reader.problems:
        raise invalid(reader.problems)
    nodes, services = joining.join(nodes, services)
    return ClusterDocument(dnsname, joining.groups(nodes), nodes, services)


# -- nodes --


def _nodes(reader: Reader, value: Any) -> tuple[NodeAsk, ...] | None:
    """None: there are more than are looked at."""
    nodes = reader.mapping(value, "nodes")
    if not nodes:
        reader.say("nodes", "a cluster needs at least one node")
    if len(nodes) > MOST_NODES:
        reader.say("nodes", f"there are {len(nodes)}; a cluster has at most {MOST_NODES}")
        return None
    seen: dict[str, str] = {}
    for name in nodes:
        if not _NAME.fullmatch(name):
            reader.say(
                f"nodes.{name[:80]}",
                "is not a host name: use letters, digits, '-', '_' and '.', at most 63, "
                "beginning and ending with a letter or digit",
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            reader.say(f"nodes.{name}", f"differs from {other} only in case; host names do not")
    return tuple(_node(reader, name, data) for name, data in nodes.items())


def _node(reader: Reader, name: str, value: Any) -> NodeAsk:
    path = f"nodes.{name[:80]}"
    data = reader.mapping(value, path)
    reader.only(data, path, _NODE_FIELDS | _IGNORED)
    group = reader.text(data, "group", path) or group_of(name)
    if not WORD.fullmatch(group) or len(group) > 80:
        reader.say(f"{path}.group", f"{shown(group)} is not a name")
    docker = _docker_opts(reader, data.get("docker_opts"), path)
    disks, host_paths = _disks(reader, data, path)
    image = reader.text(data, "docker_image", path)
    if image is not None and (image.startswith("-") or not image.isprintable() or " " in image):
        reader.say(f"{path}.docker_image", f"{shown(image)} is not the name of an image")
    spec = NodeSpec(
        cpus=reader.number(data, "cpu", path, 0.01, 1024, "number of processors"),
        mem_mb=math.ceil(reader.number(data, "mem", path, 4, 16 * 1024 * 1024, "MB of memory")),
        image=image,
        command=_command(reader, data.get("command"), f"{path}.command"),
        required_host=reader.text(data, "required_node", path),
        tags=reader.words(data.get("tags"), f"{path}.tags"),
        apart=_apart(reader, data.get("anti_affinity"), f"{path}.anti_affinity", group),
        networks=_networks(reader, data.get("networks"), f"{path}.networks"),
        disks=disks,
        check_ports=_check_ports(reader, data.get("check_ports"), f"{path}.check_ports"),
        services=reader.words(data.get("services"), f"{path}.services"),
        environment=_environment(reader, data.get("environment"), f"{path}.environment", docker),
        parameters=docker.parameters,
        host_paths=(*docker.host_paths, *host_paths),
        properties=_properties(reader, data, path),
    )
    return NodeAsk(name, group, spec)


def group_of(name: str) -> str:
    """Returns the group of a node that names none: ``slave`` for ``slave0``, ``db`` for ``db-12``."""
    return name.rstrip("0123456789").rstrip("-_.") or name


def _docker_opts(reader: Reader, value: Any, path: str) -> DockerOptions:
    try:
        return parse_docker_opts(value)
    except WrongOption as error:
        reader.say(f"{path}.docker_opts", str(error))
        return DockerOptions()


def _command(reader: Reader, value: Any, path: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return shlex.join(value)
    if not isinstance(value, str):
        reader.say(path, f"expects a command line or a list of its words, not {kind_of(value)}")
        return None
    return value


def _apart(reader: Reader, value: Any, path: str, group: str) -> tuple[str, ...]:
    """``true``: apart from its own group."""
    if isinstance(value, bool):
        return (group,) if value else ()
    return reader.words(value, path)


def _check_ports(reader: Reader, value: Any, path: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    ports = value if isinstance(value, list) else [value]
    found = [reader.port(port, f"{path}[{i}]") for i, port in enumerate(ports)]
    return tuple(dict.fromkeys(port for port in found if port is not None))


def _environment(
    reader: Reader, value: Any, path: str, docker: DockerOptions
) -> tuple[tuple[str, str], ...]:
    variables = dict(docker.environment)
    for name, item in reader.mapping(value, path).items():
        if isinstance(item, bool):
            variables[name] = "true" if item else "false"
        elif isinstance(item, str | int | float):
            variables[name] = str(item)
        else:
            reader.say(f"{path}.{name[:80]}", f"expects a text or a number, not {kind_of(item)}")
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            reader.say(path, f"{shown(name)} is not the name of a variable")
    return tuple(variables.items())


def _properties(reader: Reader, data: Mapping[str, Any], path: str) -> dict[str, Any]:
    properties = dict(reader.mapping(data.get("properties"), f"{path}.properties"))
    for name in properties:
        if not SEGMENT.fullmatch(name):
            reader.say(f"{path}.properties", f"{shown(name)} is not a name for a property")
    port = data.get("port")
    if port not in (None, "", "_"):
        number = reader.port(port, f"{path}.port")
        if number is not None:
            properties["port"] = number
    if isinstance(data.get("docker_opts"), str):
        properties["docker_opts"] = data["docker_opts"]
    return properties


# -- disks and networks --


def _disks(
    reader: Reader, data: Mapping[str, Any], path: str
) -> tuple[tuple[DiskAsk, ...], tuple[tuple[str, str, Literal["RO", "RW"]], ...]]:
    value = data.get("disks")
    path = f"{path}.disks"
    number = as_number(value)
    if number is not None:
        if not number.is_integer() or not 0 <= number <= MOST_DISKS:
            reader.say(path, f"{number:g} is not a number of disks: 0 to {MOST_DISKS}")
            return (), ()
        return tuple(DiskAsk(f"disk{i}", f"/data/{i}") for i in range(1, int(number) + 1)), ()
    by_name = _truth(reader, data.get("use_custom_disks"), path.replace(".disks", ".use_custom_disks"))
    disks = []
    host_paths = []
    places: set[str] = set()
    entries = reader.mapping(value, path)
    if len(entries) > MOST_DISKS:
        reader.say(path, f"there are {len(entries)} disks; a node has at most {MOST_DISKS}")
    for name, item in entries.items():
        where = f"{path}.{name[:80]}"
        if not SEGMENT.fullmatch(name):
            reader.say(where, "is not a name for a disk")
        entry = reader.mapping(item, where)
        reader.only(entry, where, _DISK_FIELDS)
        destination = _destination(reader, entry, where)
        if destination in places:
            reader.say(f"{where}.destination", f"another disk is mounted at {destination} already")
        places.add(destination)
        mode = _mode(reader, entry.get("mode"), f"{where}.mode")
        origin = reader.text(entry, "origin", where)
        if origin is not None and origin.startswith("/"):
            host_paths.append((origin, destination, mode))
        else:
            disks.append(DiskAsk(name, destination, mode, (origin or name) if by_name else None))
    return tuple(disks), tuple(host_paths)


def _destination(reader: Reader, entry: Mapping[str, Any], path: str) -> str:
    text = reader.text(entry, "destination", path)
    where = f"{path}.destination"
    if text is None:
        reader.say(where, "is missing; give the path in the node where the disk is mounted")
        return ""
    parts = text.strip("/").split("/")
    if not text.startswith("/") or parts == [""] or not {"", ".", ".."}.isdisjoint(parts) or ":" in text:
        reader.say(where, f"{shown(text)} is not an absolute path that a disk can be mounted at")
    return "/" + "/".join(parts)


def _mode(reader: Reader, value: Any, path: str) -> Literal["RO", "RW"]:
    if value in (None, "", "_"):
        return "RW"
    if isinstance(value, str) and value.upper() in ("RO", "RW"):
        return "RO" if value.upper() == "RO" else "RW"
    reader.say(path, f"expects rw or ro, not {shown(value)}")
    return "RW"


def _truth(reader: Reader, value: Any, path: str) -> bool:
    if value in (None, "", "_"):
        return False
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    reader.say(path, f"expects true or false, not {shown(value)}")
    return False


def _networks(reader: Reader, value: Any, path: str) -> tuple[NetworkAsk, ...]:
    entries = reader.mapping(value, path)
    if len(entries) > _MOST_NETWORKS:
        reader.say(path, f"there are {len(entries)}; a node has at most {_MOST_NETWORKS} networks")
    asks = []
    for name in sorted(entries, key=_natural):
        where = f"{path}.{name[:80]}"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", name):
            reader.say(where, "is not a name for an interface, such as eth0")
        entry = reader.mapping(entries[name], where)
        reader.only(entry, where, _NETWORK_FIELDS)
        network = reader.text(entry, "networkname", where)
        if network is None or not SEGMENT.fullmatch(network):
            reader.say(f"{where}.networkname", "expects the name of a network")
        asks.append(NetworkAsk(network or "", name, _address(reader, entry, where)))
    if len({ask.network for ask in asks}) < len(asks):
        twice = Counter(ask.network for ask in asks).most_common(1)[0][0]
        reader.say(path, f"two interfaces are on the network {shown(twice)}; a node joins it once")
    return tuple(asks)


def _address(reader: Reader, entry: Mapping[str, Any], path: str) -> str | None:
    kind = reader.text(entry, "type", path)
    address = reader.text(entry, "address", path)
    if kind not in (None, "dynamic", "static"):
        reader.say(f"{path}.type", f"expects dynamic or static, not {shown(kind)}")
        return None
    if kind == "static" and address is None:
        reader.say(f"{path}.address", "is missing; a static interface needs its address")
    if kind == "dynamic" or address is None:
        return None
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        reader.say(f"{path}.address", f"{shown(address)} is not an IP address")
        return None


def _natural(name: str) -> tuple[str, int, str]:
    """eth2 before eth10."""
    stem = name.rstrip("0123456789")
    number = name[len(stem) :][:9]
    return stem, int(number) if number else -1, name


# -- services --


def _services(reader: Reader, value: Any, nodes: set[str]) -> tuple[Service, ...]:
    services = []
    for name, item in reader.mapping(value, "services").items():
        path = f"services.{name[:80]}"
        if not SEGMENT.fullmatch(name):
            reader.say(path, "is not a name for a service")
        data = reader.mapping(item, path)
        members = reader.words(data.get("nodes"), f"{path}.nodes")
        for member in members:
            if member not in nodes:
                reader.say(
                    f"{path}.nodes", f"there is no node {shown(member)}{suggestion(member, nodes)}"
                )
        properties = {key: v for key, v in data.items() if key not in ("nodes", "status", "name")}
        for key in properties:
            if not key or "/" in key or len(key) > 200:
                reader.say(path, f"{shown(key)} is not a name for a property")
        status = reader.text(data, "status", path) or ""
        services.append(Service(name, members, status, properties))
    return tuple(services)
