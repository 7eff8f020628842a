"""--ha, --advertise, --ha-session: what goes together, and what is said of what does not."""

from __future__ import annotations

import dataclasses

import pytest

from framework.mesos.masters import ZooKeeperUrl
from framework.model.errors import Invalid
from gateway import standby
from gateway.options import Options
from tests.gateway.test_options import read, refusal

HA = Options(ha="zk://zk1:2181/gateway", master="mesos:5050", port=8888)


def with_options(**changes: object) -> Options:
    return dataclasses.replace(HA, **changes)


@pytest.mark.parametrize(
    ("argument", "about"),
    [
        ("--ha=zk1:2181", "write zk://host:2181/gateway"),
        ("--ha=zk://zk1:2181", "write zk://host:2181/gateway"),
        ("--ha=http://zk1/gateway", "write zk://host:2181/gateway"),
        ("--ha=zk://me:s3cret@zk1:2181", "write zk://host:2181/gateway"),
        ("--advertise=gateway1", "write HOST:PORT"),
        ("--advertise=0.0.0.0:8888", "write HOST:PORT"),
        ("--advertise=http://gateway1:8888", "write HOST:PORT"),
        ("--ha-session=1", "between 2 and 40 seconds"),
        ("--ha-session=60", "between 2 and 40 seconds"),
    ],
)
def test_wrong_values(argument: str, about: str) -> None:
    sentence = refusal(argument)
    assert about in sentence
    assert "s3cret" not in sentence


def test_what_is_read() -> None:
    options = read("--ha=zk://me:pw@zk1:2181,zk2/a/b", "--advertise=[2001:db8::1]:80", "--master=m:5050")
    assert standby.zookeeper(options) == ZooKeeperUrl("zk1:2181,zk2", "/a/b", "me:pw")
    assert standby.own_url(options) == "http://[2001:db8::1]:80"
    assert options.ha_session == 6.0


def test_without_ha_there_is_no_replica() -> None:
    assert standby.zookeeper(Options()) is None
    with pytest.raises(Invalid, match="--ha zk://"):
        standby.zookeeper(Options(advertise="gateway1:8888"))


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"master": "local"}, "bin/local-mesos"),
        ({"executor": "external"}, "--executor external"),
        ({"address": "0.0.0.0"}, "--advertise HOST:PORT"),
        ({"address": "::"}, "--advertise HOST:PORT"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, str], about: str) -> None:
    with pytest.raises(Invalid, match=about):
        standby.zookeeper(with_options(**changes))


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://127.0.0.1:8888"),
        ({"address": "::1"}, "http://[::1]:8888"),
        ({"address": "localhost"}, "http://localhost:8888"),
        ({"address": "0.0.0.0", "advertise": "gateway1:9000"}, "http://gateway1:9000"),
        ({"tls_cert": "cert.pem"}, "https://127.0.0.1:8888"),
    ],
)
def test_where_others_reach_it(changes: dict[str, str], url: str) -> None:
    assert standby.own_url(with_options(**changes)) == url
