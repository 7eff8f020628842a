"""The bodies of the alpha API. The order of the fields is part of the contract."""

from __future__ import annotations

import functools
from typing import Any

from gateway.api.http import json_text
from gateway.errors import Problem


def done(key: str) -> dict[str, Any]:
    """What every successful change of a job answers."""
    return {"status": "success", "key": key, "count": 1, "job": key}


@functools.lru_cache(maxsize=16)
def listing(key: str, jobs: tuple[str, ...], following: str | None = None) -> bytes:
    """The text of a list of jobs by position, from "1"; ``following`` is the marker of the next page.

    Who polls a list gets what was made of it the last time, as long as it is the same.
    """
    body: dict[str, Any] = {
        "status": "success",
        "key": key,
        "count": len(jobs),
        "jobs": dict(enumerate(jobs, 1)),
    }
    if following is not None:
        body["next"] = following
    return json_text(body)


def job_failed(key: str, problem: Problem) -> dict[str, Any]:
    errors = list(problem.messages)
    return {"status": "failure", "key": key, "count": 0, "job": [], "errors": errors}


def list_failed(key: str, problem: Problem) -> dict[str, Any]:
    errors = list(problem.messages)
    return {"status": "failure", "key": key, "count": 0, "jobs": {}, "errors": errors}


def failed(key: str, problem: Problem) -> dict[str, Any]:
    """The failure of what is no job and no list."""
    return {"status": "failure", "errors": list(problem.messages)}
