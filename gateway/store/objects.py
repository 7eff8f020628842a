"""Objects of one shape: what users of data clusters keep, by kind, id, and name within their project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, NotFound
from framework.model.shapes import known
from gateway.store import tables
from gateway.store.sessions import Session, Sessions

Kind = Literal[
    "node-group-template",
    "cluster-template",
    "image",
    "flavor",
    "offered-image",
    "keypair",
    "plugin-labels",
]


class Object(msgspec.Struct, frozen=True):
    """``name`` is unique within kind and ``project`` ("": nobody's in particular). ``shared``: other
    projects may read it. Times in seconds since the epoch; ``updated_at`` None: never changed."""

    kind: Kind
    id: str
    project: str
    name: str
    body: dict[str, Any]
    shared: bool = False
    created_at: float = 0.0
    updated_at: float | None = None


known(Object)


class NameTaken(Conflict):
    """The project has an object of this kind and name."""

    code = "name_taken"


class ObjectStore:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, new: Object) -> None:
        """Raises :class:`NameTaken`."""
        with self._sessions.write() as session:
            self._refuse_name(session, new)
            row = {"kind": new.kind, "id": new.id, **_columns(new, session)}
            session.connection.execute(tables.objects.insert().values(**row))
            session.changed("object", f"{new.kind}/{new.id}")

    def get(self, kind: Kind, object_id: str) -> Object:
        """Raises :class:`NotFound`."""
        found = self.look(kind, object_id)
        if found is None:
            raise NotFound(f"there is no {kind} with the id {object_id[:255]!r}")
        return found

    def look(self, kind: Kind, object_id: str) -> Object | None:
        if "\0" in object_id:
            return None
        table = tables.objects
        query = sa.select(table.c.body).where(table.c.kind == kind, table.c.id == object_id)
        with self._sessions.read() as connection:
            body = connection.execute(query).scalar()
        return None if body is None else msgspec.json.decode(body, type=Object)

    def find(
        self, kind: Kind, project: str | None = None, *, shared: bool = False, name: str | None = None
    ) -> Sequence[Object]:
        """Returns a project's objects of a kind (None: all projects'), by id; with ``shared`` also
        those that others share. ``name``: only those of this name."""
        table = tables.objects
        query = sa.select(table.c.body).where(table.c.kind == kind)
        if project is not None:
            mine = table.c.project == project
            query = query.where(sa.or_(mine, table.c.shared) if shared else mine)
        if name is not None:
            query = query.where(table.c.name == name)
        with self._sessions.read() as connection:
            rows = connection.execute(query.order_by(table.c.id)).scalars().all()
        decode = msgspec.json.Decoder(Object).decode
        return [decode(body) for body in rows]

    def change(self, kind: Kind, object_id: str, change: Callable[[Object], Object]) -> Object:
        """Stores what ``change`` makes of an object, and returns it; what it raises changes nothing.

        Raises :class:`NotFound`, and :class:`NameTaken` for a new name that is taken.
        """
        table = tables.objects
        with self._sessions.write() as session:
            before = self.get(kind, object_id)
            after = change(before)
            if (after.project, after.name) != (before.project, before.name):
                self._refuse_name(session, after)
            mine = (table.c.kind == kind) & (table.c.id == object_id)
            session.connection.execute(table.update().where(mine).values(**_columns(after, session)))
            session.changed("object", f"{kind}/{object_id}")
        return after

    def delete(self, kind: Kind, object_id: str) -> None:
        """Raises :class:`NotFound`."""
        table = tables.objects
        with self._sessions.write() as session:
            mine = (table.c.kind == kind) & (table.c.id == object_id)
            if session.connection.execute(table.delete().where(mine)).rowcount != 1:
                raise NotFound(f"there is no {kind} with the id {object_id[:255]!r}")
            session.changed("object", f"{kind}/{object_id}")

    def _refuse_name(self, session: Session, wanted: Object) -> None:
        table = tables.objects
        same = sa.select(table.c.id).where(
            table.c.kind == wanted.kind,
            table.c.project == wanted.project,
            table.c.name == wanted.name,
            table.c.id != wanted.id,
        )
        if session.connection.execute(same).first() is not None:
            raise NameTaken(f"there is a {wanted.kind} with the name {wanted.name!r} already")


def _columns(value: Object, session: Session) -> dict[str, Any]:
    return {
        "project": value.project,
        "name": value.name,
        "shared": value.shared,
        "revision": session.revision,
        "body": msgspec.json.encode(value).decode(),
    }
