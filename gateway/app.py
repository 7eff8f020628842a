"""The Tornado application: the routes of every api."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches, Rule, URLSpec
from tornado.web import Application, RequestHandler

from framework.model.errors import GatewayError
from gateway.api.alpha import instances, jobs
from gateway.api.http import Failure, Route
from gateway.api.openstack import OPENSTACK
from gateway.api.openstack import routing as facades
from gateway.api.ops import events, status
from gateway.api.paas import PAAS, bodies
from gateway.api.reference import handlers as reference
from gateway.api.registry import kv
from gateway.api.resource import Resource, ResourceWithBody
from gateway.api.sahara import SAHARA, routing
from gateway.context import Gateway

log = logging.getLogger("gateway.access")

# First match wins: what is fixed stands before what is not.
APIS: tuple[Route, ...] = (
    *status.ROUTES,
    *events.ROUTES,
    *jobs.ROUTES,
    *instances.ROUTES,
    *PAAS,
    *kv.ROUTES,
    *SAHARA,
    *OPENSTACK,
)


class Nowhere(msgspec.Struct, frozen=True):
    """Where nothing else is, failures are rendered as the API does that whose prefix it is; ``absent``
    says how nothing is there (by default: not found)."""

    regex: str
    failure: Failure
    absent: Callable[[str], GatewayError] | None = None


_JOBS = "data-sources|job-binaries|job-binary-internals|jobs|job-executions"
NOWHERE: tuple[Nowhere, ...] = (
    Nowhere(r"/(?:bigdata|resources)/.*", bodies.nowhere),
    Nowhere(r"/v1/.*", kv.failed),
    Nowhere(r"/identity/.*", facades.identity_failed),
    Nowhere(r"/compute/.*", facades.compute_failed),
    Nowhere(r"/image/.*", facades.image_failed),
    Nowhere(r"/network/.*", facades.network_failed),
    Nowhere(rf"/v1\.1/(?:[^/]+/)?(?:{_JOBS})(?:\.json|/.*)?", routing.failed, routing.no_jobs),
    Nowhere(r"/v[0-9]+(?:\.[0-9]+)?(?:/.*)?", routing.nowhere),
)
ROUTES: tuple[Route, ...] = (*reference.routes(APIS), *APIS)


def with_aliases(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Returns the routes with the other spellings that documents have: /alpha/job/…, …/orquestrator,
    /v1.0/…"""
    found = []
    for route in routes:
        found.append(route)
        for usual, other in (("/alpha/jobs/", "/alpha/job/"), ("/orchestrator", "/orquestrator")):
            if usual in route.pattern:
                alias = route.pattern.replace(usual, other, 1)
                found.append(msgspec.structs.replace(route, pattern=alias))
        for alias in routing.spellings(route.pattern):
            found.append(msgspec.structs.replace(route, pattern=alias))
    return tuple(found)


def by_resource(routes: Iterable[Route]) -> dict[str, dict[str, Route]]:
    """Returns the routes of each pattern by method, in the order of the patterns."""
    resources: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods = resources.setdefault(route.pattern, {})
        if route.method in methods:
            raise ValueError(f"{route.method} {route.pattern} is routed twice")
        methods[route.method] = route
    return resources


class GatewayApplication(Application):
    """Hands requests that announce a body to who can read one."""

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        headers = request.headers
        length = headers.get("Content-Length", "0")
        if length != "0" or "Transfer-Encoding" in headers or "Content-Encoding" in headers:
            target_class = ResourceWithBody
        return super().get_handler_delegate(request, target_class, *args, **kwargs)


def make_app(gateway: Gateway, routes: Iterable[Route] = ROUTES) -> Application:
    """Returns the application of a gateway."""
    places: dict[str, list[URLSpec]] = {}
    for pattern, methods in by_resource(with_aliases(routes)).items():
        regex = next(iter(methods.values())).regex
        spec = URLSpec(regex, Resource, {"gateway": gateway, "routes": methods})
        places.setdefault(pattern.split("/")[1], []).append(spec)
    # By the first segment, so that the last API's paths are not compared with all others'.
    handlers = [
        Rule(PathMatches(f"/{re.escape(first)}(?:/.*)?"), specs) for first, specs in places.items()
    ]
    handlers += [
        URLSpec(
            one.regex,
            Resource,
            {"gateway": gateway, "routes": {}, "failure": one.failure, "absent": one.absent},
        )
        for one in NOWHERE
    ]
    return GatewayApplication(
        handlers,
        default_handler_class=Resource,
        default_handler_args={"gateway": gateway, "routes": {}},
        log_function=log_access,
    )


def log_access(handler: RequestHandler) -> None:
    """Logs one answered request; the repr keeps whatever a path holds on one line."""
    request = handler.request
    known = handler if isinstance(handler, Resource) else None
    log.log(
        logging.WARNING if handler.get_status() >= 500 else logging.INFO,
        "%d %s %r %s %s %s %.1fms",
        handler.get_status(),
        request.method,
        request.path[:500],
        known.remote if known else request.remote_ip,
        (known.caller.user if known else None) or "-",
        known.request_id if known else "-",
        1000.0 * request.request_time(),
    )
