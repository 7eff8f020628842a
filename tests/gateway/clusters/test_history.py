"""What is remembered of clusters that were deleted, for how long, and of how many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from framework.model.errors import NotFound
from gateway.clusters.course import Limits
from gateway.clusters.model import Cluster
from gateway.store import Store
from tests.gateway.clusters.doubles import Bench

MONTH, MOST = 1000.0, 3


@pytest.fixture
def bench() -> Iterator[Bench]:
    store = Store("sqlite://")
    # It looks for the outdated at every sixth turn.
    bench = Bench(store, tick_secs=0.0, limits=Limits(history_secs=MONTH, history_size=MOST))
    yield bench
    bench.engine._leave(5.0)
    store.close()


def end(bench: Bench, number: int) -> Cluster:
    """Launches and deletes a cluster; something is left of it everywhere."""
    cluster = bench.launch(1, number)
    bench.drive(cluster, lambda c: not c.is_busy)
    bench.store.kv.put(f"{cluster.key}/note", b"of its script")
    bench.clusters.delete(cluster.cluster_id)
    gone = bench.drive(cluster, lambda c: c.is_gone)
    # As if somebody's thread had been late.
    bench.store.secrets.put(cluster.cluster_id, "ssh", "private")
    return gone


def is_known(bench: Bench, cluster: Cluster) -> bool:
    left = (
        bench.store.events.read(cluster.cluster_id),
        bench.store.secrets.names(cluster.cluster_id),
        bench.store.kv.list(f"{cluster.key}/"),
    )
    try:
        bench.store.clusters.get(cluster.cluster_id)
    except NotFound:
        assert not any(left), left
        return False
    assert all(left), left
    return True


def look(bench: Bench) -> None:
    for _ in range(7):
        bench.engine.turn()


def test_a_deleted_cluster_is_known_for_its_time(bench: Bench) -> None:
    scope = "ann/hello/1.0"
    assert bench.store.clusters.next_number(scope) == 1
    old, lives = end(bench, 1), bench.drive(bench.launch(1, 2), lambda c: not c.is_busy)
    # Keys of one whose key begins alike are somebody else's.
    bench.store.kv.put(f"{old.key}0/note", b"of the tenth")
    bench.now = old.updated_at + MONTH / 2
    young = end(bench, 3)
    bench.now = old.updated_at + MONTH - 1
    look(bench)
    assert is_known(bench, old)
    bench.now = old.updated_at + MONTH + 0.1
    look(bench)
    assert not is_known(bench, old)
    assert is_known(bench, young)
    bench.now += 100 * MONTH
    look(bench)
    assert not is_known(bench, young)
    assert bench.store.clusters.get(lives.cluster_id).phase is lives.phase
    assert [entry.key for entry in bench.store.kv.list("")] == [f"{old.key}0/note"]
    # Who has a link to the first is not shown another one there.
    assert bench.store.clusters.next_number(scope) == 2


def test_of_many_the_oldest_go(bench: Bench) -> None:
    gone = [end(bench, number) for number in range(1, MOST + 3)]
    look(bench)
    assert [is_known(bench, cluster) for cluster in gone] == [False] * 2 + [True] * MOST
