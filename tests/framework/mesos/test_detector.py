"""The leading master, found through ZooKeeper: later, another, none, and a ZooKeeper that is away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from framework.core.messages import Disconnected, Registered
from framework.mesos.driver import MesosDriver
from framework.mesos.guarded import Timing
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import Master, eventually
from tests.framework.mesos.zookeeper import ZooKeeper

MakeDriver = Callable[..., MesosDriver]


def info(master: Master) -> bytes:
    """What a master writes about itself (the shape of recording 37's cluster)."""
    host, port = master.address.split(":")
    address = {"hostname": host, "ip": host, "port": int(port)}
    return json.dumps(
        {"id": "x", "ip": 1, "port": int(port), "version": "1.11.0", "address": address}
    ).encode()


@pytest.fixture
def zookeeper() -> Iterator[ZooKeeper]:
    server = ZooKeeper()
    server.put("/mesos")
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Master]:
    master = Master()
    yield master
    master.close()


def test_the_lowest_sequence_leads_and_its_successor_follows(
    make_driver: MakeDriver, zookeeper: ZooKeeper, master: Master, other: Master, sink: Sink
) -> None:
    zookeeper.put("/mesos/log_replicas")
    zookeeper.put("/mesos/info_0000000001", b"protobuf of an old release")
    zookeeper.put("/mesos/json.info_0000000007", info(other))
    zookeeper.put("/mesos/json.info_0000000003", info(master))
    driver = make_driver(f"zk://127.0.0.1:{zookeeper.port}/mesos")
    driver.start()
    sink.wait(Registered)
    assert driver.status.master == master.address
    zookeeper.remove("/mesos/json.info_0000000003")
    sink.wait(Registered, 2)
    assert driver.status.master == other.address
    assert other.subscriptions[0].json["framework_id"] == {"value": master.framework_id}
    # Nobody leads: we leave, say so, and come when somebody does.
    zookeeper.remove("/mesos/json.info_0000000007")
    sink.wait(Disconnected, 2)
    eventually(lambda: driver.status.problem == "ZooKeeper names no leading master")
    zookeeper.put("/mesos/json.info_0000000009", info(master))
    sink.wait(Registered, 3)
    assert driver.status.master == master.address


def test_a_leader_that_cannot_be_read_is_passed_over(
    make_driver: MakeDriver, zookeeper: ZooKeeper, master: Master, sink: Sink
) -> None:
    zookeeper.put("/mesos/json.info_0000000001", b"{broken")
    driver = make_driver(f"zk://127.0.0.1:{zookeeper.port}/mesos")
    driver.start()
    eventually(lambda: driver.status.problem == "ZooKeeper names no leading master")
    zookeeper.put("/mesos/json.info_0000000002", info(master))
    zookeeper.remove("/mesos/json.info_0000000001")
    sink.wait(Registered)


def test_a_zookeeper_that_is_down_at_the_start(
    make_driver: MakeDriver, port: int, master: Master, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    driver = make_driver(f"zk://127.0.0.1:{port}/mesos")
    began = time.monotonic()
    driver.start()
    assert time.monotonic() - began < 10.0, "where pymesos waits for 15 s"
    eventually(lambda: "refused" in caplog.text)
    eventually(lambda: driver.status.problem == "ZooKeeper names no leading master")
    late = ZooKeeper(port)
    try:
        late.put("/mesos")
        late.put("/mesos/json.info_0000000001", info(master))
        sink.wait(Registered)
        driver.stop()
    finally:
        late.close()


def test_masters_that_have_not_registered_yet(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    """Without the path pymesos's watch ends for ever, silently."""
    empty = ZooKeeper()
    driver = make_driver(f"zk://127.0.0.1:{empty.port}/mesos")
    driver.start()
    try:
        eventually(lambda: "/mesos" in empty.missed)
        eventually(lambda: driver.status.problem == "ZooKeeper names no leading master")
        empty.put("/mesos")
        empty.put("/mesos/json.info_0000000001", info(master))
        sink.wait(Registered)
        driver.stop()
    finally:
        empty.close()


def test_stop_does_not_wait_for_a_zookeeper_that_is_down(
    make_driver: MakeDriver, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    driver = make_driver(f"zk://127.0.0.1:{port}/mesos", timing=Timing())
    driver.start()
    eventually(lambda: "refused" in caplog.text)
    began = time.monotonic()
    driver.stop()
    assert time.monotonic() - began < 8.0, "where kazoo waits for 10 s"


def test_credentials_for_zookeeper(
    make_driver: MakeDriver, zookeeper: ZooKeeper, master: Master, sink: Sink
) -> None:
    zookeeper.put("/mesos/json.info_0000000001", info(master))
    driver = make_driver(f"zk://reader:pass@127.0.0.1:{zookeeper.port}/mesos")
    driver.start()
    sink.wait(Registered)
    assert any(b"digest" in auth and b"reader:pass" in auth for auth in zookeeper.auths)
