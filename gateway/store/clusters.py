"""Clusters and what has happened to them, as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, Invalid, NotFound
from framework.model.jobs import JobKey
from gateway.clusters.model import Cluster, ClusterEvent, Phase
from gateway.store import tables
from gateway.store.sessions import FORGOTTEN, Reader, Session, Sessions

# Statements that are executed often are made once: to make them, and the keys that SQLAlchemy knows
# compiled ones by, takes longer than the database does.
_BY = {
    column: sa.select(tables.clusters.c.id, tables.clusters.c.body).where(
        column == sa.bindparam("wanted")
    )
    for column in (tables.clusters.c.id, tables.clusters.c.key, tables.clusters.c.job)
}
_NAMED = (
    sa.select(tables.clusters.c.id, tables.clusters.c.body)
    .where(
        tables.clusters.c.name == sa.bindparam("of_name"),
        tables.clusters.c.phase != Phase.DELETED.value,
        sa.or_(tables.clusters.c.project == sa.bindparam("of_project"), tables.clusters.c.shared),
    )
    .order_by(tables.clusters.c.id)
)
_UNIQUE = ("id", "key", "job")
_SAME = sa.select(tables.clusters.c.id).where(
    sa.or_(
        *(tables.clusters.c[name] == sa.bindparam(name) for name in _UNIQUE),
    )
)
_SAVE = (
    tables.clusters.update()
    .where(tables.clusters.c.id == sa.bindparam("mine"))
    .values({column.name: sa.bindparam(column.name) for column in tables.clusters.columns})
)
_COUNT_EVENTS = (
    sa.select(sa.func.count())
    .select_from(tables.events)
    .where(tables.events.c.cluster == sa.bindparam("mine"))
)
_EVENTS = (
    sa.select(tables.events.c.body)
    .where(
        tables.events.c.cluster == sa.bindparam("mine"),
        tables.events.c.sequence > sa.bindparam("after"),
    )
    .order_by(tables.events.c.sequence)
    .limit(sa.bindparam("most"))
)
_EVENTS_OF = (
    sa.select(tables.events.c.cluster, tables.events.c.body)
    .where(tables.events.c.cluster.in_(sa.bindparam("wanted", expanding=True)))
    .order_by(tables.events.c.cluster, tables.events.c.sequence)
)
_CLUSTER = msgspec.json.Decoder(Cluster)
_EVENT = msgspec.json.Decoder(ClusterEvent)
# So many events of a cluster are kept, the oldest go first; a tenth more before somebody looks.
_KEPT_EVENTS = 20_000


class ClusterStore:
    """``revision`` of a cluster is the number of the transaction that has last changed it."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    # -- writing ------------------------------------------------------------------------------------

    def next_number(self, scope: str) -> int:
        """Returns 1, 2, 3 …, a number never twice within ``scope`` (at most 1000 characters)."""
        with self._sessions.write() as session:
            return session.next_number(f"cluster {scope}")

    def create(self, cluster: Cluster) -> Cluster:
        """Stores a new cluster and returns it; raises :class:`Conflict` if its key or job is used."""
        with self._sessions.write() as session:
            stored = msgspec.structs.replace(cluster, revision=session.revision)
            row = _row(stored)
            if session.rows(_SAME, **{name: row[name] for name in _UNIQUE}):
                raise Conflict(f"there is already a cluster {cluster.key}")
            session.add(tables.clusters, row)
            session.changed("cluster", stored.cluster_id, stored.key)
        return stored

    def save(self, cluster: Cluster, expected_revision: int) -> Cluster:
        """Stores a cluster over the one with ``expected_revision``, and returns it.

        Raises :class:`Conflict` if it has been changed since, :class:`NotFound` if there is none.
        """
        with self._sessions.write() as session:
            found = _by(session, tables.clusters.c.id, cluster.cluster_id)
            if found is None:
                raise NotFound(f"there is no cluster {cluster.key}")
            if found.revision != expected_revision:
                raise Conflict(f"the cluster {cluster.key} has been changed meanwhile; look at it again")
            return _store(session, cluster)

    def change(self, cluster_id: str, change: Callable[[Cluster], Cluster]) -> Cluster:
        """Stores what ``change`` makes of the cluster as it is; returns it. Nothing happens in between.

        What ``change`` raises is raised, and :class:`NotFound`. ``change`` must be quick.
        """
        with self._sessions.write() as session:
            found = _by(session, tables.clusters.c.id, cluster_id)
            if found is None:
                raise NotFound(f"there is no cluster {cluster_id}")
            changed = change(found)
            return found if changed == found else _store(session, changed)

    def forget(self, cluster_id: str) -> None:
        """Removes a cluster, its events, its secrets and the keys below its own.

        Nothing happens if there is none. Its number is not given to another one.
        """
        with self._sessions.write() as session:
            found = _by(session, tables.clusters.c.id, cluster_id)
            for column in (tables.clusters.c.id, tables.events.c.cluster, tables.secrets.c.cluster):
                session.execute(column.table.delete().where(column == cluster_id))
            if found is not None:
                below = tables.kv.c.key.startswith(f"{found.key}/", autoescape=True)
                session.execute(tables.kv.delete().where(below))
                session.next_number(FORGOTTEN)
                session.changed("cluster", found.cluster_id, found.key)

    # -- reading ------------------------------------------------------------------------------------

    def get(self, cluster_id: str) -> Cluster:
        """Raises :class:`NotFound`."""
        return self._one(tables.clusters.c.id, cluster_id)

    def by_key(self, key: str) -> Cluster:
        """Raises :class:`NotFound`."""
        return self._one(tables.clusters.c.key, key)

    def by_job(self, job: JobKey) -> Cluster | None:
        with self._sessions.read() as reader:
            return _by(reader, tables.clusters.c.job, str(job))

    def find(
        self,
        owner: str | None = None,
        product: str | None = None,
        version: str | None = None,
        project: str | None = None,
        include_gone: bool = True,
        shared: bool = False,
    ) -> list[Cluster]:
        """Returns the clusters of an owner, a product …, oldest first.

        ``shared``: besides a project's own also those that others share.
        """
        table = tables.clusters
        wanted = {table.c.owner: owner, table.c.product: product, table.c.version: version}
        conditions = [column == value for column, value in wanted.items() if value is not None]
        if project is not None:
            mine = table.c.project == project
            conditions.append(sa.or_(mine, table.c.shared) if shared else mine)
        if not include_gone:
            conditions.append(table.c.phase != Phase.DELETED.value)
        found = self._find(*conditions)
        return sorted(found, key=lambda cluster: (cluster.created_at, cluster.cluster_id))

    def named(self, project: str, name: str) -> list[Cluster]:
        """Returns a project's clusters of this name that are not gone, and those that others share."""
        with self._sessions.read() as reader:
            rows = reader.rows(_NAMED, of_project=project, of_name=name)
        return [read_cluster(*row) for row in rows]

    def unfinished(self) -> list[Cluster]:
        """Returns the clusters that something is being done to: an operation, or their deletion."""
        return self._find(tables.clusters.c.busy)

    def outdated(self, before: float, most: int, limit: int) -> list[str]:
        """Returns the ids of clusters deleted ``before`` (seconds since the epoch), and of those above
        the ``most`` that are kept; the ``limit`` oldest of them."""
        table = tables.clusters
        gone = table.c.phase == Phase.DELETED.value
        # Nothing changes them any more: the revision tells in which order they went.
        oldest = sa.select(table.c.id, table.c.body).where(gone).order_by(table.c.revision).limit(limit)
        with self._sessions.read() as reader:
            count = reader.execute(sa.select(sa.func.count()).where(gone)).scalar_one()
            found = [read_cluster(*row) for row in reader.execute(oldest)]
        return [
            cluster.cluster_id
            for position, cluster in enumerate(found)
            if position < count - most or cluster.updated_at < before
        ]

    def phases(self) -> dict[str, int]:
        """Returns how many clusters are in each phase."""
        phase = tables.clusters.c.phase
        counted = dict.fromkeys((str(p) for p in Phase), 0)
        with self._sessions.read() as reader:
            for name, count in reader.execute(sa.select(phase, sa.func.count()).group_by(phase)):
                counted[str(name)] = int(count)
        return counted

    def _one(self, column: sa.Column[Any], value: str) -> Cluster:
        with self._sessions.read() as reader:
            found = _by(reader, column, value)
        if found is None:
            raise NotFound(f"there is no cluster {value[:255]}")
        return found

    def _find(self, *conditions: Any) -> list[Cluster]:
        query = sa.select(tables.clusters.c.id, tables.clusters.c.body).where(*conditions)
        with self._sessions.read() as reader:
            return [read_cluster(*row) for row in reader.execute(query.order_by(tables.clusters.c.id))]


