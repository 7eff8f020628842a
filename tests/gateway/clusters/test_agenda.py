from __future__ import annotations

import math

import pytest

from gateway.clusters.agenda import Agenda


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agenda(clock: Clock) -> Agenda:
    return Agenda(clock)


def test_what_is_added_is_due_once(agenda: Agenda) -> None:
    for name in ("b", "a", "b"):
        agenda.add(name)
    assert agenda.patience() == 0.0
    assert agenda.take() == ["a", "b"]
    assert agenda.take() == []
    assert agenda.patience() == math.inf


def test_the_earliest_moment_counts(agenda: Agenda, clock: Clock) -> None:
    agenda.at("a", clock.now + 5)
    agenda.at("a", clock.now + 2)
    agenda.at("a", clock.now + 9)
    agenda.at("a", None)
    assert agenda.patience() == 2.0
    assert agenda.take() == []
    clock.now += 2
    assert agenda.take() == ["a"]
    clock.now += 60
    assert agenda.take() == []


def test_who_is_looked_at_now_is_not_again_at_the_moment(agenda: Agenda, clock: Clock) -> None:
    agenda.at("a", clock.now + 5)
    agenda.add("a")
    assert agenda.take() == ["a"]
    clock.now += 5
    assert agenda.take() == []


def test_what_fails_waits_longer_each_time_until_it_goes_well(agenda: Agenda, clock: Clock) -> None:
    pauses = []
    for _ in range(12):
        pauses.append(agenda.later("a"))
        clock.now += pauses[-1]
        assert agenda.take() == ["a"]
    assert max(pauses[:2]) < 1.0 < pauses[-1] <= 15.0
    agenda.went_well("a")
    assert agenda.later("a") < 1.0


def test_nothing_is_due_after_all_is_forgotten(agenda: Agenda, clock: Clock) -> None:
    agenda.add("a")
    agenda.at("b", clock.now)
    agenda.later("c")
    agenda.clear()
    clock.now += 60
    assert agenda.take() == []
