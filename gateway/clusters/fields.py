"""Fields of plain data -> values of a type, with the path of each that is wrong. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from gateway.clusters.options import kind_of
from gateway.jobs.faults import shown, suggestion

WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")


class Reader:
    """Takes values of a type out of plain data, and collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, path: str, sentence: str) -> None:
        self.problems.append(f"{path}: {sentence}")

    def only(self, data: Mapping[str, Any], path: str, known: Collection[str]) -> None:
        for name in data:
            if name not in known:
                where = f"{path}.{name}" if path else name
                self.say(where[:200], f"there is no such field{suggestion(name, known)}")

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.say(path, f"expects an object, not {kind_of(value)}")
            return {}
        return value

    def text(self, data: Mapping[str, Any], field: str, path: str) -> str | None:
        """Returns a text; None for one that is absent, null, empty or the old placeholder ``_``."""
        value = data.get(field)
        if value is None or value in ("", "_"):
            return None
        if not isinstance(value, str):
            self.say(joined_path(path, field), f"expects a text, not {kind_of(value)} ({shown(value)})")
            return None
        if len(value) > 4096:
            self.say(joined_path(path, field), "the text is longer than 4096 characters")
            return None
        return value

    def number(
        self, data: Mapping[str, Any], field: str, path: str, low: float, high: float, unit: str
    ) -> float:
        """Returns a number of ``unit`` within bounds; a text that holds one is taken too."""
        value = data.get(field)
        where = joined_path(path, field)
        if value is None:
            self.say(where, f"is missing; give the {unit}")
            return low
        number = as_number(value)
        if number is None:
            self.say(where, f"expects a number ({unit}), not {shown(value)}")
            return low
        if not low <= number <= high:
            self.say(where, f"{number:.12g} is out of bounds: {unit}, {low:g} to {high:.12g}")
            return low
        return number

    def port(self, value: Any, path: str) -> int | None:
        number = as_number(value)
        if number is None or not number.is_integer() or not 1 <= number <= 65535:
            self.say(path, f"{shown(value)} is not a port: a whole number from 1 to 65535")
            return None
        return int(number)

    def words(self, value: Any, path: str) -> tuple[str, ...]:
        """Returns names of a list, or of a text with commas between them."""
        if value is None or value == "_":
            return ()
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list):
            self.say(path, f"expects a list of names, not {kind_of(value)}")
            return ()
        for item in value:
            if not isinstance(item, str) or not WORD.fullmatch(item):
                self.say(path, f"{shown(item)} is not a name")
                return ()
        return tuple(dict.fromkeys(value))


def as_number(value: Any) -> float | None:
    """Returns a number, also one written as a text; None for everything else."""
    if isinstance(value, str) and len(value) <= 40 and value.isascii() and "_" not in value:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def joined_path(path: str, field: str) -> str:
    """Returns the path of a field of what stands at ``path``."""
    return f"{path}.{field}" if path else field
