"""How large a value of the model is, shared parts counted as often as a walk would meet them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pystachio import Empty
from pystachio.choice import ChoiceContainer
from pystachio.composite import Structural
from pystachio.container import ListContainer, MapContainer

from gateway.jobs.limits import current_budget


def weigh(value: Any, memo: dict[int, int] | None = None) -> int:
    """Returns how many values a walk through ``value`` would visit, shared ones as often as met."""
    memo = {} if memo is None else memo
    known = memo.get(id(value))
    if known is not None:
        return known
    current_budget().step()
    weight = 1 + sum(weigh(part, memo) for part in _parts(value))
    memo[id(value)] = weight
    return weight


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, Structural):
        return [part for part in value._schema_data.values() if part is not Empty]
    if isinstance(value, ListContainer):
        return list(value._values)
    if isinstance(value, MapContainer):
        return [part for pair in value._map for part in pair]
    if isinstance(value, ChoiceContainer):
        return [value._value]
    return ()
