"""Texts in the language: methods, ``%`` and ``.format``, none of which may grow beyond the budget.

``str`` itself is not enough: ``'%1000000000d' % 1`` makes a gigabyte, and ``'{0.__class__}'.format(x)``
reads attributes. So widths are bounded, and a field of ``.format`` is a position or a name.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any

from gateway.jobs.coercion import describe
from gateway.jobs.faults import Fault, shown
from gateway.jobs.limits import current_budget
from gateway.jobs.values import items_of, text_of

_WIDEST = 1000
_PERCENT = re.compile(
    r"%(?:\((?P<name>[^()]*)\))?(?P<flags>[-+ #0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?(?P<type>.?)",
    re.DOTALL,
)
_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?(\d*)[,_]?(?:\.(\d+))?[a-zA-Z%]?", re.DOTALL)
_PLAIN = re.compile(
    r"[lr]?strip|lower|upper|title|capitalize|swapcase|startswith|endswith|r?find|r?index|count|r?split|"
    r"splitlines|r?partition|is(digit|alpha|alnum|lower|upper|space|identifier)|remove(prefix|suffix)"
)


def text_method(text: str, name: str) -> Callable[..., Any] | None:
    """Returns the method ``name`` of ``text`` in its bounded form; None if there is none."""
    special = _SPECIAL.get(name)
    if special is not None:
        return lambda *args, **kwargs: special(text, *args, **kwargs)
    if _PLAIN.fullmatch(name):
        return lambda *args, **kwargs: _plain(text, name, args, kwargs)
    return None


def _plain(text: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    current_budget().text(len(text))
    result = getattr(text, name)(*args, **kwargs)
    if isinstance(result, list):
        current_budget().items(len(result))
    return result


def _join(text: str, values: Any) -> str:
    parts = items_of(values)
    for part in parts:
        if not isinstance(part, str):
            raise Fault(f"join() takes texts, not {describe(part)}; write str(…) around it")
    current_budget().text(sum(map(len, parts)) + len(text) * max(0, len(parts) - 1))
    return text.join(parts)


def _replace(text: str, old: Any, new: Any, count: Any = -1) -> str:
    if not isinstance(old, str) or not isinstance(new, str) or not isinstance(count, int):
        raise Fault("replace() takes two texts and how many to replace at most")
    found = text.count(old)
    if count >= 0:
        found = min(found, count)
    current_budget().text(len(text) + max(0, len(new) - len(old)) * found)
    return text.replace(old, new, count)


def _padded(name: str) -> Callable[..., str]:
    def pad(text: str, width: Any, *fill: Any) -> str:
        current_budget().text(len(text) + _bounded(width))
        padded: str = getattr(text, name)(width, *fill)
        return padded

    return pad


def _bounded(width: Any) -> int:
    if not isinstance(width, int) or width > _WIDEST:
        raise Fault(f"a width is a number up to {_WIDEST}")
    return width


def format_text(text: str, *args: Any, **kwargs: Any) -> str:
    """``text.format(…)`` with ``{}``, ``{0}`` and ``{name}``, conversions and format specifications."""
    current_budget().text(len(text))
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise Fault(f"{shown(text)} is not a valid text for .format(): {error}") from None
    parts = []
    automatic = 0
    for literal, field, spec, conversion in pieces:
        current_budget().step()
        parts.append(literal)
        if field is None:
            continue
        if field == "":
            field, automatic = str(automatic), automatic + 1
        parts.append(formatted(_argument(field, args, kwargs), spec or "", conversion or ""))
    current_budget().text(sum(map(len, parts)))
    return "".join(parts)


def _argument(field: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if field.isdecimal() and len(field) < 6:
        if int(field) >= len(args):
            raise Fault(f".format() has no value for {{{field}}}: {len(args)} were given")
        return args[int(field)]
    if field in kwargs:
        return kwargs[field]
    if not field.isidentifier():
        raise Fault(
            f"{{{shown(field)[1:-1]}}} is not possible in .format(), only {{}}, {{0}} and {{name}}: "
            "attributes and items cannot be reached from inside a text"
        )
    raise Fault(f".format() has no value for {{{shown(field)[1:-1]}}}; double the braces to keep them")


def formatted(value: Any, spec: str, conversion: str = "") -> str:
    """Returns one value as ``{value!conversion:spec}`` of .format() and f-strings shows it."""
    if conversion == "r":
        value = text_of(value, quoted=True)
    elif conversion or not isinstance(value, int | float | str):
        value = text_of(value)
    if not spec:
        return text_of(value)
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise Fault(f"{shown(spec)} is not a format such as '>10', '05d' or '.2f'")
    for number in match.groups(default="0"):
        if len(number) > 6 or int(number or 0) > _WIDEST:
            raise Fault(f"{shown(spec)} makes a text wider than {_WIDEST}")
    try:
        return format(value, spec)
    except (ValueError, OverflowError) as error:
        raise Fault(f"{shown(spec)} does not fit {describe(value)}: {error}") from None


def percent(text: str, values: Any) -> str:
    """``text % values``, with ``%s``, ``%d``, ``%(name)s`` and their kin."""
    current_budget().text(len(text))
    queue = list(values) if isinstance(values, tuple) else [values]
    used = 0
    named = False
    parts = []
    end = 0
    for match in _PERCENT.finditer(text):
        current_budget().step()
        parts.append(text[end : match.start()])
        end = match.end()
        if match["type"] == "%":
            parts.append("%")
        elif match["name"] is not None:
            named = True
            parts.append(_percent_one(match, _named(values, match["name"])))
        elif used >= len(queue):
            raise Fault(f"{shown(text)} wants more values than the {len(queue)} after the %")
        else:
            parts.append(_percent_one(match, queue[used]))
            used += 1
    if used < len(queue) and not named and not isinstance(values, Mapping):
        raise Fault(f"{shown(text)} uses {used} of the {len(queue)} values after the %")
    parts.append(text[end:])
    current_budget().text(sum(map(len, parts)))
    return "".join(parts)


def _named(values: Any, name: str) -> Any:
    if not isinstance(values, Mapping):
        raise Fault(f"%({shown(name)[1:-1]})s needs a dict after the %, not {describe(values)}")
    if name not in values:
        raise Fault(f"the dict after the % has no {shown(name)}")
    return values[name]


def _percent_one(match: re.Match[str], value: Any) -> str:
    kind = match["type"]
    for number in (match["width"], match["precision"] or ""):
        if len(number) > 6 or int(number or 0) > _WIDEST:
            raise Fault(f"{shown(match[0])} makes a text wider than {_WIDEST}")
    if kind in ("s", "r"):
        value, kind = text_of(value, quoted=kind == "r"), "s"
    elif kind and kind in "diouxXeEfFgGc":
        if not isinstance(value, int | float) and not (kind == "c" and isinstance(value, str)):
            raise Fault(f"{shown(match[0])} takes a number, not {describe(value)}; write %s")
    else:
        raise Fault(
            f"{shown(match[0])} is not a format; write %s for a text, %d for a number, "
            "%% for a percent sign"
        )
    precision = f".{match['precision']}" if match["precision"] is not None else ""
    try:
        return f"%{match['flags']}{match['width']}{precision}{kind}" % (value,)
    except (TypeError, ValueError, OverflowError) as error:
        raise Fault(f"{shown(match[0])} does not fit {describe(value)}: {error}") from None


_SPECIAL: dict[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "format": format_text,
    "zfill": _padded("zfill"),
    "ljust": _padded("ljust"),
    "rjust": _padded("rjust"),
    "center": _padded("center"),
}
