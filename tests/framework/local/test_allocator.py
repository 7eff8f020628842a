"""Who is offered what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framework.local import resources as res
from framework.local.allocator import Client, Filters, Grant, Supply, allocate

WHOLE = res.parse("cpus:4;mem:4096;ports:[1-10]")


def nobody_refuses(grant: Grant) -> bool:
    return False


def test_agents_spread_over_frameworks() -> None:
    supplies = [Supply(f"a{n}", WHOLE) for n in range(4)]
    clients = [Client("f1", "*", False), Client("f2", "*", False)]
    grants = allocate(supplies, clients, res.total([WHOLE] * 4), nobody_refuses)
    assert sorted(g.framework_id for g in grants) == ["f1", "f1", "f2", "f2"]
    assert {g.agent_id for g in grants} == {"a0", "a1", "a2", "a3"}


def test_who_has_less_is_served_first() -> None:
    clients = [Client("f1", "*", False, res.parse("cpus:1")), Client("f2", "*", False)]
    assert allocate([Supply("a", WHOLE)], clients, WHOLE, nobody_refuses)[0].framework_id == "f2"


def test_what_is_declined_goes_to_another_and_comes_back_when_there_is_more() -> None:
    filters = Filters()
    filters.add("f1", "*", "a", res.parse("cpus:2;mem:4096"), until=10)
    clients = [Client("f1", "*", False)]
    part = Supply("a", res.parse("cpus:1;mem:100"))
    assert allocate([part], clients, WHOLE, filters.refuses) == []
    assert allocate([Supply("a", WHOLE)], clients, WHOLE, filters.refuses)
    both = [*clients, Client("f2", "*", False)]
    assert allocate([part], both, WHOLE, filters.refuses)[0].framework_id == "f2"
    assert filters.next_expiry() == 10
    filters.expire(10)
    assert allocate([part], clients, WHOLE, filters.refuses)


def test_a_revive_forgets_filters_of_its_roles() -> None:
    filters = Filters()
    filters.add("f", "a", "s", WHOLE, until=10)
    filters.add("f", "b", "s", WHOLE, until=20)
    filters.clear("f", ["a"])
    assert filters.next_expiry() == 20
    filters.clear("f")
    assert filters.next_expiry() is None


def test_crumbs_are_not_offered() -> None:
    client = [Client("f", "*", False)]
    assert allocate([Supply("a", res.parse("cpus:0.009;mem:31"))], client, WHOLE, nobody_refuses) == []
    assert allocate([Supply("a", res.parse("mem:32"))], client, WHOLE, nobody_refuses)


def test_gpus_go_to_those_who_know_them() -> None:
    supply = [Supply("a", res.parse("cpus:1;gpus:1"), gpu_agent=True)]
    assert allocate(supply, [Client("f", "*", False)], WHOLE, nobody_refuses) == []
    assert allocate(supply, [Client("f", "*", True)], WHOLE, nobody_refuses)


def test_reserved_resources_are_seen_by_their_role_only() -> None:
    bag = res.from_json(
        [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}, "role": "a"},
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}},
        ]
    )
    grants = allocate([Supply("s", bag)], [Client("f", "b", False)], bag, nobody_refuses)
    assert grants[0].resources.scalar("cpus") == 2
    grants = allocate([Supply("s", bag)], [Client("f", "a", False)], bag, nobody_refuses)
    assert grants[0].resources == bag


@given(
    free=st.lists(st.integers(0, 5000), min_size=1, max_size=6),
    clients=st.lists(st.sampled_from(["a", "b", "*"]), max_size=5),
)
def test_nothing_is_given_twice(free: list[int], clients: list[str]) -> None:
    supplies = [Supply(str(n), res.Resources({("cpus", ""): cpus})) for n, cpus in enumerate(free)]
    wanting = [Client(str(n), role, False) for n, role in enumerate(clients)]
    grants = allocate(supplies, wanting, res.total(s.free for s in supplies), nobody_refuses)
    assert len({g.agent_id for g in grants}) == len(grants)
    assert all(supplies[int(g.agent_id)].free.contains(g.resources) for g in grants)
    wanted = sum(cpus >= 10 for cpus in free) if clients else 0
    assert len(grants) == wanted
