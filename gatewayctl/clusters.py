"""``gatewayctl cluster …``"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from gatewayctl.client import API, FAILED, LATE, UNREACHABLE, Client, Failure, segment
from gatewayctl.context import Context, parse_cluster, parse_product, pass_context
from gatewayctl.output import plain, show_json, show_table, when

_ENDS = ("ready", "destroyed", "error during scheduling", "error during configuration")
_POLL_SECS = 0.5


@click.group()
def cluster() -> None:
    """Clusters of products."""


@cluster.command()
@click.argument("product")
@click.argument("options", nargs=-1)
@click.option("--lease", type=click.IntRange(min=1), help="delete it after so many seconds")
@click.option("--wait/--no-wait", help="wait until it is ready")
@click.option("--timeout", default=900.0, show_default=True, help="seconds to wait")
@pass_context
def launch(
    context: Context, product: str, options: Sequence[str], lease: int | None, wait: bool, timeout: float
) -> None:
    """Launches a cluster of PRODUCT (NAME/VERSION) with OPTIONS (name=value …); prints its name."""
    name, version = parse_product(product)
    path = f"{API}/products/{segment(name)}/{segment(version)}"
    pairs = [_pair(text) for text in options]
    texts = _texts(context.client.json("GET", f"{path}/options")) if pairs else set()
    given = {name: _text(value) if name in texts else _value(value) for name, value in pairs}
    params: dict[str, str | int] = {} if lease is None else {"lease": lease}
    answer = context.client.call("POST", path, given, params=params)
    deadline = time.monotonic() + timeout
    found = _registered(context.client, answer.json()["url"], deadline)
    if not context.json:
        click.echo(found)
    if wait:
        _wait(context, found, deadline)
    elif context.json:
        show_json(_data(context.client, found))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Failure(f"{text!r} is not an option of a product: write name=value", 2)
    return name, value


def _texts(options: dict[str, dict[str, Any]]) -> set[str]:
    """Returns the names of the options that are texts: what looks like a number is none there."""
    values = {**options["advanced"], **options["optional"], **options["required"]}
    return {name for name, value in values.items() if isinstance(value, str)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(text: str) -> str:
    """Returns a text as it is written, or what it is in JSON if it is in quotes."""
    value = _value(text)
    return value if isinstance(value, str) else text


def _registered(client: Client, url: str, deadline: float) -> str:
    """Waits at the queue; returns the cluster's name."""
    path = "/" + url.partition("://")[2].partition("/")[2] if "://" in url else url
    while True:
        answer = client.call("GET", path)
        if answer.status_code == 303:
            found: str = answer.json()["url"]
            return found.partition(f"{API}/clusters/")[2]
        if time.monotonic() > deadline:
            raise Failure(f"the cluster has not been taken up yet; see {path}", LATE)
        time.sleep(_POLL_SECS)


@cluster.command("list")
@click.option("--user", help="only this user's")
@click.option("--all", "every", is_flag=True, help="also those that have been destroyed")
@pass_context
def list_clusters(context: Context, user: str | None, every: bool) -> None:
    """The clusters that you may see."""
    path = f"{API}/clusters" + (f"/{segment(user)}" if user else "")
    params: dict[str, str | int] = {} if every else {"active": "true"}
    found = [one["data"] for one in context.client.json("GET", path, params=params)["clusters"]]
    if context.json:
        show_json(found)
        return
    rows = [
        (
            one["dn"].removeprefix("clusters/"),
            one["status"],
            sum(one["groups"].values()),
            when(one["created_at"]),
            one["reason"],
        )
        for one in found
    ]
    show_table(("CLUSTER", "STATUS", "NODES", "CREATED", "REASON"), rows)


@cluster.command()
@click.argument("cluster")
@pass_context
def show(context: Context, cluster: str) -> None:
    """A cluster: how far it is, and what it waits for."""
    data = _data(context.client, parse_cluster(cluster))
    if context.json:
        show_json(data)
        return
    for name in ("dn", "status", "step", "progress", "reason", "owner", "dnsname"):
        click.echo(plain(f"{name + ':':<10} {data[name]}".rstrip()))
    for node, reasons in data.get("pending", {}).items():
        for one in reasons:
            click.echo(plain(f"{node} waits: {one['reason']} ({one['count']} agents)"))


def _data(client: Client, name: str) -> dict[str, Any]:
    data: dict[str, Any] = client.json("GET", _path(name))["data"]
    return data


def _path(name: str) -> str:
    return f"{API}/clusters/" + "/".join(segment(part) for part in name.split("/"))


@cluster.command()
@click.argument("cluster")
@pass_context
def nodes(context: Context, cluster: str) -> None:
    """Its nodes: where they run, their addresses and disks."""
    found = context.client.json("GET", _path(parse_cluster(cluster)) + "/nodes")["nodes"]
    if context.json:
        show_json(found)
        return
    rows = [
        (
            one["name"],
            one["status"],
            one["host"],
            [network["address"] for network in one["networks"]],
            [disk["name"] for disk in one["disks"]],
            one["cpu"],
            one["mem"],
            one["reason"],
        )
        for one in found
    ]
    show_table(("NODE", "STATUS", "HOST", "ADDRESSES", "DISKS", "CPU", "MEM", "REASON"), rows)


