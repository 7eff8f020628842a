"""Mesos resources: what of an offer is usable, and taking from it what tasks need. Pure.

An offer may hold the same resource several times: unreserved (role ``*``), reserved for our role or
an ancestor of it, statically or dynamically. A task names the very pieces it uses, reservation and
all, so a piece is kept as the offer spelled it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from framework.model.cluster import PortRange

Json = Mapping[str, Any]
UNRESERVED = "*"
# The set of an agent's resources whose items are its data disks.
DATA_DISKS = "dataDisks"
_SCALARS = frozenset({"cpus", "mem", "disk", "gpus"})
# Fields that make a resource something else than an amount anybody may use up.
_SPECIAL = ("revocable", "shared", "provider_id")
_ORIGIN = ("role", "reservation", "reservations")
_VALUES = ("scalar", "ranges", "set")


def amount(value: float) -> float:
    """Returns ``value`` as Mesos counts it, in thousandths."""
    return round(float(value), 3)


def owner(resource: Json) -> str:
    """Returns the role a resource is reserved for, ``*`` if for none.

    Both formats of Mesos: ``role`` (before reservation refinement), and ``reservations``, of which
    the last one counts.
    """
    reservations = resource.get("reservations") or ()
    if reservations:
        return str(reservations[-1].get("role", UNRESERVED))
    return str(resource.get("role", UNRESERVED))


def is_usable(resource: Json, role: str) -> bool:
    """Whether a task of a framework of ``role`` may simply use the resource up.

    Not: what is reserved for others, persistent volumes, disks of their own (MOUNT, PATH), shared
    or revocable resources.
    """
    if any(field in resource for field in _SPECIAL) or "disk" in resource:
        return False
    holder = owner(resource)
    return holder in (UNRESERVED, role) or role.startswith(holder + "/")


class _Piece:
    """One scalar of an offer: what is left of it, and the fields that a task's part of it keeps."""

    __slots__ = ("kept", "left")

    def __init__(self, resource: Json) -> None:
        self.kept = _without_value(resource)
        self.left = float(resource["scalar"].get("value", 0.0))


