"""The queue before the service."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from framework.core.messages import (
    StatusReceived,
    Tick,
)
from framework.inbox import CommandItem, EventItem, Inbox, Item, QueryItem
from framework.model.cluster import StatusUpdate
from tests.framework.service.world import create


def test_a_flood_of_updates_does_not_grow_the_queue_without_end() -> None:
    inbox = Inbox()
    again = EventItem(StatusReceived(at=0.0, update=StatusUpdate("t", "TASK_RUNNING", "a", "uuid")), 0.0)
    once = EventItem(StatusReceived(at=0.0, update=StatusUpdate("t", "TASK_LOST", "a")), 0.0)
    while inbox.put(again):
        assert len(inbox) <= 60_000
    assert inbox.put(once)  # nobody would send this one again


def test_users_come_before_a_storm_and_keep_their_order() -> None:
    inbox = Inbox()
    told = [EventItem(Tick(at=float(n)), 0.0) for n in range(5)]
    asked = [CommandItem(create(), Future(), 0.0), QueryItem(len, Future(), 0.0)]
    for item in (*told[:3], asked[0], told[3], asked[1], told[4]):
        inbox.put(item)
    assert len(inbox) == 7
    assert inbox.take(0.0, 4) == [*asked, *told[:2]]
    inbox.put_back([asked[1], told[1]])
    assert inbox.take(0.0, None) == [asked[1], *told[1:]]


def test_a_command_is_asked_for_also_while_it_is_taken() -> None:
    """A reader who looks just then would otherwise not wait for it."""
    inbox = Inbox()
    seen: list[bool] = []

    class Lane(deque[Item]):
        def popleft(self) -> Item:
            item = super().popleft()
            seen.append(inbox.nothing_asked)
            return item

    inbox._users = Lane()
    assert inbox.nothing_asked
    inbox.put(CommandItem(create(), Future(), 0.0))
    inbox.take(0.0, None)
    assert seen == [False]
    assert not inbox.nothing_asked
    inbox.take(0.0, None)
    assert inbox.nothing_asked
