"""``gatewayctl network …``"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from gatewayctl.client import NETWORKS, segment
from gatewayctl.context import Context, pass_context
from gatewayctl.output import show_json, show_table


@click.group()
def network() -> None:
    """Networks that nodes are attached to."""


@network.command("list")
@pass_context
def list_networks(context: Context) -> None:
    """The networks, and how many of their addresses are free."""
    names = context.client.json("GET", f"{NETWORKS}/networks")["networks"]
    found = [context.client.json("GET", _path(name)) for name in names]
    if context.json:
        show_json(found)
        return
    free = [context.client.json("GET", _path(name) + "/addresses?free")["number"] for name in names]
    rows = [
        (one["name"], one["driver"], one["network"], one["netmask"], one["gateway"], number)
        for one, number in zip(found, free, strict=True)
    ]
    show_table(("NETWORK", "DRIVER", "ADDRESS", "NETMASK", "GATEWAY", "FREE"), rows)


@network.command()
@click.argument("name")
@pass_context
def show(context: Context, name: str) -> None:
    """Who has which address of a network."""
    found = context.client.json("GET", _path(name) + "/addresses?full")["addresses"]
    if context.json:
        show_json(found)
        return
    rows = [(one["address"], one["status"], one["cluster"], one["node"]) for one in found]
    show_table(("ADDRESS", "STATUS", "CLUSTER", "NODE"), rows)


@network.command()
@click.argument("name")
@click.argument("subnet")
@click.option("--addresses", multiple=True, help="addresses or ranges (A-B); may be repeated")
@click.option("--gateway", help="the way out of it")
@click.option("--driver", type=click.Choice(["bridge", "macvlan"]), default="bridge")
@click.option("--parent", default="", help="a bridge or an interface of every agent")
@click.option("--description", default="")
@pass_context
def define(
    context: Context,
    name: str,
    subnet: str,
    addresses: Sequence[str],
    gateway: str | None,
    driver: str,
    parent: str,
    description: str,
) -> None:
    """Defines a network: gatewayctl network define lan 10.9.0.0/24 --addresses 10.9.0.10-10.9.0.99"""
    body: dict[str, Any] = {
        "name": name,
        "network": subnet,
        "addresses": list(addresses),
        "gateway": gateway,
        "driver": driver,
        "parent": parent,
        "description": description,
    }
    context.client.call("POST", f"{NETWORKS}/networks", body)


@network.command()
@click.argument("name")
@pass_context
def delete(context: Context, name: str) -> None:
    """Deletes a network of which no address is in use."""
    context.client.call("DELETE", _path(name))


def _path(name: str) -> str:
    return f"{NETWORKS}/networks/{segment(name)}"
