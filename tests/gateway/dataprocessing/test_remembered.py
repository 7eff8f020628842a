"""What has been made of clusters is made again when they have changed, and not before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.clusters.model import Cluster
from gateway.dataprocessing.remembered import Remembered
from tests.gateway.dataprocessing.samples import a_cluster


def test_only_what_is_not_known_is_made() -> None:
    made: list[list[str]] = []

    def make(clusters: Sequence[Cluster]) -> Iterable[str]:
        made.append([cluster.cluster_id for cluster in clusters])
        return [f"{cluster.cluster_id} {cluster.revision}" for cluster in clusters]

    one, two = a_cluster(cluster_id="1", revision=1), a_cluster(cluster_id="2", revision=1)
    known: Remembered[str] = Remembered(most=2)
    assert known.of([one, two], make) == {"1": "1 1", "2": "2 1"}
    assert known.of([two], make) == {"2": "2 1"}
    changed = a_cluster(cluster_id="2", revision=5)
    assert known.of([one, changed], make) == {"1": "1 1", "2": "2 5"}
    assert made == [["1", "2"], ["2"]]
    # More than are remembered are shown all the same.
    many = [one, changed, a_cluster(cluster_id="3"), a_cluster(cluster_id="4")]
    assert sorted(known.of(many, make)) == ["1", "2", "3", "4"]
