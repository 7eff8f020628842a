"""Health checks: what a plugin has looked at when a cluster is verified."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class HealthCheck(msgspec.Struct, frozen=True):
    """``check`` returns a sentence if all is well; it raises RedHealth or YellowHealth otherwise."""

    name: str
    check: Callable[[], str]
