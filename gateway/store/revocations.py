"""Tokens that are taken no more, kept for all replicas until they would have expired."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from framework.model.errors import NotFound, Unavailable
from gateway.store.objects import Object, ObjectStore

# So many at once: each goes within the hour that a token lasts.
_MOST = 10_000


class Revocations:
    """Remembered by the ids of tokens, since every request asks. ``transaction`` is the store's;
    ``clock`` gives seconds since the epoch. Usable on any thread; what changes and reads it blocks."""

    def __init__(
        self,
        objects: ObjectStore,
        transaction: Callable[[], AbstractContextManager[object]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = objects
        self._transaction = transaction
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, float] = {}

    def __contains__(self, token_id: object) -> bool:
        return token_id in self._known

    def read(self) -> None:
        """Learns what other processes have revoked. Raises StorageUnavailable."""
        with self._lock:
            found = self._objects.find("revoked-token")
            self._known = {one.id: float(one.body["expires_at"]) for one in found}

    def add(self, token_id: str, expires_at: float) -> None:
        """Stores that a token is revoked, and forgets those that have expired. Raises what the store
        raises, and :class:`Unavailable` for too many."""
        with self._lock:
            if token_id in self._known:
                return
            now = self._clock()
            alive = {known: until for known, until in self._known.items() if until > now}
            if len(alive) >= _MOST:
                raise Unavailable(f"{_MOST} tokens are revoked, and no more at once", retry_after=60)
            self._store(token_id, expires_at, [known for known in self._known if known not in alive])
            self._known = {**alive, token_id: expires_at}

    def _store(self, token_id: str, expires_at: float, expired: list[str]) -> None:
        body = {"expires_at": expires_at}
        with self._transaction():
            self._objects.add(Object("revoked-token", token_id, "", token_id, body))
            for known in expired:
                with contextlib.suppress(NotFound):
                    self._objects.delete("revoked-token", known)
