"""clusters.json, and which backend stands behind each cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from framework.model.errors import Invalid, NotFound, NotSupported
from framework.model.jobs import check_segment
from gateway.schedulers.base import SchedulerBackend

# What in an entry says that its scheduler is elsewhere; Aurora's own names, old and new.
_LOCATIONS = ("scheduler_uri", "zk", "zk_port", "scheduler_zk_path", "proxy_url")


class Cluster(msgspec.Struct, frozen=True):
    """An entry of clusters.json. ``location`` is where its scheduler is, None: it is our own."""

    name: str
    location: str | None = None


def read_clusters(path: Path) -> tuple[Cluster, ...]:
    """Returns the clusters of a file in Aurora's convention: a JSON list of ``{"name": …}``.

    Raises :class:`Invalid` that names the file, the entry and what is wrong with it.
    """
    try:
        entries = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise Invalid(f"the clusters file {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the clusters file {path} is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise Invalid(f'the clusters file {path} must hold a list: [{{"name": "devcluster"}}, …]')
    clusters = tuple(_cluster(entry, f"{path}, entry {n}") for n, entry in enumerate(entries, 1))
    names = [cluster.name for cluster in clusters]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(f"the clusters file {path} names the cluster {name!r} more than once")
    return clusters


def _cluster(entry: Any, where: str) -> Cluster:
    if not isinstance(entry, dict):
        raise Invalid(f'{where}: an entry is an object such as {{"name": "devcluster"}}')
    name = entry.get("name")
    if not isinstance(name, str):
        raise Invalid(f'{where}: "name" is missing, or not a string')
    try:
        check_segment("cluster", name)
    except Invalid as error:
        raise Invalid(f"{where}: {error}") from None
    given = {key: entry[key] for key in _LOCATIONS if entry.get(key)}
    for key, value in given.items():
        if not isinstance(value, str | int):
            raise Invalid(f'{where}: "{key}" is neither a string nor a number')
    location = next((str(value) for value in given.values()), None)
    return Cluster(name, location)


class Registry:
    """The backends by cluster. ``any_cluster`` makes one for a name that no file lists."""

    def __init__(
        self,
        backends: Mapping[str, SchedulerBackend],
        elsewhere: Iterable[Cluster] = (),
        any_cluster: Callable[[str], SchedulerBackend] | None = None,
    ) -> None:
        """``elsewhere``: clusters that are known, and that this gateway cannot reach itself."""
        self._backends = dict(backends)
        self._elsewhere = {cluster.name: cluster for cluster in elsewhere}
        self._any_cluster = any_cluster

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters that have a backend, sorted."""
        return tuple(sorted(self._backends))

    def backend(self, cluster: str) -> SchedulerBackend:
        """Returns the cluster's backend; raises :class:`NotFound` that lists those there are."""
        check_segment("cluster", cluster)
        if cluster in self._backends:
            return self._backends[cluster]
        if cluster in self._elsewhere:
            raise NotSupported(
                f"the scheduler of cluster {cluster!r} is at {self._elsewhere[cluster].location}; "
                "this release fronts a scheduler elsewhere only through an aurora command line "
                "(--executor external)"
            )
        if self._any_cluster is not None:
            return self._any_cluster(cluster)
        raise NotFound(f"unknown cluster {cluster!r}; known are {', '.join(self.clusters) or 'none'}")

    def health(self) -> dict[str, Any]:
        """Returns ``{"ready", "problems", "warnings", "clusters": {name: {"ready", "problems"}}}``."""
        clusters = {name: self._backends[name].health() for name in self.clusters}
        problems = [
            f"{name}: {problem}" for name, state in clusters.items() for problem in state["problems"]
        ]
        warnings = [
            f"{name}: {warning}"
            for name, state in clusters.items()
            for warning in state.get("warnings", ())
        ]
        stored = {name for state in clusters.values() for name in state.pop("stored", ())}
        warnings += [
            f"the state holds jobs of the cluster {name}: they run on, and no request reaches them, "
            f"as only {', '.join(self.clusters)} is known; name it with --cluster-name or --clusters"
            for name in sorted(stored - set(self.clusters))
        ]
        return {
            "ready": not problems,
            "problems": problems,
            "warnings": warnings,
            "clusters": clusters,
        }


def internal(clusters: Iterable[Cluster], own: str, make: Callable[[str], SchedulerBackend]) -> Registry:
    """Returns the registry of ``--executor internal``: ``own`` and what has no other scheduler."""
    here = {own} | {cluster.name for cluster in clusters if cluster.location is None}
    elsewhere = [c for c in clusters if c.location is not None and c.name != own]
    return Registry({name: make(name) for name in here}, elsewhere)


def external(clusters: Iterable[Cluster], make: Callable[[str], SchedulerBackend]) -> Registry:
    """Returns the registry of ``--executor external``.

    Without a clusters file the aurora client alone knows which clusters there are.
    """
    known = [cluster.name for cluster in clusters]
    return Registry({name: make(name) for name in known}, any_cluster=None if known else make)
