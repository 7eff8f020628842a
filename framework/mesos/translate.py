"""Mesos's JSON into our values, and our actions into Mesos's calls. Pure.

Offers are read twice: into the model's :class:`Offer`, by which the core decides, and into a
:class:`HeldOffer`, which keeps the resources as Mesos spelled them until they are used.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from executor.task import encode_payload
from framework.core.messages import (
    Acknowledge,
    Action,
    Decline,
    Kill,
    Launch,
    Reconcile,
    Revive,
    Suppress,
)
from framework.mesos.executors import (
    ExecutorSettings,
    new_variant,
    payload,
    running_variant,
    variants,
)
from framework.mesos.interface import SendMessage
from framework.mesos.masters import Address
from framework.mesos.resources import Json, Pool, is_usable
from framework.model.cluster import Offer, StatusUpdate
from framework.model.tasks import Task

# A RECONCILE call names at most so many tasks; the master answers each with an event.
RECONCILE_CHUNK = 1000


class HeldOffer(msgspec.Struct, frozen=True):
    """What of an offer is needed to accept it."""

    offer_id: str
    agent_id: str
    resources: tuple[Json, ...]
    executor_ids: tuple[str, ...]


# -- events ---------------------------------------------------------------------------------------


def read_offer(offer: Json, role: str, settings: ExecutorSettings) -> tuple[Offer, HeldOffer]:
    """Reads one offer of an OFFERS event (Mesos 1.11).

    ``role`` is the framework's: only what is unreserved, or reserved for it, counts. Raises
    ``KeyError``, ``TypeError`` or ``ValueError`` for what is not an offer.
    """
    usable = tuple(r for r in offer.get("resources", ()) if is_usable(r, role))
    pool = Pool(usable, role)
    held = HeldOffer(
        offer_id=offer["id"]["value"],
        agent_id=offer["agent_id"]["value"],
        resources=usable,
        executor_ids=tuple(e["value"] for e in offer.get("executor_ids", ())),
    )
    known = variants(settings, usable, role) if held.executor_ids else []
    seen = Offer(
        offer_id=held.offer_id,
        agent_id=held.agent_id,
        hostname=offer["hostname"],
        agent_address=_agent_address(offer),
        cpus=pool.total("cpus"),
        mem_mb=pool.total("mem"),
        disk_mb=pool.total("disk"),
        gpus=pool.total("gpus"),
        ports=pool.ports(),
        attributes=read_attributes(offer.get("attributes", ())),
        has_executor=running_variant(known, held.executor_ids) is not None,
        disks=pool.disks(),
    )
    return seen, held


def _agent_address(offer: Json) -> str:
    address = offer.get("url", {}).get("address", {})
    host = address.get("hostname") or address.get("ip") or offer["hostname"]
    return str(Address(host, int(address.get("port", 5051))))


def read_attributes(attributes: Iterable[Json]) -> dict[str, tuple[str, ...]]:
    """Returns the values of each attribute as text, as Mesos prints them: 1.5, 4, 10-20."""
    found: dict[str, tuple[str, ...]] = {}
    for attribute in attributes:
        name = attribute["name"]
        found[name] = found.get(name, ()) + tuple(_attribute_values(attribute))
    return found


def _attribute_values(attribute: Json) -> Iterator[str]:
    match attribute.get("type"):
        case "TEXT":
            yield attribute["text"]["value"]
        case "SCALAR":
            yield f"{attribute['scalar']['value']:.3f}".rstrip("0").rstrip(".")
        case "RANGES":
            for one in attribute["ranges"].get("range", ()):
                yield f"{one['begin']}-{one['end']}"
        case "SET":
            yield from attribute["set"].get("item", ())


def read_status(status: Json) -> StatusUpdate:
    """Reads the TaskStatus of an UPDATE event.

    ``data`` that is not base64 is dropped rather than the update. Raises like :func:`read_offer`.
    """
    try:
        data = base64.b64decode(status.get("data", ""), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    return StatusUpdate(
        task_id=status["task_id"]["value"],
        state=status["state"],
        agent_id=status["agent_id"]["value"] if "agent_id" in status else None,
        uuid=status.get("uuid") or None,
        source=status.get("source", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        data=data,
        timestamp=float(status.get("timestamp", 0.0)),
    )


# -- calls ----------------------------------------------------------------------------------------


def calls_for(
    action: Action,
    framework_id: str,
    role: str,
    settings: ExecutorSettings,
    held: Sequence[HeldOffer] = (),
) -> Iterator[dict[str, Any]]:
    """Yields the scheduler calls (bodies for /api/v1/scheduler) that carry ``action`` out.

    ``held`` are those of a Launch's offers that are still known; without them Mesos answers that the
    offers are no longer valid, which is what the core has to hear.
    """
    for kind, content in _contents(action, role, settings, held):
        call: dict[str, Any] = {"type": kind, "framework_id": {"value": framework_id}}
        if content is not None:
            call[kind.lower()] = content
        yield call


def _contents(
    action: Action, role: str, settings: ExecutorSettings, held: Sequence[HeldOffer]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    match action:
        case Launch():
            yield "ACCEPT", _accept(action, role, settings, held)
        case Decline():
            filters = {"refuse_seconds": action.refuse_seconds}
            yield "DECLINE", {"offer_ids": _ids(action.offer_ids), "filters": filters}
        case Kill():
            yield "KILL", _task_and_agent(action.task_id, action.agent_id)
        case Acknowledge():
            # Without a uuid the update must not be acknowledged; without an agent it cannot be.
            update = action.update
            if update.uuid is not None and update.agent_id is not None:
                yield "ACKNOWLEDGE", _task_and_agent(update.task_id, update.agent_id, uuid=update.uuid)
        case Reconcile():
            # No tasks at all is one call too: it asks for every task Mesos knows of.
            for start in range(0, max(1, len(action.tasks)), RECONCILE_CHUNK):
                chunk = action.tasks[start : start + RECONCILE_CHUNK]
                yield "RECONCILE", {"tasks": [_task_and_agent(task, agent) for task, agent in chunk]}
        case SendMessage():
            yield "MESSAGE", _message(action)
        case Suppress():
            yield "SUPPRESS", None
        case Revive():
            yield "REVIVE", None
        case _:
            raise TypeError(f"no call carries out a {type(action).__name__}")


def _ids(values: Iterable[str]) -> list[dict[str, str]]:
    return [{"value": value} for value in values]


def _task_and_agent(task_id: str, agent_id: str | None, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"task_id": {"value": task_id}}
    if agent_id is not None:
        content["agent_id"] = {"value": agent_id}
    return {**content, **more}


def _message(action: SendMessage) -> dict[str, Any]:
    return {
        "agent_id": {"value": action.agent_id},
        "executor_id": {"value": action.executor_id},
        "data": base64.b64encode(action.data).decode("ascii"),
    }


def _accept(
    launch: Launch, role: str, settings: ExecutorSettings, held: Sequence[HeldOffer]
) -> dict[str, Any]:
    resources = [resource for offer in held for resource in offer.resources]
    running = [executor_id for offer in held for executor_id in offer.executor_ids]
    pool = Pool(resources, role)
    known = variants(settings, resources, role)
    executor = running_variant(known, running) or new_variant(settings, known, pool)
    tasks = [_task_info(task, launch.agent_id, executor, pool, settings) for task in launch.tasks]
    return {
        "offer_ids": _ids(launch.offer_ids),
        "operations": [{"type": "LAUNCH", "launch": {"task_infos": tasks}}],
        # What is left over comes back at once.
        "filters": {"refuse_seconds": 0.0},
    }


def _task_info(
    task: Task, agent_id: str, executor: Json, pool: Pool, settings: ExecutorSettings
) -> dict[str, Any]:
    wanted = task.config.resources
    scalars = {
        "cpus": wanted.cpus,
        "mem": float(wanted.mem_mb),
        "disk": float(wanted.disk_mb),
        "gpus": float(wanted.gpus),
    }
    resources = [piece for name, value in scalars.items() for piece in pool.take(name, value)]
    resources += pool.take_ports(list(task.ports.values()))
    resources += pool.take_disks(task.disks)
    return {
        "task_id": {"value": task.task_id},
        # As Aurora names them, so that Mesos's pages read the same.
        "name": f"{task.key.role}/{task.key.environment}/{task.key.name}",
        "agent_id": {"value": agent_id},
        "executor": executor,
        "resources": resources,
        "labels": {"labels": _labels(task)},
        "data": base64.b64encode(encode_payload(payload(task, settings))).decode("ascii"),
    }


def _labels(task: Task) -> list[Mapping[str, str]]:
    pairs = [("job", str(task.key)), ("instance", str(task.instance)), *task.config.metadata]
    return [{"key": key, "value": value} for key, value in pairs]
