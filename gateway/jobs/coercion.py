"""Plain values -> values of the job model, with errors that name the field and what it takes.

pystachio coerces too, but late (when a job is interpolated), without saying where, and it knows unknown
fields only as an AttributeError. Here every value is checked as it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pystachio import Empty
from pystachio.base import Object
from pystachio.basic import Boolean, EnumContainer, Float, Integer, SimpleObject, String
from pystachio.choice import ChoiceContainer
from pystachio.composite import Structural
from pystachio.container import ListContainer, MapContainer

from gateway.jobs import legacy
from gateway.jobs.faults import Fault, Position, shown, suggestion
from gateway.jobs.limits import current_budget

_WORDS = {String: "a text", Integer: "an integer", Float: "a number", Boolean: "True or False"}


class Notes:
    """What the reader of a configuration should be told besides its jobs."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.place = ""

    def warn(self, text: str) -> None:
        """Keeps a warning, with the place that is being read."""
        warning = f"{self.place}: {text}" if self.place else text
        if warning not in self.warnings and len(self.warnings) < 50:
            self.warnings.append(warning)


def display_name(klass: Any) -> str:
    """Returns what users call a type of the model: ``Job`` for MesosJob, ``list of Process``."""
    if issubclass(klass, ListContainer):
        return f"list of {display_name(klass.TYPE)}"
    if issubclass(klass, MapContainer):
        return f"map of {display_name(klass.KEYTYPE)} to {display_name(klass.VALUETYPE)}"
    return "Job" if klass.__name__ == "MesosJob" else klass.__name__


def expected(klass: Any) -> str:
    """Returns in words what a field of type ``klass`` takes."""
    if klass in _WORDS:
        return _WORDS[klass]
    if issubclass(klass, EnumContainer):
        return "one of " + ", ".join(repr(v) for v in klass.VALUES)
    if issubclass(klass, ChoiceContainer):
        return " or ".join(display_name(c) for c in klass.CHOICES)
    if issubclass(klass, ListContainer):
        return f"a {display_name(klass)}"
    if issubclass(klass, MapContainer):
        return "a map such as {'key': 'value'}"
    return display_name(klass)


def build(
    klass: Any,
    fields: Mapping[str, Any],
    notes: Notes,
    *,
    path: str = "",
    places: Mapping[str, Position] | None = None,
    base: Structural | None = None,
) -> Structural:
    """Returns a ``klass`` of ``fields``, or a copy of ``base`` with them changed.

    ``path`` names the value in a JSON document, ``places`` the fields' places in a text. Raises a
    :class:`Fault` that carries all that is wrong with the fields (``more``).
    """
    faults = []
    values = {}
    for name, value in legacy.adapt(klass.__name__, klass.TYPEMAP, fields, notes.warn).items():
        current_budget().step()
        try:
            if name not in klass.TYPEMAP:
                raise Fault(
                    f"{_at(path)}{display_name(klass)} has no field {shown(name)}"
                    + (suggestion(str(name), klass.TYPEMAP) or f"; it has {_listed(klass.TYPEMAP)}")
                )
            values[name] = _field(klass, name, value, notes, path)
        except Fault as fault:
            if places and name in places:
                fault.at(places[name])
            faults.append(fault)
    if faults:
        raise _together(faults)
    return klass(**values) if base is None else base(**values)


def coerce(klass: Any, value: Any, notes: Notes, path: str = "") -> Any:
    """Returns ``value`` as a ``klass``; raises :class:`Fault` saying what would be right."""
    if isinstance(value, klass):
        return value
    if issubclass(klass, ChoiceContainer):
        return _choice(klass, value, notes, path)
    if issubclass(klass, Structural):
        if isinstance(value, Mapping):
            return build(klass, value, notes, path=path)
        raise _wrong(klass, value, path)
    if issubclass(klass, ListContainer):
        return klass(
            [
                coerce(klass.TYPE, v, notes, f"{path}[{i}]")
                for i, v in enumerate(_items(klass, value, path))
            ]
        )
    if issubclass(klass, MapContainer):
        return _map(klass, value, notes, path)
    return _simple(klass, value, path)


