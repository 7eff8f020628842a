"""Framework messages through the driver, as they were recorded (06-messages)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.core.messages import Registered, Revive
from framework.mesos.driver import MesosDriver
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import Master, Recording, eventually


def test_06_messages_in_both_directions(
    make_driver: Callable[..., MesosDriver], master: Master, sink: Sink, shared: Path
) -> None:
    recording = Recording(shared, "06-messages")
    master.framework_id = recording.events("SUBSCRIBED")[0]["subscribed"]["framework_id"]["value"]
    heard: list[tuple[str, str, bytes]] = []
    driver = make_driver()
    driver.listen(lambda agent_id, executor_id, data: heard.append((agent_id, executor_id, data)))
    driver.start()
    sink.wait(Registered)
    events = recording.events("MESSAGE")
    for event in events:
        master.stream.event(event)
    eventually(lambda: len(heard) == len(events) == 2)
    assert [data for _, _, data in heard] == [b"hello", b"echo: \x00\xffping"]
    recorded = recording.requests("MESSAGE")
    for call in recorded:
        content = call["message"]
        driver.message(
            content["agent_id"]["value"],
            content["executor_id"]["value"],
            base64.b64decode(content["data"]),
        )
    eventually(lambda: len(master.calls("MESSAGE")) == 3)
    assert master.calls("MESSAGE") == recorded
    assert {(a, e) for a, e, _ in heard} == {
        (e["message"]["agent_id"]["value"], e["message"]["executor_id"]["value"]) for e in events
    }
    assert len(sink.events) == 1, "the core hears nothing of messages"


def test_what_is_no_message_and_a_listener_that_fails_end_nothing(
    make_driver: Callable[..., MesosDriver], master: Master, sink: Sink
) -> None:
    heard: list[bytes] = []

    def listen(agent_id: str, executor_id: str, data: bytes) -> None:
        heard.append(data)
        if data == b"bad":
            raise RuntimeError("a listener must not raise")

    def message(**content: Any) -> dict[str, Any]:
        who = {"agent_id": {"value": "a-1"}, "executor_id": {"value": "e-1"}}
        return {"type": "MESSAGE", "message": {**who, **content}}

    driver = make_driver()
    driver.listen(listen)
    driver.start()
    sink.wait(Registered)
    for content in ({"data": "no base64"}, {}, {"data": "YmFk"}, {"data": "Z29vZA=="}):
        master.stream.event(message(**content))
    eventually(lambda: heard == [b"bad", b"good"])
    assert driver.status.connected
    assert len(master.subscriptions) == 1


def test_messages_keep_their_order_and_are_dropped_while_disconnected(
    make_driver: Callable[..., MesosDriver], master: Master, sink: Sink
) -> None:
    driver = make_driver()
    driver.start()
    driver.message("a-1", "e-1", b"too early")
    sink.wait(Registered)
    for number in range(50):
        driver.message("a-1", "e-1", str(number).encode())
        driver.perform([Revive()])
    eventually(lambda: len(master.calls("REVIVE")) == 50)
    sent = [base64.b64decode(call["message"]["data"]) for call in master.calls("MESSAGE")]
    assert [data for data in sent if data != b"too early"] == [str(n).encode() for n in range(50)]
