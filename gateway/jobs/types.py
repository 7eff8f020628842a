"""Types that a configuration makes for itself: ``class Profile(Struct)``, ``List(Profile)``."""

from __future__ import annotations

from typing import Any

from pystachio import Struct
from pystachio.base import Object
from pystachio.choice import ChoiceContainer
from pystachio.composite import Empty, Structural, TypeSignature
from pystachio.container import ListContainer, MapContainer

from gateway.jobs.coercion import describe
from gateway.jobs.faults import Fault
from gateway.jobs.limits import current_budget
from gateway.jobs.weights import weigh

_HEAVIEST = 5000


def make_struct(name: str, fields: dict[str, Any]) -> type:
    """Returns the struct type ``name`` with ``fields`` (name -> type, Required or Default)."""
    for field, kind in fields.items():
        if not isinstance(kind, TypeSignature) and not _is_type(kind):
            raise Fault(
                f"the field {name}.{field} needs a type, not {describe(kind)}: "
                f"{field} = String, or Required(String), or Default(String, 'value')"
            )
    _check(sum(_signature_weight(kind) for kind in fields.values()))
    struct: type = type(Struct)(name, (Struct,), dict(fields))
    return struct


def weigh_type(kind: Any) -> int:
    """Returns of how many types ``kind`` consists; making a type takes time in proportion.

    Raises :class:`Fault` for types that are nested beyond use: each level may double them.
    """
    return _check(_weigh(kind))


def _weigh(kind: Any) -> int:
    current_budget().step()
    if kind is Struct:
        raise Fault("Struct itself has no fields; make a type of it: class Name(Struct): …")
    if issubclass(kind, Structural):
        return _check(1 + sum(_signature_weight(field) for field in kind.TYPEMAP.values()))
    if issubclass(kind, ListContainer):
        return 1 + _weigh(kind.TYPE)
    if issubclass(kind, MapContainer):
        return 1 + _weigh(kind.KEYTYPE) + _weigh(kind.VALUETYPE)
    if issubclass(kind, ChoiceContainer):
        return 1 + sum(map(_weigh, kind.CHOICES))
    return 1


def _signature_weight(field: Any) -> int:
    if isinstance(field, TypeSignature):
        default = 0 if field.default is Empty else weigh(field.default)
        return default + _weigh(field.klazz)
    return _weigh(field)


def _check(weight: int) -> int:
    if weight > _HEAVIEST:
        raise Fault(f"the type is made of more than {_HEAVIEST} types; nest fewer of them")
    return weight


def _is_type(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Object)
