"""Agent attributes: ``rack:r1;zone:a;weight:2.5`` as Mesos reads them."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]


def parse(text: str) -> list[Json]:
    """Returns ``Attribute`` messages; raises ``ValueError`` for what is not NAME:VALUE.

    A value is a scalar if it is a number, ranges if it stands in brackets, else text.
    """
    result: list[Json] = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, colon, value = (p.strip() for p in part.partition(":"))
        if not colon or not re.fullmatch(r"[\w./-]+", name) or not value:
            raise ValueError(f"attribute {part!r} is not NAME:VALUE, such as 'rack:r1'")
        result.append(_attribute(name, value))
    return result


def _attribute(name: str, value: str) -> Json:
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return {"name": name, "type": "SCALAR", "scalar": {"value": float(value)}}
    if value.startswith("["):
        parts = re.findall(r"(\d+)\s*-\s*(\d+)", value)
        if not parts:
            raise ValueError(f"attribute {name!r}: {value!r} is not a list of ranges such as [1-9]")
        ranges = [{"begin": int(b), "end": int(e)} for b, e in parts]
        return {"name": name, "type": "RANGES", "ranges": {"range": ranges}}
    return {"name": name, "type": "TEXT", "text": {"value": value}}
