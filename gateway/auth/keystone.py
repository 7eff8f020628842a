"""``--auth keystone``: tokens (X-Auth-Token) of a Keystone, which is asked who they belong to.

Whose the data clusters are, the token's project says. The role of ``--keystone-admin-role`` makes an
administrator. The jobs of the role that is named by the project's id belong to its users; Keystone's
own roles are none of Mesos: a ``member`` of one project is not one of another.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from framework.model.errors import Invalid, Unauthorized, Unavailable
from framework.model.jobs import check_segment
from gateway.auth.authenticators import Credentials
from gateway.auth.identity import Identity
from gateway.auth.users import read_private
from gateway.tls import trusting

if TYPE_CHECKING:
    from gateway.options import Options

log = logging.getLogger(__name__)

_CA = "--keystone-ca"
# For so long a token that Keystone has revoked may still be taken.
_REMEMBER_SECS = 60.0
_REMEMBERED = 4096
_TIMEOUT_SECS = 10.0
_AT_ONCE = 10
_MOST_WAITING = 100
_MOST_TEXT = 4096
_DEFAULT_DOMAIN = "default"


class Service(msgspec.Struct, frozen=True):
    """Who the gateway is to Keystone: a user who may validate tokens. ``url`` ends with ``/v3``; ``ca``:
    authorities (PEM) whose certificate it must have, None: the system's."""

    url: str
    user: str
    password: str
    project: str
    domain: str = "Default"
    ca: Path | None = None

    def __repr__(self) -> str:  # never in a log, a traceback
        return f"Service({self.url!r}, {self.user!r})"


class _Known(msgspec.Struct, frozen=True):
    identity: Identity
    until: float


