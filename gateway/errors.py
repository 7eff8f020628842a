"""From an exception to a status, once; each api renders the body of its own failures."""

from __future__ import annotations

import http
import logging
import secrets
from collections.abc import Iterable

import msgspec

from framework.model.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    Invalid,
    NotFound,
    NotSupported,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unsatisfiable,
)
from framework.remote import CommandFailed
from framework.turn import InternalError
from gateway.auth.access import TooMany

log = logging.getLogger(__name__)


class MethodNotAllowed(GatewayError):
    """The resource exists, and does not know the method; ``allowed`` are those it knows."""

    code = "method_not_allowed"

    def __init__(self, message: str, allowed: Iterable[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class UnsupportedEncoding(GatewayError):
    """The body came in a Content-Encoding that is not read."""

    code = "unsupported_encoding"


class UpstreamFailed(GatewayError):
    """What stands behind the gateway (an aurora command, an agent) failed with no known reason."""

    code = "upstream_failed"


# Looked up along the exception's MRO: the nearest class decides.
STATUSES: dict[type[BaseException], int] = {
    GatewayError: 500,
    Invalid: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedEncoding: 415,
    Unsatisfiable: 422,
    NotSupported: 501,
    UpstreamFailed: 502,
    CommandFailed: 502,
    Unavailable: 503,
    TooMany: 429,
}


class Problem(msgspec.Struct, frozen=True):
    """What an exception means for the caller: a status, sentences, headers, the error's code.

    ``reference``: the id of the request, by which the logs know it.
    """

    status: int
    messages: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    code: str = "error"
    reference: str = ""


def status_of(error: BaseException) -> int:
    """Returns the HTTP status of ``error``; 500 for a type that nobody has declared."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return 500


def describe(error: BaseException) -> Problem:
    """Returns what to answer. An exception that is no GatewayError is logged here, under an id."""
    if not isinstance(error, GatewayError):
        return _defect(error)
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Unavailable):
        headers = (("Retry-After", str(error.retry_after)),)
    elif isinstance(error, MethodNotAllowed):
        headers = (("Allow", ", ".join(error.allowed)),)
    elif isinstance(error, Unauthorized):
        headers = (("WWW-Authenticate", ", ".join(error.challenges) or "Basic"),)
    elif isinstance(error, TooMany):
        headers = (("Retry-After", str(error.retry_after)),)
    return Problem(status_of(error), error.messages, headers, error.code)


def _defect(error: BaseException) -> Problem:
    # The scheduler's own thread has logged its defects, under a reference of its own.
    identity = error.reference if isinstance(error, InternalError) else secrets.token_hex(6)
    log.error("internal error %s", identity, exc_info=error)
    sentence = f"an internal error, not of your making; the server's log knows it as {identity}"
    return Problem(500, (sentence,))


def of_http(status: int, message: str | None) -> Problem:
    """Returns what to answer where Tornado itself refuses a request with ``status``."""
    try:
        phrase = http.HTTPStatus(status).phrase.lower()
    except ValueError:
        phrase = "error"
    return Problem(status, (message or phrase,))


def legacy(problem: Problem) -> Problem:
    """Returns the problem as the first release of this API answered it: every failure is a 500."""
    return Problem(500, problem.messages, problem.headers, problem.code)
