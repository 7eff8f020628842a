"""Recorded traffic of a real Mesos, replayed to the driver."""

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
    OfferRescinded,
    OffersReceived,
    Registered,
    Revive,
    StatusReceived,
)
from framework.mesos.driver import MesosDriver
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import Master, Recording, Request, eventually

NAMES = [
    "02-launch-finish",
    "03-kill",
    "04-reconcile",
    "05-decline-revive-suppress",
    "06-messages",
    "07-executor-exits",
    "10-agent-unregisters",
    "11-agent-restart",
    "13-invalid-launches",
    "14-command-task",
    "15-unacknowledged",
    "16-master-restart",
    "17-scheduler-errors",
    "19-agent-lost",
    "22-partition-aware",
    "23-operations",
    "31-multi-role",
    "33-maintenance",
    "37-redirect-and-leader-change",
    "39-task-ends-while-agent-is-down",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_event_is_passed_on(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path, name: str
) -> None:
    recording = Recording(shared, name)
    expected: dict[type[Any], int] = {
        OffersReceived: len(recording.events("OFFERS")),
        StatusReceived: len(recording.events("UPDATE")),
        OfferRescinded: len(recording.events("RESCIND")),
        AgentLost: sum("executor_id" not in e["failure"] for e in recording.events("FAILURE")),
    }
    others = ("HEARTBEAT", "FAILURE", "MESSAGE", "INVERSE_OFFERS", "RESCIND_INVERSE_OFFER")
    for kind in ("OFFERS", "UPDATE", "RESCIND", "UPDATE_OPERATION_STATUS", *others):
        for event in recording.events(kind):
            master.stream.event(event)
    for event_type, count in expected.items():
        if count:
            assert len(sink.wait(event_type, count)) == count
    assert len(master.subscriptions) == 1
    assert driver.status.connected


def test_05_declined_offers_come_again(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    """Each answer of ours is the recorded one, and the master's next offer is read after it."""
    recording = Recording(shared, "05-decline-revive-suppress")
    offers = recording.events("OFFERS")

    def offered(count: int) -> str:
        master.stream.event(offers[count - 1])
        return sink.wait(OffersReceived, count)[-1].offers[0].offer_id

    driver.perform([Decline((offered(1),), 3)])
    eventually(lambda: len(master.calls("DECLINE")) == 1)
    driver.perform([Decline((offered(2),), 5)])
    driver.perform([Decline((offered(3),), 1000), Revive()])
    eventually(lambda: master.calls("REVIVE"))
    offered(4)
    recorded = [call["decline"] for call in recording.requests("DECLINE")]
    sent = [call["decline"] for call in master.calls("DECLINE")]
    assert sent[0] == recorded[0]
    assert sent[1] == {**recorded[1], "filters": {"refuse_seconds": 5}}  # the default, spelled out
    assert sent[2] == recorded[2]


def test_08_failover_to_another_process(
    make_driver: Callable[..., MesosDriver], master: Master, sink: Sink, shared: Path
) -> None:
    """The first leaves without a word, the second comes with the id and gets the final update."""
    recording = Recording(shared, "08-failover")
    first_subscribe, second_subscribe = recording.requests("SUBSCRIBE")
    framework_id = recording.events("SUBSCRIBED")[0]["subscribed"]["framework_id"]["value"]
    master.framework_id = framework_id
    running, finished = recording.events("UPDATE")
    first = make_driver()
    first.start()
    sink.wait(Registered)
    master.stream.event(running)
    first.perform([Acknowledge(sink.wait(StatusReceived)[0].update)])
    first.stop()
    second = make_driver(framework_id=framework_id)
    second.start()
    sink.wait(Registered, 2)
    assert "framework_id" not in first_subscribe
    assert master.subscriptions[1].json["framework_id"] == second_subscribe["framework_id"]
    master.stream.event(finished)
    second.perform([Acknowledge(sink.wait(StatusReceived, 2)[1].update)])
    eventually(lambda: len(master.calls("ACKNOWLEDGE")) == 2)
    assert [call["acknowledge"] for call in master.calls("ACKNOWLEDGE")] == [
        call["acknowledge"] for call in recording.requests("ACKNOWLEDGE")
    ]
    assert master.calls("TEARDOWN") == []


@pytest.mark.parametrize("ending", ["end_stream", "close"])
def test_36_reconnecting_within_the_failover_timeout(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path, ending: str
) -> None:
    getattr(master.stream, ending)()
    sink.wait(Registered, 2)
    again = Recording(shared, "36-reconnect-within-failover-timeout").requests("SUBSCRIBE")[1]
    sent = master.subscriptions[1].json
    assert set(sent) == set(again)
    assert sent["subscribe"]["framework_info"]["id"] == sent["framework_id"]
    assert [type(e) for e in sink.events] == [Registered, Disconnected, Registered]


def test_12_an_operator_tears_the_framework_down(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    """The stream ends without an ERROR; only the next SUBSCRIBE tells why."""
    removed = Recording(shared, "12-removed-framework").events("ERROR")[0]

    def refuse(request: Request) -> bool:
        request.connection.open_stream("s-2")
        request.connection.event(removed)
        request.connection.end_stream()
        return True

    master.subscribe = refuse
    master.stream.end_stream()
    eventually(lambda: driver.status.fatal)
    assert len(master.subscriptions) == 2
    assert len(sink.of(Registered)) == 1
