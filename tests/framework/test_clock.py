"""The core's clock: no step of the wall clock reaches it."""

from __future__ import annotations

from framework.clock import Clock


class Hands:
    """A wall clock and an uptime that a test sets."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.up = 50.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.up)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


def test_it_goes_with_time() -> None:
    hands = Hands()
    clock = hands.clock()
    assert clock.now() == 1000.0
    hands.pass_(5.0)
    assert clock.now() == 1005.0


def test_a_step_of_the_wall_clock_is_only_approached() -> None:
    for step in (3600.0, -3600.0):
        hands = Hands()
        clock = hands.clock()
        hands.wall += step
        assert clock.now() == 1000.0
        before = 1000.0
        for _ in range(100):
            hands.pass_(1.0)
            now = clock.now()
            assert 0.99 <= now - before <= 1.01
            before = now
        assert abs(before - 1100.0) < 1.0
        hands.pass_(10_000_000.0)  # months later it is right again
        assert clock.now() == hands.wall


def test_it_never_goes_back_behind_what_was_stamped_before() -> None:
    hands = Hands()
    clock = hands.clock()
    clock.not_before(5000.0)
    assert clock.now() == 5000.0
    hands.pass_(1.0)
    assert 5000.9 < clock.now() < 5001.0
    clock.not_before(10.0)
    assert clock.now() > 5000.0


def test_the_machines_own() -> None:
    clock = Clock()
    moments = [clock.now() for _ in range(1000)]
    assert moments == sorted(moments)
