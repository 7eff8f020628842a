"""What pymesos alone would not survive; each guard has a test that fails without it."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

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
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import Master, Recording, Request, eventually

MakeDriver = Callable[..., MesosDriver]
RESCIND = {"type": "RESCIND", "rescind": {"offer_id": {"value": "o-1"}}}


def still_works(driver: MesosDriver, master: Master, sink: Sink) -> None:
    """The subscription passes events on, and calls go out."""
    before = len(sink.of(OfferRescinded))
    master.stream.event(RESCIND)
    sink.wait(OfferRescinded, before + 1)
    driver.perform([Kill("still-works")])
    eventually(
        lambda: master.calls("KILL")[-1:] and master.calls("KILL")[-1]["kill"]["task_id"]["value"]
    )
    assert master.calls("TEARDOWN") == []


# -- 1: nothing ends the framework ----------------------------------------------------------------


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


# -- 2: pauses ------------------------------------------------------------------------------------


def closed_at_once(request: Request) -> bool:
    request.connection.close()
    return True


def subscribed_and_closed(request: Request, master: Master) -> bool:
    master.accept_subscription(request)
    request.connection.end_stream()
    request.connection.close()
    return True


def an_error(request: Request, master: Master, text: str) -> bool:
    request.connection.open_stream("s")
    request.connection.event({"type": "ERROR", "error": {"message": text}})
    request.connection.end_stream()
    return True


@pytest.mark.parametrize("fault", ["503", "closed", "ended", "error", "nonsense", "404"])
def test_attempts_that_fail_at_once_are_paused_longer_and_longer(
    make_driver: MakeDriver, master: Master, sink: Sink, shared: Path, fault: str
) -> None:
    no_leader = Recording(shared, "37-redirect-and-leader-change").answers(503)[0]
    answers: dict[str, Callable[[Request], Any]] = {
        "503": lambda request: request.connection.send(no_leader) or True,
        "closed": closed_at_once,
        "ended": lambda request: subscribed_and_closed(request, master),
        "error": lambda request: an_error(request, master, "Role is not allowed"),
        "nonsense": lambda request: request.connection.send(b"SSH-2.0-OpenSSH_9.2\r\n") or True,
        "404": lambda request: request.connection.reply("404 Not Found", "404 Not Found.") or True,
    }
    master.subscribe = answers[fault]
    # 0.1-0.2 s after two and more failures: in a second at most 2 + 10 attempts, where pymesos made 280.
    driver = make_driver(timing=Timing(first_pause=0.05, longest_pause=0.2, settled_after=60.0))
    driver.start()
    eventually(lambda: len(master.subscriptions) >= 4)
    pauses = [b.at - a.at for a, b in zip(master.subscriptions, master.subscriptions[1:], strict=False)]
    assert all(pause >= 0.024 for pause in pauses)
    assert all(pause >= 0.09 for pause in pauses[2:])
    assert driver.status.problem is not None or driver.status.connected
    # And it is back as soon as the master is well, in the time a pause takes.
    master.subscribe = lambda request: False
    known = driver.status.counters["subscriptions"]
    eventually(lambda: driver.status.counters["subscriptions"] > known and driver.status.connected, 2.0)
    still_works(driver, master, sink)


def test_the_longest_pause_keeps_the_promise() -> None:
    timing = Timing()
    assert timing.longest_pause <= 15
    assert timing.heartbeats_missed == 5


# -- 3 and F5: when not to come back --------------------------------------------------------------


def test_a_deposed_leader_never_comes_back(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path
) -> None:
    (failed_over, _) = Recording(shared, "09-takeover").events("ERROR")
    master.stream.event(failed_over)
    with suppress(OSError):  # the driver may have left already
        master.stream.end_stream()
    sink.wait(Disconnected)
    status = driver.status
    assert "another scheduler has subscribed" in (status.fatal or "")
    assert not status.connected
    driver._driver.join()  # its thread has ended: nothing can subscribe any more
    assert len(master.subscriptions) == 1
    driver.perform([Kill("t")])
    assert driver.status.counters["dropped"] == 1


def test_a_removed_framework_is_fatal_and_no_new_one_is_made(
    make_driver: MakeDriver, master: Master, shared: Path
) -> None:
    removed = Recording(shared, "12-removed-framework").events("ERROR")[0]
    master.subscribe = lambda request: an_error(request, master, removed["error"]["message"])
    driver = make_driver(framework_id="gone-0000")
    driver.start()
    eventually(lambda: driver.status.fatal)
    assert "Mesos has removed framework gone-0000" in (driver.status.fatal or "")
    driver._driver.join()
    assert len(master.subscriptions) == 1
    assert master.subscriptions[0].json["framework_id"] == {"value": "gone-0000"}


# -- 4: silence -----------------------------------------------------------------------------------


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


def test_heartbeats_keep_the_subscription(make_driver: MakeDriver, master: Master, sink: Sink) -> None:
    master.heartbeat = 0.1
    driver = make_driver()
    driver.start()
    sink.wait(Registered)
    for _ in range(8):  # 0.8 s, where silence would end it after 0.5 s
        time.sleep(0.1)
        master.stream.event({"type": "HEARTBEAT"})
    assert len(master.subscriptions) == 1
    assert driver.status.connected


def test_a_hung_master_blocks_nobody(driver: MesosDriver, master: Master, sink: Sink) -> None:
    """Recording 38: pymesos waits for the answer for a day, holding its lock."""
    hung = threading.Event()
    master.call = lambda request: hung.wait(10) or True
    began = time.monotonic()
    for number in range(1000):
        driver.perform([Kill(f"t-{number}")])
    assert driver.status.connected
    assert time.monotonic() - began < 0.5
    # The call times out; the subscription is made anew, so that reconciliation can set things right.
    sink.wait(Registered, 2)
    # Those that were on their way; nothing is sent after them.
    assert 1 <= driver.status.counters["failed"] <= 16
    hung.set()


@pytest.mark.parametrize("where", ["subscribe", "call"])
def test_stop_does_not_wait_for_a_hung_master(
    make_driver: MakeDriver, master: Master, sink: Sink, where: str
) -> None:
    hung = threading.Event()
    setattr(master, where, lambda request: hung.wait(10) or True)
    driver = make_driver(timing=Timing(flush=0.1))  # answers are waited for 10 s
    driver.start()
    eventually(lambda: master.subscriptions)
    if where == "call":
        sink.wait(Registered)
        driver.perform([Kill("t")])
        eventually(lambda: master.calls("KILL"))
    began = time.monotonic()
    driver.stop()
    assert time.monotonic() - began < 1.0
    hung.set()


def test_an_unanswered_subscription_is_given_up(make_driver: MakeDriver, master: Master) -> None:
    hung = threading.Event()
    master.subscribe = lambda request: hung.wait(10)
    driver = make_driver(timing=Timing(answer_timeout=0.1, first_pause=0.02))
    driver.start()
    eventually(lambda: len(master.subscriptions) == 2)
    assert "did not answer within 0.1 s" in (driver.status.problem or "")
    hung.set()


# -- 5: size --------------------------------------------------------------------------------------


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


# -- 6: descriptors, and what a refusal does to the process ---------------------------------------


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
    master.subscribe = lambda request: (
        bool(answers) and (request.connection.send(answers.pop(0)) or True)
    )
    settings = FrameworkSettings(user="nobody", principal="fw", secret="s3cret")
    driver = make_driver(framework=settings, timing=Timing(first_pause=0.2, longest_pause=0.2))
    driver.start()
    problem = eventually(lambda: (p := driver.status.problem or "") and "401" in p and p)
    assert "are principal and secret right?" in problem
    assert "s3cret" not in problem
    eventually(lambda: "does not match principal" in (driver.status.problem or ""))
    sink.wait(Registered)  # and when the master has learnt it, all is well
    assert {request.headers["authorization"] for request in master.subscriptions} == {
        "Basic Znc6czNjcmV0"
    }
    driver.perform([Kill("t")])
    eventually(lambda: master.calls("KILL"))
    assert master.requests[-1].headers["authorization"] == "Basic Znc6czNjcmV0"
    assert master.subscriptions[-1].json["subscribe"]["framework_info"]["principal"] == "fw"


# -- 7: calls -------------------------------------------------------------------------------------


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


# -- 8 and F3: a master that comes later, goes, comes back ----------------------------------------


def test_a_master_that_is_down_at_the_start(make_driver: MakeDriver, sink: Sink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    driver = make_driver(f"127.0.0.1:{port}")
    driver.start()
    eventually(lambda: "Connection refused" in (driver.status.problem or ""))
    late = Master(port)
    try:
        sink.wait(Registered)
        info = late.subscriptions[0].json["subscribe"]["framework_info"]
        assert {"type": "GPU_RESOURCES"} in info["capabilities"]
        driver.stop()
    finally:
        late.close()


def test_a_master_that_restarts_is_found_again(make_driver: MakeDriver, sink: Sink) -> None:
    first = Master()
    port = int(first.address.split(":")[1])
    driver = make_driver(first.address)
    driver.start()
    sink.wait(Registered)
    first.close()
    sink.wait(Disconnected)
    second = Master(port)
    try:
        sink.wait(Registered, 2)
        assert second.subscriptions[0].json["framework_id"] == {"value": first.framework_id}
        assert first.calls("TEARDOWN") == second.calls("TEARDOWN") == []
        driver.stop()
    finally:
        second.close()


def test_of_several_masters_the_one_that_answers_is_used(
    make_driver: MakeDriver, master: Master, sink: Sink
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = f"127.0.0.1:{probe.getsockname()[1]}"
    driver = make_driver(f"{dead},{master.address}")
    driver.start()
    sink.wait(Registered)
    assert driver.status.master == master.address


@pytest.mark.parametrize(
    "location", ["//{}/master/api/v1/scheduler", "http://{}/master/api/v1/scheduler", "{}"]
)
def test_a_redirect_leads_to_the_leader(
    make_driver: MakeDriver, master: Master, sink: Sink, location: str
) -> None:
    follower = Master()
    headers = [("Location", location.format(master.address))]
    follower.subscribe = lambda r: r.connection.reply("307 Temporary Redirect", "", headers) or True
    driver = make_driver(follower.address)
    driver.start()
    try:
        sink.wait(Registered)
        assert driver.status.master == master.address
        assert len(follower.subscriptions) == 1
        # The leader is gone: back to the one that was configured.
        follower.subscribe = lambda request: False
        master.close()
        sink.wait(Registered, 2)
        assert driver.status.master == follower.address
        driver.stop()
    finally:
        follower.close()


def test_masters_that_redirect_to_each_other_are_not_hammered(
    make_driver: MakeDriver, master: Master
) -> None:
    other = Master()

    def to(address: str) -> Callable[[Request], bool]:
        headers = [("Location", f"//{address}/master/api/v1/scheduler")]
        return lambda r: r.connection.reply("307 Temporary Redirect", "", headers) or True

    master.subscribe, other.subscribe = to(other.address), to(master.address)
    driver = make_driver(timing=Timing(first_pause=0.1, longest_pause=0.2))
    driver.start()
    try:
        eventually(lambda: len(master.subscriptions) + len(other.subscriptions) >= 8)
        requests = sorted([*master.subscriptions, *other.subscriptions], key=lambda r: r.at)
        assert requests[7].at - requests[3].at >= 4 * 0.05
        driver.stop()
    finally:
        other.close()


@pytest.mark.parametrize(
    "answer",
    [
        "403 Forbidden|Framework is not subscribed",
        "400 Bad Request|Framework cannot be found",
        "400 Bad Request|The stream ID 'x' included in this request didn't match the stream ID "
        "currently associated with framework ID y",
        "503 Service Unavailable|No leader elected",
    ],
)
def test_a_call_that_says_the_subscription_is_void_renews_it(
    driver: MesosDriver, master: Master, sink: Sink, answer: str
) -> None:
    status, _, text = answer.partition("|")
    master.call = lambda r: len(master.subscriptions) == 1 and (r.connection.reply(status, text) or True)
    driver.perform([Kill("t")])
    sink.wait(Registered, 2)
    still_works(driver, master, sink)


def test_a_redirected_call_leads_to_the_new_leader(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    leader = Master()
    headers = [("Location", f"//{leader.address}/master/api/v1/scheduler")]
    master.call = lambda r: r.connection.reply("307 Temporary Redirect", "", headers) or True
    driver.perform([Kill("t")])
    try:
        sink.wait(Registered, 2)
        assert driver.status.master == leader.address
        driver.stop()
    finally:
        leader.close()


def test_resubscribing_on_demand_tells_everything_anew(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    driver.resubscribe("the state was reloaded")
    sink.wait(Registered, 2)
    kinds = [type(event) for event in sink.events]
    assert kinds == [Registered, Disconnected, Registered]
    assert master.subscriptions[1].json["framework_id"] == {"value": master.framework_id}


def test_a_master_on_ipv6(make_driver: MakeDriver, sink: Sink) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("needs IPv6 on loopback")
    master = Master(listener=listener)
    driver = make_driver(f"[::1]:{listener.getsockname()[1]}")
    driver.start()
    try:
        sink.wait(Registered)
        assert master.subscriptions[0].headers["host"] == driver.status.master
        driver.perform([Kill("t")])
        eventually(lambda: master.calls("KILL"))
        driver.stop()
    finally:
        master.close()


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
    for byte in record:
        master.stream.send(b"1\r\n" + bytes([byte]) + b"\r\n")
    sink.wait(OfferRescinded)
