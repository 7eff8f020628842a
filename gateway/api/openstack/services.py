"""The catalog of services: where clients find what, by its type. Pure."""

from __future__ import annotations

from typing import Any

from gateway.api.openstack.routing import COMPUTE, IDENTITY, IMAGE, NETWORK

REGION = "RegionOne"
_INTERFACES = ("public", "internal", "admin")


def catalog(base: str, project: str) -> list[dict[str, Any]]:
    """Returns the catalog for a project; ``base`` is the server as the client names it."""
    services = (
        ("data-processing", "sahara", f"/v1.1/{project}"),
        ("compute", "nova", f"{COMPUTE}/v2.1"),
        ("image", "glance", IMAGE),
        ("network", "neutron", NETWORK),
        ("identity", "keystone", f"{IDENTITY}/v3"),
    )
    return [
        {"id": kind, "type": kind, "name": name, "endpoints": _endpoints(kind, base + path)}
        for kind, name, path in services
    ]


def _endpoints(kind: str, url: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{kind}-{interface}",
            "interface": interface,
            "region": REGION,
            "region_id": REGION,
            "url": url,
        }
        for interface in _INTERFACES
    ]
