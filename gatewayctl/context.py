"""What every command has: the client, and whether a program reads the output."""

from __future__ import annotations

from dataclasses import dataclass

import click

from gatewayctl.client import Client, Failure


@dataclass
class Context:
    """What every command has: the client, and whether it answers in JSON."""

    client: Client
    json: bool


pass_context = click.make_pass_decorator(Context)


def parse_product(text: str) -> tuple[str, str]:
    """Returns name and version of ``NAME/VERSION``; raises :class:`Failure`."""
    name, _, version = text.partition("/")
    if not name or not version or "/" in version:
        raise Failure(f"{text!r} is not a product: write NAME/VERSION, for example reference/1.0.0", 2)
    return name, version


def parse_cluster(text: str) -> str:
    """Returns the path of ``USER/PRODUCT/VERSION/ID``, also with ``clusters/`` before it."""
    parts = text.strip("/").removeprefix("clusters/").split("/")
    if len(parts) != 4 or not all(parts):
        raise Failure(f"{text!r} is not a cluster: write USER/PRODUCT/VERSION/ID", 2)
    return "/".join(parts)
