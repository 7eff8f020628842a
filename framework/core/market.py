"""When we want offers, and what becomes of those that nothing fits: REVIVE, SUPPRESS, DECLINE."""

from __future__ import annotations

from framework.core.lifecycle import Lifecycle
from framework.core.messages import Decline, Revive, Suppress
from framework.core.offers import OfferBook
from framework.core.turns import Turns
from framework.model.cluster import Offer


class Market:
    """Says to the master whether offers are wanted, only when that changes or may have been lost.

    Offers are wanted while a task is PENDING. A REVIVE is repeated when no offer has come for long;
    Mesos forgets our filters with it. While a gang waits, offers are collected for longer, and then let
    go all at once: so that they come back all at once, and nothing is kept from others for good.
    """

    def __init__(self, lifecycle: Lifecycle, book: OfferBook, turns: Turns) -> None:
        self._lifecycle = lifecycle
        self._settings = lifecycle.settings
        self._state = lifecycle.state
        self._book = book
        self._turns = turns
        # None: the master has not been told in this connection.
        self._wanted: bool | None = None
        self._heard_at = 0.0

    def open(self) -> None:
        """A new connection: whatever was said before is to be said again."""
        self._wanted = None

    def receive(self, offers: tuple[Offer, ...]) -> None:
        """Takes offers in; without a connection they are void."""
        if self._lifecycle.connected:
            self._heard_at = self._state.now
            self._book.hold(offers, self._state.now)

    def settle(self) -> None:
        """Emits what is due after tasks have been placed."""
        if not self._lifecycle.connected:
            return
        wanted = self._state.has_pending
        if wanted is not self._wanted or (wanted and self._is_forgotten()):
            self._wanted = wanted
            self._heard_at = self._state.now
            self._state.changes.act(Revive() if wanted else Suppress())
        stale = self._book.stale(self._state.now, self._hold_secs)
        if not wanted:
            self._decline(list(self._book.held), self._settings.idle_refuse_secs)
        elif stale and self._state.gangs:
            self._decline(list(self._book.held), self._settings.gang_refuse_secs)
        else:
            self._decline(stale, self._settings.refuse_secs)

    def next(self) -> float | None:
        """Returns when :meth:`settle` has something to do if nothing else happens."""
        if not self._lifecycle.connected or not self._state.has_pending:
            return None
        due = self._book.next_stale(self._hold_secs)
        if due is None:
            due = self._heard_at + self._settings.revive_interval_secs
        turn = self._turns.next()
        return due if turn is None else min(due, turn)

    @property
    def _hold_secs(self) -> float:
        return self._settings.gang_hold_secs if self._state.gangs else self._settings.offer_hold_secs

    def _is_forgotten(self) -> bool:
        limit = self._heard_at + self._settings.revive_interval_secs
        return not self._book.held and self._state.now >= limit

    def _decline(self, agents: list[str], refuse_seconds: float) -> None:
        if agents:
            offer_ids = self._book.drop(agents)
            self._state.changes.act(Decline(offer_ids=offer_ids, refuse_seconds=refuse_seconds))
