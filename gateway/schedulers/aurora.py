"""The aurora command line, as values: which arguments a request becomes, what an exit means. Pure.

``v1`` is the client up to Aurora 0.6 (``aurora create KEY FILE``), ``v2`` the one since 0.7
(``aurora job create KEY FILE``). Keys and instance numbers are checked before they come here; no
part of a key begins with "-", so none can be taken for an option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from framework.model.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    Invalid,
    NotFound,
    NotSupported,
    Unavailable,
    Unsatisfiable,
)
from framework.model.jobs import JobKey, format_instances
from gateway.errors import UpstreamFailed

Dialect = Literal["v1", "v2"]
Verb = Literal["create", "update", "cancel_update", "restart", "kill"]

SUCCESS = "Response from scheduler: OK"

# The v2 client's exit codes (apache.aurora.client.cli); what they leave open, its text decides.
_BY_CODE: dict[int, type[GatewayError]] = {
    3: Invalid,  # bad configuration
    5: UpstreamFailed,  # a command that this version of the client does not know
    6: Invalid,  # invalid parameter
    7: Unavailable,  # network
    9: Unavailable,  # timeout
    30: Forbidden,  # authentication
    130: Unavailable,  # interrupted
}
_BY_TEXT: tuple[tuple[re.Pattern[str], type[GatewayError]], ...] = (
    (re.compile(r"already exists", re.I), Conflict),
    (re.compile(r"JOB_UPDATING_ERROR|LOCK_ERROR|currently updating|active update", re.I), Conflict),
    (re.compile(r"\bquota\b", re.I), Unsatisfiable),
    (re.compile(r"AUTH_FAILED|not authori[sz]ed|unauthori[sz]ed|permission denied", re.I), Forbidden),
    (re.compile(r"not found|does not exist|no such job|no matching|no jobs? found", re.I), NotFound),
    (
        re.compile(r"ERROR_TRANSIENT|timed out|timeout|refused|could not connect|no leader", re.I),
        Unavailable,
    ),
    (re.compile(r"INVALID_REQUEST|invalid|error loading|failed to parse|unbound", re.I), Invalid),
)


def list_arguments(dialect: Dialect, cluster: str, role: str) -> list[str]:
    """Returns the arguments that list a role's jobs, one per line."""
    where = f"{cluster}/{role}"
    return ["list_jobs", where] if dialect == "v1" else ["job", "list", where]


def arguments(
    dialect: Dialect,
    verb: Verb,
    key: JobKey,
    instances: Sequence[int] | None = None,
    spec: str | None = None,
    bindings: Mapping[str, str] | None = None,
) -> list[str]:
    """Returns the arguments of ``verb``; ``spec`` is the path of the job's configuration.

    Raises :class:`NotSupported` for bindings, which only v2 takes.
    """
    shards = None if instances is None else format_instances(instances)
    if dialect == "v1":
        if bindings:
            raise NotSupported("the v1 aurora client takes no bindings (?bind=): write them out")
        return _v1(verb, key, shards, spec)
    return _v2(verb, key, shards, spec, bindings or {})


def _v1(verb: Verb, key: JobKey, shards: str | None, spec: str | None) -> list[str]:
    name = "killall" if verb == "kill" and shards is None else verb
    chosen = [] if shards is None else [f"--shards={shards}"]
    return [name, *chosen, str(key), *([] if spec is None else [spec])]


def _v2(
    verb: Verb, key: JobKey, shards: str | None, spec: str | None, bindings: Mapping[str, str]
) -> list[str]:
    where = str(key) if shards is None else f"{key}/{shards}"
    bound = [f"--bind={name}={value}" for name, value in bindings.items()]
    match verb:
        case "create":
            return ["job", "create", *bound, where, *_given(spec)]
        case "update":
            return ["update", "start", *bound, where, *_given(spec)]
        case "cancel_update":
            return ["update", "abort", where]
        case "restart":
            return ["job", "restart", where]
        case "kill":
            return ["job", "killall" if shards is None else "kill", where]


def _given(spec: str | None) -> list[str]:
    return [] if spec is None else [spec]


def succeeded(dialect: Dialect, code: int, lines: Sequence[str]) -> bool:
    """Returns whether a verb did what it was to do: v1 must also say so, v2's exit code is enough."""
    return code == 0 and (dialect == "v2" or any(SUCCESS in line for line in lines))


def failure(verb: Verb | Literal["list"], code: int, lines: Sequence[str]) -> GatewayError:
    """Returns the error that an exit and its output mean.

    The messages are the output, after the words that this API has always put before it.
    """
    heading = "Error reported by aurora client" + ("" if verb == "kill" else ":")
    kind = _BY_CODE.get(code)
    if kind is None:
        text = "\n".join(lines)
        kind = next((kind for pattern, kind in _BY_TEXT if pattern.search(text)), UpstreamFailed)
    return kind(heading, *lines)
