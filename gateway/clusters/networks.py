"""Networks that nodes are attached to, each with a pool of addresses. Pure values and their rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

import msgspec

from framework.model.errors import Conflict, Invalid
from framework.model.jobs import check_segment

Status = Literal["free", "used"]
# Linux's limit for the name of an interface.
_INTERFACE = 15
_MOST_ADDRESSES = 65536
# This network, loopback, multicast and what comes after it. Docker makes a network of loopback
# addresses, and from then on the agent's own connections to itself come from somewhere else.
_NOBODYS = tuple(map(ipaddress.IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")))


class Network(msgspec.Struct, frozen=True):
    """A network of the agents. ``subnet`` in CIDR notation; ``addresses`` is the pool, in the order in
    which they are given out.

    ``driver`` bridge: ``parent`` is a bridge on every agent ("": Docker makes one); macvlan: an
    interface of every agent.
    """

    name: str
    subnet: str
    addresses: tuple[str, ...] = ()
    gateway: str | None = None
    driver: Literal["bridge", "macvlan"] = "bridge"
    parent: str = ""
    description: str = ""


class Address(msgspec.Struct, frozen=True):
    """An address of a network's pool, and which node of which cluster has it ("" if it is free)."""

    network: str
    address: str
    status: Status = "free"
    cluster: str = ""
    node: str = ""


class AddressAsk(msgspec.Struct, frozen=True):
    """One interface that a node is to have; ``address`` None: any of the pool that is free."""

    node: str
    network: str
    interface: str = "eth0"
    address: str | None = None


class DiskMark(msgspec.Struct, frozen=True):
    """What the operator, or a node, has said of a disk of an agent."""

    host: str
    name: str
    status: Status = "free"
    cluster: str = ""
    node: str = ""


def subnet_of(network: str, netmask: str) -> str:
    """Returns ``network`` and ``netmask`` in CIDR notation ("10.0.0.0", "255.0.0.0" or "8").

    Raises :class:`Invalid`.
    """
    text = network if "/" in network or not netmask else f"{network}/{netmask}"
    return str(_subnet(text))


def check_network(network: Network) -> Network:
    """Returns ``network`` with its addresses in their usual notation.

    Raises :class:`Invalid` for a name or a subnet that is none, or none for nodes, and for addresses
    outside the subnet, given twice, or the subnet's own (network, broadcast, gateway).
    """
    check_segment("the network's name", network.name)
    subnet = _subnet(network.subnet)
    if subnet.version != 4:
        raise Invalid(f"network {network.name}: {subnet} is a subnet of IPv6; nodes have IPv4 addresses")
    if taken := next((one for one in _NOBODYS if subnet.overlaps(one)), None):
        raise Invalid(f"network {network.name}: no node can have an address of {taken}")
    if len(network.parent) > _INTERFACE or any(c.isspace() or c in "/\0" for c in network.parent):
        raise Invalid(
            f"network {network.name}: {network.parent[:60]!r} is not the name of an interface "
            f"(at most {_INTERFACE} characters)"
        )
    if network.driver == "macvlan" and not network.parent:
        raise Invalid(f"network {network.name}: a macvlan needs the agents' interface as its parent")
    gateway = None if not network.gateway else str(_inside(network, subnet, network.gateway))
    pool = _pool(network, subnet, gateway)
    return msgspec.structs.replace(network, subnet=str(subnet), gateway=gateway, addresses=pool)


def check_apart(network: Network, others: Iterable[Network]) -> None:
    """Raises :class:`Conflict` if another network has addresses of this one's subnet.

    One Docker daemon holds no two such networks ("Pool overlaps with other one on this address space"):
    nodes of the second would fail on every agent that has the first.
    """
    subnet = _subnet(network.subnet)
    for other in others:
        if other.name != network.name and subnet.overlaps(_subnet(other.subnet)):
            raise Conflict(
                f"network {network.name}: its subnet {subnet} overlaps {other.subnet}, that of the "
                f"network {other.name}; Docker can have only one of them on an agent"
            )


def _pool(network: Network, subnet: Subnet, gateway: str | None) -> tuple[str, ...]:
    if len(network.addresses) > _MOST_ADDRESSES:
        raise Invalid(f"network {network.name}: a pool has at most {_MOST_ADDRESSES} addresses")
    seen: dict[str, None] = {}
    reserved = {str(subnet.network_address), str(subnet.broadcast_address), gateway}
    # The agent's own address in a bridge: Docker takes the first one if no gateway is given.
    agents = str(subnet.network_address + 1) if network.driver == "bridge" and not gateway else None
    for text in network.addresses:
        address = str(_inside(network, subnet, text))
        if address in seen:
            raise Invalid(f"network {network.name}: the address {address} is there twice")
        if address in reserved:
            raise Invalid(
                f"network {network.name}: {address} is the subnet's own or its gateway's address; "
                "no node can have it"
            )
        if address == agents:
            raise Invalid(
                f"network {network.name}: {address} is what the agents have in it if it has no gateway; "
                "no node can have it: begin with the next one"
            )
        seen[address] = None
    return tuple(seen)


def check_address(network: Network, address: str) -> str:
    """Returns ``address`` in its usual notation; raises :class:`Invalid` unless it is of the pool."""
    found = str(_inside(network, _subnet(network.subnet), address))
    if found not in network.addresses:
        raise Invalid(f"the address {found} is not in the pool of the network {network.name}")
    return found


def expand(parts: Iterable[str]) -> tuple[str, ...]:
    """Returns the addresses of a pool written as addresses and ranges ("10.0.0.2-10.0.0.9").

    Raises :class:`Invalid`.
    """
    found: list[str] = []
    for part in parts:
        first, _, last = part.partition("-")
        low = _address(first.strip())
        high = _address(last.strip()) if last else low
        if high.version != low.version or int(high) < int(low):
            raise Invalid(f"{part!r} is not a range of addresses: the second is before the first")
        if int(high) - int(low) >= _MOST_ADDRESSES - len(found):
            raise Invalid(f"a pool has at most {_MOST_ADDRESSES} addresses")
        found += [str(low + n) for n in range(int(high) - int(low) + 1)]
    return tuple(found)


Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def _subnet(text: str) -> Subnet:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f"{text[:60]!r} is not a subnet; write 10.112.0.0/16") from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"{text[:60]!r} is not an IP address") from None


def _inside(
    network: Network, subnet: Subnet, text: str
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = _address(text)
    if address not in subnet:
        raise Invalid(f"network {network.name}: the address {address} is not in its subnet {subnet}")
    return address
