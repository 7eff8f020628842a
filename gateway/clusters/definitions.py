"""Networks as operators write them: in the body of a request, in the file of ``--networks``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from framework.model.errors import Invalid
from gateway.clusters.networks import Network, check_network, expand, subnet_of


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``network`` is an address, with ``netmask`` or in CIDR notation; ``addresses`` may hold ranges.

    ``driver`` and ``parent`` are ours: a ``bridge`` may as well stand in ``parent``.
    """

    name: str
    network: str
    netmask: str = ""
    gateway: str | None = None
    addresses: tuple[str, ...] = ()
    description: str = ""
    bridge: str = ""
    driver: Literal["bridge", "macvlan"] = "bridge"
    parent: str = ""


def network_of(asked: Definition) -> Network:
    """Returns the network that a definition describes; raises :class:`Invalid`."""
    if asked.bridge and asked.parent:
        raise Invalid("the network: bridge and parent are the same thing; give one of them")
    return Network(
        name=asked.name,
        subnet=subnet_of(asked.network, asked.netmask),
        addresses=expand(asked.addresses),
        gateway=asked.gateway or None,
        driver=asked.driver,
        parent=asked.parent or asked.bridge,
        description=asked.description,
    )


def read_networks(path: Path) -> tuple[Network, ...]:
    """Returns the networks of a file: TOML with a table ``[[networks]]`` for each, or JSON alike.

    Raises :class:`Invalid` with the file and what is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        asked = msgspec.convert(document, _File)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Invalid(f"--networks {path}: {error}") from None
    found: dict[str, Network] = {}
    for one in asked.networks:
        try:
            network = check_network(network_of(one))
        except Invalid as error:
            raise Invalid(f"--networks {path}: {error}") from None
        if network.name in found:
            raise Invalid(f"--networks {path}: the network {network.name} stands there twice")
        found[network.name] = network
    return tuple(found.values())


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    networks: tuple[Definition, ...] = ()
