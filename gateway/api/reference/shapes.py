"""JSON Schemas by their kinds: what the bodies of all apis are described with."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def text(about: str = "", **more: Any) -> Schema:
    """A string; ``about`` says of what."""
    return {"type": "string", **({"description": about} if about else {}), **more}


def integer(about: str = "", **more: Any) -> Schema:
    """An integer; ``about`` says of what."""
    return {"type": "integer", **({"description": about} if about else {}), **more}


def listed(items: Schema) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """Such a value, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def record(**properties: Schema) -> Schema:
    """An object with all of these properties, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def without(names: tuple[str, ...], schema: Schema) -> Schema:
    """The same object, which may lack ``names``."""
    return {**schema, "required": [name for name in schema["required"] if name not in names]}


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
MAP: Schema = {"type": "object"}
TIME: Schema = {"type": "number", "description": "seconds since 1970-01-01, UTC"}
