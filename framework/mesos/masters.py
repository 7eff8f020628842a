"""Where the masters are: addresses, the options that name them, and which one to try next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from framework.model.errors import Invalid, without_password

DEFAULT_PORT = 5050
_HOST = re.compile(r"[0-9A-Za-z_.-]+|[0-9A-Fa-f:.%]+")
_ZK = re.compile(r"(?:zk|zoo)://(?:(?P<auth>[^@/]+)@)?(?P<hosts>[^/@]+)(?P<path>/.*)?")


class Address(msgspec.Struct, frozen=True):
    """A host (no brackets, also for IPv6) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``host``, ``host:port`` or ``[v6]:port``; raises :class:`Invalid`."""
        try:
            parts = urlsplit(f"//{text.strip()}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Invalid(f"{text!r} is not a master's address: {error}; write host:port") from error
        extra = parts.path or parts.query or parts.username is not None
        if extra or not host or not _HOST.fullmatch(host):
            raise Invalid(f"{text!r} is not a master's address; write host:port")
        return cls(host, DEFAULT_PORT if port is None else port)

    @classmethod
    def of_location(cls, location: str, base: Address) -> Address:
        """Reads a redirect's Location: ``//host:port/path`` (Mesos 1.11), ``http://…``, ``host:port``.

        Raises :class:`Invalid` for one that cannot be followed (https: pymesos has no TLS).
        """
        if location.startswith("https:"):
            raise Invalid(f"the master redirects to {location}, and TLS is not supported")
        if "//" not in location:
            location = base_relative(location, base)
        return cls.parse(urlsplit(location).netloc)


def base_relative(location: str, base: Address) -> str:
    """Returns a Location that has no ``//`` as one that has: a path is one of the master at ``base``."""
    return f"//{base}{location}" if location.startswith("/") else f"//{location}"


class ZooKeeperUrl(msgspec.Struct, frozen=True):
    """``zk://[user:password@]host:port,host:port/path``; ``hosts`` are without the path."""

    hosts: str
    path: str
    auth: str | None = None


def parse_master(text: str) -> ZooKeeperUrl | tuple[Address, ...]:
    """Reads ``--master``: ``host:port``, several with commas, or ``zk://hosts/path``.

    Raises :class:`Invalid` with what would be right.
    """
    if "://" in text:
        match, shown = _ZK.fullmatch(text.strip()), without_password(text)
        if match is None:
            raise Invalid(
                f"master {shown!r}: write host:port, host:port,host:port or zk://host:port/path"
            )
        path = (match["path"] or "").rstrip("/")
        if not path:
            raise Invalid(f"master {shown!r} lacks the path of the masters; write zk://host:port/mesos")
        for server in match["hosts"].split(","):
            try:
                Address.parse(server)
            except Invalid:
                raise Invalid(
                    f"master {shown!r}: {server!r} is no ZooKeeper; write zk://host:port,host:port/path"
                ) from None
        return ZooKeeperUrl(match["hosts"], path, match["auth"])
    addresses = tuple(Address.parse(part) for part in text.split(",") if part.strip())
    if not addresses:
        raise Invalid("no master is given; write host:port, or zk://host:port/path")
    return addresses


class Candidates:
    """Which master to try next: the leader somebody named, otherwise the configured ones in turn.

    With ZooKeeper there are no configured ones, and nobody to try while it names no leader.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = tuple(addresses)
        self._turn = 0
        self._leader: Address | None = None

    def current(self) -> Address | None:
        if self._leader is not None:
            return self._leader
        return self._addresses[self._turn % len(self._addresses)] if self._addresses else None

    def lead(self, address: Address | None) -> bool:
        """A redirect or ZooKeeper names the leader (None: there is none). True if that is news."""
        before = self.current()
        self._leader = address
        return self.current() != before

    def failed(self) -> None:
        """The current one did not answer, or is not the leader."""
        if not self._addresses:
            return  # only ZooKeeper knows better
        if self._leader is not None:
            self._leader = None
        else:
            self._turn += 1
