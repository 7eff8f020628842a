"""The door: who is asking, how often, and what for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from framework.model.errors import (
    Forbidden,
    GatewayError,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
)
from gateway.auth.addresses import Network, client_address, site_of
from gateway.auth.authenticators import Authenticator, Credentials, Directory, Issuer
from gateway.auth.identity import ANONYMOUS, Identity, Reading
from gateway.auth.issued import Issued, Revoked, issue, read_issued
from gateway.auth.rates import Buckets, Rate
from gateway.auth.signed import script_identity

log = logging.getLogger(__name__)

# What a route is, to whoever asks: open to all, for those who are known, or a change.
# metrics: for those who are known, or open, as the operator has it.
Kind = Literal["open", "metrics", "read", "create", "change"]
# Wrong credentials from one address.
_FAILURES = Rate(per_second=1.0, burst=30.0)
# How often streams ask whether their user still may read them.
_RECHECK_SECS = 60.0


class TooMany(GatewayError):
    """The caller has made more requests than the limit. ``retry_after`` in seconds."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Access:
    """Without ``authenticators`` everybody is :data:`ANONYMOUS`, and may do everything.

    ``reading``: whether users see the jobs of all roles, or their own only. ``rate`` None: no limit.
    ``open_metrics``: /metrics is for everybody. ``proxies``: whose X-Forwarded-For is believed.
    ``script_key`` gives what the tokens of clusters' scripts, and those of this server's users, are
    signed with, None: there are none. ``revoked``: which of the latter are taken no more, None: nobody
    keeps that.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator] = (),
        reading: Reading = "own",
        rate: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        open_metrics: bool = False,
        proxies: Sequence[Network] = (),
        recheck_secs: float = _RECHECK_SECS,
        script_key: Callable[[], str | None] = lambda: None,
        revoked: Revoked | None = None,
    ) -> None:
        self.reading: Reading = reading
        self._open_metrics = open_metrics
        self._proxies = tuple(proxies)
        self._recheck_secs = recheck_secs
        self._script_key = script_key
        self._revoked = revoked
        self._reloaded = asyncio.Event()
        self.problem: str | None = None
        self._authenticators = tuple(authenticators)
        # Asked at every request: what a protocol is asked for costs more than the rest of it.
        self._issuer = next((one for one in self._authenticators if isinstance(one, Issuer)), None)
        self._buckets = Buckets(rate) if rate else None
        self._failures = Buckets(_FAILURES)
        self._clock = clock

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who they are."""
        return bool(self._authenticators)

    @property
    def issuer(self) -> str | None:
        """Where users get their tokens, if that is not here (a URL)."""
        return self._issuer.issuer if self._issuer is not None else None

    @property
    def has_directory(self) -> bool:
        """Whether all users are known by name, so that one who is gone has no tokens any more."""
        return any(isinstance(one, Directory) for one in self._authenticators)

    def address(self, peer: str, forwarded: Sequence[str]) -> str:
        """See :func:`gateway.auth.addresses.client_address`."""
        return client_address(peer, forwarded, self._proxies) if self._proxies else peer

    async def admit(self, headers: Mapping[str, str], address: str, kind: Kind) -> Identity:
        """Returns who asks; raises :class:`Unauthorized` or :class:`TooMany`.

        Users are counted by name. Whoever is none is counted by address; what is open to all stays
        open to one with wrong credentials.
        """
        credentials = credentials_of(headers)
        script = self._script(credentials)
        if script is not None:
            # Who says to be a script is held to that, also where nobody is asked.
            self._count(f"user {script.user}")
            return script
        if not self.asks or (kind == "metrics" and self._open_metrics):
            self._count(f"address {site_of(address)}")
            token = None if credentials is None else self.look(credentials.value)
            # It proves nothing, but says which project is meant.
            return ANONYMOUS if token is None else Identity(project=token.project)
        try:
            if kind == "open" and credentials is None:
                raise Unauthorized("nobody")
            identity = await self._identify(credentials, site_of(address))
        except (Unauthorized, Forbidden, TooMany, Unavailable):
            self._count(f"address {site_of(address)}")
            if kind == "open":
                return ANONYMOUS
            raise
        self._count(f"user {identity.user}")
        return identity

    async def prove(self, credentials: Credentials, address: str) -> Identity:
        """Returns whose credentials these are; raises :class:`Unauthorized`, :class:`TooMany`."""
        return await self._identify(credentials, site_of(address))

    def sign(self, token: Issued) -> str:
        """Returns the text of a token; raises :class:`Unavailable` where nothing can be signed."""
        key = self._script_key()
        if key is None:
            raise Unavailable("the key that tokens are signed with is not there yet")
        return issue(token, key)

    def look(self, text: str) -> Issued | None:
        """Returns the token of this server that a text is, None if it is none, has expired, or is
        revoked."""
        key = self._script_key() if text.count(".") == 2 else None
        if key is None:
            return None
        try:
            token = read_issued(text, key)
        except Unauthorized:
            return None
        return None if self._revoked is not None and token.id in self._revoked else token

    def revoke(self, token: Issued) -> None:
        """Has a token be taken no more. Blocks; raises :class:`Unavailable` where nobody keeps that."""
        if self._revoked is None:
            raise Unavailable("there is nothing that keeps which tokens are revoked")
        self._revoked.add(token.id, token.expires_at)

    def owner(self, token: Issued) -> Identity | None:
        """Returns whose a token is now: as its user is known today; None for nobody's."""
        if token.user is None:
            return None
        known = [one.find(token.user) for one in self._authenticators if isinstance(one, Directory)]
        if not known:
            return token.identity
        found = next((one for one in known if one is not None), None)
        if found is None or not may_use(found, token.project):
            return None
        return msgspec.structs.replace(found, project=token.project)

    def _of_token(self, credentials: Credentials) -> Identity | None:
        if credentials.scheme != "bearer" or self.issuer is not None:
            return None
        token = self.look(credentials.value)
        return None if token is None else self.owner(token)

    def _count(self, who: str) -> None:
        if self._buckets is not None:
            self._limit(self._buckets.take(who, self._clock()), who)

    def _script(self, credentials: Credentials | None) -> Identity | None:
        """Returns the identity of a cluster's script, None if this is none."""
        if credentials is None or credentials.scheme != "bearer" or credentials.value.count(".") != 2:
            return None
        key = self._script_key()
        if key is None:
            return None
        try:
            return script_identity(credentials.value, key)
        except Unauthorized:
            return None

    async def _identify(self, credentials: Credentials | None, address: str) -> Identity:
        if credentials is None:
            raise self._unauthorized(
                "this needs credentials, in an Authorization or X-Auth-Token header"
            )
        issued = self._of_token(credentials)
        if issued is not None:
            return issued
        for one in self._authenticators:
            # Whom it costs nothing to know is let in, whatever others try from the same address.
            identity = one.recall(credentials)
            if identity is not None:
                return identity
        now = self._clock()
        self._limit(self._failures.wait(address, now), f"wrong credentials from {address}")
        try:
            identity = await self._ask(credentials)
        except Unauthorized as error:
            self._failures.take(address, now)
            raise self._unauthorized(str(error)) from None
        if identity is None:
            raise self._unauthorized(self._not_taken(credentials))
        return identity

    def _not_taken(self, credentials: Credentials) -> str:
        # Where only passwords are asked for there are tokens, too: those that this server has issued.
        issues = self.issuer is None and self._script_key() is not None
        if credentials.scheme == "bearer" and issues:
            return "the token is not one of this server, has ended, or is not its user's any more"
        return "credentials of this kind are not taken here"

    async def _ask(self, credentials: Credentials) -> Identity | None:
        issued = self._of_token(credentials)
        if issued is not None:
            return issued
        for one in self._authenticators:
            identity = await one.authenticate(credentials)
            if identity is not None:
                return identity
        return None

    async def _still(self, headers: Mapping[str, str], identity: Identity) -> bool:
        credentials = credentials_of(headers)
        if credentials is None:
            return False
        if identity.cluster is not None:
            return self._script(credentials) == identity
        try:
            return await self._ask(credentials) == identity
        except (Unauthorized, Forbidden):
            return False
        except GatewayError:
            return True  # nobody can say at the moment

    async def revoked(self, headers: Mapping[str, str], identity: Identity) -> None:
        """Returns once whoever was admitted with these headers as ``identity`` no longer would be.

        For answers that go on for hours: asked every minute, and when the credentials are read anew.
        """
        reloaded = self._reloaded
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._recheck_secs):
                    await reloaded.wait()
            reloaded = self._reloaded
            asked = self.asks or identity.cluster is not None
            if asked and not await self._still(headers, identity):
                return

    def _unauthorized(self, sentence: str) -> Unauthorized:
        return Unauthorized(sentence, challenges=tuple(a.challenge for a in self._authenticators))

    @staticmethod
    def _limit(wait: float, what: str) -> None:
        if wait > 0:
            raise TooMany(f"too many requests ({what})", retry_after=max(1, math.ceil(wait)))

    def check(self, identity: Identity, kind: Kind, key: str, role: str) -> None:
        """Raises what somebody gets who may not do this with the jobs of ``role``.

        Whose jobs may not even be read is told that there are none; that does not depend on whether
        there are. ``key`` is the job's.
        """
        if identity.owns(role) or (kind == "read" and identity.sees(role, self.reading)):
            return
        if kind == "create" or identity.sees(role, self.reading):
            raise Forbidden(f"user {identity.user} does not have the role {role}, whose job this is")
        raise NotFound(f"there is no job {key}")

    def tells(self, identity: Identity) -> bool:
        """Returns whether an identity is told details where everybody is told something."""
        return not (self.asks and identity.is_anonymous)

    def reload(self) -> None:
        """Reads the credentials anew; a file that is wrong changes nothing, and is a problem."""
        self.problem = None
        for one in self._authenticators:
            try:
                one.reload()
            except Invalid as error:
                self.problem = f"{error}; the credentials read before stay in force"
                log.error("%s", self.problem)
        self._reloaded.set()
        self._reloaded = asyncio.Event()

    def close(self) -> None:
        for one in self._authenticators:
            one.close()


def may_use(identity: Identity, project: str) -> bool:
    """Whether a project is one of an identity's: named like the user, or like one of its roles."""
    if identity.is_anonymous or identity.admin:
        return True
    if identity.project is not None:
        return identity.project == project
    return project == identity.user or project in identity.roles


def credentials_of(headers: Mapping[str, str]) -> Credentials | None:
    """Returns what a request brings to prove who asks; None if it brings nothing.

    ``X-Auth-Token`` and ``X-Consul-Token`` hold what ``Authorization: Bearer`` does.
    """
    for name in ("X-Auth-Token", "X-Consul-Token"):
        token = headers.get(name, "").strip()
        if token:
            return Credentials("bearer", token)
    header = headers.get("Authorization", "").strip()
    if not header:
        return None
    scheme, _, value = header.partition(" ")
    return Credentials(scheme.lower(), value.strip())
