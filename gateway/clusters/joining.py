"""What the nodes and services of a document are to each other. Pure."""

from __future__ import annotations

import msgspec

from gateway.clusters.model import Group, NodeAsk, NodeSpec, Service
from gateway.jobs.faults import invalid, shown, suggestion


def join(
    nodes: tuple[NodeAsk, ...], services: tuple[Service, ...]
) -> tuple[tuple[NodeAsk, ...], tuple[Service, ...]]:
    """Returns both with each knowing of the other; nodes carry the tags that others keep apart from.

    Raises :class:`Invalid` for services, tags and groups that are named and do not exist.
    """
    if problems := _unknown(nodes, services):
        raise invalid(problems)
    apart = {other for node in nodes for other in node.spec.apart}
    running: dict[str, list[str]] = {node.name: list(node.spec.services) for node in nodes}
    members: dict[str, list[str]] = {service.name: list(service.nodes) for service in services}
    for service in services:
        for member in service.nodes:
            running[member].append(service.name)
    for node in nodes:
        for name in node.spec.services:
            members[name].append(node.name)
    joined_nodes = []
    for node in nodes:
        more = (node.group,) if node.group in apart and node.group not in node.spec.tags else ()
        spec = msgspec.structs.replace(
            node.spec,
            services=tuple(dict.fromkeys(running[node.name])),
            tags=(*node.spec.tags, *more),
        )
        joined_nodes.append(msgspec.structs.replace(node, spec=spec))
    joined_services = tuple(
        msgspec.structs.replace(service, nodes=tuple(dict.fromkeys(members[service.name])))
        for service in services
    )
    return tuple(joined_nodes), joined_services


def _unknown(nodes: tuple[NodeAsk, ...], services: tuple[Service, ...]) -> list[str]:
    """Returns a sentence for each service, tag or group that a node names and that does not exist."""
    named = {service.name for service in services}
    problems = [
        f"nodes.{node.name}.services: there is no service {shown(name)}{suggestion(name, named)}"
        for node in nodes
        for name in node.spec.services
        if name not in named
    ]
    others = {node.group for node in nodes} | {tag for node in nodes for tag in node.spec.tags}
    return problems + [
        f"nodes.{node.name}.anti_affinity: no node has the tag or the group {shown(other)}"
        f"{suggestion(other, others)}"
        for node in nodes
        for other in node.spec.apart
        if other not in others
    ]


def groups(nodes: tuple[NodeAsk, ...]) -> tuple[Group, ...]:
    """Returns the groups, whose further nodes are as the first, without what only one node can have."""
    firsts: dict[str, NodeSpec] = {}
    hosts: dict[str, set[str | None]] = {}
    for node in nodes:
        firsts.setdefault(node.group, node.spec)
        hosts.setdefault(node.group, set()).add(node.spec.required_host)
    return tuple(
        Group(
            name,
            msgspec.structs.replace(
                spec,
                required_host=spec.required_host if len(hosts[name]) == 1 else None,
                networks=tuple(msgspec.structs.replace(n, address=None) for n in spec.networks),
            ),
        )
        for name, spec in firsts.items()
    )
