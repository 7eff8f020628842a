"""JSON and YAML that others have written -> plain data: no objects, no keys twice, no bombs. Pure."""

from __future__ import annotations

import math
from typing import Any

import yaml

from gateway.clusters.products import TemplateType
from gateway.jobs import documents
from gateway.jobs.faults import Fault, Position, shown

_MOST_NODES = 100_000
_DEPTH = 40
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(text: str, kind: TemplateType) -> Any:
    """Returns what ``text`` holds: dicts with text keys, lists, texts, numbers, truth values, None.

    Raises :class:`Fault` with the line of the text.
    """
    if kind == "json+jinja2":
        value = documents.parse(text)
    else:
        value = _parse_yaml(text)
    _check(value, 0, [_MOST_NODES])
    return value


def _parse_yaml(text: str) -> Any:
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(node, 0, [_MOST_NODES])
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise Fault(f"this is not valid YAML: {said}", _place(error.problem_mark)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Fault(f"this is not valid YAML: {error}") from None
    except RecursionError:
        raise Fault("the YAML document is nested too deeply") from None
    finally:
        loader.dispose()


def _place(mark: Any) -> Position | None:
    return None if mark is None else Position(mark.line + 1, mark.column + 1)


def _check_node(node: yaml.Node, depth: int, left: list[int]) -> None:
    """Walks the graph as it would be written out without aliases, and counts."""
    left[0] -= 1
    if left[0] < 0:
        raise Fault(f"the document has more than {_MOST_NODES} values, its aliases written out")
    if depth > _DEPTH:
        raise Fault(f"more than {_DEPTH} levels of nesting", _place(node.start_mark))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen and key.value != "<<":
                raise Fault(
                    f"the key {shown(key.value)} stands twice in one mapping", _place(key.start_mark)
                )
            seen.add(name)
            _check_node(key, depth + 1, left)
            _check_node(value, depth + 1, left)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_node(item, depth + 1, left)


def _check(value: Any, depth: int, left: list[int]) -> None:
    """Raises :class:`Fault` for what JSON does not have."""
    left[0] -= 1
    if left[0] < 0:
        raise Fault(f"the document has more than {_MOST_NODES} values")
    if depth > _DEPTH:
        raise Fault(f"more than {_DEPTH} levels of nesting")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Fault(f"the key {shown(key)} is not a text; put it in quotes")
            _check_text(key)
            _check(item, depth + 1, left)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1, left)
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Fault("infinity and NaN are not numbers here")
    elif value is not None and not isinstance(value, bool | int):
        raise Fault(f"{shown(value)} is neither a text, a number, a list nor a mapping; quote it")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Fault("a text holds a NUL character")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise Fault("a text holds half of a surrogate pair, which is no character")
