"""A Consul of the operator's that scripts use instead of the gateway's own registry.

What the gateway knows of clusters is written there as it changes; what a script has written there is
taken over when it ends. Both sides write ``status``: a key is only written again when the gateway's own
value of it has changed, so that a script's stands until then.
"""

from __future__ import annotations

import logging
import queue
import threading
import urllib.parse

import msgspec

from framework.model.errors import GatewayError, Invalid, NotFound, Unavailable
from gateway.clusters.kv import KeyValues
from gateway.clusters.model import Cluster
from gateway.clusters.projection import cluster_entries
from gateway.scripting.registry import KeyValueStore, RegistryError
from gateway.store import Change, Store

log = logging.getLogger(__name__)
_PORT = 8500


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
    """Keeps the clusters of ``store`` in the Consul at ``url``; its thread runs until :meth:`close`."""

    def __init__(self, url: str, store: Store, values: KeyValues) -> None:
        self.url = url
        self._consul = KeyValueStore(url, None)
        self._store = store
        self._values = values
        self._lock = threading.Lock()
        self._pushed: dict[str, dict[str, str]] = {}
        self._changed: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._unsubscribe = store.subscribe(self._note)
        self._thread = threading.Thread(target=self._follow, name="consul", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._unsubscribe()
        self._changed.put(None)
        self._thread.join()

    def push(self, cluster: Cluster) -> None:
        """Writes what has changed of a cluster since the last time; raises :class:`Unavailable`."""
        wanted = cluster_entries(cluster)
        with self._lock:
            before = self._pushed.get(cluster.key)
            try:
                if before is None:
                    before = self._consul.tree(cluster.key)
                for key, text in wanted.items():
                    if before.get(key) != text:
                        self._consul.set(key, text)
                for name in _nodes_of(before, cluster.key) - {node.name for node in cluster.nodes}:
                    self._consul.delete(f"{cluster.key}/nodes/{name}/", recurse=True)
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
        if change.kind == "cluster" and change.key.startswith("clusters/"):
            self._changed.put(change)

    def _follow(self) -> None:
        while (change := self._changed.get()) is not None:
            try:
                self.push(self._store.clusters.get(change.id))
            except NotFound:
                self._forget(change.key)
            except GatewayError as error:
                log.warning("cluster %s is not written to the registry now: %s", change.key, error)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._pushed.pop(key, None)
            try:
                self._consul.delete(f"{key}/", recurse=True)
            except RegistryError as error:
                log.warning("cluster %s stays in the registry %s: %s", key, self.url, error)


def _nodes_of(entries: dict[str, str], key: str) -> set[str]:
    start = f"{key}/nodes/"
    return {name[len(start) :].partition("/")[0] for name in entries if name.startswith(start)} - {""}
