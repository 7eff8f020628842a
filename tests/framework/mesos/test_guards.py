"""What pymesos alone would not survive; each guard has a test that fails without it."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from framework.core.messages import (
    Disconnected,
    Kill,
    OfferRescinded,
    OffersReceived,
    Reconcile,
    Registered,
    StatusReceived,
)
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.guarded import Timing
from framework.mesos.stream import EventStream
from framework.model.errors import Invalid, Unavailable
from tests.framework.mesos.conftest import RESCIND, Sink, still_works
from tests.framework.mesos.peer import QUICK, Master, Recording, Request, eventually

MakeDriver = Callable[..., MesosDriver]


# -- nothing ends the framework -------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        {"type": "UPDATE", "update": {}},
        {"type": "UPDATE", "update": {"status": {"task_id": "no object", "state": "TASK_RUNNING"}}},
        {"type": "OFFERS", "offers": {"offers": [{"id": {"value": "o-1"}}, 7]}},
        {"type": "OFFERS"},
        {"type": "NEW_IN_MESOS_2", "new_in_mesos_2": {}},
        {"no": "type"},
        {"type": None},
    ],
    ids=str,
)
def test_an_event_that_cannot_be_read_is_skipped(
    driver: MesosDriver, master: Master, sink: Sink, event: dict[str, Any]
) -> None:
    master.stream.event(event)
    still_works(driver, master, sink)
    assert len(master.subscriptions) == 1


def test_a_subscription_that_cannot_be_read_is_made_anew(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    """Without it nothing would come, and heartbeats would keep the silence alive."""

    def subscribe(request: Request) -> bool:
        if len(master.subscriptions) > 1:
            return False
        request.connection.open_stream("stream-0")
        request.connection.event({"type": "SUBSCRIBED", "subscribed": {}})
        return True

    master.subscribe = subscribe
    driver = make_driver()
    driver.start()
    sink.wait(Registered)
    assert len(master.subscriptions) == 2


def test_a_defect_in_the_reading_is_told_and_the_driver_comes_back(
    driver: MesosDriver,
    master: Master,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its thread must not end with a session that nobody reads: that would be called connected."""
    defects: list[Exception] = []
    read = EventStream._read

    def read_badly(stream: EventStream, sock: socket.socket) -> Any:
        if defects:
            raise defects.pop()
        return read(stream, sock)

    monkeypatch.setattr(EventStream, "_read", read_badly)
    defects.append(KeyError("a defect of ours"))
    master.stream.event(RESCIND)
    sink.wait(Registered, 2)
    assert len(sink.of(Disconnected)) == 1
    assert "failed unexpectedly: KeyError('a defect of ours')" in caplog.text
    still_works(driver, master, sink)


