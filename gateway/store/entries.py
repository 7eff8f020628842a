"""Products, secrets and the entries of the key-value interface, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, Invalid, NotFound
from gateway.clusters.products import Product
from gateway.store import tables
from gateway.store.sessions import Sessions

# Made once, see :mod:`gateway.store.clusters`.
_THE_SECRET = (tables.secrets.c.cluster == sa.bindparam("of_cluster")) & (
    tables.secrets.c.name == sa.bindparam("of_name")
)
_SECRET = sa.select(tables.secrets.c.text).where(_THE_SECRET)
_NO_SECRET = tables.secrets.delete().where(_THE_SECRET)
_MOST_KEY = 2048
_MOST_FLAGS = 2**64 - 1


class ProductStore:
    """The products, by name and version."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, product: Product) -> None:
        """Raises :class:`Conflict` if there is one of the same name and version."""
        table = tables.products
        with self._sessions.write() as session:
            if session.execute(_the(product.name, product.version)).first() is not None:
                raise Conflict(f"the product {product.name} {product.version} exists already")
            row = {"name": product.name, "version": product.version, "body": _json(product)}
            session.execute(table.insert().values(revision=session.revision, **row))
            session.changed("product", f"{product.name}/{product.version}", product.dn)

    def get(self, name: str, version: str) -> Product:
        """Raises :class:`NotFound`."""
        return self.entry(name, version)[0]

    def entry(self, name: str, version: str) -> tuple[Product, int]:
        """Returns a product and the revision of its last change; raises :class:`NotFound`."""
        with self._sessions.read() as reader:
            row = None if "\0" in name + version else reader.execute(_the(name, version)).first()
        if row is None:
            raise NotFound(f"there is no product {name[:255]} {version[:255]}")
        return msgspec.json.decode(row[0], type=Product), int(row[1])

    def list(self) -> Sequence[Product]:
        """Returns all products by name and version."""
        table = tables.products
        query = sa.select(table.c.body).order_by(table.c.name, table.c.version)
        with self._sessions.read() as reader:
            rows = reader.execute(query).scalars().all()
        return [msgspec.json.decode(body, type=Product) for body in rows]

    def list_names(self) -> Sequence[str]:
        name = tables.products.c.name
        with self._sessions.read() as reader:
            return list(reader.execute(sa.select(name).distinct().order_by(name)).scalars())

    def list_versions(self, name: str) -> Sequence[str]:
        """Returns the versions of a product; none if there is no such product."""
        table = tables.products
        if "\0" in name:
            return []
        query = sa.select(table.c.version).where(table.c.name == name).order_by(table.c.version)
        with self._sessions.read() as reader:
            return list(reader.execute(query).scalars())

    def update(self, product: Product) -> None:
        """Stores another content of a product; raises :class:`NotFound`."""
        table = tables.products
        mine = (table.c.name == product.name) & (table.c.version == product.version)
        with self._sessions.write() as session:
            values = {"body": _json(product), "revision": session.revision}
            if session.execute(table.update().where(mine).values(**values)).rowcount != 1:
                raise NotFound(f"there is no product {product.name} {product.version}")
            session.changed("product", f"{product.name}/{product.version}", product.dn)

    def delete(self, name: str, version: str) -> None:
        """Raises :class:`NotFound`, and :class:`Conflict` while there is a cluster of it."""
        table, clusters = tables.products, tables.clusters
        with self._sessions.write() as session:
            product = self.get(name, version)
            of_it = (clusters.c.product == name) & (clusters.c.version == version)
            alive = sa.select(clusters.c.key).where(of_it, clusters.c.phase != "destroyed")
            used = session.execute(alive.order_by(clusters.c.key)).scalars().all()
            if used:
                raise Conflict(
                    f"the product {name} {version} is used by {len(used)} clusters ({used[0]} …): "
                    "delete them first"
                )
            mine = (table.c.name == name) & (table.c.version == version)
            session.execute(table.delete().where(mine))
            session.changed("product", f"{name}/{version}", product.dn)


