"""The networks of nodes, without Docker: what a network should be, and whether one that is there is it.

Values in, values out; :mod:`executor.runtimes.docker_networks` asks the daemon.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from executor.task import Attachment

PREFIX = "mesos-gateway-"
LABEL = "mesos-gateway.network"
FRAMEWORK_LABEL = "mesos-gateway.framework-id"
# On containers: the names of the networks that they are, or will be, attached to.
USES_LABEL = "mesos-gateway.networks"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_BRIDGE_NAME = "com.docker.network.bridge.name"
_PARENT_OPTION = {"bridge": _BRIDGE_NAME, "macvlan": "parent"}

Found = Mapping[str, Any]


def network_name(attachment: Attachment) -> str:
    """Returns the name that Docker knows the network by."""
    return PREFIX + attachment.network


def check(attachments: Sequence[Attachment]) -> None:
    """Raises ``ValueError`` with a sentence for what can be no attachment of a node."""
    names = [a.network for a in attachments]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name of a network: letters, digits, '_', '.' and '-'")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"a node can be attached to a network only once: {', '.join(twice)}")
    for attachment in attachments:
        _check_addresses(attachment)


def _check_addresses(attachment: Attachment) -> None:
    try:
        subnet = ipaddress.IPv4Network(attachment.subnet)
        address = ipaddress.IPv4Address(attachment.address)
        gateway = ipaddress.IPv4Address(attachment.gateway) if attachment.gateway else None
    except ValueError as error:
        raise ValueError(f"network {attachment.network}: {error}") from None
    for role, one in (("address", address), ("gateway", gateway)):
        if one is not None and one not in subnet:
            raise ValueError(f"network {attachment.network}: the {role} {one} is not in {subnet}")
    if address in (gateway, subnet.network_address, subnet.broadcast_address):
        raise ValueError(f"network {attachment.network}: {address} can be no node's in {subnet}")


def creation(attachment: Attachment, framework_id: str) -> dict[str, Any]:
    """Returns the body of Docker's NetworkCreate."""
    pool = {"Subnet": attachment.subnet}
    if attachment.gateway:
        pool["Gateway"] = attachment.gateway
    options = {_PARENT_OPTION[attachment.driver]: attachment.parent} if attachment.parent else {}
    return {
        "name": network_name(attachment),
        "driver": attachment.driver,
        "options": options,
        "ipam": {"Driver": "default", "Config": [pool]},
        "check_duplicate": True,
        "labels": {LABEL: "1", FRAMEWORK_LABEL: framework_id},
    }


def choose(name: str, found: Iterable[Found]) -> Found | None:
    """Returns the network of this very name; of several the oldest, so that all choose the same."""
    named = [n for n in found if n.get("Name") == name]
    return min(named, key=lambda n: (str(n.get("Created", "")), str(n.get("Id", ""))), default=None)


def difference(attachment: Attachment, found: Found) -> str | None:
    """Returns why the network that is there is not the one that is wanted, None if it is."""
    pools = (found.get("IPAM") or {}).get("Config") or [{}]
    options = found.get("Options") or {}
    wanted: list[tuple[str, str, str]] = [
        ("driver", attachment.driver, str(found.get("Driver", ""))),
        ("subnet", attachment.subnet, str(pools[0].get("Subnet", ""))),
    ]
    if attachment.gateway:
        wanted.append(("gateway", attachment.gateway, str(pools[0].get("Gateway", ""))))
    if attachment.parent:
        parent = str(options.get(_PARENT_OPTION[attachment.driver], ""))
        wanted.append(("parent", attachment.parent, parent))
    for what, ours, theirs in wanted:
        if ours != theirs:
            return (
                f"this agent has a Docker network {found.get('Name')} already, with {what} "
                f"{theirs or 'none'} instead of {ours}: remove it, or name the network otherwise"
            )
    return None


def unused(
    names: Iterable[str], found: Iterable[Found], used: Iterable[Mapping[str, str]]
) -> list[tuple[str, str]]:
    """Returns id and name of those networks of ours that no container uses.

    ``found`` are networks as Docker lists them, ``used`` the labels of all containers.
    """
    busy = {name for labels in used for name in labels.get(USES_LABEL, "").split(",")}
    wanted = set(names)
    return [
        (str(n["Id"]), str(n["Name"]))
        for n in found
        if n.get("Name") in wanted and n.get("Name") not in busy and (n.get("Labels") or {}).get(LABEL)
    ]


# -- what Docker says --


def is_gone(text: str) -> bool:
    """Whether a network was removed by another executor since it was looked for."""
    return bool(re.search(r"network \S+ not found|could not find a network", text, re.IGNORECASE))


def is_taken(text: str) -> bool:
    """Whether another container has the fixed address; of ports Docker says it otherwise."""
    return bool(re.search(r"(^|: |\()Address already in use", text))


def explain_taken(attachments: Sequence[Attachment]) -> str:
    """Returns the sentence for an address that stays in use."""
    addresses = " or ".join(f"{a.address} of network {a.network}" for a in attachments)
    return f"the address {addresses} is in use by another container on this agent"


def explain_creation(attachment: Attachment, text: str) -> str:
    """Returns a sentence for the daemon's text about a network that cannot be made."""
    name = network_name(attachment)
    if "overlaps with other one" in text or "overlapping IPv4" in text:
        return (
            f"the Docker network {name} cannot be made: another network of this agent has addresses "
            f"of {attachment.subnet}"
        )
    return f"the Docker network {name} cannot be made: {text.strip()}"
