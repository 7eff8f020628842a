"""Resources as Mesos counts them: fixed-point scalars and ranges, added, subtracted and compared.

Mesos keeps scalars to three decimals (``Value::Scalar`` in 1.11), so amounts are whole thousandths
here and never drift. A resource is known by its name and its reservation; unreserved ones have the
reservation ``()``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]
Range = tuple[int, int]
Ranges = tuple[Range, ...]
# A name, and the JSON of its stack of reservations ("" if there is none).
Key = tuple[str, str]

_SCALE = 1000
_NAME = re.compile(r"[A-Za-z0-9_./-]+")


class Resources:
    """An immutable bag of resources. Amounts of zero and empty ranges are not kept."""

    __slots__ = ("ranges", "scalars")

    def __init__(
        self, scalars: Mapping[Key, int] | None = None, ranges: Mapping[Key, Ranges] | None = None
    ) -> None:
        self.scalars: dict[Key, int] = {k: v for k, v in (scalars or {}).items() if v}
        self.ranges: dict[Key, Ranges] = {k: v for k, v in (ranges or {}).items() if v}

    def __bool__(self) -> bool:
        return bool(self.scalars or self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and (self.scalars, self.ranges) == (
            other.scalars,
            other.ranges,
        )

    def __hash__(self) -> int:
        return hash((frozenset(self.scalars.items()), frozenset(self.ranges.items())))

    def __repr__(self) -> str:
        return f"Resources({describe(self)})"

    def __add__(self, other: Resources) -> Resources:
        scalars = dict(self.scalars)
        for key, amount in other.scalars.items():
            scalars[key] = scalars.get(key, 0) + amount
        ranges = dict(self.ranges)
        for key, those in other.ranges.items():
            ranges[key] = _union((*ranges.get(key, ()), *those))
        return Resources(scalars, ranges)

    def __sub__(self, other: Resources) -> Resources:
        """What is left; amounts never fall below zero."""
        scalars = dict(self.scalars)
        for key, amount in other.scalars.items():
            scalars[key] = max(0, scalars.get(key, 0) - amount)
        ranges = dict(self.ranges)
        for key, those in other.ranges.items():
            ranges[key] = _difference(ranges.get(key, ()), those)
        return Resources(scalars, ranges)

    def contains(self, other: Resources) -> bool:
        """Whether ``other`` can be taken out of these."""
        return all(self.scalars.get(key, 0) >= amount for key, amount in other.scalars.items()) and all(
            not _difference(those, self.ranges.get(key, ())) for key, those in other.ranges.items()
        )

    def scalar(self, name: str) -> float:
        """The amount of a scalar over all reservations."""
        return sum(v for (n, _), v in self.scalars.items() if n == name) / _SCALE

    def filter_roles(self, role: str) -> Resources:
        """The unreserved resources and those reserved for ``role``."""

        def visible(key: Key) -> bool:
            return not key[1] or reserved_role(key[1]) == role

        return Resources(
            {k: v for k, v in self.scalars.items() if visible(k)},
            {k: v for k, v in self.ranges.items() if visible(k)},
        )

    def reserved(self) -> dict[str, Resources]:
        """The reserved resources by role."""
        result: dict[str, Resources] = {}
        for key, amount in self.scalars.items():
            if key[1]:
                role = reserved_role(key[1])
                result[role] = result.get(role, NOTHING) + Resources({key: amount})
        for key, those in self.ranges.items():
            if key[1]:
                role = reserved_role(key[1])
                result[role] = result.get(role, NOTHING) + Resources(None, {key: those})
        return result

    def unreserved(self) -> Resources:
        return Resources(
            {k: v for k, v in self.scalars.items() if not k[1]},
            {k: v for k, v in self.ranges.items() if not k[1]},
        )


NOTHING = Resources()


def total(parts: Iterable[Resources]) -> Resources:
    """The sum of ``parts``."""
    result = NOTHING
    for part in parts:
        result = result + part
    return result


def reserved_role(reservation: str) -> str:
    """The role that the innermost reservation of a key is for."""
    stack = msgspec.json.decode(reservation)
    return str(stack[-1]["role"])


def parse(text: str) -> Resources:
    """Reads ``cpus:4;mem:4096;ports:[31000-31999]``; raises ``ValueError`` saying what is wrong."""
    scalars: dict[Key, int] = {}
    ranges: dict[Key, Ranges] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, colon, value = part.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(f"resource {part!r} is not NAME:AMOUNT, such as 'cpus:4' or 'ports:[1-9]'")
        key = (name, "")
        if key in scalars or key in ranges:
            raise ValueError(f"resource {name!r} stands twice in {text!r}")
        if value.startswith("["):
            ranges[key] = _parse_ranges(name, value)
        else:
            scalars[key] = _parse_amount(name, value)
    if not scalars and not ranges:
        raise ValueError(f"{text!r} names no resource; write e.g. 'cpus:4;mem:4096;ports:[31000-31999]'")
    return Resources(scalars, ranges)


def share_of_ports(bag: Resources, part: int, parts: int) -> Resources:
    """The bag with the ``part``-th (from 0) of ``parts`` even shares of its ports; the rest is whole.

    Agents that run on one machine cannot all promise the same ports to their tasks.
    """
    key = ("ports", "")
    total = sum(end - begin + 1 for begin, end in bag.ranges.get(key, ()))
    share = _slice(bag.ranges.get(key, ()), total * part // parts, total * (part + 1) // parts)
    return Resources(bag.scalars, {**bag.ranges, key: share})


def _slice(those: Ranges, start: int, stop: int) -> Ranges:
    """The numbers at the positions ``start`` <= position < ``stop`` of the ranges."""
    result: list[Range] = []
    position = 0
    for begin, end in those:
        first = begin + max(0, start - position)
        last = min(end, begin + stop - position - 1)
        if first <= last:
            result.append((first, last))
        position += end - begin + 1
    return tuple(result)


def _parse_amount(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
        raise ValueError(f"resource {name!r}: {value!r} is not a positive number")
    amount = round(float(value) * _SCALE)
    if name == "gpus" and amount % _SCALE:
        raise ValueError(f"resource 'gpus': {value!r} is not a whole number")
    return amount


def _parse_ranges(name: str, value: str) -> Ranges:
    found = re.fullmatch(r"\[\s*(.*?)\s*\]", value)
    parts = found.group(1).split(",") if found else [""]
    result: list[Range] = []
    for part in parts:
        bounds = re.fullmatch(r"\s*(\d{1,10})\s*-\s*(\d{1,10})\s*", part)
        if bounds is None or int(bounds.group(1)) > int(bounds.group(2)):
            raise ValueError(
                f"resource {name!r}: {value!r} is not a list of ranges such as [31000-31999]"
            )
        result.append((int(bounds.group(1)), int(bounds.group(2))))
    return _union(result)


def from_json(items: Iterable[Json]) -> Resources:
    """Reads Mesos ``Resource`` messages, of the old form (role, reservation) and the new one.

    Raises ``ValueError`` with Mesos's words for what is not valid.
    """
    result = NOTHING
    for item in items:
        key = (item["name"], _reservation(item))
        kind = item.get("type")
        if kind == "SCALAR" and "scalar" in item:
            amount = item["scalar"]["value"]
            if not 0 <= amount < 1e15:
                raise ValueError(f"Invalid scalar resource: {item['name']}: {amount:g}")
            result = result + Resources({key: round(amount * _SCALE)})
        elif kind == "RANGES" and "ranges" in item:
            parts = [(r["begin"], r["end"]) for r in item["ranges"].get("range", [])]
            if any(begin > end for begin, end in parts):
                raise ValueError(f"Invalid ranges resource: {item['name']}: begin is larger than end")
            result = result + Resources(None, {key: _union(parts)})
        else:
            raise ValueError(f"Invalid resource {item['name']}: unsupported or missing type {kind}")
    return result


def _reservation(item: Json) -> str:
    stack = item.get("reservations")
    if stack is None:
        role = item.get("role", "*")
        if role == "*":
            return ""
        held = {**item.get("reservation", {}), "role": role}
        held.setdefault("type", "DYNAMIC" if "reservation" in item else "STATIC")
        stack = [held]
    return msgspec.json.encode([dict(sorted(r.items())) for r in stack]).decode() if stack else ""


def to_json(
    bag: Resources, role: str | None = None, *, old_form: bool = False, offered: bool = False
) -> list[Json]:
    """Returns ``Resource`` messages.

    ``role``: the role that they are allocated to (adds ``allocation_info``). ``old_form``: with
    ``role`` and ``reservation`` as a framework without RESERVATION_REFINEMENT expects them.
    ``offered``: in the order in which Mesos writes offers, ranges first (01).
    """
    ranges: list[Json] = []
    for (name, reservation), those in bag.ranges.items():
        value: Json = {"range": [{"begin": begin, "end": end} for begin, end in those]}
        ranges.append({"name": name, "type": "RANGES", "ranges": value, **_about(reservation, old_form)})
    scalars: list[Json] = []
    for (name, reservation), amount in bag.scalars.items():
        value = {"value": amount / _SCALE}
        scalars.append(
            {"name": name, "type": "SCALAR", "scalar": value, **_about(reservation, old_form)}
        )
    result = ranges + scalars if offered else scalars + ranges
    if role is not None:
        for item in result:
            item["allocation_info"] = {"role": role}
    return result


def _about(reservation: str, old_form: bool) -> Json:
    if not reservation:
        return {"role": "*"} if old_form else {}
    stack = msgspec.json.decode(reservation)
    if not old_form or len(stack) > 1:
        return {"reservations": stack}
    if stack[0].get("type") == "STATIC":
        return {"role": stack[0]["role"]}
    held = {k: v for k, v in stack[0].items() if k not in {"role", "type"}}
    return {"role": stack[0]["role"], "reservation": held}


def summary(bag: Resources) -> Json:
    """The form of /state: ``{"disk": 0.0, "mem": 32.0, "gpus": 0.0, "cpus": 0.1, "ports": "[1-2]"}``."""
    result: Json = {name: bag.scalar(name) for name in ("disk", "mem", "gpus", "cpus")}
    for (name, _), amount in bag.scalars.items():
        if name not in {"disk", "mem", "gpus", "cpus"}:
            result[name] = result.get(name, 0.0) + amount / _SCALE
    for (name, _), those in bag.ranges.items():
        result[name] = _ranges_text(those)
    return result


def quantities(bag: Resources) -> dict[str, float]:
    """Amounts by name, ranges counted: ``{"cpus": 2.0, "ports": 100.0}``."""
    result: dict[str, float] = {}
    for (name, _), amount in bag.scalars.items():
        result[name] = result.get(name, 0.0) + amount / _SCALE
    for (name, _), those in bag.ranges.items():
        result[name] = result.get(name, 0.0) + float(sum(end - begin + 1 for begin, end in those))
    return dict(sorted(result.items()))


def describe(bag: Resources, role: str | None = None) -> str:
    """Mesos's words for resources: ``cpus(allocated: *):2; ports(allocated: *):[31000-31099]``."""
    about = "" if role is None else f"(allocated: {role})"
    parts = [f"{name}{about}:{_ranges_text(those)}" for (name, _), those in bag.ranges.items()]
    parts += [f"{name}{about}:{amount / _SCALE:.10g}" for (name, _), amount in bag.scalars.items()]
    return "; ".join(parts) or "{}"


def _ranges_text(those: Ranges) -> str:
    return "[" + ", ".join(f"{begin}-{end}" for begin, end in those) + "]"


def _union(parts: Iterable[Range]) -> Ranges:
    merged: list[Range] = []
    for begin, end in sorted(parts):
        if merged and begin <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _difference(left: Ranges, right: Ranges) -> Ranges:
    result = list(left)
    for begin, end in right:
        kept: list[Range] = []
        for low, high in result:
            if end < low or begin > high:
                kept.append((low, high))
                continue
            if low < begin:
                kept.append((low, begin - 1))
            if high > end:
                kept.append((end + 1, high))
        result = kept
    return tuple(result)
