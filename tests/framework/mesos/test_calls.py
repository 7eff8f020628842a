"""The sender of calls: what is repeated and what must not be, what is dropped, how it ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from framework.core.messages import Decline, Disconnected, Kill, Launch, Registered, Revive
from framework.mesos.calls import CallSender
from framework.mesos.connection import Connection
from framework.mesos.driver import MesosDriver
from framework.mesos.masters import Address
from framework.mesos.session import Session
from tests.framework.mesos.conftest import Sink
from tests.framework.mesos.peer import QUICK, Master, Recording, Request, eventually


def answer_and_close(request: Request) -> bool:
    """The master closes a connection that was idle: the answer comes, the next call finds it dead."""
    request.connection.reply("202 Accepted")
    request.connection.close()
    return True


def kept_connection(driver: MesosDriver) -> Connection:
    """The connection that the next call would take: all calls before are answered."""
    assert driver._sender.flush(30)
    connection = driver._sender._connection
    assert connection is not None
    return connection


def test_a_kept_connection_that_was_closed_is_replaced(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    master.call = answer_and_close
    for number in range(5):
        driver.perform([Kill(f"t-{number}")])
        eventually(lambda n=number: len(master.calls("KILL")) == n + 1)
        eventually(kept_connection(driver).is_stale)
    assert driver.status.counters["failed"] == 0
    assert sink.of(Disconnected) == []


def test_a_call_that_may_be_repeated_is_tried_once_more(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    driver.perform([Revive()])
    eventually(lambda: len(master.calls("REVIVE")) == 1)
    kept_connection(driver)
    answers = [False, True]  # the kept connection dies under the call; the second try is answered
    master.call = lambda request: (
        (
            request.connection.reply("202 Accepted")
            if answers.pop() is False
            else request.connection.close()
        )
        or True
    )
    driver.perform([Kill("t")])
    eventually(lambda: len(master.calls("KILL")) == 2)
    assert driver._sender.flush(30)
    assert driver.status.counters["failed"] == 0
    assert len(sink.of(Registered)) == 1


def test_an_accept_does_not_go_out_on_a_dead_connection(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    """It could not be repeated, so it is looked first whether the kept connection still stands."""
    master.call = answer_and_close
    driver.perform([Revive()])
    eventually(kept_connection(driver).is_stale)
    driver.perform([Launch(("o-1",), "a-1", ())])
    eventually(lambda: master.calls("ACCEPT"))
    driver.stop()
    assert driver.status.counters["failed"] == 0
    assert len(master.calls("ACCEPT")) == 1


def test_an_accept_is_never_sent_twice(driver: MesosDriver, master: Master, sink: Sink) -> None:
    """The second would report as lost what the first has started."""
    driver.perform([Revive()])
    eventually(lambda: master.calls("REVIVE"))
    master.call = lambda request: request.kind == "ACCEPT" and (request.connection.close() or True)
    driver.perform([Launch(("o-1",), "a-1", ())])
    # What became of it is found out by reconciliation, after a new registration.
    sink.wait(Registered, 2)
    assert len(master.calls("ACCEPT")) == 1
    assert driver.status.counters["failed"] == 1


def test_calls_are_on_their_way_together_and_in_order(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    answered = threading.Event()
    received: list[str] = []

    def call(request: Request) -> bool:
        received.append(request.json.get("kill", {}).get("task_id", {}).get("value", request.kind))
        return not answered.wait(30) if len(received) == 1 else False

    master.call = call
    driver.perform([Kill(f"t-{number}") for number in range(40)])
    eventually(lambda: received)
    driver.perform([Kill("last")])
    answered.set()
    eventually(lambda: len(received) == 41)
    assert received == [*(f"t-{number}" for number in range(40)), "last"]
    assert driver.status.counters["failed"] == 0
    assert len({id(r.connection) for r in master.requests if r.kind == "KILL"}) == 1


def test_what_was_not_answered_is_sent_again_and_nothing_else(
    driver: MesosDriver, master: Master, sink: Sink
) -> None:
    """The master answers three calls and closes; what it has read behind them is lost."""
    driver.perform([Revive()])
    eventually(lambda: master.calls("REVIVE"))
    seen: dict[Any, list[str]] = {}

    def call(request: Request) -> bool:
        if request.kind != "KILL":
            return False
        on_this = seen.setdefault(request.connection, [])
        on_this.append(request.json["kill"]["task_id"]["value"])
        if len(seen) == 1 and len(on_this) >= 4:
            request.connection.close()
            return True
        return False

    master.call = call
    names = [f"t-{number}" for number in range(8)]
    driver.perform([Kill(name) for name in names])

    def both() -> list[list[str]] | None:
        lists = [list(on_this) for on_this in list(seen.values())]
        return lists if len(lists) == 2 and lists[1][-1:] == ["t-7"] else None

    first, second = eventually(both)
    assert first == names[: len(first)]
    assert second == names[3:]
    assert driver.status.counters["failed"] == 0
    assert len(sink.of(Registered)) == 1


def test_of_several_launches_none_is_sent_twice(driver: MesosDriver, master: Master, sink: Sink) -> None:
    driver.perform([Revive()])
    eventually(lambda: master.calls("REVIVE"))
    seen: list[str] = []

    def call(request: Request) -> bool:
        if request.kind == "ACCEPT":
            seen.append(request.json["accept"]["offer_ids"][0]["value"])
            if len(seen) == 2:
                request.connection.close()
                return True
        return False

    master.call = call
    driver.perform([Launch((f"o-{number}",), "a-1", ()) for number in range(5)])
    sink.wait(Registered, 2)
    sent = list(seen)
    assert len(sent) == len(set(sent))
    assert driver.status.counters["failed"] >= 1


def test_calls_of_an_earlier_subscription_are_dropped(
    make_driver: Callable[..., MesosDriver], master: Master, sink: Sink
) -> None:
    # The call that is on its way must not time out before the driver has subscribed anew.
    driver = make_driver(timing=msgspec.structs.replace(QUICK, call_timeout=60.0))
    driver.start()
    sink.wait(Registered)
    release = threading.Event()
    master.call = lambda request: not release.wait(60)
    driver.perform([Kill("first"), Launch(("o-1",), "a-1", ())])
    eventually(lambda: master.calls("KILL"))
    driver.resubscribe("for the test")
    sink.wait(Registered, 2)
    release.set()
    driver.perform([Decline(("o-2",), 1.0)])
    eventually(lambda: master.calls("DECLINE"))
    assert master.calls("ACCEPT") == []
    assert driver.status.counters["dropped"] == 1
    assert master.requests[-1].headers["mesos-stream-id"] == "stream-2"


# Recording 17 has every way to refuse a call.
VOID = ("Framework cannot be found", "Framework is not subscribed", "didn't match the stream ID")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 415])
def test_recorded_refusals_end_the_subscription_only_if_it_is_void(
    driver: MesosDriver, master: Master, sink: Sink, shared: Path, status: int
) -> None:
    recording = "27-authentication" if status == 401 else "17-scheduler-errors"
    answers = Recording(shared, recording).answers(status)
    assert answers
    for answer in answers:
        subscriptions, refused = len(master.subscriptions), driver.status.counters["refused"]
        master.call = lambda request, answer=answer: request.connection.send(answer) or True
        driver.perform([Kill("t")])
        eventually(lambda n=refused: driver.status.counters["refused"] == n + 1)
        if any(text in answer.decode() for text in VOID):
            sink.wait(Registered, subscriptions + 1)
        else:
            assert driver.status.connected
            assert len(master.subscriptions) == subscriptions
    assert master.calls("TEARDOWN") == []


class Subscribed:
    """The part of a driver that the sender sees."""

    def __init__(self, address: str) -> None:
        self.session: Session | None = Session(1, Address.parse(address), "s-1", "f-1")
        self.ended: list[str] = []

    def resubscribe(self, reason: str, session: Session | None = None) -> None:
        self.ended.append(reason)

    def follow(self, location: str, session: Session) -> None:
        self.ended.append(location)


@pytest.fixture
def counters() -> Counter[str]:
    return Counter()


@pytest.fixture
def sender(master: Master, counters: Counter[str]) -> Iterator[CallSender]:
    def encode(action: Any, session: Session) -> Iterator[dict[str, Any]]:
        if action.task_id == "defect":
            raise ValueError("cannot be expressed")
        yield {"type": "KILL", "kill": {"task_id": {"value": action.task_id}}}

    sender = CallSender(Subscribed(master.address), encode, counters, timeout=60.0, limit=10)
    yield sender
    sender.stop()


def test_the_queue_is_bounded(sender: CallSender, counters: Counter[str], master: Master) -> None:
    sender.put([Kill(f"t-{number}") for number in range(15)])  # nobody sends yet
    sender.put([Kill("one more")])
    assert counters["dropped"] == 6
    sender.start()
    assert sender.flush(30)
    assert [call["kill"]["task_id"]["value"] for call in master.calls("KILL")] == [
        f"t-{number}" for number in range(10)
    ]


def test_an_action_that_cannot_be_expressed_holds_nothing_up(
    sender: CallSender, counters: Counter[str], master: Master
) -> None:
    sender.start()
    sender.put([Kill("defect"), Kill("t")])
    assert sender.flush(30)
    assert len(master.calls("KILL")) == 1
    assert counters["failed"] == 1


def test_flush_says_when_it_takes_too_long(sender: CallSender, master: Master) -> None:
    release = threading.Event()
    master.call = lambda request: not release.wait(60)
    sender.start()
    sender.put([Kill("t")])
    assert not sender.flush(0.05)
    release.set()
    assert sender.flush(30)


def test_a_stopped_sender_takes_nothing(sender: CallSender, counters: Counter[str]) -> None:
    sender.start()
    sender.stop()
    sender.put([Kill("t")])
    assert counters["dropped"] == 1


def test_after_what_nobody_foresaw_the_driver_comes_back(
    driver: MesosDriver, master: Master, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect in the sending must not make the framework mute: it begins anew, and says why."""
    defects = [KeyError("a defect of ours")]
    judge = CallSender._judge

    def judge_badly(sender: CallSender, kind: str, answer: Any, session: Session) -> None:
        if defects:
            raise defects.pop()
        judge(sender, kind, answer, session)

    monkeypatch.setattr(CallSender, "_judge", judge_badly)
    driver.perform([Kill("t-1"), Kill("t-2")])
    sink.wait(Registered, 2)
    assert len(sink.of(Disconnected)) == 1
    assert driver.status.fatal is None
    assert driver.status.counters["failed"] == 1
    driver.perform([Kill("t-3")])
    eventually(lambda: master.calls("KILL")[-1]["kill"]["task_id"]["value"] == "t-3")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_end_that_nobody_foresaw_is_told(
    sender: CallSender, master: Master, counters: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*arguments: Any) -> None:
        raise KeyError("a defect of ours")

    monkeypatch.setattr(Subscribed, "resubscribe", defect)
    master.call = lambda request: request.connection.close() or True
    sender.start()
    assert sender.fatal is None
    sender.put([Kill("t")])
    eventually(lambda: sender.fatal)
    assert "the thread that sends calls to Mesos has ended: KeyError('a defect" in (sender.fatal or "")
    before = counters["dropped"]
    sender.put([Kill("t")])
    assert (len(sender), counters["dropped"]) == (0, before + 1)
