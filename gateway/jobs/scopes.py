"""Names and functions of a configuration while it is evaluated."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from gateway.jobs.faults import Fault, suggestion

_REFUSED = {
    "open": "files cannot be read here; give values with the request: ?bind=NAME=VALUE for {{NAME}}",
    "exec": "a configuration cannot run code",
    "eval": "a configuration cannot run code",
    "compile": "a configuration cannot run code",
    "getattr": "attributes are written as value.name",
    "setattr": "values do not change; call one with fields for a copy that differs",
    "input": "nobody can be asked; give values with the request: ?bind=NAME=VALUE for {{NAME}}",
    "hashlib": "files cannot be read or hashed here; give values with the request: ?bind=NAME=VALUE",
    "Packer": "Packer no longer exists; fetch the package in a process of the task",
}


class Scope:
    """The variables of a function, a comprehension or the file, and the scopes around them."""

    def __init__(self, outer: Scope | None = None, names: Mapping[str, Any] | None = None) -> None:
        self.names: dict[str, Any] = dict(names or {})
        self.outer = outer

    def lookup(self, name: str) -> Any:
        """Returns what ``name`` stands for; raises :class:`Fault` if nothing is known of it."""
        scope: Scope | None = self
        known: list[str] = []
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            known.extend(scope.names)
            scope = scope.outer
        check_name(name)
        if name in _REFUSED:
            raise Fault(f"{name!r} is not part of the language: {_REFUSED[name]}")
        raise Fault(f"{name!r} is not defined" + suggestion(name, known))


class Function:
    """A function that the configuration defines. ``defaults`` by parameter."""

    def __init__(self, node: ast.FunctionDef, defaults: dict[str, Any], scope: Scope) -> None:
        self.name = node.name
        self.node = node
        self.defaults = defaults
        self.scope = scope

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> Scope:
        """Returns the scope in which the body runs; raises :class:`Fault` for wrong arguments."""
        spec = self.node.args
        names = [a.arg for a in (*spec.posonlyargs, *spec.args)]
        values = dict(zip(names, args, strict=False))
        extra = tuple(args[len(names) :])
        if extra and spec.vararg is None:
            raise Fault(f"{self.name}() takes {len(names)} arguments, {len(args)} were given")
        known = {*(a.arg for a in spec.args), *(a.arg for a in spec.kwonlyargs)}
        others = {}
        for name, value in kwargs.items():
            if name in values:
                raise Fault(f"{self.name}() was given {name!r} twice")
            if name in known:
                values[name] = value
            elif spec.kwarg is not None:
                others[name] = value
            else:
                raise Fault(f"{self.name}() has no argument {name!r}" + suggestion(name, known))
        for name in (*names, *(a.arg for a in spec.kwonlyargs)):
            if name not in values:
                if name not in self.defaults:
                    raise Fault(f"{self.name}() needs a value for {name!r}")
                values[name] = self.defaults[name]
        if spec.vararg is not None:
            values[spec.vararg.arg] = extra
        if spec.kwarg is not None:
            values[spec.kwarg.arg] = others
        return Scope(self.scope, values)


def check_name(name: str) -> str:
    """Returns ``name`` unless it is one of those that lead into Python's insides."""
    if name.startswith("_") and name != "_":
        raise Fault(f"{name[:60]!r} is not allowed: names do not start with '_' here")
    return name
