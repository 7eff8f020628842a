"""Neutron's networks: the gateway's own under their UUIDs, read-only."""

from __future__ import annotations

from typing import Any

from gateway.api.http import Answer, Call
from gateway.api.openstack.routing import (
    NETWORK,
    PAGING,
    link,
    network_failed,
    no,
    page,
    route,
    versions,
)
from gateway.dataprocessing.catalogue import CloudNetwork, network_of

_BASE = NETWORK + "/v2.0"
_NETWORKS = _BASE + "/networks"
_LENIENT = ("fields", "sort_key", "sort_dir", "page_reverse", "tenant_id", "project_id")
_TRAITS = ("status", "shared", "admin_state_up", "router:external")


async def list_network_versions(call: Call) -> Answer:
    return versions([{"id": "v2.0", "status": "CURRENT", "links": [link(call, _BASE + "/")]}])


async def read_network_version(call: Call) -> Answer:
    resource = {
        "name": "network",
        "collection": "networks",
        "links": [link(call, _NETWORKS)],
    }
    return Answer({"resources": [resource]})


async def list_cloud_networks(call: Call) -> Answer:
    names, ids = call.query.all("name"), call.query.all("id")
    found = await call.run(call.dataprocessing.catalogue.networks)
    wanted = [
        one
        for one in found
        if (not names or one.name in names) and (not ids or one.id in ids) and _in_general(call)
    ]
    shown, following = page(wanted, call)
    body: dict[str, Any] = {"networks": [_network(one) for one in shown]}
    if following is not None:
        body["networks_links"] = [link(call, f"{_NETWORKS}?{following}", "next")]
    return Answer(body)


def _in_general(call: Call) -> bool:
    """Whether networks as all of these are (active, shared, not external) are asked for."""
    query = call.query
    return (
        query.one("status") in (None, "ACTIVE")
        and not query.flag("router:external")
        and all(query.one(name) is None or query.flag(name) for name in ("shared", "admin_state_up"))
    )


async def read_cloud_network(call: Call, network: str) -> Answer:
    found = await call.run(network_of, call.dataprocessing.catalogue, network)
    if found is None:
        raise no("Network", network)
    return Answer({"network": _network(found)})


def _network(network: CloudNetwork) -> dict[str, Any]:
    return {
        "id": network.id,
        "name": network.name,
        "description": "" if network.attached else "the network that every agent has",
        "status": "ACTIVE",
        "admin_state_up": True,
        "shared": True,
        "router:external": False,
        "subnets": [],
        "availability_zones": [],
        "availability_zone_hints": [],
        "tenant_id": "",
        "project_id": "",
        "mtu": 1500,
        "port_security_enabled": False,
        "tags": [],
        # Ours: the pool's subnet, "" where nodes are given no addresses.
        "cidr": network.subnet,
    }


async def list_network_extensions(call: Call) -> Answer:
    return Answer({"extensions": []})


ROUTES = (
    route(
        "GET",
        NETWORK,
        list_network_versions,
        "Neutron's versions",
        300,
        "ServiceVersions",
        network_failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        _BASE,
        read_network_version,
        "What there is of Neutron",
        200,
        "NetworkResources",
        network_failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        _BASE + "/extensions",
        list_network_extensions,
        "Extensions of Neutron: none",
        200,
        "NetworkExtensions",
        network_failed,
        local=True,
    ),
    route(
        "GET",
        _NETWORKS,
        list_cloud_networks,
        "The networks",
        200,
        "CloudNetworks",
        network_failed,
        query=("name", "id", *PAGING, *_LENIENT, *_TRAITS),
    ),
    route(
        "GET",
        _NETWORKS + "/{network}",
        read_cloud_network,
        "A network",
        200,
        "CloudNetwork",
        network_failed,
    ),
)
