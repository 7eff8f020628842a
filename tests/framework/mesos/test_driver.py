"""The driver against a master on loopback: the main path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.core.messages import (
    Acknowledge,
    AgentLost,
    Decline,
    Disconnected,
    Kill,
    OfferRescinded,
    OffersReceived,
    Reconcile,
    Registered,
    Revive,
    StatusReceived,
    Suppress,
)
from framework.mesos.driver import WEEK, MesosDriver
from framework.mesos.session import Session
from framework.model.cluster import PortRange
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import SCHEDULER, Master, Recording, eventually


def test_subscribes_as_the_recorded_client_did(driver: MesosDriver, master: Master, sink: Sink) -> None:
    request = master.subscriptions[0]
    info = request.json["subscribe"]["framework_info"]
    assert request.line == f"POST {SCHEDULER} HTTP/1.1"
    assert request.headers["accept"] == "application/json"
    assert info["capabilities"] == [{"type": "PARTITION_AWARE"}, {"type": "GPU_RESOURCES"}]
    assert info["failover_timeout"] >= WEEK
    assert info["checkpoint"] is True
    assert "id" not in info
    assert sink.of(Registered)[0].framework_id == master.framework_id
    status = driver.status
    assert status.connected
    assert status.master == master.address
    assert status.framework_id == master.framework_id
    assert (status.fatal, status.problem) == (None, None)


def test_there_is_a_problem_until_there_is_a_subscription(
    make_driver: Callable[..., MesosDriver], sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at the status in between must not find neither."""
    seen: list[tuple[bool, str | None]] = []

    def make(**fields: Any) -> Session:
        status = driver.status
        seen.append((status.connected, status.problem))
        return Session(**fields)

    monkeypatch.setattr("framework.mesos.guarded.Session", make)
    driver = make_driver()
    driver.start()
    sink.wait(Registered)
    assert seen == [(False, "not subscribed yet")]
    assert driver.status.problem is None


def test_comes_back_with_its_id_in_both_places(
    make_driver: Callable[..., MesosDriver], master: Master, sink: Sink
) -> None:
    driver = make_driver(framework_id="given-0000")
    driver.start()
    sink.wait(Registered)
    request = master.subscriptions[0].json
    assert request["framework_id"] == {"value": "given-0000"}
    assert request["subscribe"]["framework_info"]["id"] == {"value": "given-0000"}


def test_recorded_offers_arrive_as_values(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    event = Recording(shared, "02-launch-finish").events("OFFERS")[0]
    master.stream.event(event)
    (offer,) = sink.wait(OffersReceived)[0].offers
    assert (offer.cpus, offer.mem_mb, offer.disk_mb, offer.gpus) == (2.0, 1024.0, 1024.0, 0.0)
    assert offer.ports == (PortRange(31000, 31099),)
    assert offer.attributes == {"rack": ("r1",), "zone": ("z1",)}
    assert offer.agent_address == "127.0.0.1:5051"
    assert not offer.has_executor


def test_every_other_event_arrives(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    for name in ("10-agent-unregisters", "07-executor-exits", "33-maintenance"):
        recording = Recording(shared, name)
        for kind in ("UPDATE", "RESCIND", "FAILURE", "INVERSE_OFFERS", "RESCIND_INVERSE_OFFER"):
            for event in recording.events(kind):
                master.stream.event(event)
    sink.wait(OfferRescinded, 3)
    (lost,) = sink.of(AgentLost)
    assert lost.agent_id.endswith("-S0")
    states = [event.update.state for event in sink.of(StatusReceived)]
    assert states[:3] == ["TASK_RUNNING", "TASK_LOST", "TASK_LOST"]
    assert sink.of(StatusReceived)[1].update.uuid is None
    assert driver.status.connected


def test_calls_are_those_of_the_recordings(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    running = Recording(shared, "15-unacknowledged").events("UPDATE")[0]
    master.stream.event(running)
    update = sink.wait(StatusReceived)[0].update
    driver.perform(
        [
            Acknowledge(update),
            Decline(("o-1", "o-2"), 3.0),
            Kill("t-1"),
            Kill("t-2", "agent-1"),
            Suppress(),
            Revive(),
            Reconcile((("t-1", None), ("t-2", "agent-1"))),
            Reconcile(),
        ]
    )
    eventually(lambda: len(master.calls("RECONCILE")) == 2)
    recorded = Recording(shared, "15-unacknowledged").requests("ACKNOWLEDGE")[1]
    sent = master.calls("ACKNOWLEDGE")[0]
    assert sent["acknowledge"] == recorded["acknowledge"]
    assert sent["framework_id"] == {"value": master.framework_id}
    assert master.calls("DECLINE")[0]["decline"] == {
        "offer_ids": [{"value": "o-1"}, {"value": "o-2"}],
        "filters": {"refuse_seconds": 3.0},
    }
    assert [call["kill"] for call in master.calls("KILL")] == [
        {"task_id": {"value": "t-1"}},
        {"task_id": {"value": "t-2"}, "agent_id": {"value": "agent-1"}},
    ]
    assert [call["reconcile"] for call in master.calls("RECONCILE")] == [
        {
            "tasks": [
                {"task_id": {"value": "t-1"}},
                {"task_id": {"value": "t-2"}, "agent_id": {"value": "agent-1"}},
            ]
        },
        {"tasks": []},
    ]
    kinds = [request.kind for request in master.requests if request.kind not in ("SUBSCRIBE", "")]
    assert kinds == [
        "ACKNOWLEDGE",
        "DECLINE",
        "KILL",
        "KILL",
        "SUPPRESS",
        "REVIVE",
        "RECONCILE",
        "RECONCILE",
    ]


def test_calls_share_one_connection_and_carry_the_stream_id(driver: MesosDriver, master: Master) -> None:
    driver.perform([Kill(f"t-{n}") for n in range(50)])
    eventually(lambda: len(master.calls("KILL")) == 50)
    kills = [request for request in master.requests if request.kind == "KILL"]
    assert {request.headers["mesos-stream-id"] for request in kills} == {"stream-1"}
    assert len({id(request.connection) for request in kills}) == 1


def test_stop_leaves_the_framework_alive(driver: MesosDriver, master: Master, sink: Sink) -> None:
    driver.perform([Kill("t-1")])
    driver.stop()
    assert master.calls("KILL") != []  # what was given before is still sent
    assert master.calls("TEARDOWN") == []
    assert len(sink.of(Disconnected)) == 1
    eventually(master.stream.closed.is_set)


def test_teardown_is_sent_when_asked_for(driver: MesosDriver, master: Master) -> None:
    driver.teardown()
    assert master.calls("TEARDOWN") == [
        {"type": "TEARDOWN", "framework_id": {"value": master.framework_id}}
    ]
