"""From where a request comes: behind proxies, and behind whoever pretends to be one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.addresses import client_address, site_of

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7,10.9.9.9"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has(
    peer: str, forwarded: list[str], address: str
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == address


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=40), max_size=4))
def test_what_a_client_makes_up_moves_nothing(made_up: list[str]) -> None:
    """The proxy appends the client's address to what the client had sent."""
    assert client_address("10.0.0.1", [*made_up, "198.51.100.7"], TRUSTED) == "198.51.100.7"
    joined = ",".join([*made_up, "198.51.100.7"])
    assert client_address("10.0.0.1", [joined], TRUSTED) == "198.51.100.7"
    assert client_address("198.51.100.7", made_up, TRUSTED) == "198.51.100.7"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("", "192.0.2.1", False),
    ],
)
def test_an_address_counts_as_its_site(one: str, other: str, same: bool) -> None:
    assert (site_of(one) == site_of(other)) is same
