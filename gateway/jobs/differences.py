"""What changes between two task configurations, for dry runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from framework.model.jobs import TaskConfig

# Parts of executor_data that TaskConfig holds too, under a name of its own.
_MIRRORED = frozenset(
    {
        "constraints",
        "contact",
        "container",
        "executor_config",
        "max_task_failures",
        "metadata",
        "partition_policy",
        "priority",
        "production",
        "service",
        "sla_policy",
        "task_links",
        "tier",
    }
)
_ABSENT: tuple[Any, ...] = (None, "", [], {})


class Change(msgspec.Struct, frozen=True):
    """One field that changes. ``old`` None: it is added; ``new`` None: it is removed.

    ``field`` is a path such as ``resources.cpus`` or ``task.processes[hello].cmdline``; the values
    are as JSON has them.
    """

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.field}: added {_short(self.new)}"
        if self.new is None:
            return f"{self.field}: removed {_short(self.old)}"
        return f"{self.field}: {_short(self.old)} -> {_short(self.new)}"


def describe_diff(old: TaskConfig | None, new: TaskConfig) -> list[Change]:
    """Returns the fields in which ``new`` differs from ``old``, sorted; all if there is no old."""
    before = _flat(old) if old is not None else {}
    after = _flat(new)
    return [
        Change(field, before.get(field), after.get(field))
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]


def _flat(config: TaskConfig) -> dict[str, Any]:
    fields = msgspec.to_builtins(config)
    document = _document(fields.pop("executor_data"))
    if isinstance(document, dict):
        document = {k: v for k, v in document.items() if k not in _MIRRORED}
        if isinstance(document.get("task"), dict):
            document["task"] = {k: v for k, v in document["task"].items() if k != "resources"}
        fields.update(document)
    else:
        fields["executor_data"] = document
    fields["constraints"] = {c.attribute: str(c).partition("=")[2] for c in config.constraints}
    for name in ("metadata", "task_links"):
        fields[name] = dict(fields[name])
    return dict(_leaves("", fields))


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields path and value of what has no parts; parts of a list that have names go by them."""
    if value in _ABSENT:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, part)
    elif isinstance(value, list) and all(isinstance(part, dict) for part in value):
        names = [part.get("name") for part in value]
        named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        for index, part in enumerate(value):
            yield from _leaves(f"{path}[{names[index] if named else index}]", part)
    else:
        yield path, value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"
