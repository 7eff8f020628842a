"""The key-value interface of the registry, in Consul's terms, over the gateway's own records.

Keys of clusters and products are read from their records and written through to them; all other keys,
and what scripts add below a cluster's, are kept as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from framework.model.errors import Forbidden, Invalid, NotFound, TooLarge
from gateway.clusters.model import Cluster
from gateway.clusters.products import Product
from gateway.clusters.projection import cluster_entries, product_entries, written
from gateway.store import Change, Store
from gateway.store.entries import Entry

MOST_VALUE = 512 * 1024
MOST_KEY = 1024
# Prefix of keys, and what older scripts call it.
_CLUSTERS, _INSTANCES, _PRODUCTS = "clusters/", "instances/", "products/"
_DEPTH = 5
_MOST_REMEMBERED = 10_000

Names = tuple[Sequence[str], int]


class Reader(Protocol):
    """Whoever asks; :class:`gateway.auth.identity.Identity` is one."""

    @property
    def user(self) -> str | None: ...

    @property
    def cluster(self) -> str | None: ...

    @property
    def is_trusted(self) -> bool: ...


class Answer(msgspec.Struct, frozen=True):
    """Entries, by key, and the index at which they stood: X-Consul-Index."""

    entries: Sequence[Entry]
    index: int


class KeyValues:
    """All methods block, and may be called from several threads.

    A script sees and changes what is below its cluster's key. Users see products and their own
    clusters; operators (and everybody, where nobody is asked who they are) all keys.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes = _Changes(store.revision())
        self._unsubscribe = store.subscribe(self._changes.note)

    def close(self) -> None:
        self._unsubscribe()

    # -- reading --

    def get(self, reader: Reader, key: str) -> Answer:
        """Returns the entry of a key, or none."""
        key, alias = _plain(key)
        _check_reading(reader, key)
        index = self._changes.index(key, tree=False)
        found = [entry for entry in self._read(reader, key, tree=False) if entry.key == key]
        return _answer(found, index, alias)

    def list(self, reader: Reader, prefix: str) -> Answer:
        """Returns the entries whose keys begin with ``prefix``."""
        prefix, alias = _plain(prefix)
        _check_reading(reader, prefix)
        index = self._changes.index(prefix, tree=True)
        return _answer(self._read(reader, prefix, tree=True), index, alias)

    def keys(self, reader: Reader, prefix: str, separator: str = "") -> Names:
        """Returns keys that begin with ``prefix``; with a separator, only up to the next one of it."""
        answer = self.list(reader, prefix)
        names = [entry.key for entry in answer.entries]
        if separator:
            start = len(prefix)
            cut = (
                name[: end + len(separator)] if (end := name.find(separator, start)) >= 0 else name
                for name in names
            )
            names = list(dict.fromkeys(cut))
        return names, answer.index

    @contextmanager
    def watching(self, key: str, tree: bool, wake: Callable[[], object]) -> Iterator[None]:
        """Has ``wake`` called whenever something at ``key`` (or below it) may have changed.

        On whichever thread has changed it; what has changed before is seen by reading within.
        """
        with self._changes.watching(_plain(key)[0], tree, wake):
            yield

    def _read(self, reader: Reader, prefix: str, tree: bool) -> Sequence[Entry]:
        found: dict[str, Entry] = {}
        if _may_lie_below(prefix, _PRODUCTS) and reader.cluster is None:
            for product, revision in self._products(prefix):
                found |= _entries(product_entries(product), revision)
        if _may_lie_below(prefix, _CLUSTERS):
            for cluster in self._clusters(reader, prefix):
                found |= _entries(cluster_entries(cluster, prefix), cluster.revision)
        kept = self._store.kv.list(prefix) if tree else [self._store.kv.get(prefix)]
        for entry in kept:
            if entry is not None and _may_read_kept(reader, entry.key):
                found.setdefault(entry.key, entry)
        return [found[key] for key in sorted(found) if key.startswith(prefix)]

    def _products(self, prefix: str) -> Iterable[tuple[Product, int]]:
        parts = prefix.split("/")
        if len(parts) > 3:
            try:
                return [self._store.products.entry(parts[1], parts[2])]
            except NotFound:
                return []
        return [self._store.products.entry(p.name, p.version) for p in self._store.products.list()]

    def _clusters(self, reader: Reader, prefix: str) -> Iterable[Cluster]:
        parts = prefix.split("/")
        clusters = self._store.clusters
        if len(parts) > _DEPTH:
            try:
                found = [clusters.by_key("/".join(parts[:_DEPTH]))]
            except NotFound:
                return []
        elif reader.cluster is not None:
            found = [clusters.by_key(reader.cluster)]
        else:
            owner = parts[1] if len(parts) > 2 else None
            found = clusters.find(owner=owner if reader.is_trusted else reader.user)
        return [c for c in found if c.key.startswith(_CLUSTERS) and _may_touch(reader, c)]

    # -- writing --

    def put(
        self, reader: Reader, key: str, value: bytes, *, flags: int = 0, cas: int | None = None
    ) -> bool:
        """Stores a value; returns whether it was, which only ``cas`` can prevent: the index that the
        key must have (0: there is none).

        Raises :class:`Forbidden` for a key that is not the reader's to write, or the gateway's own
        knowledge; :class:`NotFound` below a cluster that there is not; :class:`Invalid`.
        """
        key = _checked(_plain(key)[0])
        if len(value) > MOST_VALUE:
            raise TooLarge(f"a value has at most {MOST_VALUE} bytes, this one has {len(value)}")
        with self._store.transaction():
            cluster = self._writable(reader, key)
            if cas is not None and not self._is_at(reader, key, cas):
                return False
            if cluster is None or not self._write_through(cluster, key, _decoded(value)):
                self._store.kv.put(key, value, flags)
        return True

    def delete(self, reader: Reader, key: str, *, recurse: bool = False, cas: int | None = None) -> bool:
        """Removes a key, or all that begin with it; what the gateway knows itself stays.

        Returns False only for a key that is not at ``cas``.
        """
        key = _plain(key)[0]
        if not recurse:
            _checked(key)
        with self._store.transaction():
            cluster = self._writable(reader, key)
            if cas is not None and not self._is_at(reader, key, cas):
                return False
            if cluster is not None:
                self._delete_through(cluster, key, recurse)
            if recurse:
                for entry in self._store.kv.list(key):
                    if _may_read_kept(reader, entry.key):
                        self._store.kv.delete(entry.key)
            else:
                self._store.kv.delete(key)
        return True

    def _writable(self, reader: Reader, key: str) -> Cluster | None:
        """Returns the cluster that a key lies below; None if it lies below none."""
        if key.startswith(_PRODUCTS):
            raise Forbidden("products are changed through their own interface, not the registry")
        parts = key.split("/")
        if not key.startswith(_CLUSTERS) or len(parts) <= _DEPTH:
            if not reader.is_trusted:
                raise Forbidden(f"the key {key[:200]!r} is not below a cluster of yours")
            return None
        name = "/".join(parts[:_DEPTH])
        if reader.cluster is not None and reader.cluster != name:
            raise Forbidden(f"a script of {reader.cluster} may not touch {name[:200]}")
        cluster = self._store.clusters.by_key(name)
        if not _may_touch(reader, cluster):
            raise NotFound(f"there is no cluster {name[:255]}")
        return cluster

    def _is_at(self, reader: Reader, key: str, index: int) -> bool:
        found = [entry for entry in self._read(reader, key, tree=False) if entry.key == key]
        return found[0].modify_index == index if found else index == 0

    def _write_through(self, cluster: Cluster, key: str, text: str | None) -> bool:
        """Returns whether the key is one of the record's."""
        changed = written(cluster, key[len(cluster.key) + 1 :], text)
        if changed is None:
            return False
        if changed != cluster:
            self._store.clusters.save(changed, cluster.revision)
        return True

    def _delete_through(self, cluster: Cluster, key: str, recurse: bool) -> None:
        if not recurse:
            self._write_through(cluster, key, None)
            return
        changed = cluster
        for name in cluster_entries(cluster, key):
            if name.startswith(key):
                try:
                    changed = written(changed, name[len(cluster.key) + 1 :], None) or changed
                except (Forbidden, NotFound):
                    continue  # a fact, which stays
        if changed != cluster:
            self._store.clusters.save(changed, cluster.revision)


