"""An answer on its way: what arrives, what is refused, what comes too late."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from framework.model.errors import Conflict, Unavailable
from gateway.pending import Pending


def outcome(future: Future[Any], way: str, timeout: float = 5.0) -> Any:
    pending = Pending(future, timeout)
    return pending.wait() if way == "wait" else asyncio.run(pending.arrive())


WAYS = pytest.mark.parametrize("way", ["wait", "arrive"])


@WAYS
def test_the_result(way: str) -> None:
    future: Future[int] = Future()
    future.set_result(7)
    assert outcome(future, way) == 7


@WAYS
def test_the_refusal(way: str) -> None:
    future: Future[int] = Future()
    future.set_exception(Conflict("it exists"))
    with pytest.raises(Conflict, match="it exists"):
        outcome(future, way)


@WAYS
def test_too_late_and_not_begun(way: str) -> None:
    future: Future[int] = Future()
    with pytest.raises(Unavailable, match="nothing has been done"):
        outcome(future, way, 0.05)
    assert future.cancelled()


@WAYS
def test_too_late_and_under_way(way: str) -> None:
    future: Future[int] = Future()
    assert future.set_running_or_notify_cancel()
    with pytest.raises(Unavailable, match="look before you repeat it"):
        outcome(future, way, 0.05)
    future.set_result(1)


def test_it_arrives_from_another_thread() -> None:
    async def scene() -> int:
        future: Future[int] = Future()
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, lambda: loop.run_in_executor(None, future.set_result, 3))
        return await Pending(future, 5.0).arrive()

    assert asyncio.run(scene()) == 3
