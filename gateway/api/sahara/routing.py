"""What the routes of data clusters share: whose they are, bodies, failures, spellings of paths.

A route is written down once, as ``/v1.1/{tenant}/…``; it is served without the tenant, too, and as
v1.0, whose bodies have the older keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any

from framework.model.errors import GatewayError, Invalid, NotSupported, Unauthorized
from framework.model.jobs import check_segment
from gateway.api.documents import read_object
from gateway.api.http import JSON, Answer, Call, Route, json_text
from gateway.auth.identity import Identity
from gateway.dataprocessing import schemas
from gateway.dataprocessing.errors import InvalidData, MalformedBody
from gateway.dataprocessing.formats import is_uuid
from gateway.dataprocessing.listing import Columns, Page, Query, read_query
from gateway.dataprocessing.service import DataProcessing
from gateway.errors import Problem

BASE = "/v1.1/{tenant}"
# Whose objects are meant where neither the path nor the caller says it.
DEFAULT_TENANT = "default"
_LONGEST_TENANT = 64
PAGING = ("limit", "marker", "sort_by")
# Savanna said so of groups that did not.
OLD_VOLUMES_SIZE = 10
_NAMES = {
    "invalid": "INVALID_DATA",
    "not_supported": "NOT_IMPLEMENTED_ERROR",
    "unknown_parameter": "INVALID_PARAMS_ON_REQUEST",
}
_NOT_FOUND = (
    "The requested URL was not found on the server. If you entered the URL manually please check your "
    "spelling and try again."
)
_NOT_ALLOWED = "The method is not allowed for the requested URL."


class Asked:
    """A call of this API: ``tenant`` is whose objects are meant, ``old`` whether it is v1.0."""

    def __init__(self, call: Call, tenant: str, old: bool) -> None:
        self.call = call
        self.tenant = tenant
        self.old = old

    @property
    def data(self) -> DataProcessing:
        """See :attr:`Call.dataprocessing`."""
        return self.call.dataprocessing

    def body(self, schema: schemas.Schema) -> dict[str, Any]:
        """Returns the body, which has the shape of ``schema``; no body is an empty object.

        Raises :class:`InvalidData`, :class:`MalformedBody` and :class:`schemas.SchemaViolated`.
        """
        kind = self.call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in ("", "application/json"):
            raise InvalidData(f"Content type '{kind[:100]}' isn't supported")
        try:
            document = read_object(self.call.body, "the body", optional=True)
        except Invalid as error:
            raise MalformedBody(f"cannot understand JSON: {'; '.join(error.messages)}") from None
        schemas.check(document, schemas.old(schema) if self.old else schema)
        return document

    def with_sizes(self, given: dict[str, Any], groups: str = "node_groups") -> dict[str, Any]:
        """Returns a body whose ``groups`` have the volumes that v1.0 meant where it said nothing."""
        for group in given.get(groups) or ():
            if self.old and "node_group_template_id" not in group:
                group.setdefault("volumes_size", OLD_VOLUMES_SIZE)
        return given

    def page(self, columns: Columns) -> Query:
        """Returns which page of a list is wanted."""
        names = (*PAGING, *sorted(columns.filterable))
        given = {name: self.call.query.one(name) for name in names}
        return read_query({name: value for name, value in given.items() if value is not None}, columns)


Handler = Callable[..., Awaitable[Answer]]


def route(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    schema: str = "Empty",
    *,
    accepts: tuple[str, ...] = (),
    query: tuple[str, ...] = (),
) -> Route:
    """Returns the route of ``handler(asked, *segments)``; ``path`` is what follows the tenant."""
    status = {"GET": 200, "DELETE": 204}.get(method, 202)

    @wraps(handler)
    async def serve(call: Call, *segments: str) -> Answer:
        named = "{tenant}" in call.pattern
        tenant = tenant_of(call.caller, segments[0] if named else None)
        asked = Asked(call, tenant, call.pattern.startswith("/v1.0/"))
        return await handler(asked, *(segments[1:] if named else segments))

    # Other APIs have clusters, too.
    serve.__name__ = f"sahara_{handler.__name__}"
    return Route(
        method,
        BASE + path,
        serve,
        summary,
        failed,
        query=query,
        body=bool(accepts),
        answers=((status, schema),),
        accepts=accepts,
        failures="SaharaFailure",
        suffix=".json",
    )


def spellings(pattern: str) -> tuple[str, ...]:
    """Returns the other paths that a route of this API is served at."""
    if not pattern.startswith(BASE):
        return ()
    path = pattern.removeprefix(BASE)
    found = [f"/v1.1{path}"]
    if not path.startswith("/job-types"):  # v1.0 knows no jobs
        found += [f"/v1.0/{{tenant}}{path}", f"/v1.0{path}"]
    return tuple(found)


def tenant_of(caller: Identity, named: str | None) -> str:
    """Returns whose objects a request means; ``named``: by the path.

    Raises :class:`Unauthorized` for a tenant that is not the caller's. As with Keystone, a path that
    names a tenant in words, not by its id, means the one that the caller's token is for.
    """
    if named is not None:
        check_segment("tenant", named)
        if len(named) > _LONGEST_TENANT:
            raise Invalid(f"the name of a tenant has at most {_LONGEST_TENANT} characters")
    if caller.is_anonymous:
        return named or caller.project or DEFAULT_TENANT
    if caller.project is not None:
        if named not in (None, caller.project) and is_uuid(named):
            raise Unauthorized("Token tenant != requested tenant")
        return caller.project
    if named is None:
        return caller.user or DEFAULT_TENANT
    if caller.admin or named == caller.user or named in caller.roles:
        return named
    raise Unauthorized(f"the tenant {named} is not one of user {caller.user}")


# -- answers ---------------------------------------------------------------------------------------


def listed(name: str, page: Page[Any], view: Callable[[Any], dict[str, Any]]) -> Answer:
    """Returns the answer to a list: with markers where there is another page, or one was asked for."""
    return Answer({name: [view(item) for item in page.items], **_markers(page)})


def listed_texts(name: str, page: Page[Any], texts: Sequence[bytes]) -> Answer:
    """Returns the same of items whose texts (see :func:`json_text`) are there already."""
    items = b'{"%s": [%s]' % (name.encode(), b", ".join(texts))
    rest = json_text(_markers(page))[1:] if page.marked else b"}"
    return Answer(items + (b", " if page.marked else b"") + rest, content_type=JSON)


def _markers(page: Page[Any]) -> dict[str, Any]:
    if not page.marked:
        return {}
    return {"markers": {"prev": page.previous, "next": page.following}}


def accepted(body: dict[str, Any]) -> Answer:
    return Answer(body, status=202)


GONE = Answer("", status=204)


def failed(key: str, problem: Problem) -> dict[str, Any]:
    """The body of a failure; who is not known gets what Keystone's middleware says."""
    message = "\n".join(problem.messages)
    if problem.status == 401:
        return {"error": {"code": 401, "title": "Unauthorized", "message": message}}
    if problem.status == 405:
        return {"error": 405, "error_message": _NOT_ALLOWED}
    return {
        "error_code": problem.status,
        "error_name": error_name(problem),
        "error_message": f"{message}\nError ID: {problem.reference}",
    }


def nowhere(key: str, problem: Problem) -> dict[str, Any]:
    """The failure of a path that is none."""
    if problem.status == 404:
        return {"error": 404, "error_message": _NOT_FOUND}
    return failed(key, problem)


def error_name(problem: Problem) -> str | int:
    code = problem.code
    if code.isdigit():  # as it is for faults of paging
        return int(code)
    if code.isupper():
        return code
    if code in _NAMES:
        return _NAMES[code]
    try:
        return HTTPStatus(problem.status).name
    except ValueError:
        return "ERROR"


def no_jobs(path: str) -> GatewayError:
    """What is said where Sahara has its data processing jobs."""
    return NotSupported(
        "jobs, their binaries and their data sources are not offered yet: data clusters are, and what "
        "runs on them can be started on their nodes"
    )
