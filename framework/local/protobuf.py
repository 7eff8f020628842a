"""JSON to messages as Mesos converts it: unknown fields dropped, types and required fields checked.

The error texts are those of a Mesos 1.11 (recordings 17, 18, 23), which come from stout's JSON to
protobuf conversion. Numbers come out as their field's type, so ``32`` for a double is ``32.0``.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from framework.local.schema import DEFAULTS, ENUMS, MESSAGES

Json = dict[str, Any]
# Deeper nesting than any message has; keeps the recursion below Python's own limit.
_MAX_DEPTH = 64


class Malformed(ValueError):
    """The body is not such a message; the text is what Mesos answers with 400."""


class _Field(NamedTuple):
    name: str
    mark: str
    kind: str


def _table(text: str) -> dict[str, list[str]]:
    return {
        name: rest.split()
        for name, _, rest in (line.partition(":") for line in text.strip().splitlines())
    }


def _fields(words: list[str]) -> dict[str, _Field]:
    found = (re.fullmatch(r"(\w+)([!?*])(@?\w+)", word) for word in words)
    return {m.group(1): _Field(*m.groups()) for m in found if m}


_MESSAGES = {name: _fields(words) for name, words in _table(MESSAGES).items()}
_ENUMS = {name: frozenset(words) for name, words in _table(ENUMS).items()}


def parse_json(body: bytes) -> Any:
    """Returns the JSON value in ``body``; raises :class:`Malformed` with Mesos's words."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Malformed(f"Failed to parse body into JSON: {_syntax_error(body)}") from None


def _syntax_error(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].split("\n", 1)[0]
        return f"syntax error at line {error.lineno} near: {rest[:200]}"
    except (RecursionError, ValueError):
        return "syntax error at line 1 near: " + text[:200].split("\n", 1)[0]
    return "syntax error at line 1 near: "


def convert(value: Any, message: str, owner: str = "Call") -> Json:
    """Returns ``value`` as a message of the schema; raises :class:`Malformed`.

    ``owner`` is the message's name in Mesos's error text.
    """
    try:
        if not isinstance(value, dict):
            raise Malformed("Expecting a JSON object")
        result = _message(value, message, 0)
        missing = _missing(result, message, "")
        if missing:
            raise Malformed("Missing required fields: " + ", ".join(missing))
    except Malformed as error:
        raise Malformed(f"Failed to convert JSON into {owner} protobuf: {error}") from None
    return result


def _message(value: Json, message: str, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise Malformed("Nested too deeply")
    result: Json = dict(DEFAULTS.get(message, {}))
    for name, field in _MESSAGES[message].items():
        if name not in value:
            continue
        given = value[name]
        if field.mark == "*":
            items = given if isinstance(given, list) else [given]
            converted = [_value(item, field, depth) for item in items]
            result[name] = [item for item in converted if item is not None]
        else:
            one = _value(given, field, depth)
            if one is not None:
                result[name] = one
    return result


def _value(value: Any, field: _Field, depth: int) -> Any:
    if field.kind == "j":
        return value
    if field.kind.startswith("@"):
        return _enum(value, field)
    if field.kind in _MESSAGES:
        if not isinstance(value, dict):
            raise _unexpected(value, field)
        return _message(value, field.kind, depth + 1)
    return _SCALARS[field.kind](value, field)


def _enum(value: Any, field: _Field) -> str | None:
    if not isinstance(value, str):
        raise _unexpected(value, field)
    if value in _ENUMS[field.kind[1:]]:
        return value
    if field.mark == "!":
        raise Malformed(f"Failed to find enum for '{value}'")
    return None  # an optional enum that is not known counts as unset (25, 17 "unknown type")


def _string(value: Any, field: _Field) -> str:
    if not isinstance(value, str):
        raise _unexpected(value, field)
    return value


def _bytes(value: Any, field: _Field) -> str:
    text = _string(value, field)
    bad = re.search(r"[^A-Za-z0-9+/=]", text)
    problem = f"Invalid character '{bad.group(0)}'" if bad else None
    if problem is None:
        try:
            binascii.a2b_base64(text.encode(), strict_mode=bool(text))
        except binascii.Error as error:
            problem = str(error)
    if problem:
        raise Malformed(f"Failed to base64 decode bytes field '{field.name}': {problem}")
    return text


def _double(value: Any, field: _Field) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unexpected(value, field)
    try:
        return float(value)
    except OverflowError:
        raise _unexpected(value, field) from None


def _integer(value: Any, field: _Field) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unexpected(value, field)
    return int(value)


def _boolean(value: Any, field: _Field) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(value, field)
    return value


_SCALARS: dict[str, Callable[[Any, _Field], Any]] = {
    "s": _string,
    "y": _bytes,
    "d": _double,
    "i": _integer,
    "b": _boolean,
}


def _unexpected(value: Any, field: _Field) -> Malformed:
    names = {str: "string", bool: "boolean", dict: "object", list: "array", type(None): "null"}
    return Malformed(f"Not expecting a JSON {names.get(type(value), 'number')} for field '{field.name}'")


def _missing(value: Json, message: str, path: str) -> list[str]:
    result: list[str] = []
    for name, field in _MESSAGES[message].items():
        if field.mark == "!" and name not in value:
            result.append(path + name)
        elif field.kind in _MESSAGES and name in value:
            if field.mark == "*":
                for index, item in enumerate(value[name]):
                    result += _missing(item, field.kind, f"{path}{name}[{index}].")
            else:
                result += _missing(value[name], field.kind, f"{path}{name}.")
    return result
