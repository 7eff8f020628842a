"""Errors inside a configuration, before they become the gateway's: a sentence and a place."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from framework.model.errors import Invalid


class Position(NamedTuple):
    """A place in the source; both count from 1, ``column`` in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Fault(Exception):
    """Something is wrong in the configuration. ``position`` None: not known (yet).

    ``more`` are further faults that were found at the same time.
    """

    def __init__(self, text: str, position: Position | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.position = position
        self.more: list[Fault] = []

    def at(self, position: Position) -> Fault:
        """Returns this fault, at ``position`` unless a closer one is known already."""
        for fault in (self, *self.more):
            if fault.position is None:
                fault.position = position
        return self

    def messages(self) -> list[str]:
        """Returns one sentence for each fault."""
        return [str(self), *(text for fault in self.more for text in fault.messages())]

    def __str__(self) -> str:
        return f"{self.position}: {self.text}" if self.position else self.text


def invalid(messages: Iterable[str], most: int = 20) -> Invalid:
    """Returns the error for a user from at least one sentence; further than ``most`` are counted."""
    unique = list(dict.fromkeys(printable(message) for message in messages))
    if len(unique) > most:
        unique = [*unique[:most], f"… and {len(unique) - most} more problems"]
    return Invalid(*unique)


def printable(text: str) -> str:
    """Returns ``text`` without what cannot be encoded (lone surrogates) or seen (controls)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object, most: int = 60) -> str:
    """Returns a short, quoted, printable form of a plain value for an error's sentence."""
    text = repr(value[: most + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= most else text[:most] + "…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ``; did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    near = get_close_matches(name[:80], list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
