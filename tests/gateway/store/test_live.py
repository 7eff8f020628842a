"""The clusters that there are: as they are stored, and each read again only when it has changed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
import sqlalchemy as sa

from framework.model.errors import NotFound
from gateway.clusters.model import Cluster, Phase
from gateway.store import Store
from tests.gateway.store.test_store import a_cluster, an_event


def named(store: Store, cluster_id: str, name: str) -> Cluster:
    return store.clusters.change(cluster_id, lambda c: msgspec.structs.replace(c, name=name))


def gone(cluster: Cluster) -> Cluster:
    return msgspec.structs.replace(cluster, phase=Phase.DELETED, operation=None)


def test_what_is_stored_is_seen_by_id_without_what_is_gone(store: Store) -> None:
    assert store.live.look() == {}
    stored = [store.clusters.create(a_cluster(number)) for number in (2, 1, 3)]
    assert list(store.live.look().items()) == sorted((c.cluster_id, c) for c in stored)
    store.clusters.create(a_cluster(0))
    assert list(store.live.look()) == ["id-0", "id-1", "id-2", "id-3"]
    store.clusters.change("id-1", gone)
    assert list(store.live.look()) == ["id-0", "id-2", "id-3"]
    store.clusters.forget("id-1")
    assert list(store.live.look()) == ["id-0", "id-2", "id-3"]
    # While nobody looked.
    store.clusters.change("id-2", gone)
    store.clusters.forget("id-2")
    assert list(store.live.look()) == ["id-0", "id-3"]


def test_only_what_has_changed_is_read_again(store: Store) -> None:
    for number in (1, 2):
        store.clusters.create(a_cluster(number))
    before = store.live.look()
    store.events.append([an_event("id-1", "x")])
    assert store.live.look() is before
    changed = named(store, "id-2", "other")
    after = store.live.look()
    assert after["id-1"] is before["id-1"]
    assert after["id-2"] == changed
    assert before["id-2"].name == ""


def test_what_another_process_has_stored_is_seen(opened: Callable[[], Store]) -> None:
    ours, theirs = opened(), opened()
    theirs.clusters.create(a_cluster(1))
    assert list(ours.live.look()) == ["id-1"]
    named(theirs, "id-1", "other")
    assert ours.live.look()["id-1"].name == "other"


def test_an_older_copy_of_the_database_is_read_anew(store: Store) -> None:
    for number in (1, 2):
        store.clusters.create(a_cluster(number))
    assert len(store.live.look()) == 2
    with store._sessions.write() as session:
        session.execute(sa.text("DELETE FROM gateway_clusters WHERE id = 'id-2'"))
        session.execute(sa.text("UPDATE gateway_counters SET value = 1 WHERE scope = ''"))
    assert list(store.live.look()) == ["id-1"]


def test_a_transaction_does_not_look_at_what_may_never_be(store: Store) -> None:
    with store.transaction():
        store.clusters.create(a_cluster(1))
        with pytest.raises(RuntimeError, match="not committed"):
            store.live.look()
    assert list(store.live.look()) == ["id-1"]


def test_what_is_read_together_is_read_in_one_transaction(opened: Callable[[], Store]) -> None:
    store, other = opened(), opened()
    store.clusters.create(a_cluster(1))
    begun: list[str] = []
    engine = store._sessions._database._engine
    sa.event.listen(engine, "begin", lambda connection: begun.append(""))
    with store.reading():
        assert store.clusters.get("id-1").name == ""
        with store.reading(), pytest.raises(NotFound):
            store.clusters.get("id-2")
        assert store.clusters.named("", "none") == []
        with pytest.raises(RuntimeError, match="nothing can be written"):
            named(store, "id-1", "x")
        named(other, "id-1", "theirs")
    assert len(begun) == 1
    assert named(store, "id-1", "ours").name == "ours"


def test_the_events_of_several_clusters(store: Store) -> None:
    told = [an_event(f"id-{number % 2}", str(number)) for number in range(6)]
    store.events.append(told[:3])
    store.events.append(told[3:])
    found = store.events.of(["id-0", "id-1", "id-2"])
    assert {key: [e.text for e in events] for key, events in found.items()} == {
        "id-0": ["0", "2", "4"],
        "id-1": ["1", "3", "5"],
        "id-2": [],
    }
    assert store.events.of([]) == {}
