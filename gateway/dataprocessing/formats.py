"""The formats of names and values that requests are checked for; every expression takes linear time.

Names that the schemas of :mod:`gateway.dataprocessing.schemas` refer to; what they accept is what a
running Sahara accepts (contract: ``sahara-rest``, Validation).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema import FormatChecker

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# Savanna's documents also use names with underscores.
OLD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
KEYPAIR_NAME = re.compile(r"[a-zA-Z0-9_ -]+")
_TAG = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
TAG = re.compile(rf"{_TAG}(?:\.{_TAG})*")
MOUNT_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
# Of a system in an image: it stands in paths and in command lines.
USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}\$?")
UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")


def is_uuid(value: object) -> bool:
    """Whether the value is the text of a UUID."""
    return isinstance(value, str) and UUID.fullmatch(value) is not None


def is_flavor(value: object) -> bool:
    """Flavors have numbers, as numbers or as texts, or UUIDs."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value >= 0
    return isinstance(value, str) and (_NUMBER.fullmatch(value) is not None or is_uuid(value))


def is_configs(value: object) -> bool:
    """Options are texts, numbers or truth values by target and name."""
    if not isinstance(value, Mapping):
        return False
    return all(
        isinstance(options, Mapping) and all(isinstance(v, str | int | float) for v in options.values())
        for options in value.values()
    )


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    # What is no text is for the schema's "type" to refuse.
    return not isinstance(value, str) or pattern.fullmatch(value) is not None


def make_checker() -> FormatChecker:
    """Returns the checker of all formats here."""
    checker = FormatChecker(formats=())
    patterns: dict[str, re.Pattern[str]] = {
        "valid_name_hostname": HOST_NAME,
        "valid_old_name": OLD_NAME,
        "valid_keypair_name": KEYPAIR_NAME,
        "valid_tag": TAG,
        "valid_user_name": USER_NAME,
        "posix_path": MOUNT_PREFIX,
        "uuid": UUID,
    }

    def check(pattern: re.Pattern[str]) -> Any:
        return lambda value: _matches(pattern, value)

    for name, pattern in patterns.items():
        checker.checks(name)(check(pattern))
    checker.checks("flavor")(is_flavor)
    checker.checks("configs")(lambda value: value is None or is_configs(value))
    return checker
