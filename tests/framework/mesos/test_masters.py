"""How masters are named, and which one is next."""

from __future__ import annotations

import pytest

from framework.mesos.backoff import Backoff
from framework.mesos.masters import Address, Candidates, ZooKeeperUrl, parse_master
from framework.model.errors import Invalid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:5051", (Address("10.0.0.1", 5051),)),
        ("master.example", (Address("master.example", 5050),)),
        ("a:1, b:2,", (Address("a", 1), Address("b", 2))),
        ("[::1]:5050", (Address("::1", 5050),)),
        ("zk://z1:2181,z2/mesos", ZooKeeperUrl("z1:2181,z2", "/mesos")),
        ("zk://user:pa:ss@z1/deep/mesos/", ZooKeeperUrl("z1", "/deep/mesos", "user:pa:ss")),
        ("zoo://z1/mesos", ZooKeeperUrl("z1", "/mesos")),
    ],
)
def test_masters_are_named(text: str, expected: object) -> None:
    assert parse_master(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "http://x:5050",
        "x:99999",
        "x:port",
        "a b:1",
        "x:1/path",
        "u@x:1",
        "zk://z1",
        "zk:///mesos",
        "zk://z1:port/mesos",
        "zk://z1:99999/mesos",
        "zk://z1,,z2/mesos",
    ],
)
def test_what_names_no_master_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"write (host|zk)"):
        parse_master(text)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("//10.0.0.2:5050/master/api/v1/scheduler", Address("10.0.0.2", 5050)),
        ("//10.0.0.2:5050", Address("10.0.0.2", 5050)),
        ("http://m2:5060/api/v1/scheduler", Address("m2", 5060)),
        ("m2:5060", Address("m2", 5060)),
        ("/api/v1/scheduler", Address("m1", 5050)),
        ("//[::1]:5050/x", Address("::1", 5050)),
    ],
)
def test_redirects_are_read(location: str, expected: Address) -> None:
    assert Address.of_location(location, Address("m1", 5050)) == expected


@pytest.mark.parametrize("location", ["https://m2:5050/x", "//", ""])
def test_redirects_that_lead_nowhere_are_refused(location: str) -> None:
    with pytest.raises(Invalid):
        Address.of_location(location, Address("m1", 5050))


def test_addresses_print_as_they_are_written() -> None:
    assert [str(Address("h", 1)), str(Address("::1", 2))] == ["h:1", "[::1]:2"]


def test_candidates_take_turns_and_follow_a_leader() -> None:
    a, b, c = Address("a", 1), Address("b", 1), Address("c", 1)
    candidates = Candidates((a, b))
    assert candidates.current() == a
    candidates.failed()
    assert candidates.current() == b
    assert candidates.lead(c)
    assert not candidates.lead(c)
    assert candidates.current() == c
    candidates.failed()
    assert candidates.current() == b
    candidates.failed()
    assert candidates.current() == a


def test_with_zookeeper_only_zookeeper_knows() -> None:
    candidates = Candidates(())
    assert candidates.current() is None
    assert candidates.lead(Address("a", 1))
    candidates.failed()
    assert candidates.current() == Address("a", 1)
    assert candidates.lead(None)
    assert candidates.current() is None


def test_pauses_double_and_stay_below_the_longest() -> None:
    highest = Backoff(0.25, 12.0, jitter=lambda: 1.0)
    assert [highest.next() for _ in range(8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 12.0]
    lowest = Backoff(0.25, 12.0, jitter=lambda: 0.0)
    assert [lowest.next() for _ in range(2)] == [0.125, 0.25]
    for _ in range(3000):
        assert highest.next() == 12.0
    highest.reset()
    assert highest.next() == 0.25
