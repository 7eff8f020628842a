"""Expressions of the language: an interpreter of Python's syntax tree for the nodes it names.

Nothing is compiled or executed: every node is carried out by a method here, on values that
:mod:`gateway.jobs.values` knows. What a value's attribute may be is listed in :meth:`_attribute`;
Python's own attributes are never reached.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from pystachio import Empty
from pystachio.base import Object
from pystachio.composite import Structural
from pystachio.naming import Ref

from gateway.jobs import text
from gateway.jobs.builtins import Builtin, Module, dict_method, list_method
from gateway.jobs.coercion import Notes, build, coerce, describe, display_name
from gateway.jobs.faults import Fault, Position, shown, suggestion
from gateway.jobs.limits import Budget, current_budget
from gateway.jobs.scopes import Function, Scope, check_name
from gateway.jobs.source import Source
from gateway.jobs.types import weigh_type
from gateway.jobs.values import (
    binary,
    charge,
    check_number,
    compare,
    cut,
    item,
    items_of,
    key_of,
    same_keys,
    text_of,
    truth,
)
from gateway.jobs.weights import weigh

# What Python's own functions raise for wrong arguments; anything else is a defect of ours.
_WRONG_ARGUMENTS = (TypeError, ValueError, KeyError, IndexError, OverflowError, ZeroDivisionError)

_NO_EXPRESSION = {
    ast.Lambda: "'lambda' is not part of the language; define a function with 'def'",
    ast.NamedExpr: "':=' is not part of the language; assign on a line of its own",
    ast.Await: "'await' is not part of the language",
    ast.Yield: "'yield' is not part of the language; make a list and return it",
    ast.YieldFrom: "'yield' is not part of the language; make a list and return it",
    ast.Starred: "'*' is possible in calls and lists only",
}


class Expressions:
    """Evaluates expressions; :class:`gateway.jobs.interpreter.Interpreter` adds the statements."""

    def __init__(self, source: Source, budget: Budget, notes: Notes) -> None:
        self.source = source
        self.budget = budget
        self.notes = notes
        self.origins: dict[int, tuple[Object, ast.AST]] = {}
        self._methods: dict[type[ast.AST], Callable[[Any, Scope], Any]] = {
            ast.Constant: self._constant,
            ast.Name: lambda node, scope: scope.lookup(node.id),
            ast.Attribute: lambda node, scope: self._attribute(self.expression(node.value, scope), node),
            ast.Call: self._call,
            ast.List: lambda node, scope: self._items(node.elts, scope),
            ast.Tuple: lambda node, scope: tuple(self._items(node.elts, scope)),
            ast.Set: lambda node, scope: {key_of(v) for v in self._items(node.elts, scope)},
            ast.Dict: self._dict,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._bool,
            ast.Compare: self._compare,
            ast.IfExp: self._conditional,
            ast.Subscript: self._subscript,
            ast.JoinedStr: self._joined,
            ast.ListComp: lambda node, scope: self._comprehension(node, scope, self._one),
            ast.GeneratorExp: lambda node, scope: self._comprehension(node, scope, self._one),
            ast.SetComp: lambda node, scope: {
                key_of(v) for v in self._comprehension(node, scope, self._one)
            },
            ast.DictComp: lambda node, scope: dict(self._comprehension(node, scope, self._pair)),
        }

    def expression(self, node: ast.expr, scope: Scope) -> Any:
        """Returns the value of ``node``; raises :class:`Fault` with the place of what is wrong."""
        try:
            self.budget.step()
            self.budget.enter()
            method = self._methods.get(type(node))
            if method is None:
                why = _NO_EXPRESSION.get(type(node), "this expression is not part of the language")
                raise Fault(why)
            value = method(node, scope)
        except Fault as fault:
            raise fault.at(self.place(node)) from None
        self.budget.depth -= 1
        return value

    def place(self, node: ast.AST) -> Position:
        """Returns where ``node`` stands in the source."""
        return self.source.position(node)

    def call_function(self, function: Function, args: list[Any], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    def assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        raise NotImplementedError

    def _constant(self, node: ast.Constant, scope: Scope) -> Any:
        value = node.value
        if isinstance(value, bytes | complex) or value is ...:
            raise Fault(f"{shown(value)} is not part of the language; write a text or a number")
        return check_number(value)

    def _items(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        values = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                values.extend(items_of(self.expression(node.value, scope)))
            else:
                values.append(self.expression(node, scope))
        self.budget.items(len(values))
        return values

    def _dict(self, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                other = self.expression(value, scope)
                if not isinstance(other, dict):
                    raise Fault(f"'**' takes a dict, not {describe(other)}")
                self.budget.items(len(other))
                result.update(other)
            else:
                name = key_of(self.expression(key, scope))
                result[name] = self.expression(value, scope)
        self.budget.items(len(result))
        return result

    def _binary(self, node: ast.BinOp, scope: Scope) -> Any:
        """Goes along ``a + b + c + …`` in a loop, so that a long sum is not a deep one."""
        chain: list[ast.BinOp] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            chain.append(left)
            left = left.left
        value = self.expression(left, scope)
        for link in reversed(chain):
            self.budget.step()
            right = self.expression(link.right, scope)
            try:
                if isinstance(link.op, ast.Mod) and isinstance(value, str):
                    value = text.percent(value, right)
                else:
                    value = binary(link.op, value, right)
            except Fault as fault:
                raise fault.at(self.place(link.right)) from None
        return value

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Any:
        value = self.expression(node.operand, scope)
        if isinstance(node.op, ast.Not):
            return not truth(value)
        if isinstance(node.op, ast.Invert) or not isinstance(value, int | float):
            raise Fault(f"a sign belongs before a number, not {describe(value)}")
        return check_number(-value if isinstance(node.op, ast.USub) else +value)

    def _bool(self, node: ast.BoolOp, scope: Scope) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        value: Any = None
        for operand in node.values:
            value = self.expression(operand, scope)
            if truth(value) is stops_at:
                break
        return value

    def _compare(self, node: ast.Compare, scope: Scope) -> bool:
        left = self.expression(node.left, scope)
        for op, operand in zip(node.ops, node.comparators, strict=True):
            right = self.expression(operand, scope)
            if not compare(op, left, right):
                return False
            left = right
        return True

    def _conditional(self, node: ast.IfExp, scope: Scope) -> Any:
        chosen = node.body if truth(self.expression(node.test, scope)) else node.orelse
        return self.expression(chosen, scope)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        container = self.expression(node.value, scope)
        if isinstance(node.slice, ast.Slice):
            bounds = (node.slice.lower, node.slice.upper, node.slice.step)
            return cut(container, *(b and self.expression(b, scope) for b in bounds))
        return item(container, self.expression(node.slice, scope))

    def _joined(self, node: ast.JoinedStr, scope: Scope) -> str:
        parts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                spec = self.expression(part.format_spec, scope) if part.format_spec else ""
                conversion = chr(part.conversion) if part.conversion > 0 else ""
                parts.append(text.formatted(self.expression(part.value, scope), spec, conversion))
            else:
                parts.append(self.expression(part, scope))
        self.budget.text(sum(map(len, parts)))
        return "".join(parts)

    def _comprehension(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp,
        scope: Scope,
        make: Callable[[Any, Scope], Any],
    ) -> list[Any]:
        results: list[Any] = []
        self._generate(node.generators, 0, Scope(scope), lambda inner: results.append(make(node, inner)))
        return results

    def _one(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope) -> Any:
        return self.expression(node.elt, scope)

    def _pair(self, node: ast.DictComp, scope: Scope) -> tuple[Any, Any]:
        return key_of(self.expression(node.key, scope)), self.expression(node.value, scope)

    def _generate(
        self,
        generators: list[ast.comprehension],
        index: int,
        scope: Scope,
        emit: Callable[[Scope], None],
    ) -> None:
        if index == len(generators):
            self.budget.items(1)
            emit(scope)
            return
        generator = generators[index]
        with self.budget.deeper():
            for value in items_of(self.expression(generator.iter, scope)):
                self.budget.step()
                self.assign(generator.target, value, scope)
                if all(truth(self.expression(test, scope)) for test in generator.ifs):
                    self._generate(generators, index + 1, scope, emit)

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        callee = self.expression(node.func, scope)
        args = self._items(node.args, scope)
        kwargs: dict[str, Any] = {}
        places: dict[str, Position] = {}
        for keyword in node.keywords:
            value = self.expression(keyword.value, scope)
            named = {keyword.arg: value} if keyword.arg else _double_star(value)
            for name, one in named.items():
                if name in kwargs:
                    raise Fault(f"{name!r} is given twice").at(self.place(keyword))
                kwargs[check_name(name)] = one
                places[name] = self.place(keyword)
        self.notes.place = f"line {node.lineno}"
        result = self._apply(callee, args, kwargs, places)
        if isinstance(result, Object):
            self.origins[id(result)] = (result, node)
        return result

    def _apply(
        self, callee: Any, args: list[Any], kwargs: dict[str, Any], places: dict[str, Position]
    ) -> Any:
        if isinstance(callee, Builtin):
            return _call_builtin(callee, args, kwargs)
        if isinstance(callee, Function):
            return self.call_function(callee, args, kwargs)
        if isinstance(callee, type) and issubclass(callee, Object):
            return self._make(callee, args, kwargs, places)
        if isinstance(callee, Structural):
            if args:
                raise Fault(f"a copy of a {display_name(type(callee))} takes name = value")
            return build(type(callee), kwargs, self.notes, places=places, base=callee)
        raise Fault(f"{describe(callee)} cannot be called")

    def _make(
        self, kind: type, args: list[Any], kwargs: dict[str, Any], places: dict[str, Position]
    ) -> Any:
        self.budget.step(weigh_type(kind) // 20)
        if not issubclass(kind, Structural):
            if len(args) != 1 or kwargs:
                raise Fault(f"{display_name(kind)} takes one value")
            return coerce(kind, args[0], self.notes)
        fields: dict[str, Any] = {}
        for arg in args:
            if not isinstance(arg, dict):
                raise Fault(
                    f"{display_name(kind)} takes name = value, not {describe(arg)} without a name"
                )
            fields.update(same_keys(arg))
        return build(kind, {**fields, **kwargs}, self.notes, places=places)

    def _attribute(self, value: Any, node: ast.Attribute) -> Any:
        name = check_name(node.attr)
        method: Callable[..., Any] | None = None
        if isinstance(value, Module):
            if name not in value.members:
                raise Fault(f"{value.name} has no {name!r} here" + suggestion(name, value.members))
            return value.members[name]
        if isinstance(value, Object):
            method = _model_method(value, name)
        elif isinstance(value, str):
            method = text.text_method(value, name)
        elif isinstance(value, list):
            method = list_method(value, name)
        elif isinstance(value, dict):
            method = dict_method(value, name)
        if method is None:
            known = value.TYPEMAP if isinstance(value, Structural) else ()
            raise Fault(f"{describe(value)} has no {name!r}" + suggestion(name, known))
        return Builtin(name, method)


def _double_star(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Fault(f"'**' takes a dict, not {describe(value)}")
    return same_keys(value)


def _call_builtin(callee: Builtin, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        return callee.function(*args, **kwargs)
    except _WRONG_ARGUMENTS as error:
        reason = str(error).rpartition("() ")[2] or type(error).__name__
        raise Fault(f"{callee.name}(): {reason}") from None


def _model_method(value: Object, name: str) -> Callable[..., Any] | None:
    """What may be asked of a model value: its fields, has_FIELD, bind and get."""
    if name == "bind":
        return lambda *scopes, **names: _bind(value, scopes, names)
    if name == "get":
        return lambda: _plain(charge(value).interpolate()[0].get())
    if isinstance(value, Structural):
        if name in value.TYPEMAP:
            return lambda: _field(value, name)
        if name.startswith("has_") and name[4:] in value.TYPEMAP:
            return lambda: value._schema_data[name[4:]] is not Empty
    return None


def _field(value: Structural, name: str) -> Any:
    weigh(value._schema_data[name])
    return value.interpolate_key(name)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _bind(value: Object, scopes: tuple[Any, ...], names: dict[str, Any]) -> Object:
    """``value.bind({'a.b': 1}, profile=Profile())``: what references inside of it stand for."""
    checked = {check_address(name): bindable(meant) for name, meant in names.items()}
    return value.bind(*map(bindable, scopes), **checked)


def bindable(value: Any) -> Any:
    """Returns a value as a reference may stand for it; raises :class:`Fault` for others."""
    if isinstance(value, Object):
        return value
    if isinstance(value, int | float | str):
        return text_of(value)
    if isinstance(value, dict):
        with current_budget().deeper():
            return {check_address(k): bindable(v) for k, v in value.items()}
    raise Fault(f"bind() takes texts, numbers, dicts and structs, not {describe(value)}")


def check_address(name: Any) -> str:
    """Returns the name of a reference (``profile.cpu``, ``docker.image[x][y]``) if it is one."""
    try:
        Ref.from_address(name)
    except Ref.InvalidRefError:
        raise Fault(
            f"{shown(name)} is not a name such as x, profile.cpu or docker.image[a][b]"
        ) from None
    return str(name)