class SecretStore:
    """What no API ever shows and no log has: the private keys of clusters; "" is the server itself."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def put(self, cluster_id: str, name: str, text: str) -> None:
        row = {"cluster": cluster_id, "name": name, "text": text}
        with self._sessions.write() as session:
            session.execute(_NO_SECRET, {"of_cluster": cluster_id, "of_name": name})
            session.add(tables.secrets, row)

    def get(self, cluster_id: str, name: str) -> str | None:
        asks = {"of_cluster": cluster_id, "of_name": name}
        with self._sessions.read() as reader:
            found = reader.execute(_SECRET, asks).scalar()
        return None if found is None else str(found)

    def names(self, cluster_id: str) -> Sequence[str]:
        table = tables.secrets
        query = sa.select(table.c.name).where(table.c.cluster == cluster_id).order_by(table.c.name)
        with self._sessions.read() as reader:
            return list(reader.execute(query).scalars())

    def delete(self, cluster_id: str) -> None:
        """Removes all secrets of a cluster."""
        table = tables.secrets
        with self._sessions.write() as session:
            session.execute(table.delete().where(table.c.cluster == cluster_id))


class Entry(msgspec.Struct, frozen=True):
    """A key with its value; the indexes are numbers of transactions."""

    key: str
    value: bytes
    flags: int = 0
    create_index: int = 0
    modify_index: int = 0


class KvStore:
    """Keys that are nothing but keys: what else is to be seen there are the clusters and products."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def put(self, key: str, value: bytes, flags: int = 0) -> Entry:
        """Raises :class:`Invalid` for a key of more than 2048 characters, or none."""
        if not key or len(key) > _MOST_KEY or "\0" in key or not 0 <= flags <= _MOST_FLAGS:
            raise Invalid(f"a key has 1 to {_MOST_KEY} characters, none of them NUL")
        table = tables.kv
        with self._sessions.write() as session:
            before = self.get(key)
            created = before.create_index if before is not None else session.revision
            session.execute(table.delete().where(table.c.key == key))
            entry = Entry(key, value, flags, created, session.revision)
            row = {"key": key, "value": value, "flags": str(flags)}
            session.execute(table.insert().values(created=created, modified=session.revision, **row))
            session.changed("kv", key, key)
        return entry

    def get(self, key: str) -> Entry | None:
        if "\0" in key:
            return None
        with self._sessions.read() as reader:
            row = reader.execute(sa.select(tables.kv).where(tables.kv.c.key == key)).first()
        return None if row is None else _entry(row)

    def delete(self, key: str, recurse: bool = False) -> int:
        """Removes a key, or all that begin with it; returns how many those were."""
        if "\0" in key:
            return 0
        with self._sessions.write() as session:
            found = [e.key for e in self.list(key)] if recurse else [key] if self.get(key) else []
            for name in found:
                session.execute(tables.kv.delete().where(tables.kv.c.key == name))
                session.changed("kv", name, name)
        return len(found)

    def list(self, prefix: str) -> Sequence[Entry]:
        """Returns the entries whose keys begin with ``prefix``, by key."""
        key = tables.kv.c.key
        if "\0" in prefix:
            return []
        with self._sessions.read() as reader:
            query = sa.select(tables.kv).where(key.startswith(prefix, autoescape=True))
            found = [_entry(row) for row in reader.execute(query)]
        # SQLite's LIKE takes "A" for "a", and databases sort as they like.
        return sorted((e for e in found if e.key.startswith(prefix)), key=lambda entry: entry.key)


def _the(name: str, version: str) -> sa.Select[Any]:
    table = tables.products
    query = sa.select(table.c.body, table.c.revision)
    return query.where(table.c.name == name, table.c.version == version)


def _entry(row: Any) -> Entry:
    return Entry(row.key, bytes(row.value), int(row.flags), row.created, row.modified)


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
