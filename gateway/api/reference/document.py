"""The OpenAPI 3.1 document of a table of routes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from gateway.api.http import Route
from gateway.api.reference.parameters import path_parameter, query_parameter
from gateway.api.reference.schemas import SCHEMAS
from gateway.api.reference.shapes import Schema, ref
from gateway.context import VERSION

_RETRY = {"description": "seconds after which to come again", "schema": {"type": "integer"}}
_EXAMPLE = """\
hello = Process(name = "hello", cmdline = "while true; do echo hello world; sleep 1; done")
task = SequentialTask(processes = [hello], resources = Resources(cpu = 0.1, ram = 16*MB, disk = 16*MB))
jobs = [Service(cluster = "devcluster", role = "www-data", environment = "prod", name = "hello",
                instances = 2, task = task)]
"""
# A body with a job configuration; JSON is told from the .aurora language by its content.
_CONFIGURATION = {
    "description": 'a job configuration: an .aurora file, or JSON (one job, or {"jobs": […]})',
    "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
}


def openapi(routes: Iterable[Route]) -> dict[str, Any]:
    """Returns the document: one operation per route, with every answer that it can give."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mesos-gateway",
            "version": VERSION,
            "description": "A REST door for Apache Mesos. README.md has a walk through it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
                "x_auth_token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    }


def operation(route: Route) -> dict[str, Any]:
    """Returns a route as an Operation Object of OpenAPI."""
    found: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": [
            *(path_parameter(name) for name in route.segments),
            *(query_parameter(name) for name in route.query),
        ],
        "responses": {str(status): answer for status, answer in sorted(_answers(route).items())},
    }
    if route.access != "open":
        # Without --auth nobody is asked.
        found["security"] = [{}, {"token": []}, {"password": []}, {"x_auth_token": []}]
    if route.body:
        found["requestBody"] = _accepted(route.accepts) if route.accepts else _CONFIGURATION
    return found


def _accepted(accepts: tuple[str, ...]) -> dict[str, Any]:
    """A schema's name is that of a JSON body; ``text`` and media types: any text, sent as these."""
    if accepts[0] == "text":
        return {"content": {media: {"schema": {"type": "string"}} for media in accepts[1:]}}
    return {"content": {"application/json": {"schema": ref(accepts[0])}}}


def _answers(route: Route) -> dict[int, dict[str, Any]]:
    """What the route says of its own, and what can happen to any of its kind."""
    failure = route.failures or (
        "JobFailure" if "name" in route.segments else "ListFailure" if route.segments else "Failure"
    )
    statuses = [400, 429, 503, 500]
    if route.access != "open":
        statuses.append(401)
    if route.access in ("create", "change"):
        statuses += [403, 409, 422, 501, 502]
    elif route.failures:
        statuses += [403, 501]
    if route.segments:
        statuses += [404, 502]
    if route.body:
        statuses += [413, 415]
    found = {status: _failure(status, failure) for status in statuses}
    told: set[int] = set()
    for status, body in route.answers:
        own = _content(body)
        if status in found and status >= 400 and "/" not in body:
            content = {"anyOf": [ref(body), ref(failure)]}
            own = {"application/json": {"schema": content}}
        headers = found.get(status, {}).get("headers", {})
        if status in told:  # it may come in one form or another
            own = {**found[status]["content"], **own}
        told.add(status)
        found[status] = {"description": HTTPStatus(status).phrase, "content": own, "headers": headers}
    return found


def _failure(status: int, body: str) -> dict[str, Any]:
    headers: dict[str, Schema] = {}
    if status in (429, 503):
        headers["Retry-After"] = _RETRY
    elif status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers,
        "content": _content(body),
    }


def _content(body: str) -> dict[str, Any]:
    """``body``: the name of a schema, a media type of text, or Empty."""
    if body == "Empty":
        return {}
    if "/" in body:
        return {body: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": ref(body)}}
