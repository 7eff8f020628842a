"""What a plugin says of its configuration: the options, where they apply, what is given for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from gateway.plugins.exceptions import InvalidValue

Scope = Literal["node", "cluster"]
_INTEGER = re.compile(r"-?[0-9]{1,18}")
ConfigType = Literal["string", "int", "bool", "dropdown"]


class Config(msgspec.Struct, frozen=True):
    """One option.

    ``applicable_target``: a service of :meth:`Plugin.get_node_processes`, or ``general``.
    ``config_values``: pairs of value and label, where only these may be given. ``priority`` 1: shown
    to everybody, 2: to whoever asks for it.
    """

    name: str
    applicable_target: str
    scope: Scope
    config_type: ConfigType = "string"
    config_values: tuple[tuple[Any, str], ...] | None = None
    default_value: Any = None
    is_optional: bool = False
    description: str | None = None
    priority: Literal[1, 2] = 2

    def to_dict(self) -> dict[str, Any]:
        """Returns it as the API shows it."""
        return {
            "name": self.name,
            "description": self.description,
            "config_type": self.config_type,
            "config_values": None
            if self.config_values is None
            else [list(v) for v in self.config_values],
            "default_value": self.default_value,
            "applicable_target": self.applicable_target,
            "scope": self.scope,
            "is_optional": self.is_optional,
            "priority": self.priority,
        }


# What every plugin has, whatever it says itself: they configure the machines, not the software.
GENERAL: tuple[Config, ...] = (
    Config(
        "Timeout for disk preparing",
        "general",
        "cluster",
        "int",
        default_value=300,
        is_optional=True,
        description="Timeout for preparing disks, formatting and mounting",
        priority=1,
    ),
    Config(
        "Enable NTP service",
        "general",
        "cluster",
        "bool",
        default_value=True,
        description="Enables NTP service for synchronization time on cluster instances",
        priority=1,
    ),
    Config(
        "URL of NTP server",
        "general",
        "cluster",
        default_value="",
        is_optional=True,
        description="URL of the NTP server for synchronization time on cluster instances",
        priority=1,
    ),
    Config(
        "Heat Wait Condition timeout",
        "general",
        "cluster",
        "int",
        default_value=3600,
        is_optional=True,
        description="The number of seconds to wait for the instance to boot",
        priority=1,
    ),
    Config(
        "Enable XFS",
        "general",
        "cluster",
        "bool",
        default_value=True,
        is_optional=True,
        description="Enables XFS for formatting",
        priority=1,
    ),
)


def defaults(configs: Iterable[Config]) -> dict[str, dict[str, Any]]:
    """Returns the default of each option that has one, by target and name."""
    found: dict[str, dict[str, Any]] = {}
    for config in configs:
        if config.default_value is not None:
            found.setdefault(config.applicable_target, {})[config.name] = config.default_value
    return found


def merged(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns options by target and name; what stands in a later layer wins."""
    found: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for target, values in layer.items():
            found.setdefault(target, {}).update(values)
    return found


def settled(
    configs: Iterable[Config], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Returns the value of each option by target and name: what is given, else the default, else None.

    Numbers and truth values may be given as strings. Raises :class:`InvalidValue`.
    """
    found: dict[str, dict[str, Any]] = {}
    for config in configs:
        value = given.get(config.applicable_target, {}).get(config.name)
        of_target = found.setdefault(config.applicable_target, {})
        of_target[config.name] = config.default_value if value is None else _typed(config, value)
    return found


def _typed(config: Config, value: Any) -> Any:
    text = str(value).strip()
    if config.config_type == "int" and not isinstance(value, bool) and _INTEGER.fullmatch(text):
        return int(text)
    if config.config_type == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    allowed = [one for one, _ in config.config_values or ()]
    if config.config_type == "dropdown" and value in allowed:
        return value
    if config.config_type == "string" and isinstance(value, (str, int, float)):
        return text.lower() if isinstance(value, bool) else str(value)
    expected = {"int": "a whole number", "bool": "true or false", "string": "a text"}
    raise InvalidValue(
        f"the option {config.name!r} of {config.applicable_target} cannot be {value!r:.100}: it should "
        f"be {expected.get(config.config_type) or 'one of ' + ', '.join(map(str, allowed))}"
    )
