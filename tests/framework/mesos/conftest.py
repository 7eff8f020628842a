"""A master to talk to, a driver that talks to it, and what the driver reported."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from framework.core.messages import Event, Kill, OfferRescinded, Registered
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from tests.framework.mesos.peer import QUICK, Master, eventually
from tests.ports import reserve

E = TypeVar("E", bound=Event)

EXECUTOR = ExecutorSettings(command="/opt/executor")
RESCIND = {"type": "RESCIND", "rescind": {"offer_id": {"value": "o-1"}}}


class Sink:
    """Collects the driver's events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, kind: type[E], count: int = 1, timeout: float = 30.0) -> list[E]:
        return eventually(lambda: len(self.of(kind)) >= count and self.of(kind), timeout)


def still_works(driver: MesosDriver, master: Master, sink: Sink) -> None:
    """The subscription passes events on, and calls go out."""
    before = len(sink.of(OfferRescinded))
    master.stream.event(RESCIND)
    sink.wait(OfferRescinded, before + 1)
    driver.perform([Kill("still-works")])
    eventually(lambda: any(c["kill"]["task_id"]["value"] == "still-works" for c in master.calls("KILL")))
    assert master.calls("TEARDOWN") == []


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def master() -> Iterator[Master]:
    peer = Master()
    yield peer
    peer.close()


@pytest.fixture
def port() -> Iterator[int]:
    """A port that refuses connections until the test makes a server there; nobody else gets it."""
    with reserve() as held:
        yield held.getsockname()[1]


@pytest.fixture
def make_driver(sink: Sink, master: Master) -> Iterator[Callable[..., MesosDriver]]:
    """Makes drivers (not started) and stops them; afterwards no thread of theirs may be left."""
    before = set(threading.enumerate())
    drivers: list[MesosDriver] = []

    def make(address: str | None = None, **options: Any) -> MesosDriver:
        framework = options.pop(
            "framework", FrameworkSettings(user="nobody", hostname="gateway.example")
        )
        executor = options.pop("executor", EXECUTOR)
        options.setdefault("timing", QUICK)
        driver = MesosDriver(address or master.address, framework, executor, sink, **options)
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        driver.stop()
    left = [t for t in set(threading.enumerate()) - before if t.name.startswith("mesos-")]
    assert left == []


@pytest.fixture
def driver(make_driver: Callable[..., MesosDriver], sink: Sink) -> MesosDriver:
    """A driver that is subscribed."""
    driver = make_driver()
    driver.start()
    sink.wait(Registered)
    return driver
