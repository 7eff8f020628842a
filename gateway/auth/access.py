"""The door: who is asking, how often, and what for."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from framework.model.errors import Forbidden, GatewayError, Invalid, NotFound, Unauthorized
from gateway.auth.authenticators import Authenticator, Credentials
from gateway.auth.identity import ANONYMOUS, Identity, Reading
from gateway.auth.rates import Buckets, Rate

log = logging.getLogger(__name__)

# What a route is, to whoever asks: open to all, for those who are known, or a change.
Kind = Literal["open", "read", "create", "change"]
# Wrong credentials from one address.
_FAILURES = Rate(per_second=1.0, burst=30.0)


class TooMany(GatewayError):
    """The caller has made more requests than the limit. ``retry_after`` in seconds."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Access:
    """Without ``authenticators`` everybody is :data:`ANONYMOUS`, and may do everything.

    ``reading``: whether users see the jobs of all roles, or their own only. ``rate`` None: no limit.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator] = (),
        reading: Reading = "own",
        rate: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reading: Reading = reading
        self.problem: str | None = None
        self._authenticators = tuple(authenticators)
        self._buckets = Buckets(rate) if rate else None
        self._failures = Buckets(_FAILURES)
        self._clock = clock

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who they are."""
        return bool(self._authenticators)

    async def admit(self, headers: Mapping[str, str], address: str, kind: Kind) -> Identity:
        """Returns who asks; raises :class:`Unauthorized` or :class:`TooMany`."""
        header = headers.get("Authorization", "").strip()
        identity = ANONYMOUS
        if self._authenticators and (kind != "open" or header):
            identity = await self._identify(header, address)
        if self._buckets is not None:
            who = f"user {identity.user}" if identity.user is not None else f"address {address}"
            self._limit(self._buckets.take(who, self._clock()), who)
        return identity

    async def _identify(self, header: str, address: str) -> Identity:
        if not header:
            raise self._unauthorized("this needs credentials, in an Authorization header")
        now = self._clock()
        self._limit(self._failures.wait(address, now), f"wrong credentials from {address}")
        scheme, _, value = header.partition(" ")
        credentials = Credentials(scheme.lower(), value.strip())
        try:
            for one in self._authenticators:
                identity = await one.authenticate(credentials)
                if identity is not None:
                    return identity
        except Unauthorized as error:
            self._failures.take(address, now)
            raise self._unauthorized(str(error)) from None
        raise self._unauthorized("credentials of this kind are not taken here")

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

    def reload(self) -> None:
        """Reads the credentials anew; a file that is wrong changes nothing, and is a problem."""
        self.problem = None
        for one in self._authenticators:
            try:
                one.reload()
            except Invalid as error:
                self.problem = f"{error}; the credentials read before stay in force"
                log.error("%s", self.problem)

    def close(self) -> None:
        for one in self._authenticators:
            one.close()
