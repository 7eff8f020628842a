"""What the routes of the PaaS API share: their failures, whose clusters they are."""

from __future__ import annotations

from typing import Any

from framework.model.errors import Forbidden, Invalid, NotFound
from framework.model.jobs import check_segment
from gateway.api.http import Call, Handler, Route
from gateway.api.paas import bodies
from gateway.clusters.model import Cluster

CLUSTER = bodies.PREFIX + "/clusters/{user}/{product}/{version}/{id}"


def route(
    method: str,
    pattern: str,
    handler: Handler,
    summary: str,
    status: int,
    schema: str = "Empty",
    *,
    accepts: tuple[str, ...] = (),
    query: tuple[str, ...] = (),
    scripts: bool = False,
    also: tuple[tuple[int, str], ...] = (),
) -> Route:
    """Returns a route of this API; ``also`` are answers beside ``status``."""
    return Route(
        method,
        pattern,
        handler,
        summary,
        bodies.failed,
        query=query,
        body=bool(accepts),
        scripts=scripts,
        answers=((status, schema), *also),
        accepts=accepts,
        failures="PaasFailure",
    )


def check_operator(call: Call, what: str) -> None:
    """Raises :class:`Forbidden` unless the caller may change what all users share."""
    if not call.caller.is_trusted:
        raise Forbidden(f"user {call.caller.user} is no administrator, who alone may change {what}")


def key_of(user: str, product: str, version: str, number: str) -> str:
    """Returns the key of a cluster; raises :class:`Invalid` for names that cannot be."""
    for what, part in (("user", user), ("product", product), ("version", version)):
        check_segment(what, part)
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Invalid(f"the id of a cluster is a number, not {number[:60]!r}")
    return f"clusters/{user}/{product}/{version}/{int(number)}"


def own_cluster(call: Call, *segments: str) -> Cluster:
    """Returns the cluster that a path names, if it is the caller's to see.

    Raises :class:`NotFound` in the same words whether it is another user's or is not at all. Blocks.
    """
    key = key_of(*segments[:4])
    cluster = _find(call, key)
    if cluster is None:
        raise NotFound(f"there is no cluster {key}")
    return cluster


def _find(call: Call, key: str) -> Cluster | None:
    try:
        cluster = call.clusters.store.clusters.by_key(key)
    except NotFound:
        return None
    return cluster if call.caller.has(cluster.owner, cluster.key) else None


def visible_owner(call: Call, user: str | None) -> str | None:
    """Returns whose clusters a list may hold: ``user``'s, None for everybody's.

    Raises :class:`NotFound` for another user's, whether there is such a user or not.
    """
    caller = call.caller
    if caller.is_trusted:
        return user
    if user not in (None, caller.user):
        raise NotFound(f"there are no clusters of {user}")
    return caller.user


def member(document: dict[str, Any], name: str, kind: type, what: str) -> Any:
    """Returns ``document[name]``; raises :class:`Invalid` unless it is there and of this type."""
    value = document.get(name)
    if not isinstance(value, kind):
        raise Invalid(f"{what}: expects {name!r} to be {'a text' if kind is str else kind.__name__}")
    return value
