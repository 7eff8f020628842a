"""Statements of the language, on top of its expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from enum import Enum
from typing import Any

from pystachio import Struct

from gateway.jobs import text as texts
from gateway.jobs.builtins import TRANSPARENT, Module, modules, standard_names
from gateway.jobs.coercion import Notes, describe
from gateway.jobs.expressions import Expressions
from gateway.jobs.faults import Fault, shown
from gateway.jobs.limits import Budget
from gateway.jobs.scopes import Function, Scope, check_name
from gateway.jobs.source import Source
from gateway.jobs.types import make_struct
from gateway.jobs.values import binary, item, items_of, key_of, set_item, text_of, truth

_NO_STATEMENT: dict[type[ast.AST], str] = {
    ast.While: "'while' is not part of the language; use 'for … in range(…)'",
    ast.With: "'with' is not part of the language: files cannot be read here; give values with the "
    "request (?bind=NAME=VALUE) and write {{NAME}}",
    ast.Global: "'global' is not part of the language; return the value instead",
    ast.Nonlocal: "'nonlocal' is not part of the language; return the value instead",
    ast.AsyncFunctionDef: "'async' is not part of the language",
    ast.AsyncFor: "'async' is not part of the language",
    ast.AsyncWith: "'async' is not part of the language",
    ast.Match: "'match' is not part of the language; use 'if'",
}


class ImportFault(Fault):
    """A module that is not there: the one error that a configuration may handle itself."""


class _Flow(Enum):
    NEXT = 1
    BREAK = 2
    CONTINUE = 3
    RETURN = 4


class Interpreter(Expressions):
    """Runs a configuration. ``user`` is whom it learns to be speaking for."""

    def __init__(self, source: Source, budget: Budget, notes: Notes, user: str) -> None:
        super().__init__(source, budget, notes)
        self._modules = modules(user)
        self._standard = standard_names(notes)
        self._returned: Any = None
        self._statements: dict[type[ast.AST], Callable[[Any, Scope], _Flow | None]] = {
            ast.Expr: lambda node, scope: self._ignore(self.expression(node.value, scope)),
            ast.Assign: self._assign,
            ast.AugAssign: self._augment,
            ast.AnnAssign: self._annotated,
            ast.Import: self._import,
            ast.ImportFrom: self._import_from,
            ast.ClassDef: self._class,
            ast.FunctionDef: self._def,
            ast.Return: self._return,
            ast.For: self._for,
            ast.If: self._if,
            ast.Pass: lambda node, scope: None,
            ast.Break: lambda node, scope: _Flow.BREAK,
            ast.Continue: lambda node, scope: _Flow.CONTINUE,
            ast.Try: self._try,
            ast.Delete: self._delete,
            ast.Assert: self._assert,
            ast.Raise: self._raise,
        }

    def run(self) -> dict[str, Any]:
        """Evaluates the whole source; returns the names that it has set."""
        scope = Scope(Scope(names=self._standard))
        self._block(self.source.parse().body, scope)
        return scope.names

    def _block(self, body: list[ast.stmt], scope: Scope) -> _Flow:
        for node in body:
            flow = self._statement(node, scope)
            if flow is not _Flow.NEXT:
                return flow
        return _Flow.NEXT

    def _statement(self, node: ast.stmt, scope: Scope) -> _Flow:
        try:
            self.budget.step()
            with self.budget.deeper():
                method = self._statements.get(type(node))
                if method is None:
                    raise Fault(_NO_STATEMENT.get(type(node), "this is not part of the language"))
                return method(node, scope) or _Flow.NEXT
        except Fault as fault:
            raise fault.at(self.place(node)) from None

    @staticmethod
    def _ignore(value: Any) -> None:
        return None

    def _assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.expression(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)

    def assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Carries out ``target = value``: a name, an item, or several targets at once."""
        if isinstance(target, ast.Name):
            scope.names[check_name(target.id)] = value
        elif isinstance(target, ast.Tuple | ast.List):
            values = items_of(value)
            if len(values) != len(target.elts):
                raise Fault(f"{len(target.elts)} names cannot take {len(values)} values")
            with self.budget.deeper():
                for one, part in zip(target.elts, values, strict=True):
                    self.assign(one, part, scope)
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            container = self.expression(target.value, scope)
            set_item(container, self.expression(target.slice, scope), value)
        else:
            raise Fault(
                "only names and items (d['key']) can be assigned to; for a value of the model that "
                "differs, call it: job(name = 'other')"
            ).at(self.place(target))

    def _augment(self, node: ast.AugAssign, scope: Scope) -> None:
        if isinstance(node.target, ast.Name):
            old = scope.lookup(node.target.id)
        elif isinstance(node.target, ast.Subscript) and not isinstance(node.target.slice, ast.Slice):
            container = self.expression(node.target.value, scope)
            old = item(container, self.expression(node.target.slice, scope))
        else:
            raise Fault("only names and items (d['key']) can be changed")
        value = self.expression(node.value, scope)
        if isinstance(old, list) and isinstance(node.op, ast.Add):
            added = items_of(value)
            old.extend(added)
            new: Any = old
        elif isinstance(old, str) and isinstance(node.op, ast.Mod):
            new = texts.percent(old, value)
        else:
            new = binary(node.op, old, value)
        self.assign(node.target, new, scope)

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self.assign(node.target, self.expression(node.value, scope), scope)

    def _import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            module = self._module(alias.name)
            if module is None:
                continue
            if alias.asname:
                scope.names[check_name(alias.asname)] = module
            else:
                root = alias.name.partition(".")[0]
                scope.names[root] = self._modules[root]

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = self._module(node.module or "." * node.level)
        for alias in node.names:
            if module is not None:
                if alias.name not in module.members:
                    raise ImportFault(f"{module.name} has no {shown(alias.name)} here")
                scope.names[check_name(alias.asname or alias.name)] = module.members[alias.name]
            elif alias.name in self._standard:
                scope.names[check_name(alias.asname or alias.name)] = self._standard[alias.name]
            elif alias.name != "*" and node.module != "__future__":
                raise ImportFault(f"{node.module} has no {shown(alias.name)} here")

    def _module(self, name: str) -> Module | None:
        """Returns the module, None for those whose names are part of the language anyway."""
        if name in self._modules:
            return self._modules[name]
        if TRANSPARENT.fullmatch(name):
            return None
        raise ImportFault(
            f"{shown(name)} cannot be imported: there are only {', '.join(sorted(self._modules))}; "
            "values from outside are given with the request (?bind=NAME=VALUE) and written {{NAME}}"
        )

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        bases = [self.expression(base, scope) for base in node.bases]
        if bases != [Struct] or node.keywords or node.decorator_list:
            raise Fault(f"a class is a type of struct here: class {node.name}(Struct): …")
        inner = Scope(scope)
        for line in node.body:
            if isinstance(line, ast.FunctionDef):
                raise Fault(
                    "a struct has fields, not methods; define the function outside of the class"
                ).at(self.place(line))
            if isinstance(line, ast.Expr | ast.Assign | ast.Pass):
                self._statement(line, inner)
            else:
                raise Fault("a struct has fields only: name = String, or Required(…), or Default(…)").at(
                    self.place(line)
                )
        scope.names[check_name(node.name)] = make_struct(node.name, inner.names)

    def _def(self, node: ast.FunctionDef, scope: Scope) -> None:
        if node.decorator_list:
            raise Fault("decorators are not part of the language")
        spec = node.args
        positional = [a.arg for a in (*spec.posonlyargs, *spec.args)]
        defaults = {
            name: self.expression(value, scope)
            for name, value in zip(
                positional[len(positional) - len(spec.defaults) :], spec.defaults, strict=True
            )
        }
        for argument, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            if value is not None:
                defaults[argument.arg] = self.expression(value, scope)
        variable = [argument for argument in (spec.vararg, spec.kwarg) if argument is not None]
        for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *variable):
            check_name(argument.arg)
        scope.names[check_name(node.name)] = Function(node, defaults, scope)

    def call_function(self, function: Function, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Returns what a function of the configuration returns."""
        with self.budget.deeper():
            flow = self._block(function.node.body, function.bind(args, kwargs))
        value, self._returned = self._returned, None
        return value if flow is _Flow.RETURN else None

    def _return(self, node: ast.Return, scope: Scope) -> _Flow:
        self._returned = None if node.value is None else self.expression(node.value, scope)
        return _Flow.RETURN

    def _for(self, node: ast.For, scope: Scope) -> _Flow | None:
        for value in items_of(self.expression(node.iter, scope)):
            self.budget.step()
            self.assign(node.target, value, scope)
            flow = self._block(node.body, scope)
            if flow is _Flow.BREAK:
                return None
            if flow is _Flow.RETURN:
                return flow
        return self._block(node.orelse, scope)

    def _if(self, node: ast.If, scope: Scope) -> _Flow:
        """Goes along ``elif`` in a loop: in the tree each is nested in the one before."""
        while not truth(self.expression(node.test, scope)):
            if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
                return self._block(node.orelse, scope)
            node = node.orelse[0]
        return self._block(node.body, scope)

    def _try(self, node: ast.Try, scope: Scope) -> _Flow:
        depth = self.budget.depth
        try:
            flow = self._block(node.body, scope)
        except ImportFault:
            self.budget.depth = depth
            handler = next((h for h in node.handlers if _handles_import(h)), None)
            if handler is None:
                raise
            flow = self._block(handler.body, scope)
        else:
            if flow is _Flow.NEXT:
                flow = self._block(node.orelse, scope)
        final = self._block(node.finalbody, scope)
        return final if final is not _Flow.NEXT else flow

    def _delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id in scope.names:
                del scope.names[target.id]
            elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
                container = self.expression(target.value, scope)
                key = key_of(self.expression(target.slice, scope))
                if not isinstance(container, dict | list):
                    raise Fault(f"nothing can be deleted from {describe(container)}")
                item(container, key)
                del container[key]
            else:
                raise Fault("only names and items (d['key']) that exist can be deleted")

    def _assert(self, node: ast.Assert, scope: Scope) -> None:
        if not truth(self.expression(node.test, scope)):
            said = text_of(self.expression(node.msg, scope)) if node.msg else "it is not true"
            raise Fault(f"the configuration's own assertion fails: {said[:500]}")

    def _raise(self, node: ast.Raise, scope: Scope) -> None:
        said = ""
        if isinstance(node.exc, ast.Call) and node.exc.args:
            said = ": " + text_of(self.expression(node.exc.args[0], scope))[:500]
        raise Fault(f"the configuration refuses to go on{said}")


def _handles_import(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    return handler.type is None or bool(names & {"ImportError", "ModuleNotFoundError", "Exception"})
