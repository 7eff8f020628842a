"""A Consul of the operator's that scripts use instead of the gateway's own registry.

What the gateway knows of clusters is written there as it changes; what a script has written there is
taken over when it ends. Both sides write ``status``: a key is only written again when the gateway's own
value of it has changed, so that a script's stands until then. What could not be written, because nobody
answered or the gateway ended, is written later, as it is then: which revision of a cluster has been
written is stored (objects of the kind ``mirrored-cluster``).
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import urllib.parse
from collections.abc import Callable

import msgspec

from framework.model.errors import GatewayError, Invalid, NotFound, Unavailable
from gateway.clusters.kv import KeyValues
from gateway.clusters.model import Cluster
from gateway.clusters.projection import cluster_entries
from gateway.scripting.registry import KeyValueStore, RegistryError
from gateway.store import Change, Store
from gateway.store.objects import Object

log = logging.getLogger(__name__)
_PORT = 8500
# What the keys of clusters of products begin with.
_PRODUCTS = "clusters/"
# What a Consul that is there may take to answer, and when one that was not is asked again.
_ANSWER_SECS = 10.0
_AGAIN_SECS = 10.0
# How often it is looked whether this process leads, in seconds.
_GLANCE = 1.0


def consul_url(text: str) -> str:
    """Returns the key-value endpoint of ``consul://HOST[:PORT]``; raises :class:`Invalid`."""
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port or _PORT
    except ValueError:
        parts, port = urllib.parse.SplitResult("", "", "", "", ""), 0
    if parts.scheme != "consul" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Invalid(f"--registry {text!r} is not consul://HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"http://{host}:{port}/v1/kv"


class _Script(msgspec.Struct, frozen=True):
    """Writes as a script of the cluster would."""

    user: str
    cluster: str
    is_trusted: bool = False


class ConsulMirror:
    """Keeps the clusters of ``store`` in the Consul at ``url``; its thread runs until :meth:`close`.

    ``term`` gives None while this process does not lead, which writes nothing. What could not be written
    is tried again after ``again_secs``.
    """

    def __init__(
        self,
        url: str,
        store: Store,
        values: KeyValues,
        term: Callable[[], int | None],
        *,
        again_secs: float = _AGAIN_SECS,
    ) -> None:
        self.url = url
        self._consul = KeyValueStore(url, None)
        # It tries again by itself, and must not keep the gateway from its end meanwhile.
        self._brief = KeyValueStore(url, None, patience=0.0, timeout=_ANSWER_SECS)
        self._store = store
        self._values = values
        self._term = term
        self._led: int | None = None
        self._again_secs = again_secs
        self._lock = threading.Lock()
        # What has been written of each cluster, in the term that this process led with then: in others
        # somebody else has written.
        self._pushed: dict[str, dict[str, str]] = {}
        self._pushed_in: int | None = None
        self._changed: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._unsubscribe = store.subscribe(self._note)
        self._thread = threading.Thread(target=self._follow, name="consul", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._unsubscribe()
        self._changed.put(None)
        # Longer than that it can only wait for a Consul that hangs.
        self._thread.join(_ANSWER_SECS)

    def push(self, cluster: Cluster) -> None:
        """Writes what has changed of a cluster since the last time; raises :class:`Unavailable`."""
        self._push(cluster, self._consul)

    def _push(self, cluster: Cluster, consul: KeyValueStore) -> None:
        wanted = cluster_entries(cluster)
        with self._lock:
            term = self._term()
            if term != self._pushed_in:
                self._pushed.clear()
                self._pushed_in = term
            before = self._pushed.get(cluster.key)
            try:
                if before is None:
                    before = consul.tree(cluster.key)
                for key, text in wanted.items():
                    if before.get(key) != text:
                        consul.set(key, text)
                for name in _nodes_of(before, cluster.key) - {node.name for node in cluster.nodes}:
                    consul.delete(f"{cluster.key}/nodes/{name}/", recurse=True)
            except RegistryError as error:
                self._pushed.pop(cluster.key, None)
                raise Unavailable(
                    f"the registry {self.url} does not take what it is told: {error}"
                ) from None
            self._pushed[cluster.key] = wanted

    def pull(self, cluster: Cluster) -> None:
        """Takes over what a script has written of a cluster; raises :class:`Unavailable`."""
        with self._lock:
            known = self._pushed.get(cluster.key, {})
            try:
                found = self._consul.tree(cluster.key)
            except RegistryError as error:
                raise Unavailable(f"the registry {self.url} does not answer: {error}") from None
        script = _Script(cluster.key, cluster.key)
        for key, text in found.items():
            if known.get(key) == text:
                continue
            try:
                self._values.put(script, key, text.encode())
            except GatewayError as error:
                log.warning("%s is not taken over from the registry: %s", key, error)

    def _note(self, change: Change) -> None:
        if change.kind == "cluster" and change.key.startswith(_PRODUCTS):
            self._changed.put(change)

    def _follow(self) -> None:
        """Writes what has changed, each cluster as it is by then; what fails comes last, later."""
        waiting: dict[str, str] = {}
        while self._gather(waiting, self._again_secs if waiting else _GLANCE):
            if not self._leads(waiting):
                waiting.clear()  # whoever begins to lead finds out what has not been written
                continue
            for cluster_id, key in list(waiting.items()):
                del waiting[cluster_id]
                if not self._write(cluster_id, key):
                    waiting[cluster_id] = key
                    break  # most likely the next one would only wait for the same

    def _gather(self, waiting: dict[str, str], patience: float | None) -> bool:
        """Notes the clusters that have changed, once there are some or after ``patience`` seconds;
        returns False at the end."""
        with contextlib.suppress(queue.Empty):
            change = self._changed.get(timeout=patience)
            while change is not None:
                waiting[change.id] = change.key
                change = self._changed.get_nowait()
            return False
        return True

    def _leads(self, waiting: dict[str, str]) -> bool:
        """Whether this process may write; at the beginning it notes what has not been written yet."""
        term = self._term()
        if term != self._led and term is not None:
            try:
                waiting.update(self._behind())
            except GatewayError as error:
                log.warning("the registry %s is not looked after now: %s", self.url, error)
                return False
        self._led = term
        return term is not None

    def _behind(self) -> dict[str, str]:
        """Returns the keys of the clusters, by id, that have changed or gone since they were written."""
        written = {one.id: one for one in self._store.objects.find("mirrored-cluster")}
        revisions = {
            cluster.cluster_id: (cluster.key, cluster.revision)
            for cluster in self._store.clusters.find()
            if cluster.key.startswith(_PRODUCTS)
        }
        gone = {known.id: known.name for known in written.values() if known.id not in revisions}
        changed = {
            cluster_id: key
            for cluster_id, (key, revision) in revisions.items()
            if cluster_id not in written or written[cluster_id].body["revision"] != revision
        }
        return gone | changed

    def _write(self, cluster_id: str, key: str) -> bool:
        """Has the Consul know a cluster, or forget one that is forgotten; returns whether it does."""
        try:
            try:
                cluster = self._store.clusters.get(cluster_id)
            except NotFound:
                self._forget(cluster_id, key)
            else:
                self._push(cluster, self._brief)
                self._note_written(cluster)
        except GatewayError as error:
            log.warning("cluster %s is not written to the registry now: %s", key, error)
            return False
        return True

    def _forget(self, cluster_id: str, key: str) -> None:
        with self._lock:
            self._pushed.pop(key, None)
            try:
                self._brief.delete(f"{key}/", recurse=True)
            except RegistryError as error:
                raise Unavailable(f"it stays in the registry {self.url}: {error}") from None
        with contextlib.suppress(NotFound):
            self._store.objects.delete("mirrored-cluster", cluster_id)

    def _note_written(self, cluster: Cluster) -> None:
        body = {"revision": cluster.revision}
        new = Object("mirrored-cluster", cluster.cluster_id, "", cluster.key, body)
        with self._store.transaction():
            if self._store.objects.look(new.kind, new.id) is None:
                self._store.objects.add(new)
            else:
                self._store.objects.change(new.kind, new.id, lambda _: new)


def _nodes_of(entries: dict[str, str], key: str) -> set[str]:
    start = f"{key}/nodes/"
    return {name[len(start) :].partition("/")[0] for name in entries if name.startswith(start)} - {""}
