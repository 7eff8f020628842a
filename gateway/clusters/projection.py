"""What the registry shows of clusters and products: keys with values, read from the records. Pure.

And the other way round: which part of a record a key that is written stands for.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from framework.model.errors import Forbidden, Invalid, NotFound
from gateway.clusters.model import Cluster, NodeRecord, NodeSpec, Phase, Service
from gateway.clusters.products import Product
from gateway.clusters.rendering import cluster_id_of

_LONGEST_STATUS = 200


def phase_words(cluster: Cluster) -> str:
    """Returns how far a cluster is in the contract's words: which half of a launch has failed is one."""
    if cluster.phase is not Phase.FAILED:
        return cluster.phase.value
    early = cluster.failed_in in (None, Phase.REGISTERED, Phase.SCHEDULING)
    return "error during scheduling" if early else "error during configuration"


def status_of(cluster: Cluster) -> str:
    """Returns a cluster's status as the registry has it: what its script has said, once it is ready."""
    return cluster.said if cluster.said and cluster.phase is Phase.READY else phase_words(cluster)


def text_of(value: Any) -> str:
    """Returns a value as the registry has it: a text; lists and objects are JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return json.dumps(value, ensure_ascii=False)


# -- clusters --


def cluster_entries(cluster: Cluster, below: str = "") -> dict[str, str]:
    """Returns the keys of a cluster, each with what stands there.

    ``below``: only those that begin with it are of interest; others may be left out.
    """
    top = {
        "name": cluster.name or cluster.key.rpartition("/")[2],
        "dn": cluster.key,
        "id": cluster_id_of(cluster.key),
        "dnsname": cluster.dnsname,
        "status": status_of(cluster),
        "step": cluster.step,
        "progress": cluster.progress,
        "reason": cluster.reason,
        "user": cluster.owner,
        "product": cluster.product[0],
        "version": cluster.product[1],
    }
    entries = {f"{cluster.key}/{name}": text_of(value) for name, value in top.items()}
    for node in cluster.nodes:
        prefix = f"{cluster.key}/nodes/{node.name}"
        if not _can_begin(prefix, below):
            continue
        entries |= {f"{prefix}/{name}": text for name, text in _node(cluster, node)}
    for service in cluster.services:
        prefix = f"{cluster.key}/services/{service.name}"
        if not _can_begin(prefix, below):
            continue
        entries |= {f"{prefix}/{name}": text for name, text in _service(service)}
    return entries


def _can_begin(prefix: str, below: str) -> bool:
    """Whether a key under ``prefix/`` can begin with ``below``."""
    return below.startswith(f"{prefix}/") or f"{prefix}/".startswith(below)


def _node(cluster: Cluster, node: NodeRecord) -> Iterator[tuple[str, str]]:
    spec = node.spec
    values = {name: value for name, value in spec.properties.items() if name != "nodes"}
    values |= {
        "name": node.name,
        "dn": f"{cluster.key}/nodes/{node.name}",
        "id": node.container_id or node.node_id,
        "clustername": cluster.name or cluster.key.rpartition("/")[2],
        "clusterdn": cluster.key,
        "status": node.said or node.status.value,
        "host": node.host,
        "group": node.group,
        "cpu": spec.cpus,
        "mem": spec.mem_mb,
        "docker_image": spec.image,
        "tags": ",".join(spec.tags),
        "check_ports": ",".join(map(str, spec.check_ports)),
        "address": node.address,
    }
    for name, value in values.items():
        yield name, text_of(value)
    yield from _disks(node, spec)
    yield from _networks(node, spec)
    for service in spec.services:
        yield f"services/{service}", ""


def _disks(node: NodeRecord, spec: NodeSpec) -> Iterator[tuple[str, str]]:
    for number, disk in enumerate(spec.disks):
        origin = node.disks[number] if number < len(node.disks) else disk.disk or ""
        yield from _under(f"disks/{disk.name}", disk.name, origin, disk.destination, disk.mode)
    for number, (origin, destination, mode) in enumerate(spec.host_paths, 1):
        name = f"host{number}"
        yield from _under(f"disks/{name}", name, origin, destination, mode)


def _under(
    prefix: str, name: str, origin: str, destination: str, mode: str
) -> Iterator[tuple[str, str]]:
    yield f"{prefix}/name", name
    yield f"{prefix}/origin", origin
    yield f"{prefix}/destination", destination
    yield f"{prefix}/mode", mode.lower()


def _networks(node: NodeRecord, spec: NodeSpec) -> Iterator[tuple[str, str]]:
    given = {interface.name: interface for interface in node.interfaces}
    for ask in spec.networks:
        interface = given.get(ask.interface)
        values = {"name": ask.interface, "device": ask.interface, "networkname": ask.network}
        values |= {
            "type": "static" if ask.address else "dynamic",
            "address": interface.address if interface else ask.address or "",
            "netmask": str(ipaddress.ip_network(interface.subnet).prefixlen) if interface else "",
            "gateway": (interface.gateway or "") if interface else "",
            "bridge": interface.parent if interface else "",
        }
        for name, value in values.items():
            yield f"networks/{ask.interface}/{name}", value


def _service(service: Service) -> Iterator[tuple[str, str]]:
    for name, value in service.properties.items():
        yield name, text_of(value)
    yield "name", service.name
    yield "status", service.status
    for node in service.nodes:
        yield f"nodes/{node}", ""


# -- products --


def product_entries(product: Product) -> dict[str, str]:
    """Returns the keys of a product, each with what stands there."""
    values = {
        "name": product.name,
        "version": product.version,
        "description": product.description,
        "logo_url": product.logo_url,
        "template": product.template,
        "templatetype": product.template_type,
        "options": json.dumps(msgspec.to_builtins(product.options), ensure_ascii=False),
        "orchestrator": product.orchestrator,
    }
    return {f"{product.dn}/{name}": value for name, value in values.items()}


# -- what is written --


def written(cluster: Cluster, rest: str, text: str | None) -> Cluster | None:
    """Returns the cluster with ``text`` at the key ``rest`` below its own; None if the key is none of
    the record's. ``text`` None: the key is deleted.

    Raises :class:`Forbidden` for what the gateway itself knows, :class:`NotFound` for a part of the
    cluster that there is not, :class:`Invalid` for a status that is none.
    """
    parts = rest.split("/")
    if parts == ["status"]:
        return msgspec.structs.replace(cluster, said=_status(text))
    if parts[0] == "nodes" and len(parts) > 2:
        return _write_node(cluster, parts[1], parts[2:], text)
    if parts[0] == "services" and len(parts) > 2:
        return _write_service(cluster, parts[1], parts[2:], text)
    if f"{cluster.key}/{rest}" in cluster_entries(cluster, f"{cluster.key}/{rest}"):
        raise _known_better(rest)
    return None


def _write_node(cluster: Cluster, name: str, rest: list[str], text: str | None) -> Cluster | None:
    node = cluster.node(name)
    if node is None:
        raise NotFound(f"cluster {cluster.key} has no node {name[:255]!r}")
    if rest == ["status"]:
        changed = msgspec.structs.replace(node, said=_status(text))
    elif len(rest) == 1 and rest[0] in node.spec.properties:
        properties: Mapping[str, Any] = {**node.spec.properties, rest[0]: text}
        if text is None:
            properties = {k: v for k, v in node.spec.properties.items() if k != rest[0]}
        spec = msgspec.structs.replace(node.spec, properties=dict(properties))
        changed = msgspec.structs.replace(node, spec=spec)
    elif (key := f"{cluster.key}/nodes/{name}/{'/'.join(rest)}") in cluster_entries(cluster, key):
        raise _known_better(f"nodes/{name}/{'/'.join(rest)}")
    else:
        return None
    nodes = tuple(changed if other.name == name else other for other in cluster.nodes)
    return msgspec.structs.replace(cluster, nodes=nodes)


def _write_service(cluster: Cluster, name: str, rest: list[str], text: str | None) -> Cluster:
    service = next((s for s in cluster.services if s.name == name), None)
    if service is None:
        if text is None:
            return cluster
        service = Service(name)
    if rest == ["status"]:
        changed = msgspec.structs.replace(service, status=_status(text))
    elif rest[0] == "nodes" and len(rest) == 2:
        if text is not None and cluster.node(rest[1]) is None:
            raise NotFound(f"cluster {cluster.key} has no node {rest[1][:255]!r}")
        nodes = [node for node in service.nodes if node != rest[1]]
        nodes += [] if text is None else [rest[1]]
        changed = msgspec.structs.replace(service, nodes=tuple(nodes))
    elif rest in (["name"], ["nodes"]):
        raise _known_better(f"services/{name}/{rest[0]}")
    else:
        key = "/".join(rest)
        properties = {k: v for k, v in service.properties.items() if k != key}
        if text is not None:
            properties[key] = text
        changed = msgspec.structs.replace(service, properties=properties)
    others = tuple(s for s in cluster.services if s.name != name)
    if len(others) == len(cluster.services):
        return msgspec.structs.replace(cluster, services=(*others, changed))
    services = tuple(changed if s.name == name else s for s in cluster.services)
    return msgspec.structs.replace(cluster, services=services)


def _status(text: str | None) -> str:
    if text is None:
        return ""
    if len(text) > _LONGEST_STATUS or not text.isprintable():
        raise Invalid(f"a status is one line of at most {_LONGEST_STATUS} characters")
    return text


def _known_better(rest: str) -> Forbidden:
    return Forbidden(
        f"{rest[:200]} is what the gateway knows itself; scripts write statuses and properties"
    )