# -- who may do what --


def _check_reading(reader: Reader, key: str) -> None:
    """A script that asks for more than its own is told so; others see what they may."""
    if reader.cluster is not None and not f"{key}/".startswith(f"{reader.cluster}/"):
        raise Forbidden(f"a script of {reader.cluster} may not read {key[:200] or 'all keys'}")


def _may_touch(reader: Reader, cluster: Cluster) -> bool:
    if reader.cluster is not None:
        return reader.cluster == cluster.key
    return reader.is_trusted or reader.user == cluster.owner


def _may_read_kept(reader: Reader, key: str) -> bool:
    if reader.is_trusted:
        return True
    if reader.cluster is not None:
        return key.startswith(f"{reader.cluster}/")
    # The owner is part of a cluster's key.
    return reader.user is not None and key.startswith(f"{_CLUSTERS}{reader.user}/")


# -- keys --


def _plain(key: str) -> tuple[str, bool]:
    """Returns a key as it is stored, and whether it was given with the older prefix."""
    key = key.lstrip("/")
    if key.startswith(_INSTANCES):
        return _CLUSTERS + key[len(_INSTANCES) :], True
    return key, False


def _checked(key: str) -> str:
    if not key or len(key) > MOST_KEY or "\0" in key:
        raise Invalid(f"a key has 1 to {MOST_KEY} characters, none of them NUL")
    return key