def test_a_sink_that_raises_does_not_end_the_subscription(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    collect = sink.events.append

    def failing(event: Any) -> None:
        collect(event)
        if isinstance(event, StatusReceived):
            raise RuntimeError("the sink fails")

    driver = make_driver()
    driver._driver.sched._sink = failing
    driver.start()
    sink.wait(Registered)
    master.stream.event(
        {"type": "UPDATE", "update": {"status": {"task_id": {"value": "t"}, "state": "TASK_RUNNING"}}}
    )
    sink.wait(StatusReceived)
    still_works(driver, master, sink)


def test_a_refused_call_ends_nothing(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    answer = Recording(shared, "26-bad-call-in-callback").answers(400)[0]
    master.call = lambda request: (
        request.json["kill"]["task_id"]["value"] == "bad" and (request.connection.send(answer) or True)
    )
    driver.perform([Kill("bad")])
    eventually(lambda: driver.status.counters["refused"] == 1)
    still_works(driver, master, sink)
    assert len(master.subscriptions) == 1


def test_teardown_has_one_way_only(driver: MesosDriver, master: Master) -> None:
    with pytest.raises(RuntimeError, match="operator"):
        driver._driver._teardown()
    driver._driver._shutdown()
    driver._driver.abort()
    assert master.calls("TEARDOWN") == []


def test_teardown_needs_a_subscription(make_driver: MakeDriver) -> None:
    driver = make_driver()
    with pytest.raises(Unavailable, match="not subscribed"):
        driver.teardown()


# -- silence --------------------------------------------------------------------------------------


def test_five_missed_heartbeats_end_the_subscription(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    master.heartbeat = 0.06
    driver = make_driver()
    driver.start()
    sink.wait(Registered)
    began = master.subscriptions[0].at
    sink.wait(Disconnected)
    assert time.monotonic() - began >= 5 * 0.06 - 0.01
    sink.wait(Registered, 2)
    assert driver.status.counters["watchdog"] >= 1
    assert master.subscriptions[1].json["framework_id"] == {"value": master.framework_id}


def test_heartbeats_keep_the_subscription(
    make_driver: MakeDriver, master: Master, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]  # the stream's clock: only a silence of the master passes on it
    monkeypatch.setattr("framework.mesos.stream.time", SimpleNamespace(monotonic=lambda: now[0]))
    master.heartbeat = 15.0
    driver = make_driver()
    driver.start()
    sink.wait(Registered)
    for number in range(2, 10):  # the first came with the subscription
        now[0] += 74.0  # where silence would end it after 75 s
        master.stream.event({"type": "HEARTBEAT"})
        eventually(lambda n=number: driver.status.counters["event:HEARTBEAT"] == n)
    still_works(driver, master, sink)
    assert len(master.subscriptions) == 1


def test_a_hung_master_blocks_nobody(driver: MesosDriver, master: Master, sink: Sink) -> None:
    """Recording 38: pymesos waits for the answer for a day, holding its lock."""
    hung = threading.Event()
    master.call = lambda request: not hung.wait(60)
    for number in range(1000):
        driver.perform([Kill(f"t-{number}")])
    # Who waits for an answer, waits until the call times out.
    assert driver.status.connected
    assert driver.status.counters["failed"] == 0
    hung.set()


def test_a_call_without_an_answer_renews_the_subscription(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    """So that reconciliation can set things right."""
    driver = make_driver(timing=msgspec.structs.replace(QUICK, call_timeout=0.5))
    driver.start()
    sink.wait(Registered)
    hung = threading.Event()
    master.call = lambda request: hung.wait(60) or True
    driver.perform([Kill(f"t-{number}") for number in range(1000)])
    sink.wait(Registered, 2)
    # Those that were on their way; nothing is sent after them.
    assert 1 <= driver.status.counters["failed"] <= 16
    hung.set()


@pytest.mark.parametrize("where", ["subscribe", "call"])
def test_stop_does_not_wait_for_a_hung_master(
    make_driver: MakeDriver, master: Master, sink: Sink, where: str
) -> None:
    hung = threading.Event()
    setattr(master, where, lambda request: hung.wait(100) or True)
    driver = make_driver(timing=Timing(answer_timeout=90.0, call_timeout=90.0, flush=0.1))
    driver.start()
    eventually(lambda: master.subscriptions)
    if where == "call":
        sink.wait(Registered)
        driver.perform([Kill("t")])
        eventually(lambda: master.calls("KILL"))
    began = time.monotonic()
    driver.stop()
    assert time.monotonic() - began < 45.0, "where answers are waited for 90 s"
    hung.set()


def test_an_unanswered_subscription_is_given_up(make_driver: MakeDriver, master: Master) -> None:
    hung = threading.Event()
    master.subscribe = lambda request: hung.wait(60)
    driver = make_driver(timing=Timing(answer_timeout=0.1, first_pause=0.02))
    driver.start()
    eventually(lambda: len(master.subscriptions) >= 2)
    assert "did not answer within 0.1 s" in (driver.status.problem or "")
    hung.set()


# -- size -----------------------------------------------------------------------------------------


@pytest.mark.alone
def test_ten_thousand_offers_in_one_event(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    (offer, *_) = Recording(shared, "02-launch-finish").events("OFFERS")[0]["offers"]["offers"]
    offers = [{**offer, "id": {"value": f"o-{number}"}} for number in range(10_000)]
    began = time.process_time()
    master.stream.event({"type": "OFFERS", "offers": {"offers": offers}})
    (received,) = sink.wait(OffersReceived)
    assert [seen.offer_id for seen in received.offers[:2]] == ["o-0", "o-1"]
    assert len(received.offers) == 10_000
    # pymesos needs 4 s for the parsing alone, on a machine of its own.
    assert time.process_time() - began < 3.0


# -- descriptors, and what a refusal does to the process ------------------------------------------


def test_more_than_1024_open_descriptors(make_driver: MakeDriver, master: Master, sink: Sink) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("needs a limit of 2048 open files")
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        for _ in range(1100):
            stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        driver = make_driver()
        driver.start()
        sink.wait(Registered)
        still_works(driver, master, sink)
        driver.stop()


def test_bad_credentials_are_a_problem_not_an_abort(
    make_driver: MakeDriver, master: Master, sink: Sink, shared: Path
) -> None:
    recording = Recording(shared, "27-authentication")
    answers = [recording.answers(401)[0], recording.answers(400)[0]]
    seen = threading.Semaphore()  # one answer at a time, until it is seen what came of it

    def subscribe(request: Request) -> bool:
        assert seen.acquire(timeout=60)
        return bool(answers) and (request.connection.send(answers.pop(0)) or True)

    master.subscribe = subscribe
    settings = FrameworkSettings(user="nobody", principal="fw", secret="s3cret")
    timing = Timing(answer_timeout=60.0, first_pause=0.02, longest_pause=0.02)
    driver = make_driver(framework=settings, timing=timing)
    driver.start()
    problem = eventually(lambda: (p := driver.status.problem or "") and "401" in p and p)
    assert "are principal and secret right?" in problem
    assert "s3cret" not in problem
    seen.release()
    eventually(lambda: "does not match principal" in (driver.status.problem or ""))
    seen.release()
    sink.wait(Registered)  # and when the master has learnt it, all is well
    assert {request.headers["authorization"] for request in master.subscriptions} == {
        "Basic Znc6czNjcmV0"
    }
    driver.perform([Kill("t")])
    eventually(lambda: master.calls("KILL"))
    assert master.requests[-1].headers["authorization"] == "Basic Znc6czNjcmV0"
    assert master.subscriptions[-1].json["subscribe"]["framework_info"]["principal"] == "fw"


# -- calls ----------------------------------------------------------------------------------------


def test_calls_while_disconnected_are_dropped_and_counted(make_driver: MakeDriver) -> None:
    driver = make_driver()
    driver.perform([Kill("t-1"), Kill("t-2")])
    assert driver.status.counters["dropped"] == 2


def test_credentials_do_not_leak_to_another_driver(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    first = make_driver(framework=FrameworkSettings(user="nobody", principal="fw", secret="x"))
    first.start()
    sink.wait(Registered)
    first.perform([Kill("first")])
    eventually(lambda: master.calls("KILL"))
    second = make_driver()
    second.start()
    sink.wait(Registered, 2)
    second.perform([Kill("second")])
    eventually(lambda: len(master.calls("KILL")) == 2)
    assert "authorization" not in master.subscriptions[1].headers
    assert "authorization" not in master.requests[-1].headers


def test_reconciliation_is_sent_in_chunks(driver: MesosDriver, master: Master) -> None:
    driver.perform([Reconcile(tuple((f"t-{n}", "agent") for n in range(2500)))])
    calls = eventually(lambda: len(master.calls("RECONCILE")) == 3 and master.calls("RECONCILE"))
    assert [len(call["reconcile"]["tasks"]) for call in calls] == [1000, 1000, 500]
    assert calls[2]["reconcile"]["tasks"][-1] == {
        "task_id": {"value": "t-2499"},
        "agent_id": {"value": "agent"},
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"failover_timeout": 100.0}, "at least 604800 s"),
        ({"principal": "fw"}, "belong together"),
    ],
)
def test_settings_that_would_lose_tasks_are_refused(
    make_driver: MakeDriver, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        make_driver(framework=FrameworkSettings(**settings))


def test_an_event_split_at_every_byte(driver: MesosDriver, master: Master, sink: Sink) -> None:
    body = json.dumps(RESCIND).encode()
    record = str(len(body)).encode() + b"\n" + body
    stream = master.stream
    for byte in record:
        stream.send(b"1\r\n" + bytes([byte]) + b"\r\n")
    sink.wait(OfferRescinded)
