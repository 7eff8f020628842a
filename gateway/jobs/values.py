"""What the language's operators do with its values: numbers, texts, lists, dicts, model values.

Each is the Python operator on the types that make sense, charged to the budget, with a sentence for
those that do not.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from pystachio.base import Object
from pystachio.basic import SimpleObject
from pystachio.container import ListContainer, MapContainer

from gateway.jobs.coercion import describe, display_name
from gateway.jobs.faults import Fault, shown, suggestion
from gateway.jobs.limits import current_budget
from gateway.jobs.weights import weigh

_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
}
_ORDERINGS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Environ(dict[str, str]):
    """``os.environ``: only what the gateway says of the caller, nothing of the server's."""


def charge(value: Object) -> Object:
    """Charges one walk through a model value; returns it."""
    current_budget().step(min(weigh(value), 10**9))
    return value


def text_of(value: Any, quoted: bool = False) -> str:
    """Returns ``str(value)``, or ``repr(value)`` if ``quoted``."""
    budget = current_budget()
    budget.step()
    if isinstance(value, str):
        budget.text(len(value))
        return repr(value) if quoted else value
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, Object):
        charge(value)
        text = repr(value) if quoted else str(value)
        budget.text(len(text))
        return text
    with budget.deeper():
        if isinstance(value, list | tuple | set):
            text = _brackets(value).format(", ".join(text_of(item, True) for item in value))
        elif isinstance(value, dict):
            pairs = (f"{text_of(k, True)}: {text_of(v, True)}" for k, v in value.items())
            text = "{" + ", ".join(pairs) + "}"
        else:
            raise Fault(f"{describe(value)} has no text")
    budget.text(len(text))
    return text


def _brackets(value: Any) -> str:
    if isinstance(value, tuple):
        return "({},)" if len(value) == 1 else "({})"
    return "[{}]" if isinstance(value, list) else "{{{}}}"


def items_of(value: Any) -> list[Any]:
    """Returns what ``for … in value`` goes through."""
    if isinstance(value, ListContainer | MapContainer):
        items = list(charge(value))
    elif isinstance(value, str | list | tuple | set | dict):
        items = list(value)
    else:
        raise Fault(f"{describe(value)} is not a list; write [ … ] around it")
    current_budget().items(len(items))
    return items


def key_of(value: Any) -> Any:
    """Returns ``value`` as a key of a dict or a member of a set."""
    if isinstance(value, SimpleObject):
        value = charge(value).interpolate()[0].get()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, tuple):
        with current_budget().deeper():
            return tuple(key_of(item) for item in value)
    raise Fault(f"{describe(value)} cannot be a key; use a text or a number")


def truth(value: Any) -> bool:
    """Whether the value counts as true in a condition."""
    return True if isinstance(value, Object) else bool(value)


def equal(left: Any, right: Any) -> bool:
    """``left == right``. As in Aurora, a model value never equals a plain one."""
    budget = current_budget()
    budget.step()
    if isinstance(left, Object) or isinstance(right, Object):
        if not (isinstance(left, Object) and isinstance(right, Object)):
            return False
        budget.step(min(weigh(left) + weigh(right) + 50, 10**9))
        return bool(left == right)
    with budget.deeper():
        if isinstance(left, list | tuple) and type(left) is type(right):
            return len(left) == len(right) and all(map(equal, left, right))
        if isinstance(left, dict) and isinstance(right, dict):
            return left.keys() == right.keys() and all(equal(v, right[k]) for k, v in left.items())
    return bool(left == right)


def compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    """One comparison: ``== != < <= > >= in not in is is not``."""
    match op:
        case ast.Eq():
            return equal(left, right)
        case ast.NotEq():
            return not equal(left, right)
        case ast.In():
            return contains(right, left)
        case ast.NotIn():
            return not contains(right, left)
        case ast.Is():
            return left is right
        case ast.IsNot():
            return left is not right
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not numbers and not (isinstance(left, str) and isinstance(right, str)):
        raise Fault(f"{describe(left)} and {describe(right)} have no order; compare numbers or texts")
    return _ORDERINGS[type(op)](left, right)


