"""Entry point of ``bin/gatewayctl``: options that all commands share, errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from gatewayctl.client import Client, Failure
from gatewayctl.clusters import cluster
from gatewayctl.context import Context
from gatewayctl.networks import network
from gatewayctl.output import plain
from gatewayctl.products import product

_EPILOG = """Exit codes: 0 done; 1 refused; 2 wrong command line; 3 there is no such thing; 4 not
known, or not allowed; 5 it contradicts what is; 6 the gateway does not answer; 7 the cluster, or the
command in it, has failed; 8 it took too long."""


@click.group(epilog=_EPILOG)
@click.option(
    "--url",
    envvar="MESOS_GATEWAY_URL",
    default="http://127.0.0.1:8888",
    show_default=True,
    show_envvar=True,
    help="where the gateway is",
)
@click.option("--token", envvar="MESOS_GATEWAY_TOKEN", show_envvar=True, help="who you are")
@click.option("--json", "as_json", is_flag=True, help="output for programs")
@click.pass_context
def cli(context: click.Context, url: str, token: str | None, as_json: bool) -> None:
    """Products and clusters of a mesos-gateway."""
    client = Client(url, token)
    context.call_on_close(client.close)
    context.obj = Context(client, as_json)


for group in (product, cluster, network):
    cli.add_command(group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    try:
        code = cli.main(arguments, prog_name="gatewayctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Failure as failure:
        click.echo(f"gatewayctl: {plain(str(failure))}", err=True)
        return failure.code
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
