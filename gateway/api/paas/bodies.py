"""The bodies of the PaaS API. The names of the fields are part of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from framework.core.messages import PendingReason
from gateway.clusters.model import Cluster, ClusterEvent, NodeRecord, NodeStatus, Service
from gateway.clusters.products import Product
from gateway.clusters.projection import phase_words
from gateway.errors import Problem

PREFIX = "/bigdata/api/v1"
# What is shown of a failure's code where the contract has words of its own.
_WORDS = {"invalid_options": "invalid options", "not_found": "Key not found"}


def failed(key: str, problem: Problem) -> dict[str, Any]:
    """``{"status", "error", "message"}``; who is not known gets the message only."""
    message = "; ".join(problem.messages)
    if problem.status == 401:
        return {"message": message}
    try:
        phrase = HTTPStatus(problem.status).phrase.lower()
    except ValueError:
        phrase = "error"
    return {
        "status": problem.status,
        "error": _WORDS.get(problem.code, phrase),
        "message": message,
    }


def nowhere(key: str, problem: Problem) -> dict[str, Any]:
    """The failure of a path that is none: "not found", where no key has been looked for."""
    body = failed(key, problem)
    if problem.status == 404:
        body["error"] = "not found"
    return body


# -- products --------------------------------------------------------------------------------------


def product(value: Product) -> dict[str, Any]:
    return {
        "dn": value.dn,
        "name": value.name,
        "version": value.version,
        "description": value.description,
        "logo_url": value.logo_url,
    }


def options(value: Product) -> dict[str, Any]:
    found = value.options
    return {
        "required": found.required,
        "optional": found.optional,
        "advanced": found.advanced,
        "descriptions": found.descriptions,
    }


# -- clusters --------------------------------------------------------------------------------------


def clusters(values: Iterable[Cluster]) -> dict[str, Any]:
    return {"clusters": [cluster(value) for value in values]}


def cluster(
    value: Cluster, pending: Mapping[str, Iterable[PendingReason]] | None = None
) -> dict[str, Any]:
    """``pending``: why each node that waits is not placed; only looked for where one is shown."""
    data: dict[str, Any] = {
        "name": value.name or value.key.rpartition("/")[2],
        "dn": value.key,
        "status": phase_words(value),
        "progress": value.progress,
        "step": value.step,
        "reason": value.reason,
        "owner": value.owner,
        "product": value.product[0],
        "version": value.product[1],
        "dnsname": value.dnsname,
        "groups": _sizes(value),
        "operation": _operation(value),
        "said": value.said,
        "created_at": value.created_at,
        "updated_at": value.updated_at,
        "expires_at": value.expires_at,
    }
    if pending is not None:
        data["pending"] = {
            name: [{"reason": r.reason, "count": r.count, "agents": list(r.agents)} for r in reasons]
            for name, reasons in pending.items()
        }
    return {"result": "success", "uri": value.key, "data": data}


def _sizes(value: Cluster) -> dict[str, int]:
    sizes = {group.name: 0 for group in value.groups}
    for one in value.nodes:
        if one.status.value != "destroyed":
            sizes[one.group] = sizes.get(one.group, 0) + 1
    return sizes


def _operation(value: Cluster) -> dict[str, Any] | None:
    found = value.operation
    if found is None:
        return None
    return {
        "kind": found.kind,
        "verb": found.verb,
        "user": found.user,
        "started_at": found.started_at,
        "added": list(found.added),
        "removed": list(found.removed),
        "done": list(found.done),
    }


def node(value: NodeRecord, dn: str) -> dict[str, Any]:
    """``disks`` have names once the node is placed: until then an agent has not been chosen.

    What a script has said of a node counts while it runs.
    """
    said = value.said if value.status is NodeStatus.RUNNING else ""
    return {
        "dn": f"{dn}/nodes/{value.name}",
        "name": value.name,
        "cpu": value.spec.cpus,
        "mem": value.spec.mem_mb,
        "host": value.host,
        "status": said or value.status.value,
        "disks": [{"name": disk, "host": value.host} for disk in value.disks],
        "networks": [{"name": one.name, "address": one.address} for one in value.interfaces],
        "group": value.group,
        "reason": value.reason,
    }


def service(value: Service, dn: str) -> dict[str, Any]:
    return {
        "dn": f"{dn}/services/{value.name}",
        "name": value.name,
        "status": value.status,
        "nodes": list(value.nodes),
    }


def event(value: ClusterEvent) -> dict[str, Any]:
    return {
        "sequence": value.sequence,
        "at": value.at,
        "kind": value.kind,
        "text": value.text,
        "step": value.step,
        "node": value.node,
        "stream": value.stream,
        "ok": value.ok,
    }
