"""Masters that refuse, go, change and come back; how the driver waits for them, and when it must not.

As in :mod:`tests.framework.mesos.test_guards`, each guard has a test that fails without it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from framework.core.messages import (
    Disconnected,
    Kill,
    Registered,
)
from framework.mesos.driver import MesosDriver
from framework.mesos.guarded import Timing
from tests.framework.mesos.conftest import Sink, still_works
from tests.framework.mesos.peer import Master, Recording, Request, eventually

MakeDriver = Callable[..., MesosDriver]


# -- pauses ---------------------------------------------------------------------------------------


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
    status = driver.status
    assert status.problem is not None or status.connected
    # And it is back when the master is well.
    well: list[Request] = []

    def accept(request: Request) -> bool:
        well.append(request)
        return False

    master.subscribe = accept
    eventually(lambda: well and driver.status.connected)
    still_works(driver, master, sink)


def test_the_longest_pause_keeps_the_promise() -> None:
    timing = Timing()
    assert timing.longest_pause <= 15
    assert timing.heartbeats_missed == 5


# -- F5: when not to come back --------------------------------------------------------------------


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


# -- F3: a master that comes later, goes, comes back ----------------------------------------------


def test_a_master_that_is_down_at_the_start(make_driver: MakeDriver, port: int, sink: Sink) -> None:
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


def test_a_master_that_restarts_is_found_again(make_driver: MakeDriver, port: int, sink: Sink) -> None:
    first = Master(port)
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
    make_driver: MakeDriver, port: int, master: Master, sink: Sink
) -> None:
    driver = make_driver(f"127.0.0.1:{port},{master.address}")
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
        master.shut()
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
