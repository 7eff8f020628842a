"""JSON bodies of requests -> plain data or values, whatever their Content-Type says."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from framework.model.errors import Invalid
from gateway.jobs import documents
from gateway.jobs.faults import Fault, invalid, shown

T = TypeVar("T")
_DEPTH = 40


def read_text(body: bytes, what: str) -> str:
    """Returns the body as text; raises :class:`Invalid` for what is not UTF-8, empty, or holds NUL."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{what} is not UTF-8 (byte {error.start} cannot be read)") from None
    if not text.strip():
        raise Invalid(f"the body is empty; {what} is needed")
    if "\0" in text:
        raise Invalid(f"{what} holds a NUL character")
    return text


def read_object(body: bytes, what: str, *, optional: bool = False) -> dict[str, Any]:
    """Returns the JSON object in a body; raises :class:`Invalid` saying where it is wrong.

    ``optional``: an empty body is an empty object.
    """
    if optional and not body.strip():
        return {}
    try:
        document = documents.parse(read_text(body, what))
        _check(document, 0)
    except Fault as fault:
        raise invalid([f"{what}: {message}" for message in fault.messages()]) from None
    if not isinstance(document, dict):
        raise Invalid(f"{what}: expects an object, {{…}}, not {shown(document)}")
    return document


def read_value(body: bytes, kind: type[T], what: str) -> T:
    """Returns the value of ``kind`` that a JSON body holds; raises :class:`Invalid`."""
    document = read_object(body, what)
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"{what}: {_sentence(str(error))}") from None


def _sentence(text: str) -> str:
    return (text[:1].lower() + text[1:]).replace("`", "'").replace("'$.", "'")


def _check(value: Any, depth: int) -> None:
    """Raises :class:`Fault` for texts that no store keeps and for what is nested too deeply."""
    if depth > _DEPTH:
        raise Fault("the JSON document is nested too deeply")
    if isinstance(value, str):
        if "\0" in value:
            raise Fault("a text holds a NUL character")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise Fault("a text holds half of a surrogate pair")
    elif isinstance(value, dict):
        for name, one in value.items():
            _check(name, depth + 1)
            _check(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _check(one, depth + 1)
