"""The detector of masters against a real ZooKeeper, with nodes as Mesos writes them.

Masters of Mesos 1.11 keep ``json.info_<sequence>`` (ephemeral, sequential, MasterInfo as JSON) beside
``log_replicas``; the lowest sequence leads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from framework.core.messages import Disconnected, Registered
from framework.mesos.driver import MesosDriver
from tests.faults.replicas import fresh_path
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import Master, eventually
from tests.zookeeper import Way

MakeDriver = Callable[..., MesosDriver]


Info = Callable[[Master], bytes]


@pytest.fixture(scope="module")
def info(shared: Path) -> Info:
    """Makes what a master writes of itself: the MasterInfo that one of Mesos 1.11 told of itself."""
    recorded = shared / "data" / "mesos-v1" / "operator" / "master.v1.GET_MASTER.json"
    told = json.loads(recorded.read_text())["json"]["get_master"]["master_info"]

    def make(master: Master) -> bytes:
        host, port = master.address.split(":")
        address = {"hostname": host, "ip": host, "port": int(port)}
        mine = {"address": address, "port": int(port), "pid": f"master@{master.address}"}
        return json.dumps(told | mine, separators=(",", ":")).encode()

    return make


class Masters:
    """The masters' side of ZooKeeper; each has a session of its own."""

    def __init__(self, zookeeper: str, info: Info) -> None:
        self._info = info
        self.zookeeper = zookeeper
        self.path = fresh_path()
        self.url = f"zk://{zookeeper}{self.path}"
        self._sessions: list[KazooClient] = []
        self.open(self.path)

    def open(self, path: str) -> None:
        """Makes the path where they stand from now on."""
        self.path = path
        self._session().ensure_path(f"{path}/log_replicas")

    def _session(self) -> KazooClient:
        retry = {"max_tries": -1, "delay": 0.1, "max_delay": 1.0}
        client = KazooClient(hosts=self.zookeeper, timeout=10.0, connection_retry=retry)
        client.start(timeout=60)
        self._sessions.append(client)
        return client

    def contend(self, master: Master) -> KazooClient:
        """Has ``master`` stand for election; the end of the session that is returned ends that."""
        client = self._session()
        client.create(f"{self.path}/json.info_", self._info(master), ephemeral=True, sequence=True)
        return client

    def close(self) -> None:
        for client in self._sessions:
            client.stop()
            client.close()


@pytest.fixture
def masters(zookeeper_address: str, info: Info) -> Iterator[Masters]:
    masters = Masters(zookeeper_address, info)
    yield masters
    masters.close()


@pytest.fixture
def other() -> Iterator[Master]:
    other = Master()
    yield other
    other.close()


def test_the_first_leads_and_the_next_follows_when_its_session_ends(
    make_driver: MakeDriver,
    masters: Masters,
    master: Master,
    other: Master,
    sink: Sink,
) -> None:
    first = masters.contend(master)
    masters.contend(other)
    driver = make_driver(masters.url)
    driver.start()
    sink.wait(Registered)
    assert driver.status.master == master.address
    first.stop()
    sink.wait(Registered, 2)
    assert driver.status.master == other.address
    assert other.subscriptions[0].json["framework_id"] == {"value": master.framework_id}


def test_nobody_leads_until_somebody_does(
    make_driver: MakeDriver,
    masters: Masters,
    master: Master,
    sink: Sink,
) -> None:
    driver = make_driver(masters.url)
    driver.start()
    eventually(lambda: driver.status.problem == "ZooKeeper names no leading master")
    session = masters.contend(master)
    sink.wait(Registered)
    session.stop()
    sink.wait(Disconnected)
    masters.contend(master)
    sink.wait(Registered, 2)


def test_a_path_that_appears_later(
    make_driver: MakeDriver,
    masters: Masters,
    master: Master,
    sink: Sink,
) -> None:
    nowhere = fresh_path()
    driver = make_driver(f"zk://{masters.zookeeper}{nowhere}")
    driver.start()
    eventually(lambda: driver.status.problem == "ZooKeeper names no leading master")
    masters.open(nowhere)
    masters.contend(master)
    sink.wait(Registered)


def test_a_zookeeper_that_is_away_takes_no_subscription_with_it(
    make_driver: MakeDriver,
    masters: Masters,
    master: Master,
    other: Master,
    sink: Sink,
) -> None:
    """The stream to the master is fine, so it stays; a change made meanwhile is seen afterwards."""
    way = Way(int(masters.zookeeper.rpartition(":")[2]))
    try:
        first = masters.contend(master)
        driver = make_driver(f"zk://{way.address}{masters.path}")
        driver.start()
        sink.wait(Registered)
        client = detector_of(driver).zk
        way.cut()
        eventually(lambda: not client.connected)
        assert driver.status.connected
        masters.contend(other)
        first.stop()
        assert driver.status.connected
        assert len(master.subscriptions) == 1
        way.restore()
        sink.wait(Registered, 2)
        assert driver.status.master == other.address
    finally:
        way.close()


def test_a_session_that_zookeeper_ends_is_made_anew(
    make_driver: MakeDriver,
    masters: Masters,
    master: Master,
    other: Master,
    sink: Sink,
) -> None:
    first = masters.contend(master)
    driver = make_driver(masters.url)
    driver.start()
    sink.wait(Registered)
    client = detector_of(driver).zk
    ended = client.client_id
    thief = KazooClient(hosts=masters.zookeeper, client_id=ended)
    thief.start(timeout=60)
    thief.stop()
    thief.close()
    eventually(lambda: client.client_id is not None and client.client_id != ended)
    assert driver.status.connected
    # The new session watches, too.
    first.stop()
    masters.contend(other)
    sink.wait(Registered, 2)
    assert driver.status.master == other.address


def detector_of(driver: MesosDriver) -> Any:
    detector = driver._driver.detector
    assert detector is not None
    return detector
