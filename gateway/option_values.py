"""What the values of options must be: each function reads a text or raises ``ValueError``."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path

from framework.mesos.masters import Address, ZooKeeperUrl, parse_master
from framework.model.errors import Invalid
from framework.model.jobs import check_segment

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def text(value: str) -> str:
    if not value.strip():
        raise ValueError("the value is empty")
    return value


def integer(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value.strip()) or not low <= int(value) <= high:
            raise ValueError(f"{value!r} is not an integer between {low} and {high}")
        return int(value)

    return read


def port(value: str) -> int:
    return integer(0, 65535)(value)


def seconds(value: str) -> float:
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
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return value

    return read


def truth(value: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise ValueError(f"{value!r} is neither true nor false")
    return known[value.lower()]


def file(value: str) -> Path:
    path = Path(value)
    if not path.is_file():
        raise ValueError(f"there is no file {value!r}")
    return path


def loopback(value: str) -> str:
    """An address that only this machine can reach."""
    if value == "localhost":
        return value
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address; write 127.0.0.1, ::1 or localhost") from None
    if not address.is_loopback:
        raise ValueError(
            f"{value} could be reached from other machines, and this release has no authentication: "
            "whoever reached it could run anything. Listen on 127.0.0.1 and put a proxy that "
            "authenticates in front"
        )
    return value


def segment(what: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        try:
            check_segment(what, value)
        except Invalid as error:
            raise ValueError(str(error)) from None
        return value

    return read


def master(value: str) -> str:
    if value != "local":
        try:
            parse_master(value)
        except Invalid as error:
            raise ValueError(str(error)) from None
    return value


def zookeeper(value: str) -> str:
    """``zk://[user:password@]host:port,…/path``; the path is the replicas' own."""
    sentence = f"{_without_password(value)!r} is not a place in ZooKeeper; write zk://host:2181/gateway"
    try:
        if isinstance(parse_master(value), ZooKeeperUrl):
            return value
    except Invalid:
        raise ValueError(sentence) from None
    raise ValueError(sentence)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", url)


def advertised(value: str) -> str:
    """``host:port``, where the other replicas can reach this one."""
    try:
        address = Address.parse(value)
    except Invalid:
        address = None
    if address is None or not value.endswith(f":{address.port}") or address.host in ("0.0.0.0", "::"):
        raise ValueError(f"{value!r} is not where others can reach this one; write HOST:PORT")
    return str(address)