def _field(klass: Any, name: str, value: Any, notes: Notes, path: str) -> Any:
    if value is Empty:
        return Empty
    where = f"{path}.{name}" if path else name
    return coerce(klass.TYPEMAP[name].klazz, value, notes, where)


def _simple(klass: Any, value: Any, path: str) -> Any:
    if isinstance(value, SimpleObject):
        value = value.interpolate()[0].get()
    if not isinstance(value, str | int | float):
        raise _wrong(klass, value, path)
    if isinstance(value, bool) and klass in (Integer, Float):
        raise _wrong(klass, value, path)
    if isinstance(value, int | float):
        _check_number(value, path)
        if klass is String:
            return klass(str(value))
    elif "{{" in value:
        return klass(value)
    try:
        if klass is not String:
            _check_number(klass.coerce(value), path)
        return klass(value)
    except (ValueError, OverflowError):
        raise _wrong(klass, value, path) from None


def _check_number(value: Any, path: str) -> None:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise Fault(f"{_at(path)}the number is too large; it must be below 2**63")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise Fault(f"{_at(path)}{value} is not a number that can be used here")


def _items(klass: Any, value: Any, path: str) -> Iterable[Any]:
    if isinstance(value, ListContainer):
        return [element.in_scope(*value.scopes()) for element in value._values]
    if isinstance(value, list | tuple):
        current_budget().items(len(value))
        return value
    raise _wrong(klass, value, path)


def _map(klass: Any, value: Any, notes: Notes, path: str) -> Any:
    if isinstance(value, MapContainer):
        value = dict(value._map)
    if not isinstance(value, Mapping):
        raise _wrong(klass, value, path)
    current_budget().items(len(value))
    return klass(
        {
            coerce(klass.KEYTYPE, k, notes, f"{path} key"): coerce(
                klass.VALUETYPE, v, notes, f"{path}[{shown(k, 40)}]"
            )
            for k, v in value.items()
        }
    )


def _choice(klass: Any, value: Any, notes: Notes, path: str) -> Any:
    """Takes the first alternative that accepts the value, as pystachio does when it interpolates."""
    if isinstance(value, Object):
        if any(isinstance(value, choice) for choice in klass.CHOICES):
            return klass(value)
        raise _wrong(klass, value, path)
    faults = []
    for choice in klass.CHOICES:
        try:
            return klass(coerce(choice, value, notes, path))
        except Fault as fault:
            faults.append(fault)
    best = _closest(klass, value, faults)
    raise best if best is not None else _wrong(klass, value, path)


def _closest(klass: Any, value: Any, faults: list[Fault]) -> Fault | None:
    """The fault of the alternative that knows most of the fields: the one that was meant."""
    if not isinstance(value, Mapping):
        return None
    overlaps = [
        len(set(value) & set(choice.TYPEMAP)) if issubclass(choice, Structural) else 0
        for choice in klass.CHOICES
    ]
    best = max(overlaps, default=0)
    return faults[overlaps.index(best)] if best and overlaps.count(best) == 1 else None


def _wrong(klass: Any, value: Any, path: str) -> Fault:
    return Fault(f"{_at(path)}expects {expected(klass)}, not {describe(value)}")


def describe(value: Any) -> str:
    """Returns a value in words for an error's sentence, without expanding it."""
    if isinstance(value, Object):
        return f"a {display_name(type(value))}"
    if value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
            return "a number that is too large"
        return shown(value)
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, type):
        return f"the type {display_name(value)} itself"
    return f"a {type(value).__name__.lower()}"


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _together(faults: list[Fault]) -> Fault:
    first, *rest = faults
    first.more.extend(rest)
    return first
