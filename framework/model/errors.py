"""What can go wrong for a caller, as types with a code; each api renders them its own way.

Any other exception is a defect and becomes a 500 with an id.
"""

from __future__ import annotations

import re


def without_password(url: str) -> str:
    """Returns ``url``, which need not be one, as a sentence may show it: without user and password."""
    return re.sub(r"//.*@", "//…@", url)


class GatewayError(Exception):
    """An error whose sentence is meant for the user: what was wrong, where, what would be right."""

    code = "error"

    def __init__(self, message: str, *more: str) -> None:
        super().__init__(message)
        self.messages: tuple[str, ...] = (message, *more)


class Invalid(GatewayError):
    """The request itself is wrong: a name, a number, a configuration."""

    code = "invalid"


class Unauthorized(GatewayError):
    """The caller is not known. ``challenges``: what WWW-Authenticate may ask for."""

    code = "unauthorized"

    def __init__(self, message: str, *more: str, challenges: tuple[str, ...] = ()) -> None:
        super().__init__(message, *more)
        self.challenges = challenges


class Forbidden(GatewayError):
    """The caller, or a policy, may not do this."""

    code = "forbidden"


class NotFound(GatewayError):
    """What the request names does not exist (or not for this caller)."""

    code = "not_found"


class Conflict(GatewayError):
    """What the request wants contradicts what is: the job exists, an update is active."""

    code = "conflict"


class TooLarge(GatewayError):
    """The request is larger than a limit."""

    code = "too_large"


class Unsatisfiable(GatewayError):
    """Well formed, but can never be met: a quota, resources that no agent will ever have."""

    code = "unsatisfiable"


class Unavailable(GatewayError):
    """Not now: no leader, no master, storage. ``retry_after`` in seconds."""

    code = "unavailable"

    def __init__(self, message: str, *more: str, retry_after: int = 5) -> None:
        super().__init__(message, *more)
        self.retry_after = retry_after


class NotSupported(GatewayError):
    """Understood, and not offered by this backend or this release."""

    code = "not_supported"
