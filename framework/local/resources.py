"""Resources as Mesos counts them: fixed-point scalars, ranges and sets, added, subtracted, compared.

Mesos keeps scalars to three decimals (``Value::Scalar`` in 1.11), so amounts are whole thousandths
here and never drift. A resource is known by its name and its reservation; unreserved ones have the
reservation ``()``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]
Range = tuple[int, int]
Ranges = tuple[Range, ...]
Items = frozenset[str]
# A name, and the JSON of its stack of reservations ("" if there is none).
Key = tuple[str, str]

_SCALE = 1000
_NAME = re.compile(r"[A-Za-z0-9_./-]+")
_ITEM = re.compile(r"[^\s,;{}]{1,255}")


class Resources:
    """An immutable bag of resources. Amounts of zero, empty ranges and empty sets are not kept."""

    __slots__ = ("ranges", "scalars", "sets")

    def __init__(
        self,
        scalars: Mapping[Key, int] | None = None,
        ranges: Mapping[Key, Ranges] | None = None,
        sets: Mapping[Key, Items] | None = None,
    ) -> None:
        self.scalars: dict[Key, int] = {k: v for k, v in (scalars or {}).items() if v}
        self.ranges: dict[Key, Ranges] = {k: v for k, v in (ranges or {}).items() if v}
        self.sets: dict[Key, Items] = {k: v for k, v in (sets or {}).items() if v}

    def __bool__(self) -> bool:
        return bool(self.scalars or self.ranges or self.sets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and (self.scalars, self.ranges, self.sets) == (
            other.scalars,
            other.ranges,
            other.sets,
        )

    def __hash__(self) -> int:
        kinds = (self.scalars, self.ranges, self.sets)
        return hash(tuple(frozenset(kind.items()) for kind in kinds))

    def __repr__(self) -> str:
        return f"Resources({describe(self)})"

    def __add__(self, other: Resources) -> Resources:
        scalars = dict(self.scalars)
        for key, amount in other.scalars.items():
            scalars[key] = scalars.get(key, 0) + amount
        ranges = dict(self.ranges)
        for key, those in other.ranges.items():
            ranges[key] = _union((*ranges.get(key, ()), *those))
        sets = dict(self.sets)
        for key, items in other.sets.items():
            sets[key] = sets.get(key, _EMPTY) | items
        return Resources(scalars, ranges, sets)

    def __sub__(self, other: Resources) -> Resources:
        """What is left; amounts never fall below zero."""
        scalars = dict(self.scalars)
        for key, amount in other.scalars.items():
            scalars[key] = max(0, scalars.get(key, 0) - amount)
        ranges = dict(self.ranges)
        for key, those in other.ranges.items():
            ranges[key] = _difference(ranges.get(key, ()), those)
        sets = dict(self.sets)
        for key, items in other.sets.items():
            sets[key] = sets.get(key, _EMPTY) - items
        return Resources(scalars, ranges, sets)

    def contains(self, other: Resources) -> bool:
        """Whether ``other`` can be taken out of these."""
        return (
            all(self.scalars.get(key, 0) >= amount for key, amount in other.scalars.items())
            and all(
                not _difference(those, self.ranges.get(key, ())) for key, those in other.ranges.items()
            )
            and all(items <= self.sets.get(key, _EMPTY) for key, items in other.sets.items())
        )

    def scalar(self, name: str) -> float:
        """The amount of a scalar over all reservations."""
        return sum(v for (n, _), v in self.scalars.items() if n == name) / _SCALE

    def items(self, name: str) -> list[str]:
        """The items of a set over all reservations, in order."""
        found: set[str] = set()
        for (n, _), items in self.sets.items():
            if n == name:
                found |= items
        return _sorted(found)

    def filter_roles(self, role: str) -> Resources:
        """The unreserved resources and those reserved for ``role``."""
        return self._only(lambda key: not key[1] or reserved_role(key[1]) == role)

    def reserved(self) -> dict[str, Resources]:
        """The reserved resources by role."""
        keys = (key for kind in (self.scalars, self.ranges, self.sets) for key in kind if key[1])
        roles = dict.fromkeys(reserved_role(key[1]) for key in keys)

        def of(role: str) -> Resources:
            return self._only(lambda key: bool(key[1]) and reserved_role(key[1]) == role)

        return {role: of(role) for role in roles}

    def unreserved(self) -> Resources:
        return self._only(lambda key: not key[1])

    def _only(self, wanted: Callable[[Key], bool]) -> Resources:
        return Resources(
            {k: v for k, v in self.scalars.items() if wanted(k)},
            {k: v for k, v in self.ranges.items() if wanted(k)},
            {k: v for k, v in self.sets.items() if wanted(k)},
        )


_EMPTY: Items = frozenset()
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
    """Reads ``cpus:4;mem:4096;ports:[31000-31999];dataDisks:{disk1,disk2}``.

    Raises ``ValueError`` saying what is wrong.
    """
    scalars: dict[Key, int] = {}
    ranges: dict[Key, Ranges] = {}
    sets: dict[Key, Items] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, colon, value = part.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(f"resource {part!r} is not NAME:AMOUNT, such as 'cpus:4' or 'ports:[1-9]'")
        key = (name, "")
        if key in scalars or key in ranges or key in sets:
            raise ValueError(f"resource {name!r} stands twice in {text!r}")
        if value.startswith("["):
            ranges[key] = _parse_ranges(name, value)
        elif value.startswith("{"):
            sets[key] = _parse_items(name, value)
        else:
            scalars[key] = _parse_amount(name, value)
    if not scalars and not ranges and not sets:
        raise ValueError(f"{text!r} names no resource; write e.g. 'cpus:4;mem:4096;ports:[31000-31999]'")
    return Resources(scalars, ranges, sets)


def share_of_ports(bag: Resources, part: int, parts: int) -> Resources:
    """The bag with the ``part``-th (from 0) of ``parts`` even shares of its ports; the rest is whole.

    Agents that run on one machine cannot all promise the same ports to their tasks.
    """
    key = ("ports", "")
    total = sum(end - begin + 1 for begin, end in bag.ranges.get(key, ()))
    share = _slice(bag.ranges.get(key, ()), total * part // parts, total * (part + 1) // parts)
    return Resources(bag.scalars, {**bag.ranges, key: share}, bag.sets)


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


def _parse_items(name: str, value: str) -> Items:
    if not value.endswith("}"):
        raise ValueError(f"resource {name!r}: {value!r} is not a set such as {{disk1,disk2}}")
    items = [item.strip() for item in value[1:-1].split(",")]
    if bad := [item for item in items if not _ITEM.fullmatch(item)]:
        raise ValueError(f"resource {name!r}: {bad[0]!r} is no item of a set such as {{disk1,disk2}}")
    if len(set(items)) < len(items):
        raise ValueError(f"resource {name!r}: an item stands twice in {value!r}")
    return frozenset(items)


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
        elif kind == "SET" and "set" in item:
            those = item["set"].get("item", [])
            if len(set(those)) < len(those):
                raise ValueError(f"Invalid set resource: {item['name']}: duplicated elements")
            result = result + Resources(None, None, {key: frozenset(those)})
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
    ``offered``: in the order in which Mesos writes offers, scalars last (01).
    """
    others: list[Json] = []
    for (name, reservation), those in bag.ranges.items():
        value: Json = {"range": [{"begin": begin, "end": end} for begin, end in those]}
        others.append({"name": name, "type": "RANGES", "ranges": value, **_about(reservation, old_form)})
    for (name, reservation), items in bag.sets.items():
        value = {"item": _sorted(items)}
        others.append({"name": name, "type": "SET", "set": value, **_about(reservation, old_form)})
    scalars: list[Json] = []
    for (name, reservation), amount in bag.scalars.items():
        value = {"value": amount / _SCALE}
        scalars.append(
            {"name": name, "type": "SCALAR", "scalar": value, **_about(reservation, old_form)}
        )
    result = others + scalars if offered else scalars + others
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
    for name in dict.fromkeys(name for name, _ in bag.sets):
        result[name] = _items_text(bag.items(name))
    return result


