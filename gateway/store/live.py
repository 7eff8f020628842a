"""The clusters that there are, remembered as values: a cluster is read again when it has changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import sqlalchemy as sa

from gateway.clusters.model import Cluster
from gateway.store import tables
from gateway.store.clusters import read_cluster
from gateway.store.sessions import FORGOTTEN, STANDING, Sessions

_CHANGED = sa.select(tables.clusters.c.id, tables.clusters.c.body).where(
    tables.clusters.c.revision > sa.bindparam("after")
)


class _Seen(msgspec.Struct, frozen=True):
    """The number of a transaction, how many clusters had been forgotten by then, and the clusters after
    it (or after a later one)."""

    revision: int = 0
    forgotten: int = 0
    clusters: Mapping[str, Cluster] = MappingProxyType({})


class LiveClusters:
    """Every look asks the database for the number of its last transaction, and for what has changed
    since: so it shows what other processes have written, too. Usable on any thread."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._known = _Seen()

    def look(self) -> Mapping[str, Cluster]:
        """Returns the clusters that are not gone by their ids, in the order of these; the same mapping
        as long as nothing has changed. Raises StorageUnavailable.

        Not within a transaction that writes: what is seen there may never come to be.
        """
        if self._sessions.is_writing:
            raise RuntimeError("a transaction looks at what it has not committed")
        known = self._known
        with self._sessions.read() as reader:
            standing = dict(tuple(row) for row in reader.rows(STANDING))
            revision, forgotten = standing.get("", 0), standing.get(FORGOTTEN, 0)
            if (revision, forgotten) == (known.revision, known.forgotten):
                return known.clusters
            # What has been forgotten is among nothing that has changed. And a lower number: an older
            # copy of the database has taken its place.
            anew = known.revision > revision or known.forgotten != forgotten
            since = _Seen() if anew else known
            rows = reader.rows(_CHANGED, after=since.revision)
        clusters = since.clusters
        if rows or anew:
            clusters = _with(clusters, [read_cluster(*row) for row in rows])
        with self._lock:
            if self._known is known:  # else somebody else has looked meanwhile
                self._known = _Seen(revision, forgotten, clusters)
        return clusters


def _with(clusters: Mapping[str, Cluster], changed: list[Cluster]) -> Mapping[str, Cluster]:
    after = dict(clusters)
    is_sorted = True
    for cluster in changed:
        if cluster.is_gone:
            after.pop(cluster.cluster_id, None)
        else:
            is_sorted = is_sorted and cluster.cluster_id in after
            after[cluster.cluster_id] = cluster
    return MappingProxyType(after if is_sorted else dict(sorted(after.items())))