def contains(container: Any, item: Any) -> bool:
    """``item in container``."""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise Fault(f"only a text can be in a text, not {describe(item)}")
        return item in container
    if isinstance(container, dict | set):
        return key_of(item) in container
    if isinstance(container, ListContainer | MapContainer):
        return bool(item in charge(container))
    return any(equal(other, item) for other in items_of(container))


def binary(op: ast.operator, left: Any, right: Any) -> Any:
    """One arithmetic operation: ``+ - * / // %`` (``%`` on a text is made elsewhere)."""
    if type(op) not in _ARITHMETIC:
        raise Fault("this operator is not part of the language; there are + - * / // and %")
    sign, function = _ARITHMETIC[type(op)]
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _arithmetic(sign, function, left, right)
    if sign == "+" and isinstance(left, str | list | tuple) and type(left) is type(right):
        _charge_length(left, len(left) + len(right))
        return operator.add(left, right)
    if sign == "*":
        for many, count in ((left, right), (right, left)):
            if isinstance(many, str | list | tuple) and isinstance(count, int):
                _charge_length(many, len(many) * max(0, count))
                return many * count
    hint = ""
    if isinstance(left, str | Object) or isinstance(right, str | Object):
        hint = "; write str(…) around what is not a text"
    raise Fault(f"{describe(left)} {sign} {describe(right)} is not possible{hint}")


def _arithmetic(sign: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return check_number(function(left, right))
    except ZeroDivisionError:
        raise Fault(f"{shown(left)} {sign} 0: a division by zero") from None
    except OverflowError:
        raise Fault("the number is too large") from None


def check_number(number: Any) -> Any:
    """Returns an integer that is not too large to go on with, or any float."""
    if isinstance(number, int) and number.bit_length() > 64:
        raise Fault("the number is too large; integers go up to 2**64")
    return number


def _charge_length(value: Any, length: int) -> None:
    if isinstance(value, str):
        current_budget().text(length)
    else:
        current_budget().items(length)


def item(container: Any, key: Any) -> Any:
    """``container[key]``."""
    if isinstance(container, dict):
        key = key_of(key)
        if key in container:
            return container[key]
        if isinstance(container, Environ):
            raise Fault(
                f"the environment has no {shown(key)} here: of the caller only USER is known; "
                f"give the value with the request (?bind=NAME=VALUE) and write {{{{NAME}}}}"
            )
        known = [k for k in container if isinstance(k, str)]
        raise Fault(f"there is no {shown(key)} here" + suggestion(str(key), known))
    if isinstance(container, MapContainer):
        try:
            return charge(container)[key]
        except (KeyError, ValueError, TypeError):
            raise Fault(f"the map has no {shown(key)}") from None
    if not isinstance(container, str | list | tuple | ListContainer):
        raise Fault(f"{describe(container)} has no items")
    if not isinstance(key, int):
        raise Fault(f"an index is an integer, not {describe(key)}")
    if isinstance(container, ListContainer):
        container = list(charge(container))
    if not -len(container) <= key < len(container):
        raise Fault(f"there is no item {key}: there are {len(container)}, counted from 0")
    return container[key]


def cut(container: Any, start: Any, stop: Any, step: Any) -> Any:
    """``container[start:stop:step]``."""
    if isinstance(container, ListContainer):
        container = list(charge(container))
    if not isinstance(container, str | list | tuple):
        raise Fault(f"{describe(container)} cannot be cut")
    if not all(bound is None or isinstance(bound, int) for bound in (start, stop, step)) or step == 0:
        raise Fault("the bounds of a cut are integers, the step not 0")
    _charge_length(container, len(container))
    return container[start:stop:step]


def set_item(container: Any, key: Any, value: Any) -> None:
    """``container[key] = value``."""
    if isinstance(container, dict):
        current_budget().items(1)
        container[key_of(key)] = value
    elif isinstance(container, list):
        item(container, key)
        container[key] = value
    else:
        raise Fault(
            f"{describe(container)} does not change; for a copy that differs, call it: "
            f"{display_name(type(container)).lower()}(field = value)"
        )


def same_keys(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns a mapping whose keys must all be texts (``**mapping``, a struct's fields)."""
    for key in mapping:
        if not isinstance(key, str):
            raise Fault(f"a field's name is a text, not {describe(key)}")
    current_budget().items(len(mapping))
    return dict(mapping)
