"""From where a request comes: what proxies say of it, and whom an address counts as. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Returns the last address on the way that no trusted proxy has.

    ``forwarded`` are the values of X-Forwarded-For, to which each proxy appends the address that it
    sees. Whatever stands before the first untrusted one, its sender may have made up.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    address = peer
    while hops and _is_in(address, trusted):
        following = hops.pop()
        if _parsed(following) is None:
            break
        address = following
    return address


@functools.lru_cache(maxsize=1024)
def site_of(address: str) -> str:
    """Returns what an address is counted as: a whole /64 of IPv6, as one site has it."""
    ip = _parsed(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return address if ip is None else str(ip)


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    ip = _parsed(address)
    return ip is not None and any(ip in network for network in networks)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        # Without the zone of a link-local address, which names an interface of whoever wrote it.
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
