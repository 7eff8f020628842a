"""Keystone's API v3, as far as clients need it to find this server's services and to be known to them.

Users are those of the users file; a project is what a user's data clusters belong to: there is one
that is named like the user, and one for each of the user's roles (administrators: any). The id of
each is its name. Where nobody is asked (``--auth none``) everybody is who he says he is.
"""

from __future__ import annotations

import base64
import datetime
import time
import uuid
from typing import Any

import msgspec

from framework.model.errors import Forbidden, Invalid, NotFound, NotSupported, Unauthorized
from framework.model.jobs import check_segment
from gateway.api.documents import read_object
from gateway.api.http import Answer, Call
from gateway.api.openstack.routing import IDENTITY, identity_failed, link, route
from gateway.api.openstack.services import catalog
from gateway.api.sahara.routing import DEFAULT_TENANT
from gateway.auth.access import may_use
from gateway.auth.authenticators import Credentials
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.auth.issued import Issued

_BASE = IDENTITY + "/v3"
_TOKENS = _BASE + "/auth/tokens"
_DOMAIN = {"id": "default", "name": "Default"}
_LIFE_SECS = 3600.0
# Of a token for one whom nobody can look up again: he may be gone.
_SHORT_LIFE_SECS = 300.0
_LONGEST = 64


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [link(call, _BASE + "/")],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
        ],
    }


async def list_identity_versions(call: Call) -> Answer:
    return Answer({"versions": {"values": [_version(call)]}}, status=300)


async def read_identity_version(call: Call) -> Answer:
    return Answer({"version": _version(call)})


# -- tokens -----------------------------------------------------------------------------------------


class _Asked(msgspec.Struct, frozen=True):
    """What a request for a token says. ``credentials`` None: only a name."""

    methods: tuple[str, ...]
    name: str
    credentials: Credentials
    project: str | None


async def issue_token(call: Call) -> Answer:
    _check_issues(call)
    asked = read_asked(read_object(call.body, "the request for a token"))
    token = await _token(call, asked)
    text = call.gateway.access.sign(token)
    headers = (("X-Subject-Token", text), ("Vary", "X-Auth-Token"))
    return Answer(_body(call, token), status=201, headers=headers)


async def validate_token(call: Call) -> Answer:
    """Everybody may ask about his own tokens, administrators about all."""
    text, token = _subject(call, "validate_token")
    headers = (("X-Subject-Token", text), ("Vary", "X-Auth-Token"))
    return Answer(_body(call, token), headers=headers)


async def revoke_token(call: Call) -> Answer:
    """Everybody may revoke his own tokens, administrators all. Those that it has given stay."""
    _, token = _subject(call, "revoke_token")
    await call.run(call.gateway.access.revoke, token)
    return Answer("", status=204)


def _subject(call: Call, act: str) -> tuple[str, Issued]:
    """Returns the token that a request is about; raises :class:`NotFound`, and :class:`Forbidden` for
    another user's."""
    _check_issues(call)
    text = call.headers.get("X-Subject-Token", "")
    access = call.gateway.access
    token = access.look(text)
    current = token is not None and (not access.asks or access.owner(token) is not None)
    if token is None or not current:
        raise NotFound("Could not find token: it is not one of this server, or has ended.")
    if not call.caller.is_trusted and call.caller.user != token.user:
        raise Forbidden(f"You are not authorized to perform the requested action: {act}.")
    return text, token


async def read_catalog(call: Call) -> Answer:
    project = call.caller.project or call.caller.user or DEFAULT_TENANT
    return Answer({"catalog": catalog(call.base, project), "links": link(call, _BASE + "/auth/catalog")})


async def list_own_projects(call: Call) -> Answer:
    caller = call.caller
    if caller.is_anonymous:
        names = [caller.project or DEFAULT_TENANT]
    elif call.gateway.access.issuer is not None:
        names = sorted(caller.roles)  # which projects there are besides, Keystone says
    else:
        names = sorted({caller.user or DEFAULT_TENANT, *caller.roles})
    wanted = call.query.one("name")
    projects = [
        {
            "id": name,
            "name": name,
            "domain_id": _DOMAIN["id"],
            "parent_id": _DOMAIN["id"],
            "description": "",
            "enabled": True,
            "is_domain": False,
            "tags": [],
            "links": {"self": f"{call.base}{_BASE}/projects/{name}"},
        }
        for name in names
        if wanted in (None, name)
    ]
    links = {"self": f"{call.base}{_BASE}/auth/projects", "previous": None, "next": None}
    return Answer({"projects": projects, "links": links})


async def list_projects(call: Call) -> Answer:
    return await list_own_projects(call)


def _check_issues(call: Call) -> None:
    issuer = call.gateway.access.issuer
    if issuer is not None:
        raise NotSupported(f"tokens are not made here: ask the Keystone at {issuer}")


async def _token(call: Call, asked: _Asked) -> Issued:
    """Raises :class:`Unauthorized` for who is not known, and for a project that is not his."""
    access = call.gateway.access
    now = time.time()
    before = access.look(asked.credentials.value) if asked.credentials.scheme == "bearer" else None
    if not access.asks:
        # Also a token is only what somebody says: one of a server that knew him would do as well.
        who, name = ANONYMOUS, before.name if before is not None else asked.name
        if not name:
            raise Unauthorized("the token is not one of this server, or has expired")
    else:
        who = await access.prove(asked.credentials, call.address)
        name = who.user or ""
    project = asked.project or (before.project if before is not None else None) or _usual(who)
    check_project(project)
    if not may_use(who, project) and not _may_change(call, who, project):
        raise Unauthorized(f"User {name} has no access to project {project}")
    life = _LIFE_SECS if not access.asks or access.has_directory else _SHORT_LIFE_SECS
    expires = now + life
    return Issued(
        id=base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
        name=name,
        project=project,
        issued_at=now,
        # One token gives another, but no longer life.
        expires_at=expires if before is None else min(expires, before.expires_at),
        user=who.user,
        roles=tuple(sorted(who.roles)),
        admin=who.admin or who.is_anonymous,
        methods=asked.methods,
    )