class EventStore:
    """What has happened, numbered over all clusters; of each cluster the newest 20,000."""

    def __init__(self, sessions: Sessions, kept: int = _KEPT_EVENTS) -> None:
        self._sessions = sessions
        self._kept = kept
        self._unpruned: dict[str, int] = {}

    def append(self, events: Sequence[ClusterEvent]) -> tuple[ClusterEvent, ...]:
        """Returns them with their numbers."""
        if not events:
            return ()
        with self._sessions.write() as session:
            last = session.next_number("events", len(events))
            first = last - len(events) + 1
            numbered = tuple(
                msgspec.structs.replace(event, sequence=number)
                for number, event in enumerate(events, first)
            )
            rows = [
                {"sequence": e.sequence, "cluster": e.cluster_id, "body": _json(e)} for e in numbered
            ]
            session.add(tables.events, *rows)
            for cluster_id, count in Counter(event.cluster_id for event in events).items():
                self._prune(session, cluster_id, count)
                session.changed("events", cluster_id)
        return numbered

    def read(self, cluster_id: str, after: int = 0, limit: int = 1000) -> list[ClusterEvent]:
        """Returns at most ``limit`` events with numbers above ``after``, oldest first."""
        with self._sessions.read() as reader:
            rows = reader.rows(_EVENTS, mine=cluster_id, after=after, most=limit)
        return [_EVENT.decode(body) for (body,) in rows]

    def of(self, cluster_ids: Sequence[str]) -> dict[str, list[ClusterEvent]]:
        """Returns all events of each of some hundred clusters, oldest first."""
        found: dict[str, list[ClusterEvent]] = {cluster_id: [] for cluster_id in cluster_ids}
        with self._sessions.read() as reader:
            for cluster_id, body in reader.execute(_EVENTS_OF, {"wanted": list(cluster_ids)}):
                found[cluster_id].append(_EVENT.decode(body))
        return found

    def _prune(self, reader: Reader, cluster_id: str, count: int) -> None:
        """Now and then deletes what is too old; after a restart the count begins with what there is."""
        table = tables.events
        mine = table.c.cluster == cluster_id
        if cluster_id not in self._unpruned:
            self._unpruned[cluster_id] = int(reader.value(_COUNT_EVENTS, mine=cluster_id))
        else:
            self._unpruned[cluster_id] += count
        if self._unpruned[cluster_id] <= self._kept + self._kept // 10:
            return
        newest = sa.select(table.c.sequence).where(mine).order_by(table.c.sequence.desc())
        oldest = reader.execute(newest.offset(self._kept - 1).limit(1)).scalar()
        if oldest is not None:
            reader.execute(table.delete().where(mine, table.c.sequence < oldest))
        self._unpruned[cluster_id] = self._kept


