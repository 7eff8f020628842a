"""Objects of one shape: what users of data clusters keep, by kind, id, and name within their project;
which revisions of clusters a Consul has been told; and which tokens are revoked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, NotFound
from gateway.store import tables
from gateway.store.sessions import Session, Sessions

# Made once, see :mod:`gateway.store.clusters`.
_KIND: sa.BindParameter[Any] = sa.bindparam("of_kind")
_PROJECT: sa.BindParameter[Any] = sa.bindparam("of_project")
_NAME: sa.BindParameter[Any] = sa.bindparam("of_name")
_THE = sa.select(tables.objects.c.body).where(
    tables.objects.c.kind == _KIND, tables.objects.c.id == sa.bindparam("of_id")
)
_SAME_NAME = sa.select(tables.objects.c.id).where(
    tables.objects.c.kind == _KIND, tables.objects.c.project == _PROJECT, tables.objects.c.name == _NAME
)
Kind = Literal[
    "node-group-template",
    "cluster-template",
    "image",
    "flavor",
    "offered-image",
    "keypair",
    "plugin-labels",
    "mirrored-cluster",
    "revoked-token",
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


class NameTaken(Conflict):
    """The project has an object of this kind and name."""

    code = "name_taken"


_OBJECT = msgspec.json.Decoder(Object)


class ObjectStore:
    """Objects of projects - templates, images, key pairs - by kind and id."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, new: Object, among_shared: bool = False) -> None:
        """Raises :class:`NameTaken`; with ``among_shared`` also for a name that another project's object
        has which it shares."""
        with self._sessions.write() as session:
            if among_shared and self.find(new.kind, new.project, shared=True, name=new.name):
                raise _taken(new)
            if not among_shared:
                self._refuse_name(session, new)
            row = {"kind": new.kind, "id": new.id, **_columns(new, session)}
            session.add(tables.objects, row)
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
        with self._sessions.read() as reader:
            body = reader.value(_THE, of_kind=kind, of_id=object_id)
        return None if body is None else _OBJECT.decode(body)

    def find(
        self, kind: Kind, project: str | None = None, *, shared: bool = False, name: str | None = None
    ) -> Sequence[Object]:
        """Returns a project's objects of a kind (None: all projects'), by id; with ``shared`` also
        those that others share. ``name``: only those of this name."""
        query = _finding(project is not None, shared, name is not None)
        with self._sessions.read() as reader:
            rows = reader.rows(query, of_kind=kind, of_project=project, of_name=name)
        found = [_OBJECT.decode(body) for (body,) in rows]
        return found if name is None else sorted(found, key=lambda one: one.id)

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
            session.execute(table.update().where(mine).values(**_columns(after, session)))
            session.changed("object", f"{kind}/{object_id}")
        return after

    def delete(self, kind: Kind, object_id: str) -> None:
        """Raises :class:`NotFound`."""
        table = tables.objects
        with self._sessions.write() as session:
            mine = (table.c.kind == kind) & (table.c.id == object_id)
            if session.execute(table.delete().where(mine)).rowcount != 1:
                raise NotFound(f"there is no {kind} with the id {object_id[:255]!r}")
            session.changed("object", f"{kind}/{object_id}")

    def _refuse_name(self, session: Session, wanted: Object) -> None:
        asks = {"of_kind": wanted.kind, "of_project": wanted.project, "of_name": wanted.name}
        same = session.value(_SAME_NAME, **asks)
        if same is not None and same != wanted.id:
            raise _taken(wanted)


def _taken(wanted: Object) -> NameTaken:
    return NameTaken(f"there is a {wanted.kind} with the name {wanted.name!r} already")


@cache
def _finding(of_project: bool, shared: bool, named: bool) -> sa.Select[Any]:
    """Returns the statement of :meth:`ObjectStore.find`."""
    table = tables.objects
    query = sa.select(table.c.body).where(table.c.kind == _KIND)
    if of_project:
        mine = table.c.project == _PROJECT
        query = query.where(sa.or_(mine, table.c.shared) if shared else mine)
    if named:
        # Not in order: SQLite would go through all of the kind to have them so.
        return query.where(table.c.name == _NAME)
    return query.order_by(table.c.id)


def _columns(value: Object, session: Session) -> dict[str, Any]:
    return {
        "project": value.project,
        "name": value.name,
        "shared": value.shared,
        "revision": session.revision,
        "body": msgspec.json.encode(value).decode(),
    }