class KeystoneAuthenticator:
    """Remembers an answer for a minute, or until the token expires; ``clock`` in seconds since the
    epoch. The same token is never asked for twice at once. Used on one event loop. Raises
    :class:`Invalid` for authorities that cannot be read."""

    def __init__(
        self, service: Service, admin_role: str = "admin", clock: Callable[[], float] = time.time
    ) -> None:
        self.challenge = f'Keystone uri="{service.url}"'
        self.issuer = service.url
        self._service = service
        self._trust = trusting(service.ca, _CA)
        self._admin_role = admin_role
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[Identity]] = {}
        self._own_token: str | None = None
        self._renewing: asyncio.Task[str] | None = None
        self._http: AsyncHTTPClient | None = None

    def recall(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "bearer":
            return None
        known = self._known.get(_name(credentials.value))
        return None if known is None or known.until <= self._clock() else known.identity

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Raises :class:`Unauthorized`, and :class:`Unavailable` while Keystone does not answer."""
        if credentials.scheme != "bearer":
            return None
        token = credentials.value
        if not token.isascii() or not token.isprintable() or len(token) > _MOST_TEXT:
            raise Unauthorized("the token cannot be one of Keystone's")
        found = self.recall(credentials)
        if found is not None:
            return found
        name = _name(token)
        running = self._running.get(name)
        if running is None:
            if len(self._running) >= _MOST_WAITING:
                raise Unavailable("too many tokens are being validated", retry_after=1)
            running = asyncio.create_task(self._validate(token, name))
            self._running[name] = running
            running.add_done_callback(lambda _: self._running.pop(name))
        # Whoever goes away does not take the answer from the others.
        return await asyncio.shield(running)

    async def _validate(self, token: str, name: bytes) -> Identity:
        self._known.pop(name, None)
        answer = await self._ask_about(token)
        if answer.code == 401:
            # It is the gateway's own token that has expired, or was revoked.
            self._own_token = None
            answer = await self._ask_about(token)
        if answer.code == 404:
            raise Unauthorized("Keystone does not know the token, or it has expired")
        if answer.code != 200:
            raise Unavailable(
                f"Keystone does not say whose a token is: it answers {answer.code} to the user "
                f"{self._service.user}, who must be allowed to validate tokens"
            )
        identity, expires = read_token(_json(answer), self._admin_role)
        now = self._clock()
        if expires <= now:
            raise Unauthorized("the token has expired")
        self._known[name] = _Known(identity, min(expires, now + _REMEMBER_SECS))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return identity

    async def _ask_about(self, token: str) -> HTTPResponse:
        if self._own_token is None:
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._log_in())
            try:
                self._own_token = await asyncio.shield(self._renewing)
            finally:
                self._renewing = None
        headers = {"X-Auth-Token": self._own_token, "X-Subject-Token": token}
        return await self._fetch("GET", "/auth/tokens", headers)

    async def _log_in(self) -> str:
        body = json.dumps(login(self._service)).encode()
        answer = await self._fetch("POST", "/auth/tokens", {"Content-Type": "application/json"}, body)
        token = answer.headers.get("X-Subject-Token")
        if answer.code != 201 or not token:
            raise Unavailable(
                f"Keystone does not let the gateway in: it answers {answer.code} to the user "
                f"{self._service.user} of the project {self._service.project}"
            )
        return token

    async def _fetch(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HTTPResponse:
        if self._http is None:
            self._http = AsyncHTTPClient(force_instance=True, max_clients=_AT_ONCE)
        request = HTTPRequest(
            self._service.url + path,
            method=method,
            headers=dict(headers),
            body=body,
            connect_timeout=_TIMEOUT_SECS,
            request_timeout=_TIMEOUT_SECS,
            follow_redirects=False,
            ssl_options=self._trust,
        )
        try:
            answer = await self._http.fetch(request, raise_error=False)
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                f"Keystone at {self._service.url} is not believed: {error.verify_message}; {_CA} names "
                "the authorities that have signed its certificate"
            ) from None
        except (OSError, ValueError, HTTPClientError) as error:
            raise Unavailable(f"Keystone at {self._service.url} cannot be reached: {error}") from None
        if answer.code == 599 or answer.code >= 500:
            raise Unavailable(f"Keystone at {self._service.url} does not answer ({answer.code})")
        return answer

    def reload(self) -> None:
        """Forgets what it knows, and reads the authorities again: Keystone is asked again."""
        self._known.clear()
        self._own_token = None
        try:
            self._trust = trusting(self._service.ca, _CA)
        except Invalid as error:
            log.error("%s; the authorities read before stay in use", error)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _json(answer: HTTPResponse) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Unavailable("Keystone's answer is no JSON") from None


def login(service: Service) -> dict[str, Any]:
    """Returns the body that asks Keystone for the gateway's own token."""
    user = {
        "name": service.user,
        "domain": {"name": service.domain},
        "password": service.password,
    }
    scope = {"project": {"name": service.project, "domain": {"name": service.domain}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    return {"auth": {"identity": identity, "scope": scope}}


class _Domain(msgspec.Struct, frozen=True):
    id: str = ""


class _Named(msgspec.Struct, frozen=True):
    id: str
    name: str
    domain: _Domain = _Domain()


class _Role(msgspec.Struct, frozen=True):
    name: str


class _Token(msgspec.Struct, frozen=True):
    user: _Named
    expires_at: datetime.datetime
    project: _Named | None = None
    roles: tuple[_Role, ...] = ()


class _Body(msgspec.Struct, frozen=True):
    token: _Token


def read_token(document: Any, admin_role: str) -> tuple[Identity, float]:
    """Returns whose a token is, and when it expires (seconds since the epoch).

    Raises :class:`Unauthorized` for a token without a project, :class:`Unavailable` for what is no
    answer of Keystone's.
    """
    try:
        token = msgspec.convert(document, _Body).token
    except msgspec.ValidationError as error:
        raise Unavailable(f"Keystone's answer is not one of its API v3: {error}") from None
    if token.project is None:
        raise Unauthorized("the token is for no project; ask Keystone for one with a scope")
    project = token.project.id
    try:
        check_segment("project", project)
        user = user_name(token.user.name, token.user.id, token.user.domain.id)
    except Invalid as error:
        raise Unauthorized(f"the token's owner cannot be one here: {error}") from None
    admin = any(role.name == admin_role for role in token.roles)
    expires = token.expires_at
    if expires.tzinfo is None:
        expires = expires.replace(tzinfo=datetime.UTC)
    return Identity(user, frozenset({project}), admin, project=project), expires.timestamp()


def user_name(name: str, user_id: str, domain: str) -> str:
    """Returns what a user is called here: by name in Keystone's first domain, in others by id, since
    there may be others of the same name. Raises :class:`Invalid`."""
    if domain == _DEFAULT_DOMAIN:
        try:
            check_segment("user", name)
        except Invalid:
            pass
        else:
            return name
    check_segment("user", user_id)
    return user_id


def make(options: Options) -> KeystoneAuthenticator:
    """The factory of ``--auth keystone``; raises :class:`Invalid`."""
    if options.keystone_url is None or options.keystone_password_file is None:
        raise Invalid(
            "--auth keystone needs --keystone-url, and --keystone-password-file with the password of "
            f"the user that validates tokens ({options.keystone_user})"
        )
    password = read_private(options.keystone_password_file, "the password for Keystone")
    try:
        text = password.decode().strip()
    except UnicodeDecodeError:
        raise Invalid(f"the file {options.keystone_password_file} is not UTF-8") from None
    service = Service(
        url=options.keystone_url,
        user=options.keystone_user,
        password=text,
        project=options.keystone_project,
        domain=options.keystone_domain,
        ca=options.keystone_ca,
    )
    return KeystoneAuthenticator(service, options.keystone_admin_role)
