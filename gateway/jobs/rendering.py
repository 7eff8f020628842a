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
    rendering.data = _value(job, source, "", rendering, origin(source))
    return rendering


def _value(value: Any, source: Any, path: str, out: Rendering, place: Position | None) -> Any:
    """``value`` is ``source`` within its scopes; ``source`` is the object that the author made."""
    current_budget().step()
    place = out.origin(source) or place
    if isinstance(value, Structural):
        return _struct(value, source, path, out, place)
    if isinstance(value, ListContainer):
        scopes = value.scopes()
        return [
            _value(v.in_scope(*scopes), v, f"{path}[{i}]", out, place)
            for i, v in enumerate(value._values)
        ]
    if isinstance(value, MapContainer):
        return _map(value, path, out, place)
    if isinstance(value, ChoiceContainer):
        inner = value._value
        return _value(inner.in_scope(*value.scopes()), inner, path, out, place)
    return _leaf(value, path, out, place)


def _struct(
    value: Structural, source: Any, path: str, out: Rendering, place: Position | None
) -> dict[str, Any]:
    data = {}
    scopes = value.scopes()
    for name, signature in value.TYPEMAP.items():
        field = value._schema_data[name]
        where = f"{path}.{name}" if path else name
        if field is not Empty:
            data[name] = _value(field.in_scope(*scopes), field, where, out, place)
        elif signature.required:
            kind = expected(signature.klazz)
            out.faults.append(
                Fault(f"{where} is required: {display_name(type(value))} needs {name} = {kind}", place)
            )
    return data


def _map(value: MapContainer, path: str, out: Rendering, place: Position | None) -> dict[Any, Any]:
    scopes = value.scopes()
    data = {}
    for key, item in value._map:
        name = _value(key.in_scope(*scopes), key, f"{path} key", out, place)
        data[name] = _value(item.in_scope(*scopes), item, f"{path}[{shown(name, 40)}]", out, place)
    return data


def _leaf(value: Any, path: str, out: Rendering, place: Position | None) -> Any:
    try:
        interpolated, unbound = value.interpolate()
    except Fault as fault:
        out.faults.append(Fault(f"{path}: {fault.text}", fault.position or place))
        return None
    except RecursionError:
        out.faults.append(Fault(f"{path}: {shown(value._value)} leads back to itself", place))
        return None
    except (ValueError, OverflowError):
        out.faults.append(_mismatch(value, path, place, value._value))
        return None
    for ref in unbound:
        name = ref.address() if isinstance(ref, Ref) else str(ref)
        out.open.setdefault(name, path)
        out.places.setdefault(name, place)
    plain = interpolated.get()
    if unbound and not isinstance(value, String):
        if _all_at_run_time(unbound):
            kind = expected(type(value))
            said = f"{path}: expects {kind}; {shown(plain)} is known only when the task runs"
            out.faults.append(Fault(said, place))
        return None
    if isinstance(plain, str):
        _check_text(plain, path, out, place)
    if isinstance(value, EnumContainer):
        fits = plain in type(value).VALUES
    else:
        fits = isinstance(plain, _PLAIN[type(value)]) and not _is_excessive(plain)
    if not fits:
        out.faults.append(_mismatch(value, path, place, plain))
    return plain


def _is_excessive(value: Any) -> bool:
    """Whether a number is beyond what JSON, Thrift and Mesos carry."""
    if isinstance(value, float):
        return not isfinite(value)
    return isinstance(value, int) and not -(2**63) < value < 2**63


def _mismatch(value: Any, path: str, place: Position | None, found: Any) -> Fault:
    return Fault(f"{path}: expects {expected(type(value))}, not {shown(found)}", place)


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
