"""The bodies of the alpha API. The order of the fields is part of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.errors import Problem


def done(key: str) -> dict[str, Any]:
    """What every successful change of a job answers."""
    return {"status": "success", "key": key, "count": 1, "job": key}


def listing(key: str, jobs: Sequence[str], following: str | None = None) -> dict[str, Any]:
    """A list of jobs by position, from "1"; ``following`` is the marker of the next page."""
    body: dict[str, Any] = {
        "status": "success",
        "key": key,
        "count": len(jobs),
        "jobs": dict(enumerate(jobs, 1)),
    }
    if following is not None:
        body["next"] = following
    return body


def job_failed(key: str, problem: Problem) -> dict[str, Any]:
    errors = list(problem.messages)
    return {"status": "failure", "key": key, "count": 0, "job": [], "errors": errors}


def list_failed(key: str, problem: Problem) -> dict[str, Any]:
    errors = list(problem.messages)
    return {"status": "failure", "key": key, "count": 0, "jobs": {}, "errors": errors}


def failed(key: str, problem: Problem) -> dict[str, Any]:
    """The failure of what is no job and no list."""
    return {"status": "failure", "errors": list(problem.messages)}
