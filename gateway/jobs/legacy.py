"""Fields that old configurations still use and today's model does not have.

Each is accepted, given the meaning that it had where that still exists, and warned about.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

Warn = Callable[[str], None]

_HTTP_CHECK = ("endpoint", "expected_response", "expected_response_code")


def adapt(
    type_name: str, known: Container[str], fields: Mapping[str, Any], warn: Warn
) -> dict[str, Any]:
    """Returns ``fields`` of the type named ``type_name`` with removed fields replaced or dropped.

    ``known`` are the fields the type has: a type of the same name that an author defines with such a
    field is left alone.
    """
    adapted = dict(fields)
    rewrite = _REWRITES.get(type_name)
    if rewrite is not None:
        removed = {name for name in _REMOVED[type_name] if name in adapted and name not in known}
        if removed:
            rewrite(adapted, removed, warn)
    return adapted


def _update_config(fields: dict[str, Any], removed: set[str], warn: Warn) -> None:
    for name in removed:
        del fields[name]
        warn(f"UpdateConfig.{name} no longer exists and is ignored; watch_secs is what remains of it")


def _health_check_config(fields: dict[str, Any], removed: set[str], warn: Warn) -> None:
    check = {name: fields.pop(name) for name in _HTTP_CHECK if name in removed}
    names = ", ".join(check)
    if "health_checker" in fields:
        warn(f"HealthCheckConfig.{names} no longer exists and is ignored: health_checker is given")
        return
    fields["health_checker"] = {"http": check}
    warn(
        f"HealthCheckConfig.{names} no longer exists; read as "
        f"health_checker = HealthCheckerConfig(http = HttpHealthChecker({names}))"
    )


def _job(fields: dict[str, Any], removed: set[str], warn: Warn) -> None:
    for old, new in (("cron_policy", "cron_collision_policy"), ("daemon", "service")):
        if old in removed:
            value = fields.pop(old)
            fields.setdefault(new, value)
            warn(f"Job.{old} no longer exists; read as {new}")
    if "health_check_interval_secs" in removed:
        value = fields.pop("health_check_interval_secs")
        fields.setdefault("health_check_config", {"interval_secs": value})
        warn(
            "Job.health_check_interval_secs no longer exists; read as "
            "health_check_config = HealthCheckConfig(interval_secs)"
        )


_REMOVED = {
    "UpdateConfig": ("restart_threshold",),
    "HealthCheckConfig": _HTTP_CHECK,
    "MesosJob": ("cron_policy", "daemon", "health_check_interval_secs"),
}
_REWRITES = {
    "UpdateConfig": _update_config,
    "HealthCheckConfig": _health_check_config,
    "MesosJob": _job,
}
