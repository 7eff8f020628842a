"""What the facades share: where they are, the words of their failures, pages of their lists."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from framework.model.errors import Invalid, NotFound
from gateway.api.http import Answer, Call, Failure, Handler, Route
from gateway.api.sahara.routing import tenant_of
from gateway.auth.access import Kind
from gateway.errors import Problem

IDENTITY, COMPUTE, IMAGE, NETWORK = "/identity", "/compute", "/image", "/network"
PAGING = ("limit", "marker")
_MOST = 1000
_COMPUTE_WORDS = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


class HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


def route(
    method: str,
    pattern: str,
    handler: Handler,
    summary: str,
    status: int,
    schema: str,
    failure: Failure,
    *,
    accepts: tuple[str, ...] = (),
    query: tuple[str, ...] = (),
    kind: Kind | None = None,
    local: bool = False,
    fails: tuple[int, ...] = (),
) -> Route:
    """Returns a route of a facade; ``failure`` is one of the functions below.

    ``fails``: statuses of failures that others of its kind have not.
    """
    return Route(
        method,
        pattern,
        handler,
        summary,
        failure,
        query=query,
        body=bool(accepts),
        kind=kind,
        local=local,
        answers=((status, schema), *((one, "OpenStackFailure") for one in fails)),
        accepts=accepts,
        failures="OpenStackFailure",
    )


def tenant(call: Call) -> str:
    """Returns whose keys are meant: the project of the caller's token."""
    return tenant_of(call.caller, None)


def page(items: Sequence[T], call: Call) -> tuple[Sequence[T], str | None]:
    """Returns what ``limit`` and ``marker`` ask for, and the query of the page behind it, if any.

    Raises :class:`Invalid` for a marker that is not in the list.
    """
    limit = call.query.integer("limit", _MOST, 0, 10**9)
    marker = call.query.one("marker")
    start = 0
    if marker is not None:
        ids = [item.id for item in items]
        if marker not in ids:
            raise Invalid(f"marker {marker[:60]!r} is not in the list")
        start = ids.index(marker) + 1
    shown = items[start : start + min(limit, _MOST)]
    more = bool(shown) and start + len(shown) < len(items)
    if not more:
        return shown, None
    # What else restricts this page restricts the next one.
    return shown, call.query.changed(limit=str(len(shown)), marker=shown[-1].id)


def no(what: str, name: str) -> NotFound:
    return NotFound(f"{what} {name[:255]} could not be found.")


# -- failures, each as its service has them -----------------------------------------------------------


def identity_failed(key: str, problem: Problem) -> dict[str, Any]:
    return {
        "error": {
            "code": problem.status,
            "title": _phrase(problem.status),
            "message": _message(problem),
        }
    }


def compute_failed(key: str, problem: Problem) -> dict[str, Any]:
    if problem.status == 401:
        return identity_failed(key, problem)
    word = _COMPUTE_WORDS.get(problem.status, "computeFault")
    return {word: {"code": problem.status, "message": _message(problem)}}


def image_failed(key: str, problem: Problem) -> dict[str, Any]:
    if problem.status == 401:
        return identity_failed(key, problem)
    phrase = _phrase(problem.status)
    return {
        "message": _message(problem),
        "code": f"{problem.status} {phrase}",
        "title": phrase,
    }


def network_failed(key: str, problem: Problem) -> dict[str, Any]:
    if problem.status == 401:
        return identity_failed(key, problem)
    word = "".join(part.capitalize() for part in problem.code.split("_"))
    return {"NeutronError": {"type": word, "message": _message(problem), "detail": ""}}


def _message(problem: Problem) -> str:
    return "; ".join(problem.messages)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


# -- versions -----------------------------------------------------------------------------------------


def link(call: Call, path: str, relation: str = "self") -> dict[str, str]:
    return {"rel": relation, "href": f"{call.base}{path}"}


def versions(found: Sequence[dict[str, Any]]) -> Answer:
    """Returns the answer that names the versions of a service; clients choose one."""
    return Answer({"versions": list(found)}, status=300)
