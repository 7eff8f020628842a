"""The names a configuration finds: types and helpers of the model, safe functions, stub modules."""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from pystachio import Boolean, Default, Empty, Float, Integer, Required, String, Struct
from pystachio.base import Object
from pystachio.basic import Enum
from pystachio.choice import Choice
from pystachio.composite import TypeSignature
from pystachio.container import List, Map

from gateway.jobs import helpers, schema
from gateway.jobs.coercion import Notes, build, coerce, describe
from gateway.jobs.faults import Fault, shown
from gateway.jobs.limits import current_budget
from gateway.jobs.types import weigh_type
from gateway.jobs.values import (
    Environ,
    charge,
    check_number,
    equal,
    items_of,
    key_of,
    same_keys,
    text_of,
    truth,
)

# Importing these brings nothing: their names are there already.
TRANSPARENT = re.compile(r"pystachio|apache\.(aurora|thermos)\.config(\.\w+)*|__future__")


class Builtin:
    """A function of ours that a configuration may call, and nothing else of it."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function


class Module:
    """A namespace with a fixed set of members."""

    def __init__(self, name: str, **members: Any) -> None:
        self.name = name
        self.members = {k: Builtin(k, v) if _is_function(v) else v for k, v in members.items()}


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type | Object)


def standard_names(notes: Notes) -> dict[str, Any]:
    """Returns all the names of the language; warnings of the helpers go to ``notes``."""
    noting = {name: Builtin(name, function) for name, function in _helpers(notes).items()}
    return {**_fixed_names(), **noting, "Tasks": Module("Tasks", **_task_helpers(notes))}


@functools.cache
def _fixed_names() -> Mapping[str, Any]:
    """Those that are the same for every configuration; no configuration can change what they name."""
    names = {name: value for name, value in vars(schema).items() if _is_model(name, value)}
    names.update(_types())
    names.update({name: Builtin(name, function) for name, function in _functions().items()})
    names.update(
        Processes=Module("Processes", order=helpers.order),
        Options=Module("Options", java=helpers.options("-"), python=helpers.options("--")),
        Empty=Empty,
    )
    return names


def _is_model(name: str, value: Any) -> bool:
    return isinstance(value, int | Object) or (
        isinstance(value, type) and issubclass(value, Object) and name != "Struct"
    )


def modules(user: str) -> dict[str, Module]:
    """Returns the modules that may be imported."""
    environ = Environ(USER=user, LOGNAME=user)
    path = Module("os.path", join=_join_path, basename=_basename)
    return {
        "getpass": Module("getpass", getuser=lambda: user),
        "os": Module("os", environ=environ, getenv=environ.get, path=path),
        "os.path": path,
        "textwrap": Module("textwrap", dedent=_dedent),
    }


def _types() -> dict[str, Any]:
    return {
        "Struct": Struct,
        "String": String,
        "Integer": Integer,
        "Float": Float,
        "Boolean": Boolean,
        "List": Builtin("List", lambda kind: List(_type(kind))),
        "Map": Builtin("Map", lambda key, value: Map(_type(key), _type(value))),
        "Enum": Builtin("Enum", _enum),
        "Choice": Builtin("Choice", _choice),
        "Required": Builtin("Required", lambda kind: Required(_type(kind))),
        "Default": Builtin("Default", _default),
    }


def _type(kind: Any) -> Any:
    if not isinstance(kind, type) or not issubclass(kind, Object):
        raise Fault(f"expects a type such as String or Integer, not {describe(kind)}")
    weigh_type(kind)
    return kind


def _enum(*values: Any) -> Any:
    if len(values) == 2 and isinstance(values[1], list | tuple):
        values = tuple(values[1])
    if not values or not all(isinstance(v, str) for v in values):
        raise Fault("Enum takes the texts that are allowed: Enum('a', 'b')")
    current_budget().items(len(values))
    return Enum("Enum", tuple(values))


def _choice(*arguments: Any) -> Any:
    kinds = arguments[-1] if arguments else ()
    if not isinstance(kinds, list | tuple) or not kinds:
        raise Fault("Choice takes a list of types: Choice([String, Integer])")
    return Choice([_type(kind) for kind in kinds])


def _default(kind: Any, value: Any) -> TypeSignature:
    return Default(_type(kind), coerce(kind, value, Notes()))


def _task_helpers(notes: Notes) -> dict[str, Callable[..., Any]]:
    return {
        "combine": lambda *tasks, **fields: helpers.combine(notes, *tasks, **fields),
        "concat": lambda *tasks, **fields: helpers.concat(notes, *tasks, **fields),
        "simple": lambda name, command: helpers.simple_task(notes, name, command),
        "sequential": helpers.sequential,
    }


def _helpers(notes: Notes) -> dict[str, Callable[..., Any]]:
    tasks = _task_helpers(notes)

    def task(*mappings: Any, **fields: Any) -> Any:
        for mapping in mappings:
            if not isinstance(mapping, dict):
                raise Fault(f"expects fields, not {describe(mapping)}")
            fields = {**same_keys(mapping), **fields}
        return build(schema.Task, fields, notes)

    return {
        "order": helpers.order,
        "SimpleTask": tasks["simple"],
        "SequentialTask": lambda *args, **fields: helpers.sequential(task(*args, **fields)),
        "ConcurrentTask": task,
        "combine_tasks": tasks["combine"],
        "concat_tasks": tasks["concat"],
        "java_options": helpers.options("-"),
        "python_options": helpers.options("--"),
        "include": _include,
    }


def _include(*path: Any) -> None:
    raise Fault(
        f"include({shown(path[0]) if path else ''}) is not possible: a request carries one file; "
        "put the included text in its place"
    )


def _functions() -> dict[str, Callable[..., Any]]:
    return {
        "len": lambda value: len(value) if isinstance(value, str | dict | set) else len(items_of(value)),
        "str": lambda value="": text_of(value),
        "repr": lambda value: text_of(value, quoted=True),
        "int": lambda value=0, *base: check_number(int(_scalar(value), *base)),
        "float": lambda value=0.0: float(_scalar(value)),
        "bool": lambda value=False: truth(value),
        "list": lambda values=(): items_of(values),
        "tuple": lambda values=(): tuple(items_of(values)),
        "set": lambda values=(): {key_of(v) for v in items_of(values)},
        "dict": _dict,
        "range": _range,
        "enumerate": lambda values, start=0: list(enumerate(items_of(values), start)),
        "zip": lambda *values: list(zip(*map(items_of, values), strict=False)),
        "sorted": _sorted,
        "reversed": lambda values: items_of(values)[::-1],
        "min": lambda *values: min(_comparable(values)),
        "max": lambda *values: max(_comparable(values)),
        "sum": _sum,
        "abs": lambda value: abs(_number(value)),
        "round": _round,
        "any": lambda values: any(truth(v) for v in items_of(values)),
        "all": lambda values: all(truth(v) for v in items_of(values)),
        "print": lambda *values, **options: None,
    }


def _scalar(value: Any) -> Any:
    return charge(value).interpolate()[0].get() if isinstance(value, Object) else value


def _number(value: Any) -> Any:
    value = _scalar(value)
    if not isinstance(value, int | float):
        raise Fault(f"expects a number, not {describe(value)}")
    return value


def _round(value: Any, digits: Any = None) -> Any:
    if digits is not None and not -20 <= _number(digits) <= 20:
        raise Fault("round() takes up to 20 digits")
    return round(_number(value), digits)


def _dict(source: Any = (), **fields: Any) -> dict[Any, Any]:
    pairs = (
        source.items() if isinstance(source, dict) else [tuple(items_of(p)) for p in items_of(source)]
    )
    current_budget().items(len(source) + len(fields))
    result = {}
    for pair in pairs:
        if len(pair) != 2:
            raise Fault("dict() takes pairs of key and value")
        result[key_of(pair[0])] = pair[1]
    return {**result, **fields}


def _range(*bounds: Any) -> list[int]:
    numbers = range(*bounds)
    current_budget().step(len(numbers))
    current_budget().items(len(numbers))
    return list(numbers)


def _comparable(values: tuple[Any, ...]) -> list[Any]:
    items = items_of(values[0]) if len(values) == 1 else list(values)
    texts = all(isinstance(v, str) for v in items)
    if not texts and not all(isinstance(v, int | float) for v in items):
        raise Fault("only numbers, or only texts, can be put in order")
    return items


def _sorted(values: Any, reverse: Any = False) -> list[Any]:
    items = items_of(values)
    if all(isinstance(v, tuple) and v and isinstance(v[0], str) for v in items):
        return sorted(items, key=lambda v: v[0], reverse=truth(reverse))
    return sorted(_comparable((items,)), reverse=truth(reverse))


def _sum(values: Any, start: Any = 0) -> Any:
    items = items_of(values)
    if not all(isinstance(v, int | float) for v in [*items, start]):
        raise Fault("sum() takes numbers")
    return check_number(sum(items, start))


def _join_path(first: Any, *rest: Any) -> str:
    path = ""
    for part in (first, *rest):
        if not isinstance(part, str):
            raise Fault(f"os.path.join() takes texts, not {describe(part)}")
        path = part if part.startswith("/") or not path else path.rstrip("/") + "/" + part
    current_budget().text(len(path))
    return path


def _basename(path: Any) -> str:
    return text_of(path).rsplit("/", 1)[-1]


def _dedent(text: Any) -> str:
    return textwrap.dedent(text_of(text))


def list_method(values: list[Any], name: str) -> Callable[..., Any] | None:
    """Returns the method ``name`` of a list in its bounded form; None if there is none."""

    def position(value: Any) -> int:
        for index, other in enumerate(values):
            if equal(other, value):
                return index
        raise Fault("the value is not in the list")

    def add(*more: Any) -> None:
        current_budget().items(len(more))
        values.extend(more)

    def insert(index: Any, value: Any) -> None:
        current_budget().items(len(values))
        values.insert(index, value)

    methods: dict[str, Callable[..., Any]] = {
        "append": lambda value: add(value),
        "extend": lambda more: add(*items_of(more)),
        "insert": insert,
        "index": position,
        "count": lambda value: sum(equal(other, value) for other in values),
        "remove": lambda value: values.__delitem__(position(value)),
        "pop": lambda index=-1: values.pop(index),
        "reverse": values.reverse,
        "sort": lambda reverse=False: values.__setitem__(slice(None), _sorted(values, reverse)),
        "copy": lambda: items_of(values),
    }
    return methods.get(name)


def dict_method(mapping: dict[Any, Any], name: str) -> Callable[..., Any] | None:
    """Returns the method ``name`` of a dict in its bounded form; None if there is none."""

    def listed(values: Any) -> list[Any]:
        current_budget().items(len(mapping))
        return list(values)

    methods: dict[str, Callable[..., Any]] = {
        "get": lambda key, default=None: mapping.get(key_of(key), default),
        "setdefault": lambda key, default=None: mapping.setdefault(key_of(key), default),
        "pop": lambda key, *default: mapping.pop(key_of(key), *default),
        "items": lambda: listed(mapping.items()),
        "keys": lambda: listed(mapping.keys()),
        "values": lambda: listed(mapping.values()),
        "update": lambda *source, **fields: mapping.update(_dict(*source, **fields)),
        "copy": lambda: dict(listed(mapping.items())),
    }
    return methods.get(name)
