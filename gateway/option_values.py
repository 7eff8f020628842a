"""What the values of options must be: each function reads a text or raises ``ValueError``."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path

from framework.mesos.executors import check_disk_path
from framework.mesos.masters import Address, ZooKeeperUrl, parse_master
from framework.model.errors import Invalid, without_password
from framework.model.jobs import check_segment
from gateway.auth.addresses import Network
from gateway.auth.rates import Rate

_EVERY = ("0.0.0.0", "::")  # noqa: S104 - refused where one is to be named
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def text(value: str) -> str:
    """Any text that is not empty."""
    if not value.strip():
        raise ValueError("the value is empty")
    return value


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from ``low`` to ``high``."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value.strip()) or not low <= int(value) <= high:
            raise ValueError(f"{value!r} is not an integer between {low} and {high}")
        return int(value)

    return read


def port(value: str) -> int:
    """A port to listen on; 0: a free one."""
    return integer(0, 65535)(value)


def seconds(value: str) -> float:
    """A duration of more than nothing."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{value!r} is not a number of seconds")
    return number


def size(value: str) -> int:
    """Bytes, with K, M or G for multiples of 1024."""
    match = re.fullmatch(r"([0-9]{1,9})\s*([KMG]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if match is None or not int(match.group(1)):
        raise ValueError(f"{value!r} is not a size; write bytes, or 512K, 4M, 1G")
    return int(match.group(1)) * _UNITS[match.group(2).upper()]


def choice(*choices: str) -> Callable[[str], str]:
    """One of these words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return value

    return read


def truth(value: str) -> bool:
    """``true``, ``1``, ``yes``, or their opposites."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise ValueError(f"{value!r} is neither true nor false")
    return known[value.lower()]


def file(value: str) -> Path:
    """The path of a file that is there."""
    path = Path(value)
    if not path.is_file():
        raise ValueError(f"there is no file {value!r}")
    return path


def address(value: str) -> str:
    """An IP address, or localhost."""
    if value != "localhost":
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is not an IP address; write 127.0.0.1, ::1 or localhost"
            ) from None
    return value


def is_loopback(value: str) -> bool:
    """Whether only this machine can reach the address."""
    return value == "localhost" or ipaddress.ip_address(value).is_loopback


def authenticators(value: str) -> tuple[str, ...]:
    """Names with commas between them; ``none`` stands alone."""
    names = tuple(name.strip() for name in value.split(","))
    if not all(re.fullmatch(r"[a-z][a-z0-9_-]*", name) for name in names):
        raise ValueError(f"{value!r} is not a list like tokens,basic")
    if "none" in names and len(names) > 1:
        raise ValueError(f"{value!r}: none asks nobody, and the others somebody; choose")
    return names


def rate(value: str) -> Rate:
    """Requests a second, and how many at once: ``10`` or ``10:50``."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(?::([0-9]{1,6}))?", value.strip())
    if match is None or not float(match.group(1)) or match.group(2) == "0":
        raise ValueError(f"{value!r} is not a rate; write N or N:BURST, with N requests a second")
    per_second = float(match.group(1))
    return Rate(per_second, float(match.group(2) or max(1.0, 2 * per_second)))


def networks(value: str) -> tuple[Network, ...]:
    """Addresses and networks with commas between them."""
    found = []
    for part in value.split(","):
        try:
            network = ipaddress.ip_network(part.strip())
        except ValueError as error:
            raise ValueError(
                f"{error}; write addresses and networks like 192.0.2.1,10.0.0.0/8"
            ) from None
        if network.prefixlen == 0:
            raise ValueError(f"{part.strip()} is everybody, who could then claim any address")
        found.append(network)
    return tuple(found)


def segment(what: str) -> Callable[[str], str]:
    """A name that can be a part of a job's key; ``what`` says of which."""

    def read(value: str) -> str:
        _pass(lambda: check_segment(what, value))
        return value

    return read


def master(value: str) -> str:
    """``local``, or where a Mesos master is."""
    if value != "local":
        _pass(lambda: parse_master(value))
    return value


def disk_path(value: str) -> str:
    """A path in which ``{disk}`` is filled in."""
    _pass(lambda: check_disk_path(value))
    return value


def _pass(check: Callable[[], object]) -> None:
    """Raises ``ValueError`` with the words of the check that the value does not pass."""
    try:
        check()
    except Invalid as error:
        raise ValueError(str(error)) from None


def zookeeper(value: str) -> str:
    """``zk://[user:password@]host:port,…/path``; the path is the replicas' own."""
    sentence = f"{without_password(value)!r} is not a place in ZooKeeper; write zk://host:2181/gateway"
    try:
        if isinstance(parse_master(value), ZooKeeperUrl):
            return value
    except Invalid:
        raise ValueError(sentence) from None
    raise ValueError(sentence)


def session(value: str) -> float:
    """What ZooKeeper grants: by default 2 to 20 of its ticks of 2 seconds."""
    number = seconds(value)
    if not 2 <= number <= 40:
        raise ValueError(f"{value!r} is not between 2 and 40 seconds")
    return number


def advertised(value: str) -> str:
    """``host:port``, where the other replicas can reach this one."""
    try:
        address = Address.parse(value)
    except Invalid:
        address = None
    if address is None or not value.endswith(f":{address.port}") or address.host in _EVERY:
        raise ValueError(f"{value!r} is not where others can reach this one; write HOST:PORT")
    return str(address)


def uids(value: str) -> range:
    """``FIRST-LAST``: numbers of users, root's not among them."""
    match = re.fullmatch(r"([0-9]{1,10})-([0-9]{1,10})", value.strip())
    first, last = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if not 0 < first <= last < 2**32 - 1:
        raise ValueError(f"{value!r} is not a range of users; write 64000-64999")
    return range(first, last + 1)


def registry(value: str) -> str:
    """``internal``, or ``consul://host:port``."""
    if value != "internal":
        scheme, _, rest = value.partition("://")
        try:
            sound = scheme == "consul" and str(Address.parse(rest)) == rest
        except Invalid:
            sound = False
        if not sound:
            raise ValueError(f"{value!r} is no registry; write internal or consul://HOST:8500")
    return value


def keystone(value: str) -> str:
    """The URL of a Keystone; what is returned ends with ``/v3``."""
    url = value.strip().rstrip("/").removesuffix("/v3").rstrip("/")
    if not re.fullmatch(r"https?://[A-Za-z0-9_.\[\]:-]+(/[A-Za-z0-9_.~/-]*)?", url):
        raise ValueError(f"{value!r} is not a Keystone's URL; write https://HOST:5000/v3")
    return f"{url}/v3"