def quantities(*bags: Resources) -> dict[str, float]:
    """Amounts in all bags by name, ranges and sets counted: ``{"cpus": 2.0, "ports": 100.0}``."""
    result: dict[str, float] = {}
    for bag in bags:
        counts = [(name, amount / _SCALE) for (name, _), amount in bag.scalars.items()]
        counts += [
            (name, sum(end - begin + 1 for begin, end in those))
            for (name, _), those in bag.ranges.items()
        ]
        counts += [(name, len(items)) for (name, _), items in bag.sets.items()]
        for name, count in counts:
            result[name] = result.get(name, 0.0) + count
    return dict(sorted(result.items()))


def describe(bag: Resources, role: str | None = None) -> str:
    """Mesos's words for resources: ``cpus(allocated: *):2; ports(allocated: *):[31000-31099]``."""
    about = "" if role is None else f"(allocated: {role})"
    parts = [f"{name}{about}:{_ranges_text(those)}" for (name, _), those in bag.ranges.items()]
    parts += [f"{name}{about}:{_items_text(items)}" for (name, _), items in bag.sets.items()]
    parts += [f"{name}{about}:{amount / _SCALE:.10g}" for (name, _), amount in bag.scalars.items()]
    return "; ".join(parts) or "{}"


def _ranges_text(those: Ranges) -> str:
    return "[" + ", ".join(f"{begin}-{end}" for begin, end in those) + "]"


def _items_text(items: Iterable[str]) -> str:
    return "{" + ", ".join(_sorted(items)) + "}"


def _sorted(items: Iterable[str]) -> list[str]:
    """Returns items in order, ``disk2`` before ``disk10``."""
    return sorted(items, key=lambda item: (len(item), item))


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
