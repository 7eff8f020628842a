"""Does a task fit: resources, ports, constraints, and why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.core.matching import (
    Ask,
    Matcher,
    Room,
    Tally,
    Veto,
    choose_ports,
    count_ports,
    take,
    vetoes,
    without,
)
from framework.mesos.resources import Pool, scalar
from framework.model.cluster import PortRange
from tests.framework.core.rig import config, offer


def room(**fields: object) -> Room:
    return Room.of([offer(**fields)])


def why(config_fields: dict[str, object], **offered: object) -> list[str]:
    ask = Ask(config(**config_fields))  # type: ignore[arg-type]
    return [veto.what for veto in vetoes(ask, room(**offered), {})]


@pytest.mark.parametrize(
    ("needs", "has", "vetoed"),
    [
        ({"cpus": 4.0}, {"cpus": 4.0}, []),
        ({"cpus": 4.1}, {"cpus": 4.0}, ["cpus"]),
        ({"cpus": 0.3}, {"cpus": 0.1 + 0.2}, []),
        ({"mem_mb": 4097}, {}, ["mem"]),
        ({"disk_mb": 4097}, {}, ["disk"]),
        ({"gpus": 1}, {}, ["gpus"]),
        ({"gpus": 1}, {"gpus": 1.0}, []),
        ({"ports": ("a", "b")}, {"ports": (PortRange(5, 5), PortRange(9, 9))}, []),
        ({"ports": ("a", "b")}, {"ports": (PortRange(5, 5),)}, ["ports"]),
        ({"cpus": 9.0, "mem_mb": 9999}, {}, ["cpus", "mem"]),
    ],
)
def test_resources(needs: dict[str, object], has: dict[str, object], vetoed: list[str]) -> None:
    assert why(needs, **has) == vetoed


def test_a_veto_says_how_much_is_needed_and_there() -> None:
    assert vetoes(Ask(config(cpus=8.0)), room(cpus=3.9), {}) == (Veto("cpus", 8.0, 3.9),)


def test_the_executor_s_overhead_counts_where_it_does_not_run_yet() -> None:
    ask = Ask(config(cpus=3.95, mem_mb=4096), executor_cpus=0.1, executor_mem=64.0)
    assert vetoes(ask, room(has_executor=True), {}) == ()
    assert [v.what for v in vetoes(ask, room(has_executor=False), {})] == ["cpus", "mem"]


@pytest.mark.parametrize(
    ("cpus", "offered", "fit"),
    [
        (0.1665, 1.0, 5),
        (1.1425, 8.0, 6),
        (0.0205, 0.5, 23),
        (2.0005, 2.0, 0),
        (0.0625, 1.0, 16),
        (1 / 3, 1.0, 3),
    ],
)
def test_cpus_are_counted_in_thousandths_as_mesos_counts_them(
    cpus: float, offered: float, fit: int
) -> None:
    """What is launched is exactly what was found to fit: otherwise Mesos refuses it, again and again."""
    ask, left = Ask(config(cpus=cpus, mem_mb=1)), room(cpus=offered)
    pool = Pool([scalar("cpus", offered)], "*")
    placed = 0
    while not vetoes(ask, left, {}):
        assert Matcher(ask, {}).fits(left)
        take(ask, left, 0)
        pool.take("cpus", cpus)
        placed += 1
        assert pool.total("cpus") == left.cpus
    assert placed == fit
    assert not Matcher(ask, {}).fits(left)


def test_the_overhead_is_taken_once() -> None:
    ask = Ask(config(cpus=1.0, mem_mb=100), executor_cpus=0.5, executor_mem=50.0)
    left = room(has_executor=False)
    take(ask, left, 0)
    take(ask, left, 0)
    assert (left.cpus, left.mem, left.has_executor) == (4.0 - 0.5 - 2.0, 4096 - 50 - 200, True)


@pytest.mark.parametrize(
    ("constraint", "attributes", "fits"),
    [
        (("rack", "a"), {"rack": ("a",)}, True),
        (("rack", "a,b"), {"rack": ("b",)}, True),
        (("rack", "a"), {"rack": ("b",)}, False),
        (("rack", "a"), {"rack": ("b", "a")}, True),
        (("rack", "a"), {}, False),
        (("rack", "!a,b"), {"rack": ("c",)}, True),
        (("rack", "!a,b"), {"rack": ("b",)}, False),
        (("rack", "!a"), {"rack": ("b", "a")}, False),
        (("rack", "!a"), {}, True),
        (("host", "a0.example"), {}, True),
        (("host", "!a0.example"), {}, False),
        (("dedicated", "www-data/x"), {"dedicated": ("www-data/x",)}, True),
        (("dedicated", "www-data/x"), {"dedicated": ("*/x",)}, False),
        (("dedicated", "*/x"), {}, False),
        (("rack", "limit:1"), {}, False),
        (("rack", "limit:1"), {"rack": ("a",)}, True),
    ],
)
def test_constraints(constraint: tuple[str, str], attributes: dict[str, object], fits: bool) -> None:
    ask = Ask(config(constraints=[constraint]))
    found = vetoes(ask, room(attributes=attributes), {})
    assert (found == ()) is fits
    if not fits:
        assert found[0].what.startswith(f"constraint {constraint[0]}=")
        assert found[0].because


def test_a_dedicated_agent_takes_nobody_else() -> None:
    (veto,) = vetoes(Ask(config()), room(attributes={"dedicated": ("www-data/x",)}), {})
    assert veto.because == "the agent is dedicated to www-data/x"


def test_a_limit_counts_the_job_s_tasks_that_share_the_value() -> None:
    tally = Tally()
    tally.add(["a"])
    ask = Ask(config(constraints=[("rack", "limit:2")]))
    assert not vetoes(ask, room(attributes={"rack": ("a",)}), {("rack", ""): tally})
    tally.add(["a"])
    assert vetoes(ask, room(attributes={"rack": ("a",)}), {("rack", ""): tally})
    assert not vetoes(ask, room(attributes={"rack": ("b",)}), {("rack", ""): tally})
    tally.anywhere = 2
    assert vetoes(ask, room(attributes={"rack": ("b",)}), {("rack", ""): tally})


def test_several_offers_of_an_agent_count_together() -> None:
    both = Room.of([offer(1, cpus=2.0, ports=(PortRange(1, 2),)), offer(2, cpus=2.5, ports=())])
    assert (both.cpus, both.mem, count_ports(both.ports)) == (4.5, 8192.0, 2)


def test_ports_go_round_so_that_one_just_freed_is_not_the_next() -> None:
    ask = Ask(config(ports=("http",)))
    cursor = 0
    given: list[int] = []
    for _ in range(4):
        # The port comes back each time.
        ports, cursor, _ = take(ask, room(ports=(PortRange(7, 9),)), cursor)
        given.append(ports["http"])
    assert given == [7, 8, 9, 7]


CONSTRAINTS = st.lists(
    st.tuples(
        st.sampled_from(["rack", "host", "zone", "dedicated"]),
        st.sampled_from(["limit:1", "limit:2", "a", "a,b", "!a", "www-data/x", "a0.example"]),
    ),
    unique_by=lambda pair: pair[0],
    max_size=3,
)


@given(
    st.fixed_dictionaries(
        {
            "cpus": st.sampled_from([0.3, 1.0, 4.0, 4.1]),
            "mem_mb": st.sampled_from([128, 4096, 4097]),
            "disk_mb": st.sampled_from([64, 4097]),
            "gpus": st.sampled_from([0, 1]),
            "ports": st.sampled_from([(), ("a",), ("a", "b", "c")]),
        }
    ),
    CONSTRAINTS,
    st.fixed_dictionaries(
        {
            "cpus": st.sampled_from([0.1 + 0.2, 4.0, 4.1]),
            "gpus": st.sampled_from([0.0, 1.0]),
            "ports": st.sampled_from([(), (PortRange(5, 5), PortRange(9, 9))]),
            "has_executor": st.booleans(),
            "attributes": st.dictionaries(
                st.sampled_from(["rack", "zone", "dedicated"]),
                st.sampled_from([("a",), ("a", "b"), ("c",), ("www-data/x",)]),
            ),
        }
    ),
    st.lists(st.sampled_from(["a", "b", "c", "a0.example"]), max_size=4),
)
def test_a_matcher_says_what_the_vetoes_say(
    needs: dict[str, object],
    constraints: list[tuple[str, str]],
    offered: dict[str, object],
    taken: list[str],
) -> None:
    asked = Ask(config(constraints=constraints, **needs), executor_cpus=0.1, executor_mem=64.0)
    crowd = {(name, ""): Tally() for name in ("rack", "host")}
    for tally in crowd.values():
        tally.add(taken)
    there = room(**offered)
    assert Matcher(asked, crowd).fits(there) is (vetoes(asked, there, crowd) == ())


RANGES = st.lists(st.integers(0, 60), min_size=1, unique=True).map(
    lambda numbers: tuple(PortRange(n, n) for n in sorted(numbers))
)


@given(RANGES, st.data(), st.integers(0, 70))
def test_chosen_ports_are_distinct_and_offered(
    ranges: tuple[PortRange, ...], data: st.DataObject, cursor: int
) -> None:
    free = {r.begin for r in ranges}
    count = data.draw(st.integers(0, len(free)))
    chosen = choose_ports(ranges, count, cursor)
    assert len(chosen) == len(set(chosen)) == count
    assert set(chosen) <= free
    left = without((PortRange(0, 60),), chosen)
    assert {p for r in left for p in range(r.begin, r.end + 1)} == set(range(61)) - set(chosen)
    assert count_ports(left) == 61 - count
