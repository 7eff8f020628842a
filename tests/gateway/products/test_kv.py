"""The key-value interface: what it shows, what is written through, who sees what, what blocks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import msgspec
import pytest

from framework.model.errors import Conflict, Forbidden, GatewayError, Invalid, NotFound, TooLarge
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.clusters.kv import KeyValues
from gateway.clusters.model import Phase
from gateway.clusters.products import Product, ProductOptions
from gateway.clusters.projection import status_of
from gateway.store import Store
from tests.gateway.products.samples import cluster

DN = "clusters/joe/reference/1.0.0/1"
JOE, ANN = Identity(user="joe"), Identity(user="ann")
ADMIN = Identity(user="root", admin=True)
SCRIPT = Identity(user=DN, cluster=DN)


@pytest.fixture
def store() -> Iterator[Store]:
    yield from stores()


@pytest.fixture(scope="module")
def shown() -> Iterator[KeyValues]:
    """For tests that change nothing."""
    for store in stores():
        yield KeyValues(store)


def stores() -> Iterator[Store]:
    store = Store("sqlite://")
    store.clusters.create(cluster(1))
    store.clusters.create(cluster(2))
    store.clusters.create(cluster(1, owner="ann"))
    options = ProductOptions(required={"size": 2})
    store.products.add(Product("reference", "1.0.0", template="{}", options=options, orchestrator="x"))
    store.kv.put("site/dns", b"10.0.0.1")
    store.secrets.put("id-joe-1", "ssh", "00" * 32)
    yield store
    store.close()


@pytest.fixture
def values(store: Store) -> Iterator[KeyValues]:
    values = KeyValues(store)
    yield values
    values.close()


def value(values: KeyValues, key: str, reader: Identity = ANONYMOUS) -> str | None:
    found = values.get(reader, key).entries
    return found[0].value.decode() if found else None


# -- what there is to see --


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("dnsname", "clusters--joe"),
        ("status", "ready"),
        ("nodes/slave1/name", "slave1"),
        ("nodes/slave1/status", "running"),
        ("nodes/slave1/cpu", "0.5"),
        ("nodes/slave1/mem", "64"),
        ("nodes/slave1/host", "agent1"),
        ("nodes/slave1/docker_image", "slurm:1"),
        ("nodes/slave1/tags", "yarn,worker"),
        ("nodes/slave1/check_ports", "22,80"),
        ("nodes/slave1/port", "22"),
        ("nodes/slave1/rack", "r1"),
        ("nodes/slave1/address", "10.2.0.2"),
        ("nodes/slave1/disks/disk2/origin", "disk9"),
        ("nodes/slave1/disks/disk2/destination", "/data/2"),
        ("nodes/slave1/disks/disk2/mode", "ro"),
        ("nodes/slave1/disks/host1/origin", "/sys/fs/cgroup"),
        ("nodes/slave1/networks/eth0/networkname", "storage"),
        ("nodes/slave1/networks/eth0/address", "10.1.0.2"),
        ("nodes/slave1/networks/eth0/netmask", "16"),
        ("nodes/slave1/networks/eth0/gateway", "10.1.255.1"),
        ("nodes/slave1/networks/eth1/gateway", ""),
        ("nodes/slave1/services/slurm", ""),
        ("services/slurm/name", "slurm"),
        ("services/slurm/nodes/slave0", ""),
        ("services/slurm/heap", "512"),
        ("services/slurm/dfs.size", "1m"),
    ],
)
def test_a_cluster_is_seen_as_keys(shown: KeyValues, key: str, text: str) -> None:
    assert value(shown, f"{DN}/{key}") == text
    assert value(shown, f"{DN}/{key}", SCRIPT) == text
    assert value(shown, f"/instances/joe/reference/1.0.0/1/{key}") == text


def test_a_product_is_seen_as_keys(shown: KeyValues) -> None:
    names = [entry.key.rpartition("/")[2] for entry in shown.list(JOE, "products/reference/").entries]
    assert names == sorted(
        [
            "name",
            "version",
            "description",
            "template",
            "templatetype",
            "options",
            "orchestrator",
            "logo_url",
        ]
    )
    options = value(shown, "products/reference/1.0.0/options")
    assert json.loads(options or "")["required"] == {"size": 2}


def test_secrets_are_no_keys(shown: KeyValues) -> None:
    assert all(b"00" * 32 not in entry.value for entry in shown.list(ADMIN, "").entries)


def test_trees_and_names(shown: KeyValues) -> None:
    below = shown.list(ANONYMOUS, f"{DN}/nodes/slave1").entries
    # A prefix is one of characters: slave10 begins with slave1.
    assert {entry.key.split("/")[6] for entry in below} == {"slave1", "slave10"}
    names, index = shown.keys(ANONYMOUS, f"{DN}/nodes/", "/")
    assert names == [f"{DN}/nodes/slave{n}/" for n in (0, 1, 10)]
    assert index >= 1
    names, _ = shown.keys(ANONYMOUS, "", "/")
    assert names == ["clusters/", "products/", "site/"]
    aliased = shown.list(ANONYMOUS, "instances/joe/reference/1.0.0/1/services/").entries
    assert {entry.key.split("/")[0] for entry in aliased} == {"instances"}


def test_what_is_not_there_is_empty(shown: KeyValues) -> None:
    for key in (
        "nothing",
        f"{DN}/nothing",
        "clusters/joe/x/y/9/status",
        "products/x/1/name",
        f"{DN}/nodes",
    ):
        assert shown.get(ANONYMOUS, key).entries == []


def test_a_failed_cluster_says_which_half_failed() -> None:
    assert status_of(cluster(phase=Phase.FAILED, failed_in=Phase.CONFIGURING)).endswith("configuration")
    assert status_of(cluster(phase=Phase.FAILED, failed_in=Phase.SCHEDULING)).endswith("scheduling")
    assert status_of(cluster(said="running")) == "running"
    assert status_of(cluster(said="running", phase=Phase.DELETED)) == "destroyed"


# -- what is written --


def test_statuses_and_properties_are_written_through(store: Store, values: KeyValues) -> None:
    for key, text in {
        "status": "running",
        "nodes/slave0/status": "joined",
        "nodes/slave0/rack": "r9",
        "services/slurm/status": "up",
        "services/slurm/heap": "1024",
        "services/slurm/nodes/slave10": "",
        "services/new/port": "80",
    }.items():
        assert values.put(SCRIPT, f"{DN}/{key}", text.encode())
        assert value(values, f"{DN}/{key}") == text
    record = store.clusters.by_key(DN)
    assert (record.said, record.nodes[0].said) == ("running", "joined")
    assert record.nodes[0].spec.properties["rack"] == "r9"
    slurm, new = record.services
    assert (slurm.status, slurm.properties["heap"]) == ("up", "1024")
    assert slurm.nodes == ("slave0", "slave1", "slave10")
    assert new.properties == {"port": "80"}


def test_what_scripts_add_is_kept_beside(store: Store, values: KeyValues) -> None:
    values.put(SCRIPT, f"{DN}/master", b"slave0")
    values.put(SCRIPT, f"{DN}/nodes/slave0/munge/key", b"abc")
    assert value(values, f"{DN}/nodes/slave0/munge/key", SCRIPT) == "abc"
    assert [e.key for e in values.list(JOE, f"{DN}/master").entries] == [f"{DN}/master"]
    assert value(values, f"{DN}/master", ANN) is None
    assert len(store.kv.list(DN)) == 2


@pytest.mark.parametrize(
    "key", ["nodes/slave0/host", "nodes/slave0/cpu", "nodes/slave0/networks/eth0/address", "user"]
)
def test_what_the_gateway_knows_itself_is_not_written(shown: KeyValues, key: str) -> None:
    with pytest.raises(Forbidden, match="knows itself"):
        shown.put(SCRIPT, f"{DN}/{key}", b"x")
    with pytest.raises(Forbidden, match="knows itself"):
        shown.delete(ADMIN, f"{DN}/{key}")


@pytest.mark.parametrize(
    ("key", "content", "error"),
    [
        (f"{DN}/status", b"a\nb", Invalid),
        (f"{DN}/status", b"x" * 201, Invalid),
        (f"{DN}/status", b"\xff", Invalid),
        (f"{DN}/x", b"a\0", Invalid),
        (f"{DN}/nodes/nobody/status", b"x", NotFound),
        (f"{DN}/services/slurm/nodes/nobody", b"", NotFound),
        ("clusters/joe/reference/1.0.0/99/status", b"x", NotFound),
        ("products/reference/1.0.0/template", b"x", Forbidden),
        ("", b"x", Invalid),
        ("k" * 2000, b"x", Invalid),
        ("a\0b", b"x", Invalid),
        ("big", b"x" * 600_000, TooLarge),
    ],
)
def test_what_cannot_be_written(
    shown: KeyValues, key: str, content: bytes, error: type[GatewayError]
) -> None:
    with pytest.raises(error):
        shown.put(ADMIN, key, content)


def test_deleting(store: Store, values: KeyValues) -> None:
    values.put(SCRIPT, f"{DN}/status", b"running")
    values.put(SCRIPT, f"{DN}/own/a", b"1")
    values.put(SCRIPT, f"{DN}/own/b", b"2")
    assert values.delete(SCRIPT, f"{DN}/own/a")
    assert values.delete(SCRIPT, f"{DN}/own/a")  # as often as one likes
    assert values.delete(SCRIPT, f"{DN}/services/slurm/heap")
    assert value(values, f"{DN}/services/slurm/heap") is None
    assert values.delete(SCRIPT, f"{DN}/", recurse=True)
    record = store.clusters.by_key(DN)
    assert record.said == ""
    assert record.services[0].nodes == ()
    assert len(record.nodes) == 3
    assert value(values, f"{DN}/own/b") is None
    assert value(values, f"{DN}/nodes/slave0/host") == "agent0"


def test_compare_and_set(values: KeyValues) -> None:
    assert values.put(ADMIN, "lock", b"1", cas=0)
    assert not values.put(ADMIN, "lock", b"2", cas=0)
    entry = values.get(ADMIN, "lock").entries[0]
    assert values.put(ADMIN, "lock", b"2", flags=7, cas=entry.modify_index)
    assert not values.put(ADMIN, "lock", b"3", cas=entry.modify_index)
    assert not values.delete(ADMIN, "lock", cas=entry.modify_index)
    after = values.get(ADMIN, "lock").entries[0]
    assert (after.value, after.flags, after.create_index) == (b"2", 7, entry.create_index)
    assert not values.put(SCRIPT, f"{DN}/status", b"x", cas=0)


# -- who sees what --


def test_a_script_touches_nothing_but_its_own_cluster(shown: KeyValues) -> None:
    others = [
        "clusters/joe/reference/1.0.0/2/status",
        "clusters/joe/reference/1.0.0/11/status",
        "site/dns",
    ]
    for key in [
        *others,
        "products/reference/1.0.0/name",
        "",
        "clusters/",
        "clusters/joe/reference/1.0.0",
    ]:
        with pytest.raises(Forbidden):
            shown.get(SCRIPT, key)
        with pytest.raises(Forbidden):
            shown.list(SCRIPT, key)
    for key in others:
        with pytest.raises((Forbidden, NotFound)):
            shown.put(SCRIPT, key, b"x")
        with pytest.raises((Forbidden, NotFound)):
            shown.delete(SCRIPT, key, recurse=True)
    assert {entry.key[: len(DN)] for entry in shown.list(SCRIPT, DN).entries} == {DN}


def test_users_see_products_and_their_own_clusters(values: KeyValues) -> None:
    seen = {"/".join(entry.key.split("/")[:2]) for entry in values.list(JOE, "").entries}
    assert seen == {"clusters/joe", "products/reference"}
    assert value(values, "site/dns", JOE) is None
    assert value(values, "site/dns", ADMIN) == "10.0.0.1"
    assert value(values, f"{DN}/status", ANN) is None
    with pytest.raises(NotFound):
        values.put(ANN, f"{DN}/status", b"x")
    with pytest.raises(Forbidden):
        values.put(JOE, "site/dns", b"x")
    assert values.put(JOE, f"{DN}/status", b"fine")


# -- indexes, and waiting --


def test_an_index_grows_with_each_change_below_a_key(store: Store, values: KeyValues) -> None:
    before = values.list(ADMIN, DN).index
    elsewhere = values.list(ADMIN, "clusters/ann/").index
    values.put(ADMIN, f"{DN}/status", b"x")
    first = values.list(ADMIN, DN).index
    values.put(ADMIN, f"{DN}/own", b"x")
    second = values.list(ADMIN, DN).index
    values.delete(ADMIN, f"{DN}/own")
    third = values.list(ADMIN, DN).index
    assert before < first < second < third
    assert values.list(ADMIN, "clusters/ann/").index == elsewhere


def test_whoever_waits_hears_of_a_change_from_another_thread(values: KeyValues) -> None:
    news = threading.Event()
    with values.watching(f"/{DN}/", True, news.set):
        values.put(ADMIN, "clusters/joe/reference/1.0.0/2/status", b"elsewhere")
        assert not news.is_set()
        thread = threading.Thread(target=values.put, args=(ADMIN, f"{DN}/status", b"now"))
        thread.start()
        assert news.wait(30)
        thread.join()
        assert value(values, f"{DN}/status") == "now"
    news.clear()
    values.put(ADMIN, f"{DN}/status", b"later")
    assert not news.is_set()


def test_whoever_waits_for_a_key_hears_that_it_is_gone(values: KeyValues) -> None:
    values.put(ADMIN, "lock", b"1")
    before = values.get(ADMIN, "lock").index
    news = threading.Event()
    with values.watching("lock", False, news.set):
        values.put(ADMIN, "lock2", b"")
        assert not news.is_set()
        values.delete(ADMIN, "lock")
        assert news.is_set()
    after = values.get(ADMIN, "lock")
    assert (after.entries, after.index > before) == ([], True)


def test_what_is_forgotten_counts_as_changed(values: KeyValues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.clusters.kv._MOST_REMEMBERED", 2)
    before = values.list(ADMIN, "clusters/ann/").index
    for number in range(4):
        values.put(ADMIN, f"key{number}", b"")
    assert values.list(ADMIN, "clusters/ann/").index > before
    assert len(values._changes._last) <= 2


def test_two_writers_of_one_cluster(store: Store, values: KeyValues) -> None:
    """The engine saves what it has read; the script has written meanwhile; neither loses."""
    read = store.clusters.by_key(DN)
    values.put(SCRIPT, f"{DN}/status", b"running")
    with pytest.raises(Conflict):
        store.clusters.save(msgspec.structs.replace(read, step="x"), read.revision)
