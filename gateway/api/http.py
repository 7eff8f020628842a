"""What an api is made of: routes as data, calls that come in, answers that go out.

A route's handler is a coroutine function ``handler(call, *segments) -> Answer | Stream``; it raises a
:class:`framework.model.errors.GatewayError` for what the caller should know. Everything that all
handlers share (limits, identity, errors, metrics) is in :mod:`gateway.api.resource`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec
from tornado import escape

from framework.model.errors import Invalid, NotSupported
from framework.model.jobs import check_segment
from gateway.api.query import Query
from gateway.auth.access import Kind
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.errors import Problem

if TYPE_CHECKING:
    from gateway.context import ClusterParts, Gateway
    from gateway.dataprocessing.service import DataProcessing

JSON = "application/json; charset=UTF-8"
_REST = "{key_path}"
_NAME = re.compile(r"\{([a-z_]+)\}")
P = ParamSpec("P")
T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """A complete answer: ``body`` is written as JSON (text: as it stands, as ``content_type``)."""

    body: dict[str, Any] | list[Any] | str | bytes
    status: int = 200
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Stream(msgspec.Struct, frozen=True):
    """An answer of unknown length: every chunk is sent at once; a slow reader is disconnected."""

    chunks: AsyncGenerator[bytes, None]
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Call:
    """One request on its way to the domain."""

    def __init__(
        self,
        gateway: Gateway,
        query: Query,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        caller: Identity = ANONYMOUS,
        base: str = "",
        pattern: str = "",
        address: str = "",
    ) -> None:
        """``base``: scheme and host that the client knows the server by; ``pattern``: the route's;
        ``address``: where the request comes from."""
        self.gateway = gateway
        self.query = query
        self.body = body
        self.headers: Mapping[str, str] = headers or {}
        self.caller = caller
        self.base = base
        self.pattern = pattern
        self.address = address

    @property
    def clusters(self) -> ClusterParts:
        """What clusters are made with; raises :class:`NotSupported` where there is none of it."""
        if self.gateway.clusters is None:
            raise NotSupported(
                "clusters of products need the gateway's own scheduler, which --executor external lacks"
            )
        return self.gateway.clusters

    @property
    def dataprocessing(self) -> DataProcessing:
        """What data clusters are made with; raises :class:`NotSupported` where there is none of it."""
        if self.gateway.dataprocessing is None:
            raise NotSupported(
                "data clusters need the gateway's own scheduler, which --executor external lacks"
            )
        return self.gateway.dataprocessing

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a blocking function in the execution pool and returns what it returns."""
        return await self.gateway.pool.run(function, *args, **kwargs)

    def identity(self, role: str) -> str:
        """Returns the name that stands for the caller: as it was proved, else see :func:`identity`."""
        return self.caller.user or identity(self.headers, role)

    def visible_roles(self) -> frozenset[str] | None:
        """Returns the roles whose jobs the caller may read; None: all."""
        return self.caller.visible_roles(self.gateway.access.reading)


Handler = Callable[..., Awaitable[Answer | Stream]]
# From the beginning of the path's segments, joined, and what is wrong, to the body of a failure.
Failure = Callable[[str, Problem], dict[str, Any] | str]


class Route(msgspec.Struct, frozen=True):
    """One method of one resource.

    ``pattern``: the path, with ``{names}`` for its segments. ``query``: the parameters it knows; any
    other is refused, so that a misspelt ``shards`` never means all of them. ``failure`` renders its
    failures. ``body``: whether the request's body means anything. ``kind``: what it is to whoever
    asks; by default a GET reads, and everything else is a change. ``local``: every replica answers for
    itself; otherwise the one that leads does. ``scripts``: clusters' scripts may ask for it, and the
    handler looks at what of. ``answers``: for the API's description, statuses and their bodies: names
    in :mod:`gateway.api.reference.schemas`, or media types of text; ``accepts`` is the same for the
    request's body (by default a job configuration), ``failures`` the name of the failures' schema.
    ``suffix`` may stand behind the path, and changes nothing.
    """

    method: str
    pattern: str
    handler: Handler
    summary: str
    failure: Failure
    query: tuple[str, ...] = ()
    body: bool = False
    kind: Kind | None = None
    local: bool = False
    scripts: bool = False
    answers: tuple[tuple[int, str], ...] = ()
    accepts: tuple[str, ...] = ()
    failures: str = ""
    suffix: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        """The names of the path's segments."""
        return tuple(_NAME.findall(self.pattern))

    @property
    def access(self) -> Kind:
        return self.kind or ("read" if self.method == "GET" else "change")

    def role_of(self, segments: Sequence[str]) -> str | None:
        """Returns the role that the path names, None if it names none."""
        names = self.segments
        return segments[names.index("role")] if "role" in names else None

    @property
    def regex(self) -> str:
        """The pattern as a regular expression over the raw path; one trailing slash is allowed.

        A segment is whatever stands between two slashes, decoded once and checked afterwards: an
        encoded slash never makes two segments of one. ``{key_path}`` is all that is left, slashes
        and all.
        """
        if self.pattern.endswith(_REST):
            return re.escape(self.pattern.removesuffix(_REST)) + "(.*)"
        parts = [re.escape(part) for part in _NAME.sub("\0", self.pattern).split("\0")]
        if not self.suffix:
            return "([^/]+)".join(parts) + "/?"
        # As little as possible: what is left of the last segment may be the suffix.
        return "([^/]+?)".join(parts) + f"(?:{re.escape(self.suffix)})?/?"


def json_text(value: dict[str, Any] | list[Any] | str) -> bytes:
    """Returns ``value`` as every answer writes it: with ``", "`` and ``": "``, as json.dumps does."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=0)
    except UnicodeEncodeError:  # half of a surrogate pair, from a name in an error's sentence
        return escape.json_encode(value).encode()
    # An answer never ends the <script> that somebody puts it in.
    return text.replace(b"</", b"<\\/") if b"<" in text else text


def identity(headers: Mapping[str, str], role: str) -> str:
    """Returns who asks: the user name of Basic credentials, otherwise the role in the URL.

    For a server that asks nobody who they are (``--auth none``, on loopback addresses only), where a
    password proves nothing and is not looked at. The name stands for the user in job configurations.
    Raises :class:`Invalid` for credentials that cannot be read.
    """
    scheme, _, credentials = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "basic":
        return role
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:  # not ASCII, not base64, not UTF-8
        raise Invalid("the Authorization header is not Basic base64(user:password)") from None
    user = text.partition(":")[0]
    if not user:
        return role
    check_segment("user", user)
    return user
