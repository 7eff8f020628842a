"""What has been made of clusters, kept until they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from gateway.clusters.model import Cluster

T = TypeVar("T")
# So many clusters are remembered; a list shows no more at once.
MOST = 10_000


class Remembered(Generic[T]):
    """A value of each cluster, by its revision. Usable on any thread: what two make, both have made."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[str, tuple[int, T]] = {}

    def of(
        self,
        clusters: Sequence[Cluster],
        make: Callable[[Sequence[Cluster]], Iterable[T]],
    ) -> Mapping[str, T]:
        """Returns the values of clusters by their ids; ``make`` gives those that are not known, in the
        order of the clusters."""
        found: dict[str, T] = {}
        unknown: list[Cluster] = []
        for cluster in clusters:
            known = self._known.get(cluster.cluster_id)
            if known is not None and known[0] == cluster.revision:
                found[cluster.cluster_id] = known[1]
            else:
                unknown.append(cluster)
        if unknown:
            if len(self._known) + len(unknown) > self._most:
                self._known.clear()
            for cluster, value in zip(unknown, make(unknown), strict=True):
                self._known[cluster.cluster_id] = (cluster.revision, value)
                found[cluster.cluster_id] = value
        return found