def _may_change(call: Call, who: Identity, project: str) -> bool:
    """Whether one who has come with a token for one project may have one for another."""
    return who.project is not None and may_use(msgspec.structs.replace(who, project=None), project)


def _usual(who: Identity) -> str:
    return who.project or who.user or DEFAULT_TENANT


def check_project(name: str) -> None:
    """Raises :class:`Invalid` for what cannot stand in a path as a tenant."""
    check_segment("project", name)
    if len(name) > _LONGEST:
        raise Invalid(f"the name of a project has at most {_LONGEST} characters")


def read_asked(document: dict[str, Any]) -> _Asked:
    """Returns what the body of a request for a token asks; raises :class:`Invalid`.

    Domains are not looked at: there is one.
    """
    auth = _member(document, "auth")
    identity = _member(auth, "identity", "auth.")
    methods = identity.get("methods")
    if methods == ["password"]:
        user = _member(
            _member(identity, "password", "auth.identity."), "user", "auth.identity.password."
        )
        name = user.get("name", user.get("id"))
        password = user.get("password")
        if not isinstance(name, str) or not isinstance(password, str):
            raise Invalid("auth.identity.password.user: expects name (or id) and password, two texts")
        if not 0 < len(name) <= 255 or not name.isprintable() or ":" in name:
            raise Invalid("auth.identity.password.user: this cannot be a user's name")
        pair = base64.b64encode(f"{name}:{password}".encode()).decode()
        return _Asked(("password",), name, Credentials("basic", pair), _project(auth))
    if methods == ["token"]:
        text = _member(identity, "token", "auth.identity.").get("id")
        if not isinstance(text, str) or not text:
            raise Invalid("auth.identity.token: expects id, a text")
        return _Asked(("token",), "", Credentials("bearer", text), _project(auth))
    raise Invalid('auth.identity.methods: expects ["password"] or ["token"]; there are no others here')


def _project(auth: dict[str, Any]) -> str | None:
    scope = auth.get("scope")
    if scope is None or scope == "unscoped":
        return None
    if not isinstance(scope, dict) or set(scope) != {"project"}:
        raise Invalid('auth.scope: expects {"project": …}; nothing else has anything here')
    project = _member(scope, "project", "auth.scope.")
    name = project.get("id", project.get("name"))
    if not isinstance(name, str) or not name:
        raise Invalid("auth.scope.project: expects name or id, a text")
    return name


def _member(document: dict[str, Any], name: str, where: str = "") -> dict[str, Any]:
    found = document.get(name)
    if not isinstance(found, dict):
        raise Invalid(f"expects {where}{name}, an object")
    return found


def _body(call: Call, token: Issued) -> dict[str, Any]:
    roles = ("admin", "member", "reader") if token.admin else ("member", "reader")
    body: dict[str, Any] = {
        "methods": list(token.methods),
        "user": {
            "id": token.name,
            "name": token.name,
            "domain": _DOMAIN,
            "password_expires_at": None,
        },
        "audit_ids": [token.id],
        "expires_at": _moment(token.expires_at),
        "issued_at": _moment(token.issued_at),
        "project": {"id": token.project, "name": token.project, "domain": _DOMAIN},
        "is_domain": False,
        "roles": [{"id": name, "name": name} for name in roles],
    }
    if not call.query.all("nocatalog"):
        body["catalog"] = catalog(call.base, token.project)
    return {"token": body}


def _moment(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_failed = identity_failed

ROUTES = (
    route(
        "GET",
        IDENTITY,
        list_identity_versions,
        "Keystone's versions",
        300,
        "IdentityVersions",
        _failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        _BASE,
        read_identity_version,
        "Keystone's version 3",
        200,
        "ServiceVersion",
        _failed,
        kind="open",
        local=True,
    ),
    route(
        "POST",
        _TOKENS,
        issue_token,
        "A token for a project, and where the services are",
        201,
        "CloudToken",
        _failed,
        accepts=("CloudLogin",),
        query=("nocatalog",),
        kind="open",
    ),
    route(
        "GET",
        _TOKENS,
        validate_token,
        "Whose a token (X-Subject-Token) is",
        200,
        "CloudToken",
        _failed,
        query=("nocatalog",),
        fails=(404,),
    ),
    route(
        "DELETE",
        _TOKENS,
        revoke_token,
        "Revokes a token (X-Subject-Token)",
        204,
        "Empty",
        _failed,
        fails=(404,),
    ),
    route(
        "GET",
        _BASE + "/auth/catalog",
        read_catalog,
        "Where the services are",
        200,
        "CloudCatalog",
        _failed,
        local=True,
    ),
    route(
        "GET",
        _BASE + "/auth/projects",
        list_own_projects,
        "The caller's projects",
        200,
        "CloudProjects",
        _failed,
        local=True,
    ),
    route(
        "GET",
        _BASE + "/projects",
        list_projects,
        "The caller's projects, once more",
        200,
        "CloudProjects",
        _failed,
        query=("name",),
        local=True,
    ),
)