def _decoded(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("values below a cluster are texts in UTF-8") from None
    if "\0" in text:
        raise Invalid("values below a cluster hold no NUL")
    return text


def _may_lie_below(prefix: str, root: str) -> bool:
    """Whether keys below ``root`` can begin with ``prefix``."""
    return prefix.startswith(root) or root.startswith(prefix)


def _entries(texts: dict[str, str], revision: int) -> dict[str, Entry]:
    return {key: Entry(key, text.encode(), 0, 1, max(1, revision)) for key, text in texts.items()}


def _answer(entries: Sequence[Entry], index: int, alias: bool) -> Answer:
    index = max([1, index, *(entry.modify_index for entry in entries)])
    if alias:
        entries = [
            msgspec.structs.replace(entry, key=_INSTANCES + entry.key[len(_CLUSTERS) :])
            for entry in entries
        ]
    return Answer(entries, index)


class _Changes:
    """When something has last changed, by key, and who waits for it.

    What is forgotten counts as changed at ``floor``: whoever waits looks once more than needed.
    """

    def __init__(self, floor: int) -> None:
        self._lock = threading.Lock()
        self._floor = floor
        self._last: dict[str, int] = {}
        self._waiting: dict[int, tuple[str, bool, Callable[[], object]]] = {}
        self._next = 0

    def note(self, change: Change) -> None:
        if change.kind not in ("cluster", "product", "kv"):
            return
        with self._lock:
            if len(self._last) >= _MOST_REMEMBERED:
                self._floor = max(self._last.values())
                self._last.clear()
            self._last[change.key] = max(change.revision, self._last.get(change.key, 0))
            wakes = [w for key, tree, w in self._waiting.values() if _concerns(change.key, key, tree)]
        for wake in wakes:
            wake()

    def index(self, key: str, tree: bool) -> int:
        with self._lock:
            last = [n for changed, n in self._last.items() if _concerns(changed, key, tree)]
            return max([self._floor, *last])

    @contextmanager
    def watching(self, key: str, tree: bool, wake: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            number = self._next
            self._next += 1
            self._waiting[number] = (key, tree, wake)
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[number]


def _concerns(changed: str, key: str, tree: bool) -> bool:
    """Whether a change of a record or key ``changed`` can be seen at ``key``, or below it."""
    return key == changed or key.startswith(f"{changed}/") or (tree and changed.startswith(key))