class Pool:
    """The usable resources of the offers of one agent, from which tasks take theirs.

    Reserved pieces go first: nobody else could use them.
    """

    def __init__(self, resources: Iterable[Json], role: str) -> None:
        usable = [resource for resource in resources if is_usable(resource, role)]
        if any(owner(resource) != UNRESERVED for resource in usable):
            usable.sort(key=lambda resource: owner(resource) == UNRESERVED)
        self._scalars: dict[str, list[_Piece]] = {}
        self._ranges: list[tuple[Json, list[PortRange]]] = []
        self._disks: list[tuple[Json, list[str]]] = []
        for resource in usable:
            name = resource.get("name")
            if name in _SCALARS and "scalar" in resource:
                self._scalars.setdefault(name, []).append(_Piece(resource))
            elif name == "ports" and "ranges" in resource:
                self._ranges.append((resource, _ranges(resource)))
            elif name == DATA_DISKS and "set" in resource:
                self._disks.append((resource, list(resource["set"].get("item", ()))))

    def total(self, name: str) -> float:
        """Returns how much of a scalar there is."""
        return amount(sum([piece.left for piece in self._scalars.get(name, ())]))

    def ports(self) -> tuple[PortRange, ...]:
        return tuple(sorted(piece for _, ranges in self._ranges for piece in ranges))

    def disks(self) -> tuple[str, ...]:
        """Returns the data disks, reserved ones first."""
        return tuple(item for _, items in self._disks for item in items)

    def take(self, name: str, wanted: float) -> list[dict[str, Any]]:
        """Takes ``wanted`` of a scalar; what is not there is named as unreserved.

        (Mesos then answers TASK_ERROR with the amounts, which says more than we could.)
        """
        taken: list[dict[str, Any]] = []
        wanted = amount(wanted)
        for piece in self._scalars.get(name, ()):
            if wanted <= 0:
                break
            part = amount(min(wanted, piece.left))
            if part > 0:
                taken.append({**piece.kept, "scalar": {"value": part}})
                piece.left = amount(piece.left - part)
                wanted = amount(wanted - part)
        if wanted > 0:
            taken.append(scalar(name, wanted))
        return taken

    def _same(self, resource: Json) -> list[_Piece]:
        """Returns the pieces of the same name and owner."""
        whose = origin(resource)
        return [p for p in self._scalars.get(resource["name"], ()) if origin(p.kept) == whose]

    def holds(self, resources: Iterable[Json]) -> bool:
        """Whether these scalars are all there, of exactly these owners."""
        return all(
            amount(sum(piece.left for piece in self._same(resource))) >= resource["scalar"]["value"]
            for resource in resources
        )

    def remove(self, resources: Iterable[Json]) -> None:
        """Takes scalars out that :meth:`holds` has found."""
        for resource in resources:
            wanted = resource["scalar"]["value"]
            for piece in self._same(resource):
                part = min(wanted, piece.left)
                piece.left = amount(piece.left - part)
                wanted = amount(wanted - part)

    def take_ports(self, wanted: Sequence[int]) -> list[dict[str, Any]]:
        """Takes the ports with these numbers, each from the piece that holds it."""
        taken: list[dict[str, Any]] = []
        missing = set(wanted)
        for index, (resource, ranges) in enumerate(self._ranges):
            mine = sorted(port for port in missing if any(r.begin <= port <= r.end for r in ranges))
            if mine:
                taken.append({**_without_value(resource), "ranges": _range_json(mine)})
                self._ranges[index] = (resource, _without(ranges, mine))
                missing.difference_update(mine)
        if missing:
            bare = {"name": "ports", "type": "RANGES", "role": UNRESERVED}
            taken.append({**bare, "ranges": _range_json(sorted(missing))})
        return taken

    def take_disks(self, wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Takes the data disks of these names, each whole; those not there are named as unreserved."""
        taken: list[dict[str, Any]] = []
        missing = list(wanted)
        for resource, items in self._disks:
            mine = [disk for disk in missing if disk in items]
            if mine:
                taken.append({**_without_value(resource), "set": {"item": mine}})
                items[:] = [disk for disk in items if disk not in mine]
                missing = [disk for disk in missing if disk not in mine]
        if missing:
            bare = {"name": DATA_DISKS, "type": "SET", "role": UNRESERVED}
            taken.append({**bare, "set": {"item": missing}})
        return taken


def scalar(name: str, value: float, role: str = UNRESERVED) -> dict[str, Any]:
    """Returns a scalar resource in Mesos JSON."""
    return {"name": name, "type": "SCALAR", "scalar": {"value": amount(value)}, "role": role}


def origin(resource: Json) -> dict[str, Any]:
    """Returns the fields that say whose a resource is, as a task must repeat them."""
    fields = {field: resource[field] for field in _ORIGIN if field in resource}
    return fields or {"role": UNRESERVED}


def _without_value(resource: Json) -> dict[str, Any]:
    return {field: content for field, content in resource.items() if field not in _VALUES}


def _ranges(resource: Json) -> list[PortRange]:
    return [PortRange(int(r["begin"]), int(r["end"])) for r in resource["ranges"].get("range", ())]


def _range_json(ports: Sequence[int]) -> dict[str, Any]:
    """Returns sorted port numbers as Mesos ranges, neighbours joined."""
    ranges: list[dict[str, int]] = []
    for port in ports:
        if ranges and ranges[-1]["end"] == port - 1:
            ranges[-1]["end"] = port
        else:
            ranges.append({"begin": port, "end": port})
    return {"range": ranges}


def _without(ranges: Sequence[PortRange], ports: Sequence[int]) -> list[PortRange]:
    for port in ports:
        ranges = [piece for r in ranges for piece in _cut(r, port)]
    return list(ranges)


def _cut(piece: PortRange, port: int) -> list[PortRange]:
    if not piece.begin <= port <= piece.end:
        return [piece]
    halves = (PortRange(piece.begin, port - 1), PortRange(port + 1, piece.end))
    return [half for half in halves if half.begin <= half.end]
