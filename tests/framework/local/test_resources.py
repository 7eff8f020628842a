"""Arithmetic of resources: exact, never negative, and back and forth to JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.local import resources as res

_DISKS = [f"disk{n}" for n in range(1, 12)]
_RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=5)


@st.composite
def bags(draw: st.DrawFn) -> res.Resources:
    scalars = draw(st.dictionaries(st.sampled_from(["cpus", "mem", "disk"]), st.integers(0, 10**7)))
    items = [
        {
            "name": n,
            "type": "SCALAR",
            "scalar": {"value": v / 1000},
            "role": draw(st.sampled_from(["*", "a"])),
        }
        for n, v in scalars.items()
    ]
    ranges = [{"begin": begin, "end": begin + more} for begin, more in draw(_RANGES)]
    items.append({"name": "ports", "type": "RANGES", "ranges": {"range": ranges}})
    for role in draw(st.lists(st.sampled_from(["*", "a"]), unique=True)):
        disks = draw(st.lists(st.sampled_from(_DISKS), unique=True))
        items.append({"name": "dataDisks", "type": "SET", "set": {"item": disks}, "role": role})
    return res.from_json(items)


@given(bags(), bags())
def test_what_is_added_can_be_taken_out_again(one: res.Resources, other: res.Resources) -> None:
    both = one + other
    assert both.contains(one)
    assert both.contains(other)
    assert (both - one) + one == both
    assert both - other - one == res.NOTHING


@given(bags(), bags())
def test_containing_is_what_subtraction_says(one: res.Resources, other: res.Resources) -> None:
    assert one.contains(other) == ((one - other) + other == one)


@given(bags())
def test_json_and_back(bag: res.Resources) -> None:
    for old_form in (False, True):
        assert res.from_json(res.to_json(bag, "a", old_form=old_form)) == bag


@given(bags())
def test_roles_part_a_bag(bag: res.Resources) -> None:
    assert bag.unreserved() + res.total(bag.reserved().values()) == bag
    assert bag.filter_roles("a") == bag
    assert bag.filter_roles("b") == bag.unreserved()


def test_a_description_is_read() -> None:
    bag = res.parse("cpus:1.5; mem:64;ports:[31000-31001, 31005-31009]; dataDisks:{disk10, disk2,disk1}")
    assert res.summary(bag) == {
        "disk": 0.0,
        "mem": 64.0,
        "gpus": 0.0,
        "cpus": 1.5,
        "ports": "[31000-31001, 31005-31009]",
        "dataDisks": "{disk1, disk2, disk10}",
    }
    counts = {"cpus": 1.5, "dataDisks": 3.0, "mem": 64.0, "ports": 7.0}
    assert res.quantities(bag) == counts
    assert res.quantities(bag, bag) == {name: 2 * count for name, count in counts.items()}
    assert res.parse(res.describe(bag)) == bag
    assert bag.items("dataDisks") == ["disk1", "disk2", "disk10"]


def test_sets_are_written_as_mesos_writes_them() -> None:
    bag = res.parse("cpus:1;dataDisks:{b,a}")
    assert res.to_json(bag, offered=True, old_form=True) == [
        {"name": "dataDisks", "type": "SET", "set": {"item": ["a", "b"]}, "role": "*"},
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}, "role": "*"},
    ]
    assert res.describe(bag, "*") == "dataDisks(allocated: *):{a, b}; cpus(allocated: *):1"


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 30)), max_size=4), st.integers(1, 7))
def test_shares_of_ports_are_even_and_make_up_the_whole(
    spans: list[tuple[int, int]], parts: int
) -> None:
    text = "cpus:2;dataDisks:{a,b};" + (
        f"ports:[{','.join(f'{a}-{a + n}' for a, n in spans)}]" if spans else ""
    )
    bag = res.parse(text)
    shares = [res.share_of_ports(bag, n, parts) for n in range(parts)]
    assert all((share.scalars, share.sets) == (bag.scalars, bag.sets) for share in shares)
    counts = [res.quantities(share).get("ports", 0.0) for share in shares]
    assert sum(counts) == res.quantities(bag).get("ports", 0.0)
    assert max(counts) - min(counts) <= 1
    assert res.total(shares).ranges == bag.ranges


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no resource"),
        ("cpus", "not NAME:AMOUNT"),
        ("cpus:four", "'four' is not a positive number"),
        ("cpus:-1", "'-1' is not a positive number"),
        ("cpus:1;cpus:2", "stands twice"),
        ("gpus:0.5", "not a whole number"),
        ("ports:[5-1]", "not a list of ranges"),
        ("ports:[a-b]", "not a list of ranges"),
        ("ports:[1-2", "not a list of ranges"),
        ("disks:{a", "not a set such as"),
        ("disks:{}", "'' is no item of a set"),
        ("disks:{a b}", "'a b' is no item of a set"),
        ("disks:{a,b,a}", "stands twice"),
        ("disks:{a};disks:2", "'disks' stands twice"),
        ("cpus:1e308", "not a positive number"),
    ],
)
def test_a_bad_description_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        res.parse(text)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e300])
def test_absurd_amounts_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="Invalid scalar resource"):
        res.from_json([{"name": "cpus", "type": "SCALAR", "scalar": {"value": value}}])
