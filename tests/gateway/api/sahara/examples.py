"""The examples of Savanna's document of its API v1.0, read out of it, and how answers differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

# What is mistyped in the document: as it stands there -> as it was meant.
CORRECTIONS = (
    (r'"floating_ip_pool", "public"', '"floating_ip_pool": "public"'),
    (r",(\s*[}\]])", r"\1"),
)
# example -> the path that was meant
PATHS = {"5.3/1": "/v1.0/775181/cluster-templates"}


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


class Example(msgspec.Struct, frozen=True):
    """``name``: SECTION/NUMBER, numbers from 0. ``answer`` None: no body."""

    name: str
    method: str
    path: str
    body: Any
    status: int
    answer: Any


class Differs(msgspec.Struct, frozen=True):
    """``path`` is where in the answer; "status": its code. MISSING where one has nothing."""

    path: str
    shown: Any
    mine: Any


def read(shared: Path) -> list[Example]:
    """Returns the examples of the document's sections 2 to 6."""
    found = []
    for section, text in _sections(shared):
        pairs = re.findall(
            r"^request\n\n(.*?)^response\n\n(.*?)(?=\Z|^\d \w|^Example)", text, re.MULTILINE | re.DOTALL
        )
        found += [_example(f"{section}/{n}", *pair) for n, pair in enumerate(pairs)]
    return found


def fault(shared: Path) -> Any:
    """Returns the body of the failure that section 1.3 shows."""
    text = dict(_sections(shared))["1.3"]
    return json.loads(text[text.index("{") : text.index("}") + 1])


def _sections(shared: Path) -> list[tuple[str, str]]:
    (path,) = (shared / "seeds").glob("002_*.txt")
    parts = re.split(r"^(\d\.\d) .*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _example(name: str, request: str, response: str) -> Example:
    line, _, body = request.partition("\n")
    method, url = line.split()
    status, _, answer = response.partition("\n")
    path = PATHS.get(name, url.removeprefix("http://savanna"))
    shown = _document(answer.replace("Content-Type: application/json", ""))
    return Example(name, method, path, _document(body), int(status.split()[1]), shown)


def _document(text: str) -> Any:
    for wrong, right in CORRECTIONS:
        text = re.sub(wrong, right, text)
    return json.loads(text) if text.strip() else None


def differences(shown: Any, mine: Any, path: str = "") -> Iterator[Differs]:
    """Yields where two documents differ; what has a name is compared with what has the same name."""
    if isinstance(shown, dict) and isinstance(mine, dict):
        for name in dict.fromkeys((*shown, *mine)):
            yield from differences(shown.get(name, MISSING), mine.get(name, MISSING), f"{path}.{name}")
    elif _are_objects(shown) and _are_objects(mine):
        theirs, ours = _named(shown), _named(mine)
        for name in dict.fromkeys((*theirs, *ours)):
            yield from differences(theirs.get(name, MISSING), ours.get(name, MISSING), f"{path}[{name}]")
    elif shown != mine:
        yield Differs(path, shown, mine)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _named(some: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {str(one.get("name", number)): one for number, one in enumerate(some)}
