"""What the operator offers for data clusters: flavors, images, networks; and the keys of users. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Flavor(msgspec.Struct, frozen=True):
    """What a node has of an agent. Memory in MiB, disk in GiB."""

    id: str
    name: str
    cpus: float
    mem_mb: int
    disk_gb: int


class Image(msgspec.Struct, frozen=True):
    """A container image under the name and the UUID that clients know it by.

    ``reference`` is what Docker calls it, "" for none: nodes are then plain processes of their agent.
    ``keep_entrypoint``: what the image itself begins with stays the node's first process.
    ``transport``: how plugins reach its nodes, beside their tasks or over SSH; then the image itself
    begins with the server, and that stays the first process, too. ``username`` and ``tags``: as what it
    is registered for everybody (None: it is not). ``size`` in bytes, minimums in GiB and MiB, times in
    seconds since the epoch.
    """

    id: str
    name: str
    reference: str = ""
    username: str | None = None
    tags: tuple[str, ...] = ()
    size: int = 0
    min_disk: int = 0
    min_ram: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    keep_entrypoint: bool = False
    transport: Literal["exec", "ssh"] = "exec"


class CloudNetwork(msgspec.Struct, frozen=True):
    """One of the gateway's networks (``name``) under the UUID that clients know it by.

    ``attached`` False: it is only the network that every agent has anyway; nodes are given no address
    and no interface for it. ``subnet`` in CIDR notation, "" where nobody knows it.
    """

    id: str
    name: str
    attached: bool = True
    subnet: str = ""


class Keypair(msgspec.Struct, frozen=True):
    """A public key of a tenant, put into the nodes of its clusters.

    ``user`` is who has brought it: all users of a tenant see and use the tenant's keys. ``public_key``
    is one line as in an authorized_keys file. ``created_at`` in seconds since the epoch.
    """

    name: str
    public_key: str
    tenant: str = ""
    user: str = ""
    fingerprint: str = ""
    created_at: float = 0.0
    id: str = ""


class Catalogue(Protocol):
    """Methods may block for as long as the store takes."""

    def flavors(self) -> Sequence[Flavor]: ...

    def images(self) -> Sequence[Image]: ...

    def networks(self) -> Sequence[CloudNetwork]: ...

    def keypairs(self, tenant: str) -> Sequence[Keypair]: ...


def flavor_of(catalogue: Catalogue, flavor_id: str) -> Flavor | None:
    """Returns the flavor with this id, None if there is none."""
    return next((flavor for flavor in catalogue.flavors() if flavor.id == flavor_id), None)


def image_of(catalogue: Catalogue, image_id: str) -> Image | None:
    """Returns the image with this id, None if there is none."""
    return next((image for image in catalogue.images() if image.id == image_id), None)


def network_of(catalogue: Catalogue, network_id: str) -> CloudNetwork | None:
    """Returns the network with this id, None if there is none."""
    return next((network for network in catalogue.networks() if network.id == network_id), None)
