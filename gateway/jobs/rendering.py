"""A job of the model -> plain data, every reference filled in that can be.

The same result as pystachio's ``job.interpolate()[0].get()``, in one walk that knows where it is: it
collects all problems with their paths, and the references that stay open.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from pystachio import Empty
from pystachio.base import Object
from pystachio.basic import Boolean, EnumContainer, Float, Integer, String
from pystachio.choice import ChoiceContainer
from pystachio.composite import Structural
from pystachio.container import ListContainer, MapContainer
from pystachio.naming import Ref

from gateway.jobs.coercion import display_name, expected
from gateway.jobs.expansion import BoundedParser
from gateway.jobs.faults import Fault, Position, shown
from gateway.jobs.limits import current_budget

Origin = Callable[[Object], Position | None]

_PLAIN: dict[type, Any] = {String: str, Integer: int, Float: (int, float), Boolean: bool}


class Rendering:
    """The outcome of :func:`render`.

    ``data`` is the job as JSON can hold it, ``open`` maps each reference left over to the first field
    that holds it, ``faults`` are the problems found on the way.
    """

    def __init__(self, origin: Origin) -> None:
        self.data: Any = None
        self.open: dict[str, str] = {}
        self.places: dict[str, Position | None] = {}
        self.faults: list[Fault] = []
        self.origin = origin


def render(job: Structural, source: Structural, origin: Origin) -> Rendering:
    """Returns ``job`` as plain data.

    ``source`` is the job before it was bound; ``origin`` tells where in the text a value was made, if
    that is known.
    """
    rendering = Rendering(origin)
    rendering.data = _value(_Scoped(job, None), "", rendering, origin(source), source)
    return rendering


class _Scoped:
    """A value where it stands. It is put into its scopes when a reference has to be looked up there.

    That is what most of the time went to, and most values hold no reference.
    """

    __slots__ = ("_bound", "_outer", "_scopes", "source")

    def __init__(self, source: Any, outer: _Scoped | None) -> None:
        self.source = source
        self._outer = outer
        self._bound: Any = None
        self._scopes: Any = None

    def bound(self) -> Any:
        """Returns the value within the scopes of those that it stands in."""
        if self._bound is None:
            outer = self._outer
            self._bound = self.source if outer is None else self.source.in_scope(*outer.scopes())
        return self._bound

    def scopes(self) -> Any:
        """Returns the scopes that its parts stand in."""
        if self._scopes is None:
            self._scopes = self.bound().scopes()
        return self._scopes


def _value(value: _Scoped, path: str, out: Rendering, place: Position | None, source: Any = None) -> Any:
    """``source``: the object that the author made, where it is not ``value.source`` itself."""
    current_budget().step()
    item = value.source
    place = out.origin(item if source is None else source) or place
    if isinstance(item, Structural):
        return _struct(value, path, out, place)
    if isinstance(item, ListContainer):
        return [
            _value(_Scoped(v, value), f"{path}[{i}]", out, place) for i, v in enumerate(item._values)
        ]
    if isinstance(item, MapContainer):
        return _map(value, path, out, place)
    if isinstance(item, ChoiceContainer):
        return _value(_Scoped(item._value, value), path, out, place)
    return _leaf(value, path, out, place)


def _struct(value: _Scoped, path: str, out: Rendering, place: Position | None) -> dict[str, Any]:
    data = {}
    item = value.source
    for name, signature in item.TYPEMAP.items():
        field = item._schema_data[name]
        where = f"{path}.{name}" if path else name
        if field is not Empty:
            data[name] = _value(_Scoped(field, value), where, out, place)
        elif signature.required:
            kind = expected(signature.klazz)
            out.faults.append(
                Fault(f"{where} is required: {display_name(type(item))} needs {name} = {kind}", place)
            )
    return data


def _map(value: _Scoped, path: str, out: Rendering, place: Position | None) -> dict[Any, Any]:
    data = {}
    for key, item in value.source._map:
        name = _value(_Scoped(key, value), f"{path} key", out, place)
        data[name] = _value(_Scoped(item, value), f"{path}[{shown(name, 40)}]", out, place)
    return data


def _interpolate(value: _Scoped) -> tuple[Any, list[Any]]:
    """Returns the plain value of a leaf, and the references in it that nothing is known for."""
    raw = value.source._value
    if isinstance(raw, str) and "{{" in raw:
        interpolated, unbound = value.bound().interpolate()
        return interpolated.get(), unbound
    return type(value.source).coerce(raw), []


def _filled(value: _Scoped) -> tuple[Any, Any]:
    """Returns what a leaf became that is not of its type, and what its author wrote."""
    raw = value.source._value
    if not isinstance(raw, str):
        return raw, raw
    return BoundedParser.resolve(raw, *value.bound().scopes())[0], raw


def _leaf(value: _Scoped, path: str, out: Rendering, place: Position | None) -> Any:
    kind = type(value.source)
    try:
        plain, unbound = _interpolate(value)
    except Fault as fault:
        out.faults.append(Fault(f"{path}: {fault.text}", fault.position or place))
        return None
    except RecursionError:
        out.faults.append(Fault(f"{path}: {shown(value.source._value)} leads back to itself", place))
        return None
    except (ValueError, OverflowError):
        out.faults.append(_mismatch(kind, path, place, *_filled(value)))
        return None
    for ref in unbound:
        name = ref.address() if isinstance(ref, Ref) else str(ref)
        out.open.setdefault(name, path)
        out.places.setdefault(name, place)
    if unbound and kind is not String:
        if _all_at_run_time(unbound):
            said = f"{path}: expects {expected(kind)}; {shown(plain)} is known only when the task runs"
            out.faults.append(Fault(said, place))
        return None
    if isinstance(plain, str):
        _check_text(plain, path, out, place)
    if issubclass(kind, EnumContainer):
        fits = plain in kind.VALUES
    else:
        fits = isinstance(plain, _PLAIN[kind]) and not _is_excessive(plain)
    if not fits:
        out.faults.append(_mismatch(kind, path, place, plain))
    return plain


def _is_excessive(value: Any) -> bool:
    """Whether a number is beyond what JSON, Thrift and Mesos carry."""
    if isinstance(value, float):
        return not isfinite(value)
    return isinstance(value, int) and not -(2**63) < value < 2**63


def _mismatch(kind: Any, path: str, place: Position | None, found: Any, raw: Any = None) -> Fault:
    """``raw``: what the author wrote, where that is not what was ``found``."""
    origin = f" (from {shown(raw)})" if isinstance(raw, str) and raw != found else ""
    return Fault(f"{path}: expects {expected(kind)}, not {shown(found)}{origin}", place)


def is_run_time(name: str) -> bool:
    """Whether a reference is filled in on the agent: the instance, the host, the task, its ports."""
    return name in ("mesos.instance", "mesos.hostname", "thermos.task_id", "thermos.user") or (
        name.startswith("thermos.ports[") and name.endswith("]") and name.count("[") == 1
    )


def _all_at_run_time(unbound: list[Ref]) -> bool:
    return all(is_run_time(ref.address()) for ref in unbound)


def _check_text(text: str, path: str, out: Rendering, place: Position | None) -> None:
    if "\0" in text:
        out.faults.append(Fault(f"{path}: a NUL character cannot be part of a text", place))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        out.faults.append(
            Fault(
                f"{path}: half of a surrogate pair ({shown(text[error.start])}) is not a character",
                place,
            )
        )
