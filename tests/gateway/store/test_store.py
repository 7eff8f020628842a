"""The gateway's store: what is committed comes back, all or nothing, and only from the one who leads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from framework.model.errors import Conflict, Invalid, NotFound
from framework.model.jobs import JobKey
from framework.storage import Fenced, Storage, StorageUnavailable
from gateway.clusters.model import (
    Cluster,
    ClusterEvent,
    Group,
    NodeRecord,
    NodeSpec,
    Operation,
    Phase,
    Service,
)
from gateway.clusters.networks import AddressAsk, DiskMark, Network
from gateway.clusters.products import Product
from gateway.store import Change, Store
from gateway.store.clusters import EventStore
from gateway.store.migrations import CHAIN
from gateway.store.tables import metadata

SPEC = NodeSpec(cpus=0.5, mem_mb=128, properties={"port": 22, "list": [1, "a"]})


def a_cluster(number: int = 1, **fields: object) -> Cluster:
    values = {
        "cluster_id": f"id-{number}",
        "key": f"clusters/ann/hello/1.0/{number}",
        "owner": "ann",
        "provider": "product",
        "product": ("hello", "1.0"),
        "job": JobKey("devcluster", "ann", "paas", f"hello-1.0-{number}"),
        "groups": (Group("all", SPEC, {"x": None}),),
        "nodes": (NodeRecord("n-1", 0, "master0", "all", SPEC),),
        "services": (Service("sshd", ("master0",), "", {"any.property": "1"}),),
        "operation": Operation("create", "o-1", 1.5, "ann"),
        "created_at": float(number),
        **fields,
    }
    return Cluster(**values)  # type: ignore[arg-type]


def an_event(cluster_id: str, text: str) -> ClusterEvent:
    return ClusterEvent(cluster_id, 2.5, "output", text, stream="stdout")


def without_revision(cluster: Cluster) -> Cluster:
    return msgspec.structs.replace(cluster, revision=0)


# -- clusters -------------------------------------------------------------------------------------


def test_a_cluster_comes_back_as_it_was(store: Store, opened: Callable[[], Store]) -> None:
    created = store.clusters.create(a_cluster())
    again = opened()
    assert created.revision > 0
    assert again.clusters.get("id-1") == created
    assert again.clusters.by_key(created.key) == created
    assert again.clusters.by_job(created.job) == created
    assert without_revision(created) == a_cluster()
    for read in (again.clusters.get, again.clusters.by_key):
        with pytest.raises(NotFound, match="no cluster nothing"):
            read("nothing")
        with pytest.raises(NotFound):
            read("no\0thing")


def test_a_key_and_a_job_belong_to_one_cluster(store: Store) -> None:
    store.clusters.create(a_cluster())
    for same in (
        a_cluster(2, key=a_cluster().key),
        a_cluster(2, job=a_cluster().job),
        a_cluster(2, cluster_id="id-1"),
    ):
        with pytest.raises(Conflict, match="already a cluster"):
            store.clusters.create(same)


def test_a_change_by_somebody_else_is_not_overwritten(store: Store) -> None:
    first = store.clusters.create(a_cluster())
    second = store.clusters.save(msgspec.structs.replace(first, step="a"), first.revision)
    assert second.revision > first.revision
    with pytest.raises(Conflict, match="has been changed meanwhile"):
        store.clusters.save(msgspec.structs.replace(first, step="b"), first.revision)
    assert store.clusters.get("id-1") == second
    with pytest.raises(NotFound):
        store.clusters.save(a_cluster(2), 1)


def test_changes_of_many_threads_follow_each_other(opened: Callable[[], Store]) -> None:
    stores = [opened(), opened()]
    stores[0].clusters.create(a_cluster())

    def count(number: int) -> None:
        stores[number % 2].clusters.change(
            "id-1", lambda cluster: msgspec.structs.replace(cluster, progress=cluster.progress + 1)
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))
    assert stores[0].clusters.get("id-1").progress == 40
    unchanged = stores[0].clusters.get("id-1")
    assert stores[1].clusters.change("id-1", lambda cluster: cluster) == unchanged
    with pytest.raises(NotFound):
        stores[1].clusters.change("id-2", lambda cluster: cluster)


def test_clusters_are_found_by_what_they_are(store: Store) -> None:
    idle = {"operation": None}
    store.clusters.create(a_cluster(3, phase=Phase.DELETED, **idle))
    store.clusters.create(a_cluster(2, owner="bob", project="t", expires_at=5.0, **idle))
    store.clusters.create(a_cluster(1))
    store.clusters.create(a_cluster(4, product=("other", "2"), deleting=True, **idle))

    def ids(found: list[Cluster]) -> list[str]:
        return [cluster.cluster_id for cluster in found]

    assert ids(store.clusters.find()) == ["id-1", "id-2", "id-3", "id-4"]
    assert ids(store.clusters.find(owner="ann", product="hello")) == ["id-1", "id-3"]
    assert ids(store.clusters.find(product="hello", version="1.0", include_gone=False)) == [
        "id-1",
        "id-2",
    ]
    assert ids(store.clusters.find(project="t")) == ["id-2"]
    assert ids(store.clusters.unfinished()) == ["id-1", "id-4"]
    assert store.clusters.phases() == {
        **dict.fromkeys(map(str, Phase), 0),
        "registered": 3,
        "destroyed": 1,
    }


def test_numbers_count_within_their_scope(opened: Callable[[], Store]) -> None:
    stores = [opened(), opened()]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: stores[n % 2].clusters.next_number("ann/hello"), range(30)))
    assert sorted(numbers) == list(range(1, 31))
    assert stores[0].clusters.next_number("bob/hello") == 1


def test_a_forgotten_cluster_leaves_nothing(store: Store) -> None:
    store.clusters.create(a_cluster())
    store.events.append([an_event("id-1", "a")])
    store.secrets.put("id-1", "key", "text")
    store.clusters.forget("id-1")
    store.clusters.forget("id-1")
    assert store.clusters.find() == []
    assert store.events.read("id-1") == []
    assert store.secrets.get("id-1", "key") is None


def test_a_row_that_cannot_be_read_is_named(store: Store) -> None:
    store.clusters.create(a_cluster())
    with store._sessions.write() as session:
        session.execute(sa.text("update gateway_clusters set body = '{}'"))
    with pytest.raises(Invalid, match="stored cluster id-1 cannot be read"):
        store.clusters.find()


# -- transactions ---------------------------------------------------------------------------------


def test_what_belongs_together_is_committed_together(store: Store, opened: Callable[[], Store]) -> None:
    heard: list[Change] = []
    undo = store.subscribe(heard.append)
    other = opened()

    def fail() -> None:
        with store.transaction():
            store.clusters.create(a_cluster())
            assert store.clusters.get("id-1").key == a_cluster().key  # seen within, not outside
            assert other.clusters.find() == []
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (store.clusters.find(), heard) == ([], [])
    with store.transaction() as revision:
        store.clusters.create(a_cluster())
        store.kv.put("a/b", b"1")
        assert heard == []
    assert heard == [
        Change("cluster", "id-1", revision, a_cluster().key),
        Change("kv", "a/b", revision, "a/b"),
    ]
    assert store.revision() == revision == store.clusters.get("id-1").revision
    undo()
    store.kv.delete("a/b")
    assert len(heard) == 2


def test_a_listener_that_fails_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Change] = []

    def fail(change: Change) -> None:
        raise RuntimeError("of no use")

    store.subscribe(fail)
    store.subscribe(heard.append)
    store.kv.put("a", b"1")
    assert [change.id for change in heard] == ["a"]
    assert "of no use" in caplog.text


def test_a_listener_may_use_the_store(store: Store) -> None:
    seen: list[bytes] = []
    store.subscribe(lambda change: seen.extend(entry.value for entry in store.kv.list("")))
    store.kv.put("a", b"1")
    assert seen == [b"1"]


def test_a_deposed_leader_writes_nothing(place: str, opened: Callable[[], Store]) -> None:
    storage = Storage(place)
    try:
        store, other = opened(), opened()
        mine = storage.claim_epoch()
        store.fence = lambda: mine
        created = store.clusters.create(a_cluster())
        theirs = storage.claim_epoch()
        other.fence = lambda: theirs
        with pytest.raises(Fenced, match="taken over"):
            store.clusters.create(a_cluster(2))
        with pytest.raises(Fenced):
            store.kv.put("a", b"1")
        assert store.clusters.find() == [created]  # reading goes on
        assert other.clusters.create(a_cluster(2)).revision > created.revision
    finally:
        storage.close()


def test_nobody_can_take_over_in_the_middle_of_a_commit(place: str, opened: Callable[[], Store]) -> None:
    storage = Storage(place)
    try:
        store = opened()
        mine = storage.claim_epoch()
        store.fence = lambda: mine
        order: list[str] = []

        def claim() -> None:
            while True:
                # Whoever waits for the lock gives up after a while; a commit may take longer than that.
                with contextlib.suppress(StorageUnavailable):
                    storage.claim_epoch()
                    order.append("claimed")
                    return

        thread = threading.Thread(target=claim)
        with store.transaction():
            store.kv.put("a", b"1")
            thread.start()
            thread.join(0.3)
            order.append("committed")
        thread.join()
        assert order == ["committed", "claimed"]
    finally:
        storage.close()


def test_a_state_in_memory_needs_no_fence() -> None:
    store = Store("sqlite://")
    store.fence = lambda: 7
    store.kv.put("a", b"1")
    assert store.kv.list("") != []
    store.close()


def test_the_revisions_make_the_tables_of_the_code(store: Store, place: str) -> None:
    with store._sessions._database.transaction(write=False) as connection:
        found = sa.inspect(connection)
        assert CHAIN.revision(connection) == CHAIN.head
        for table in metadata.sorted_tables:
            columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(table.name)}
            wanted = {
                c.name: (str(c.type.compile(connection.dialect)), c.nullable) for c in table.columns
            }
            assert columns.keys() == wanted.keys(), table.name
            for name, (kind, nullable) in wanted.items():
                known = columns[name][0].replace("DOUBLE PRECISION", "FLOAT")
                assert (known, columns[name][1]) == (kind, nullable), f"{table.name}.{name}"
            indexes = {i["name"] for i in found.get_indexes(table.name)}
            assert {i.name for i in table.indexes} <= indexes


# -- events ---------------------------------------------------------------------------------------


def test_events_are_numbered_over_all_clusters(store: Store) -> None:
    heard: list[Change] = []
    store.subscribe(heard.append)
    first = store.events.append([an_event("id-1", "a ✓"), an_event("id-2", "b\0")])
    second = store.events.append([an_event("id-1", "c")])
    assert [event.sequence for event in (*first, *second)] == [1, 2, 3]
    assert store.events.read("id-1") == [first[0], second[0]]
    assert store.events.read("id-1", after=1) == [second[0]]
    assert store.events.read("id-1", limit=1) == [first[0]]
    assert store.events.append([]) == ()
    assert [(c.kind, c.id) for c in heard][-1] == ("events", "id-1")


def test_the_oldest_events_of_a_cluster_go(store: Store) -> None:
    few = EventStore(store._sessions, kept=20)
    few.append([an_event("id-2", "quiet")])
    for _ in range(6):
        few.append([an_event("id-1", "loud")] * 10)
    kept = few.read("id-1")
    assert kept[-1].sequence == 61
    assert 20 <= len(kept) <= 22
    assert len(few.read("id-2")) == 1


# -- the rest -------------------------------------------------------------------------------------


def test_products_are_kept_by_name_and_version(store: Store) -> None:
    product = Product("hello", "1.0", "greets", template="{}")
    store.products.add(product)
    store.products.add(msgspec.structs.replace(product, version="2.0"))
    with pytest.raises(Conflict, match=r"hello 1\.0 exists"):
        store.products.add(product)
    assert store.products.get("hello", "1.0") == product
    assert store.products.list_names() == ["hello"]
    assert store.products.list_versions("hello") == ["1.0", "2.0"]
    assert store.products.list_versions("other") == []
    before = store.products.entry("hello", "1.0")[1]
    changed = msgspec.structs.replace(product, orchestrator="print()")
    store.products.update(changed)
    assert store.products.entry("hello", "1.0") == (changed, store.revision())
    assert store.revision() > before
    with pytest.raises(NotFound):
        store.products.update(msgspec.structs.replace(product, name="other"))
    with pytest.raises(NotFound):
        store.products.get("hello", "3")


def test_a_product_that_is_used_stays(store: Store) -> None:
    store.products.add(Product("hello", "1.0"))
    created = store.clusters.create(a_cluster())
    with pytest.raises(Conflict, match="used by 1 clusters"):
        store.products.delete("hello", "1.0")
    store.clusters.save(msgspec.structs.replace(created, phase=Phase.DELETED), created.revision)
    store.products.delete("hello", "1.0")
    with pytest.raises(NotFound):
        store.products.delete("hello", "1.0")


def test_keys_have_indexes_as_consul_gives_them(store: Store) -> None:
    first = store.kv.put("a/x", b"\0\xff", flags=2**64 - 1)
    second = store.kv.put("a/x", b"2")
    assert first.create_index == first.modify_index == second.create_index < second.modify_index
    assert store.kv.get("a/x") == second
    store.kv.put("A/x", b"")
    store.kv.put("a_y", b"")
    store.kv.put("a%", b"")
    assert [entry.key for entry in store.kv.list("a")] == ["a%", "a/x", "a_y"]
    assert [entry.key for entry in store.kv.list("a_")] == ["a_y"]
    assert store.kv.delete("a/x") == 1
    assert store.kv.delete("a/x") == 0
    assert store.kv.get("a/x") is None
    assert store.kv.delete("", recurse=True) == 3
    for key in ("", "x" * 2049, "a\0b"):
        with pytest.raises(Invalid, match="1 to 2048"):
            store.kv.put(key, b"")


def test_secrets_belong_to_a_cluster(store: Store) -> None:
    store.secrets.put("id-1", "ssh", "one")
    store.secrets.put("id-1", "ssh", "two")
    store.secrets.put("id-2", "ssh", "other")
    assert store.secrets.get("id-1", "ssh") == "two"
    store.secrets.delete("id-1")
    assert store.secrets.get("id-1", "ssh") is None
    assert store.secrets.names("id-2") == ["ssh"]


def test_disks_are_marked(store: Store) -> None:
    store.disks.put(DiskMark("a", "disk1", "used", "id-1", "n"))
    store.disks.put(DiskMark("b", "disk1"))
    store.disks.put(DiskMark("a", "disk1"))
    assert store.disks.get("a", "disk1") == DiskMark("a", "disk1")
    assert store.disks.list(status="used") == []
    assert [mark.host for mark in store.disks.list()] == ["a", "b"]
    assert store.disks.get("c", "disk1") is None


def test_scheduler_and_gateway_share_a_database(tmp_path: Path) -> None:
    storage, store = Storage(str(tmp_path / "s.db")), Store(str(tmp_path / "s.db"))
    store.networks.define(Network("n", "10.0.0.0/24", ("10.0.0.2",)))
    store.networks.take("c", [AddressAsk("n0", "n")])
    assert storage.claim_epoch() == 1
    storage.close()
    store.close()