def _store(session: Session, cluster: Cluster) -> Cluster:
    stored = msgspec.structs.replace(cluster, revision=session.revision)
    session.update(_SAVE, {"mine": stored.cluster_id, **_row(stored)})
    session.changed("cluster", stored.cluster_id, stored.key)
    return stored


def _row(cluster: Cluster) -> dict[str, Any]:
    name, version = cluster.product
    return {
        "id": cluster.cluster_id,
        "key": cluster.key,
        "job": str(cluster.job),
        "owner": cluster.owner,
        "project": cluster.project,
        "product": name,
        "version": version,
        "name": cluster.name,
        "shared": cluster.shared,
        "phase": cluster.phase.value,
        "busy": cluster.is_busy or (cluster.deleting and not cluster.is_gone),
        "expires_at": cluster.expires_at,
        "revision": cluster.revision,
        "body": _json(cluster),
    }


def _by(reader: Reader, column: sa.Column[Any], value: str) -> Cluster | None:
    if "\0" in value:
        return None  # PostgreSQL does not even look
    found = reader.rows(_BY[column], wanted=value)
    return read_cluster(*found[0]) if found else None


def read_cluster(cluster_id: str, body: str) -> Cluster:
    """Returns a cluster from its row; raises :class:`Invalid`."""
    try:
        return _CLUSTER.decode(body)
    except msgspec.DecodeError as error:
        raise Invalid(f"the stored cluster {cluster_id} cannot be read: {error}") from error


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
