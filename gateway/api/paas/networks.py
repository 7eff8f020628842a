"""Networks that nodes can be attached to, and who has which of their addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from framework.model.errors import Invalid, NotFound
from framework.model.jobs import check_segment
from gateway.api.documents import read_value
from gateway.api.http import Answer, Call
from gateway.api.paas.routing import check_operator, route
from gateway.clusters.definitions import Definition, network_of
from gateway.clusters.model import Cluster
from gateway.clusters.networks import (
    Address,
    AddressAsk,
    Network,
    Status,
    check_address,
)

NOTHING = Answer("", status=204)
_NETWORKS = "/resources/networks/v1/networks"


class Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who takes an address."""

    cluster: str
    node: str


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an address is to be."""

    status: Status
    cluster: str = ""
    node: str = ""


async def list_networks(call: Call) -> Answer:
    found = await call.run(call.clusters.store.networks.list)
    return Answer({"networks": [network.name for network in found]})


async def define_network(call: Call) -> Answer:
    check_operator(call, "networks")
    network = network_of(read_value(call.body, Definition, "the network"))
    await call.run(call.clusters.store.networks.define, network)
    return NOTHING


async def read_network(call: Call, name: str) -> Answer:
    check_segment("network", name)
    return Answer(network_body(await call.run(call.clusters.store.networks.get, name)))


def network_body(network: Network) -> dict[str, Any]:
    subnet = ipaddress.ip_network(network.subnet)
    return {
        "name": network.name,
        "description": network.description,
        "bridge": network.parent,
        "driver": network.driver,
        "network": str(subnet.network_address),
        "netmask": str(subnet.netmask),
        "gateway": network.gateway,
        "addresses": list(network.addresses),
    }


async def delete_network(call: Call, name: str) -> Answer:
    check_operator(call, "networks")
    check_segment("network", name)
    await call.run(call.clusters.store.networks.delete, name)
    return NOTHING


async def take_address(call: Call, name: str) -> Answer:
    check_operator(call, "networks")
    check_segment("network", name)
    holder = read_value(call.body, Holder, "the address")
    for what, part in (("cluster", holder.cluster), ("node", holder.node)):
        if not part or len(part) > 1000:
            raise Invalid(f"the address: {what} says who takes it, in 1 to 1000 characters")
    ask = AddressAsk(holder.node, name)
    (taken,) = await call.run(call.clusters.store.networks.take, holder.cluster, [ask])
    return Answer({"address": taken.address})


# -- addresses -------------------------------------------------------------------------------------


async def list_addresses(call: Call, name: str) -> Answer:
    """Texts; with ``full`` objects that say who has which."""
    check_segment("network", name)
    free, used, full = (call.query.flag(flag) for flag in ("free", "used", "full"))
    if free and used:
        raise Invalid("free and used together are all addresses: give one of them, or none")
    status: Status | None = "free" if free else "used" if used else None

    def look() -> list[Any]:
        found = call.clusters.store.networks.addresses(name, status)
        if not full:
            return [one.address for one in found]
        return addresses_body(found, call)

    addresses = await call.run(look)
    return Answer({"addresses": addresses, "number": len(addresses)})


async def read_address(call: Call, name: str, address: str) -> Answer:
    check_segment("network", name)

    def look() -> dict[str, Any]:
        found = _address(call, name, address)
        return addresses_body([found], call)[0]

    return Answer(await call.run(look))


async def mark_address(call: Call, name: str, address: str) -> Answer:
    check_operator(call, "networks")
    check_segment("network", name)
    mark = read_value(call.body, Mark, "the address")
    networks = call.clusters.store.networks
    await call.run(networks.set_status, name, address, mark.status, mark.cluster, mark.node)
    return NOTHING


def _address(call: Call, name: str, text: str) -> Address:
    network = call.clusters.store.networks.get(name)
    address = check_address(network, text)
    for one in call.clusters.store.networks.addresses(name):
        if one.address == address:
            return one
    raise NotFound(f"network {name} has no address {address}")


def addresses_body(found: Sequence[Address], call: Call) -> list[dict[str, Any]]:
    """Who has an address is told to those who may see that cluster. Blocks."""
    clusters: Mapping[str, Cluster] = {
        one.cluster_id: one
        for one in call.clusters.store.clusters.find(include_gone=False)
        if call.caller.has(one.owner, one.key)
    }

    def body(one: Address) -> dict[str, Any]:
        cluster = clusters.get(one.cluster)
        known = cluster is not None or call.caller.is_trusted
        return {
            "address": one.address,
            "status": one.status,
            "cluster": (cluster.key if cluster else one.cluster) if known else "",
            "node": one.node if known else "",
        }

    return [body(one) for one in found]


ROUTES = (
    route("GET", _NETWORKS, list_networks, "The names of the networks", 200, "Networks"),
    route(
        "POST",
        _NETWORKS,
        define_network,
        "Defines a network, or changes it",
        204,
        accepts=("NetworkDefinition",),
    ),
    route("GET", _NETWORKS + "/{network}", read_network, "A network", 200, "Network"),
    route("DELETE", _NETWORKS + "/{network}", delete_network, "Deletes a network nobody uses", 204),
    route(
        "POST",
        _NETWORKS + "/{network}",
        take_address,
        "Takes a free address of its pool",
        200,
        "TakenAddress",
        accepts=("Holder",),
    ),
    route(
        "GET",
        _NETWORKS + "/{network}/addresses",
        list_addresses,
        "The addresses of its pool",
        200,
        "Addresses",
        query=("free", "used", "full"),
    ),
    route(
        "GET", _NETWORKS + "/{network}/addresses/{address}", read_address, "An address", 200, "Address"
    ),
    route(
        "PUT",
        _NETWORKS + "/{network}/addresses/{address}",
        mark_address,
        "Marks an address as free or used",
        204,
        accepts=("AddressMark",),
    ),
)
