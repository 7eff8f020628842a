"""Bounded expansion of ``{{references}}``.

pystachio 0.8.10 expands a string as often as it finds references in it, and puts no bound on what it
becomes: ``a`` = ``{{b}}{{b}}``, ``b`` = ``{{c}}{{c}}``, … doubles with every level. The parser here
takes the place of pystachio's: the same rules, but each round is charged to the reading's budget before
its text is made. It also keeps ``{{&x}}`` (a literal ``{{x}}``) as it stands, because the executor
expands once more.
"""

from __future__ import annotations

from pystachio import basic
from pystachio.base import Object
from pystachio.naming import Namable, Ref
from pystachio.parsing import MustacheParser

from gateway.jobs.faults import Fault, shown
from gateway.jobs.limits import Budget, current_budget
from gateway.jobs.weights import weigh

_RAW_ALIAS = "{{&"


class BoundedParser(MustacheParser):
    """pystachio's parser with a bound on what it makes."""

    @classmethod
    def resolve(cls, stream: str, *namables: Namable) -> tuple[str, list[Ref]]:
        """Returns ``stream`` expanded in the scopes ``namables``, and the references left over.

        Raises :class:`Fault` for a text that grows beyond the budget, a reference that leads back to
        itself, or braces that hold no reference.
        """
        if "{{" not in stream:
            return stream, []
        budget = current_budget()
        found: dict[Ref, object] = {}
        for _ in range(cls.MAX_ITERATIONS):
            parts = _split(stream)
            before = [part for part in parts if isinstance(part, Ref)]
            left = [ref for ref in before if not _find(ref, found, namables, budget)]
            if len(left) == len(before):
                return stream, left
            stream = _join(parts, found, budget)
        raise Fault(
            f"the references in {shown(stream)} lead back to themselves; inside a struct a name stands "
            "for the struct's own field before any other"
        )


def _split(stream: str) -> list[str | Ref]:
    try:
        parts: list[str | Ref] = MustacheParser.split(stream, keep_aliases=True)
    except Ref.InvalidRefError:
        raise Fault(
            f"{shown(stream)} has double braces that hold no reference such as {{{{name}}}} or "
            "{{profile.cpu}}; write {{& … }} to keep them as they stand"
        ) from None
    return parts


def _find(ref: Ref, found: dict[Ref, object], namables: tuple[Namable, ...], budget: Budget) -> bool:
    if ref in found:
        return True
    for namable in namables:
        budget.step(1 + len(getattr(namable, "_table", ())) // 20)  # it is searched through
        try:
            found[ref] = namable.find(ref)
        except (Namable.Error, ValueError, IndexError):
            continue
        return True
    return False


def _join(parts: list[str | Ref], found: dict[Ref, object], budget: Budget) -> str:
    known: dict[Ref, str] = {}
    texts = []
    length = 0
    for part in parts:
        budget.step()
        if isinstance(part, Ref):
            if part not in known:
                known[part] = _text(found.get(part, part), budget)
            text = known[part]
        else:
            text = part
        length += len(text)
        if length > budget.limits.text_chars:
            budget.text(length)
        texts.append(text)
    budget.text(length)
    return "".join(texts)


def _text(value: object, budget: Budget) -> str:
    if isinstance(value, Object):
        budget.step(min(weigh(value), 10**9))
    return str(value)


# pystachio's simple types look the parser up in their module; there is no other way to give them one.
basic.MustacheParser = BoundedParser
