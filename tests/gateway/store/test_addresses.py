"""Addresses: each to one node at a time, whoever asks at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from framework.model.errors import Conflict, Invalid, NotFound
from gateway.clusters.model import Interface
from gateway.clusters.networks import Address, AddressAsk, Network, check_network, expand, subnet_of
from gateway.store import Store
from tests.gateway.products.samples import cluster

NETWORK = Network(
    "internal",
    "10.0.0.0/24",
    expand(["10.0.0.10-10.0.0.13"]),
    gateway="10.0.0.1",
    driver="macvlan",
    parent="eth0",
)


def test_a_hundred_takers_at_once_get_a_hundred_addresses(opened: Callable[[], Store]) -> None:
    stores = [opened() for _ in range(4)]
    pool = expand(["10.1.0.2-10.1.0.106"])
    stores[0].networks.define(Network("big", "10.1.0.0/16", pool))

    def take(number: int) -> list[str]:
        networks = stores[number % 4].networks
        taken = networks.take(f"c-{number}", [AddressAsk("node", "big")])
        return [interface.address for interface in taken]

    with ThreadPoolExecutor(100) as threads:
        taken = [address for found in threads.map(take, range(100)) for address in found]
    assert sorted(taken) == sorted(pool[:100])
    used = stores[1].networks.addresses("big", "used")
    assert {a.address: a.cluster for a in used} == {a: f"c-{n}" for n, a in enumerate(taken)}
    with pytest.raises(Conflict, match=r"big: 6 addresses are needed and 5 are free"):
        stores[2].networks.take("late", [AddressAsk(f"n{n}", "big") for n in range(6)])
    assert len(stores[3].networks.addresses("big", "free")) == 5


def test_a_launch_gets_all_or_nothing(store: Store) -> None:
    store.networks.define(NETWORK)
    store.networks.define(Network("other", "10.9.0.0/24", ("10.9.0.5",)))
    asks = [
        AddressAsk("n0", "internal", "eth0"),
        AddressAsk("n0", "other", "eth1"),
        AddressAsk("n1", "internal", "eth0", "10.0.0.10"),
    ]
    taken = store.networks.take("c-1", asks)
    assert [(i.name, i.network, i.address) for i in taken] == [
        ("eth0", "internal", "10.0.0.11"),
        ("eth1", "other", "10.9.0.5"),
        ("eth0", "internal", "10.0.0.10"),
    ]
    assert taken[0] == Interface(
        "eth0", "internal", "10.0.0.11", "10.0.0.0/24", "10.0.0.1", "macvlan", "eth0"
    )
    with pytest.raises(Conflict, match="other: 1 addresses are needed and 0 are free"):
        store.networks.take("c-2", asks[:2])
    with pytest.raises(Conflict, match=r"10\.0\.0\.10, which node x .* node n1 of the cluster c-1"):
        store.networks.take("c-2", [asks[0], AddressAsk("x", "internal", "eth0", "10.0.0.10")])
    assert len(store.networks.addresses("internal", "free")) == 2
    assert [a.address for a in store.networks.of("c-1")] == ["10.0.0.10", "10.0.0.11", "10.9.0.5"]
    with pytest.raises(Invalid, match="not in its subnet"):
        store.networks.take("c-2", [AddressAsk("x", "internal", "eth0", "10.7.0.1")])
    with pytest.raises(Invalid, match="not in the pool"):
        store.networks.take("c-2", [AddressAsk("x", "internal", "eth0", "10.0.0.99")])
    with pytest.raises(Conflict, match="belongs to node a of"):
        store.networks.take("c-2", [AddressAsk(n, "internal", "eth0", "10.0.0.12") for n in ("a", "b")])
    with pytest.raises(NotFound, match="no network 'nowhere'"):
        store.networks.take("c-2", [AddressAsk("x", "nowhere")])


def test_what_is_released_is_free_again(store: Store) -> None:
    store.networks.define(NETWORK)
    store.networks.take("c-1", [AddressAsk(f"n{n}", "internal") for n in range(3)])
    assert store.networks.release("c-1", "n1") == 1
    assert [a.address for a in store.networks.addresses("internal", "free")] == [
        "10.0.0.11",
        "10.0.0.13",
    ]
    assert store.networks.release("c-1") == 2
    assert store.networks.release("c-1") == 0
    assert store.networks.addresses("internal", "used") == []


def test_the_operator_marks_addresses(store: Store) -> None:
    store.networks.define(NETWORK)
    marked = store.networks.set_status("internal", "10.0.0.10", "used")
    assert marked == Address("internal", "10.0.0.10", "used")
    with pytest.raises(Conflict, match="whom the operator has given it"):
        store.networks.take("c", [AddressAsk("n", "internal", "eth0", "10.0.0.10")])
    assert store.networks.take("c", [AddressAsk("n", "internal")])[0].address == "10.0.0.11"
    free = store.networks.set_status("internal", "10.0.0.10", "free", "x", "y")
    assert free == Address("internal", "10.0.0.10")
    with pytest.raises(NotFound):
        store.networks.set_status("nowhere", "10.0.0.10", "free")


def test_an_administrator_is_told_whose_address_it_is_by_the_key_of_the_cluster(store: Store) -> None:
    store.networks.define(NETWORK)
    found = store.clusters.create(cluster(7))
    store.networks.take(found.cluster_id, [AddressAsk("n", "internal", "eth0", "10.0.0.13")])
    with pytest.raises(Conflict, match=f"node n of the cluster {found.key} and"):
        store.networks.define(msgspec.structs.replace(NETWORK, addresses=("10.0.0.10",)))
    with pytest.raises(Conflict, match=f"by node n of the cluster {found.key}$"):
        store.networks.delete("internal")
    # Whoever asks for it on launching is not told whose cluster that is.
    with pytest.raises(Conflict, match=f"belongs to node n of the cluster {found.cluster_id}$"):
        store.networks.take("c", [AddressAsk("m", "internal", "eth0", "10.0.0.13")])


def test_a_pool_changes_round_what_is_in_use(store: Store) -> None:
    store.networks.define(NETWORK)
    assert store.networks.define(NETWORK) == NETWORK
    store.networks.take("c", [AddressAsk("n", "internal", "eth0", "10.0.0.13")])
    smaller = msgspec.structs.replace(NETWORK, addresses=expand(["10.0.0.13", "10.0.0.40-10.0.0.41"]))
    store.networks.define(smaller)
    assert [(a.address, a.status) for a in store.networks.addresses("internal")] == [
        ("10.0.0.13", "used"),
        ("10.0.0.40", "free"),
        ("10.0.0.41", "free"),
    ]
    with pytest.raises(Conflict, match=r"10\.0\.0\.13 belongs to node n of the cluster c"):
        store.networks.define(msgspec.structs.replace(NETWORK, addresses=("10.0.0.10",)))
    with pytest.raises(Conflict, match="its subnet can be changed once"):
        store.networks.define(msgspec.structs.replace(smaller, subnet="10.0.0.0/16"))
    with pytest.raises(Conflict, match=r"in use, 10\.0\.0\.13 by node n"):
        store.networks.delete("internal")
    store.networks.release("c")
    store.networks.delete("internal")
    assert store.networks.list() == []
    with pytest.raises(NotFound):
        store.networks.delete("internal")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a/b"}, "not a valid name"),
        ({"subnet": "10.0.0.0/99"}, "is not a subnet"),
        ({"subnet": "fd00::/64"}, "nodes have IPv4 addresses"),
        ({"subnet": "127.0.0.0/8"}, r"no node can have an address of 127\.0\.0\.0/8"),
        ({"subnet": "0.0.0.0/0"}, "no node can have an address of"),
        ({"subnet": "240.0.0.0/8"}, "no node can have an address of"),
        ({"addresses": ("10.0.1.1",)}, "not in its subnet"),
        ({"addresses": ("fe80::1",)}, "not in its subnet"),
        ({"addresses": ("10.0.0.2", "10.0.0.2")}, "there twice"),
        ({"addresses": ("10.0.0.0",)}, "no node can have it"),
        ({"addresses": ("10.0.0.1",)}, "no node can have it"),
        (
            {"driver": "bridge", "gateway": None, "addresses": ("10.0.0.1",)},
            "what the agents have in it if it has no gateway",
        ),
        (
            {"subnet": "10.0.0.2/32", "gateway": None, "addresses": ("10.0.0.2",)},
            "no node can have it",
        ),
        ({"addresses": ("x",)}, "'x' is not an IP address"),
        ({"gateway": "10.0.1.1"}, "not in its subnet"),
        ({"parent": "a b"}, "not the name of an interface"),
        ({"parent": ""}, "needs the agents' interface"),
    ],
)
def test_what_is_no_network_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_network(msgspec.structs.replace(NETWORK, **fields))


def test_pools_and_subnets_are_read_as_people_write_them() -> None:
    assert expand(["10.0.0.9", "10.0.0.254-10.0.1.1"]) == (
        "10.0.0.9",
        "10.0.0.254",
        "10.0.0.255",
        "10.0.1.0",
        "10.0.1.1",
    )
    assert subnet_of("10.112.0.0", "255.255.0.0") == "10.112.0.0/16"
    assert subnet_of("10.112.0.0/16", "") == "10.112.0.0/16"
    for wrong in (["10.0.0.9-10.0.0.8"], ["0.0.0.0-255.255.255.255"], ["::-1::"], ["10.0.0.1-::1"]):
        with pytest.raises(Invalid):
            expand(wrong)


def test_no_two_networks_have_addresses_in_common(store: Store) -> None:
    store.networks.define(NETWORK)
    store.networks.define(Network("other", "10.1.0.0/16", ("10.1.0.2",)))
    wider = Network("wider", "10.0.0.0/8", ("10.200.0.2",))
    with pytest.raises(Conflict) as refused:
        store.networks.define(wider)
    assert str(refused.value) == (
        "network wider: its subnet 10.0.0.0/8 overlaps 10.0.0.0/24, that of the network internal; "
        "Docker can have only one of them on an agent"
    )
    with pytest.raises(Conflict, match=r"overlaps 10\.0\.0\.0/24"):
        store.networks.define(Network("other", "10.0.0.128/25", ("10.0.0.130",)))
    # What was defined before this was refused can still be changed otherwise.
    store.networks.delete("internal")
    store.networks.define(msgspec.structs.replace(wider, subnet="10.2.0.0/16", addresses=()))
    store.networks.define(NETWORK)
    store.networks.define(msgspec.structs.replace(NETWORK, description="of the nodes"))
    assert [n.name for n in store.networks.list()] == ["internal", "other", "wider"]
