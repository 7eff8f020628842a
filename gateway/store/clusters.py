"""Clusters and what has happened to them, as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, Invalid, NotFound
from framework.model.jobs import JobKey
from framework.model.shapes import known
from gateway.clusters.model import Cluster, ClusterEvent, Phase
from gateway.store import tables
from gateway.store.sessions import Session, Sessions, next_number

# So many events of a cluster are kept, the oldest go first; a tenth more before somebody looks.
_KEPT_EVENTS = 20_000
known(Cluster, ClusterEvent)


class ClusterStore:
    """``revision`` of a cluster is the number of the transaction that has last changed it."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    # -- writing ------------------------------------------------------------------------------------

    def next_number(self, scope: str) -> int:
        """Returns 1, 2, 3 …, a number never twice within ``scope`` (at most 1000 characters)."""
        with self._sessions.write() as session:
            return next_number(session.connection, f"cluster {scope}")

    def create(self, cluster: Cluster) -> Cluster:
        """Stores a new cluster and returns it; raises :class:`Conflict` if its key or job is used."""
        table = tables.clusters
        with self._sessions.write() as session:
            same = (
                (table.c.id == cluster.cluster_id)
                | (table.c.key == cluster.key)
                | (table.c.job == str(cluster.job))
            )
            if session.connection.execute(sa.select(table.c.id).where(same)).first() is not None:
                raise Conflict(f"there is already a cluster {cluster.key}")
            stored = msgspec.structs.replace(cluster, revision=session.revision)
            session.connection.execute(table.insert().values(**_row(stored)))
            session.changed("cluster", stored.cluster_id, stored.key)
        return stored

    def save(self, cluster: Cluster, expected_revision: int) -> Cluster:
        """Stores a cluster over the one with ``expected_revision``, and returns it.

        Raises :class:`Conflict` if it has been changed since, :class:`NotFound` if there is none.
        """
        with self._sessions.write() as session:
            found = _by(session.connection, tables.clusters.c.id, cluster.cluster_id)
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
            found = _by(session.connection, tables.clusters.c.id, cluster_id)
            if found is None:
                raise NotFound(f"there is no cluster {cluster_id}")
            changed = change(found)
            return found if changed == found else _store(session, changed)

    def forget(self, cluster_id: str) -> None:
        """Removes a cluster, its events, its secrets and the keys below its own.

        Nothing happens if there is none. Its number is not given to another one.
        """
        with self._sessions.write() as session:
            found = _by(session.connection, tables.clusters.c.id, cluster_id)
            for column in (tables.clusters.c.id, tables.events.c.cluster, tables.secrets.c.cluster):
                session.connection.execute(column.table.delete().where(column == cluster_id))
            if found is not None:
                below = tables.kv.c.key.startswith(f"{found.key}/", autoescape=True)
                session.connection.execute(tables.kv.delete().where(below))
                session.changed("cluster", found.cluster_id, found.key)

    # -- reading ------------------------------------------------------------------------------------

    def get(self, cluster_id: str) -> Cluster:
        """Raises :class:`NotFound`."""
        return self._one(tables.clusters.c.id, cluster_id)

    def by_key(self, key: str) -> Cluster:
        """Raises :class:`NotFound`."""
        return self._one(tables.clusters.c.key, key)

    def by_job(self, job: JobKey) -> Cluster | None:
        with self._sessions.read() as connection:
            return _by(connection, tables.clusters.c.job, str(job))

    def find(
        self,
        owner: str | None = None,
        product: str | None = None,
        version: str | None = None,
        project: str | None = None,
        include_gone: bool = True,
        shared: bool = False,
        name: str | None = None,
    ) -> list[Cluster]:
        """Returns the clusters of an owner, a product …, oldest first.

        ``shared``: besides a project's own also those that others share.
        """
        table = tables.clusters
        wanted = {
            table.c.owner: owner,
            table.c.product: product,
            table.c.version: version,
            table.c.name: name,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        if project is not None:
            mine = table.c.project == project
            conditions.append(sa.or_(mine, table.c.shared) if shared else mine)
        if not include_gone:
            conditions.append(table.c.phase != Phase.DELETED.value)
        found = self._find(*conditions)
        return sorted(found, key=lambda cluster: (cluster.created_at, cluster.cluster_id))

    def unfinished(self) -> list[Cluster]:
        """Returns the clusters that something is being done to: an operation, or their deletion."""
        return self._find(tables.clusters.c.busy)

    def leased(self) -> list[Cluster]:
        """Returns the clusters that expire some time."""
        gone = tables.clusters.c.phase == Phase.DELETED.value
        return self._find(tables.clusters.c.expires_at.is_not(None), ~gone)

    def outdated(self, before: float, most: int, limit: int) -> list[str]:
        """Returns the ids of clusters deleted ``before`` (seconds since the epoch), and of those above
        the ``most`` that are kept; the ``limit`` oldest of them."""
        table = tables.clusters
        gone = table.c.phase == Phase.DELETED.value
        # Nothing changes them any more: the revision tells in which order they went.
        oldest = sa.select(table.c.id, table.c.body).where(gone).order_by(table.c.revision).limit(limit)
        with self._sessions.read() as connection:
            count = connection.execute(sa.select(sa.func.count()).where(gone)).scalar_one()
            found = [_read(*row) for row in connection.execute(oldest)]
        return [
            cluster.cluster_id
            for position, cluster in enumerate(found)
            if position < count - most or cluster.updated_at < before
        ]

    def phases(self) -> dict[str, int]:
        """Returns how many clusters are in each phase."""
        phase = tables.clusters.c.phase
        counted = dict.fromkeys((str(p) for p in Phase), 0)
        with self._sessions.read() as connection:
            for name, count in connection.execute(sa.select(phase, sa.func.count()).group_by(phase)):
                counted[str(name)] = int(count)
        return counted

    def _one(self, column: sa.Column[Any], value: str) -> Cluster:
        with self._sessions.read() as connection:
            found = _by(connection, column, value)
        if found is None:
            raise NotFound(f"there is no cluster {value[:255]}")
        return found

    def _find(self, *conditions: Any) -> list[Cluster]:
        query = sa.select(tables.clusters.c.id, tables.clusters.c.body).where(*conditions)
        with self._sessions.read() as connection:
            return [_read(*row) for row in connection.execute(query.order_by(tables.clusters.c.id))]


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
            last = next_number(session.connection, "events", len(events))
            first = last - len(events) + 1
            numbered = tuple(
                msgspec.structs.replace(event, sequence=number)
                for number, event in enumerate(events, first)
            )
            rows = [
                {"sequence": e.sequence, "cluster": e.cluster_id, "body": _json(e)} for e in numbered
            ]
            session.connection.execute(tables.events.insert(), rows)
            for cluster_id in {event.cluster_id for event in events}:
                count = sum(event.cluster_id == cluster_id for event in events)
                self._prune(session.connection, cluster_id, count)
                session.changed("events", cluster_id)
        return numbered

    def read(self, cluster_id: str, after: int = 0, limit: int = 1000) -> list[ClusterEvent]:
        """Returns at most ``limit`` events with numbers above ``after``, oldest first."""
        table = tables.events
        query = sa.select(table.c.body).where(table.c.cluster == cluster_id, table.c.sequence > after)
        with self._sessions.read() as connection:
            rows = connection.execute(query.order_by(table.c.sequence).limit(limit)).scalars().all()
        return [msgspec.json.decode(body, type=ClusterEvent) for body in rows]

    def _prune(self, connection: sa.Connection, cluster_id: str, count: int) -> None:
        """Now and then deletes what is too old; after a restart the count begins with what there is."""
        table = tables.events
        mine = table.c.cluster == cluster_id
        if cluster_id not in self._unpruned:
            query = sa.select(sa.func.count()).select_from(table).where(mine)
            self._unpruned[cluster_id] = int(connection.execute(query).scalar_one())
        else:
            self._unpruned[cluster_id] += count
        if self._unpruned[cluster_id] <= self._kept + self._kept // 10:
            return
        newest = sa.select(table.c.sequence).where(mine).order_by(table.c.sequence.desc())
        oldest = connection.execute(newest.offset(self._kept - 1).limit(1)).scalar()
        if oldest is not None:
            connection.execute(table.delete().where(mine, table.c.sequence < oldest))
        self._unpruned[cluster_id] = self._kept


def _store(session: Session, cluster: Cluster) -> Cluster:
    stored = msgspec.structs.replace(cluster, revision=session.revision)
    table = tables.clusters
    mine = table.update().where(table.c.id == stored.cluster_id)
    session.connection.execute(mine.values(**_row(stored)))
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


def _by(connection: sa.Connection, column: sa.Column[Any], value: str) -> Cluster | None:
    if "\0" in value:
        return None  # PostgreSQL does not even look
    table = tables.clusters
    row = connection.execute(sa.select(table.c.id, table.c.body).where(column == value)).first()
    return None if row is None else _read(*row)


def _read(cluster_id: str, body: str) -> Cluster:
    try:
        return msgspec.json.decode(body, type=Cluster)
    except msgspec.DecodeError as error:
        raise Invalid(f"the stored cluster {cluster_id} cannot be read: {error}") from error


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