@cluster.command()
@click.argument("cluster")
@click.argument("groups", nargs=-1)
@click.option("--remove", multiple=True, help="a node that is to go; may be repeated")
@click.option("--wait/--no-wait", help="wait until it is ready again")
@click.option("--timeout", default=900.0, show_default=True, help="seconds to wait")
@pass_context
def scale(
    context: Context,
    cluster: str,
    groups: Sequence[str],
    remove: Sequence[str],
    wait: bool,
    timeout: float,
) -> None:
    """Scales CLUSTER: GROUPS are group=number-of-nodes."""
    name = parse_cluster(cluster)
    counts = {name: _value(count) for name, count in map(_pair, groups)}
    body = {"groups": counts, "remove": list(remove)}
    answer = context.client.json("PATCH", _path(name), body)
    if wait:
        _wait(context, name, time.monotonic() + timeout)
    elif context.json:
        show_json(answer["data"])


@cluster.command()
@click.argument("cluster")
@click.argument("verb", type=click.Choice(["stop", "start", "restart", "status"]))
@pass_context
def action(context: Context, cluster: str, verb: str) -> None:
    """Has the product's script stop, start, restart the cluster, or tell its status."""
    answer = context.client.json("POST", _path(parse_cluster(cluster)) + f"/actions/{verb}")
    if context.json:
        show_json(answer["data"])


@cluster.command()
@click.argument("cluster")
@click.option("--wait/--no-wait", help="wait until nothing of it is left")
@click.option("--timeout", default=300.0, show_default=True, help="seconds to wait")
@pass_context
def delete(context: Context, cluster: str, wait: bool, timeout: float) -> None:
    """Deletes a cluster; its record stays."""
    name = parse_cluster(cluster)
    context.client.call("DELETE", _path(name))
    if wait:
        _wait(context, name, time.monotonic() + timeout, "destroyed")


@cluster.command()
@click.argument("cluster")
@click.option("--follow", "-f", is_flag=True, help="go on until it is gone")
@click.option("--after", default=0, type=click.IntRange(min=0), help="only events after this number")
@pass_context
def events(context: Context, cluster: str, follow: bool, after: int) -> None:
    """What has happened to it, and what its scripts have put out."""
    path = _path(parse_cluster(cluster)) + "/events"
    if follow:
        for event in context.client.stream(path, {"after": after}):
            _show_event(context, event)
        return
    while True:
        page = context.client.json("GET", path, params={"after": after})
        for event in page["events"]:
            _show_event(context, event)
        if page["next"] is None:
            return
        after = page["next"]


def _show_event(context: Context, event: dict[str, Any]) -> None:
    if context.json:
        click.echo(json.dumps(event))
        return
    mark = {True: "+", False: "!", None: " "}[event["ok"]]
    what = " ".join(word for word in (event["step"], event["node"], event["stream"]) if word)
    click.echo(plain(f"{when(event['at'])} {mark} {what + ': ' if what else ''}{event['text']}"))


@cluster.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("cluster")
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--timeout", default=60.0, show_default=True, help="seconds until it is killed")
@click.option("--stdin", "reads", is_flag=True, help="hand it what is read here")
@pass_context
def execute(
    context: Context, cluster: str, node: str, argv: Sequence[str], timeout: float, reads: bool
) -> None:
    """Runs ARGV in a node of CLUSTER, and ends as it does."""
    path = _path(parse_cluster(cluster)) + f"/nodes/{segment(node)}/exec"
    body: dict[str, Any] = {"argv": list(argv), "timeout": timeout}
    if reads:
        try:
            body["stdin"] = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise Failure(f"what is read here is no text in UTF-8: {error.reason}", 2) from None
    done = context.client.json("POST", path, body, timeout=timeout + 30.0)
    if context.json:
        show_json(done)
    else:
        click.echo(done["stdout"], nl=False)
        click.echo(done["stderr"], nl=False, err=True)
        if done["problem"]:
            click.echo(plain(done["problem"]), err=True)
    if done["code"] is None:
        raise click.exceptions.Exit(FAILED)
    if done["code"]:
        raise click.exceptions.Exit(done["code"] % 256)


@cluster.command("wait")
@click.argument("cluster")
@click.option("--timeout", default=900.0, show_default=True, help="seconds to wait")
@click.option(
    "--for", "wanted", default="ready", type=click.Choice(["ready", "destroyed"]), show_default=True
)
@pass_context
def wait_for(context: Context, cluster: str, timeout: float, wanted: str) -> None:
    """Waits until a cluster is ready: exit 0; 7 if it fails, 8 if it takes too long."""
    _wait(context, parse_cluster(cluster), time.monotonic() + timeout, wanted)


def _wait(context: Context, name: str, deadline: float, wanted: str = "ready") -> None:
    said = ""
    while True:
        try:
            data = _data(context.client, name)
        except Failure as failure:
            # A gateway that is away for a moment comes back with everything.
            if failure.code != UNREACHABLE or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECS)
            continue
        said = _say(context, data, said)
        if data["status"] == wanted and data["operation"] is None:
            if context.json:
                show_json(data)
            if wanted == "ready" and data["reason"]:
                raise Failure(f"{name} is ready, but: {data['reason']}", FAILED)
            return
        if data["status"] in _ENDS and data["operation"] is None:
            raise Failure(f"{name}: {data['status']}: {data['reason']}", FAILED)
        if time.monotonic() > deadline:
            raise Failure(f"{name} is still {data['status']} {_why(data)}".rstrip(), LATE)
        time.sleep(_POLL_SECS)


def _say(context: Context, data: dict[str, Any], said: str) -> str:
    now = f"{data['status']} {data['step']}".rstrip()
    if now != said and not context.json:
        click.echo(plain(now), err=True)
    return now


def _why(data: dict[str, Any]) -> str:
    reasons = {one["reason"] for found in data.get("pending", {}).values() for one in found}
    return f"({'; '.join(sorted(reasons))})" if reasons else data["reason"]
