"""Keys, constraints and instance ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model.errors import Invalid
from framework.model.jobs import Constraint, JobKey, format_instances

SEGMENTS = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,40}", fullmatch=True).filter(
    lambda s: s not in {".", ".."}
)


@given(st.tuples(SEGMENTS, SEGMENTS, SEGMENTS, SEGMENTS))
def test_a_key_is_read_back_from_its_text(parts: tuple[str, str, str, str]) -> None:
    assert JobKey.parse("/".join(parts)) == JobKey(*parts)


@pytest.mark.parametrize(
    "part",
    ["", ".", "..", "-x", "a b", "a/b", "a\0", "a\n", "ä", "x" * 256, "%2e%2e", "a\u202eb", "{{x}}"],
)
@pytest.mark.parametrize("position", range(4))
def test_a_part_that_may_not_stand_in_a_key_is_named(part: str, position: int) -> None:
    parts = ["c", "r", "e", "n"]
    parts[position] = part
    with pytest.raises(Invalid) as caught:
        JobKey.of(*parts)
    what = ("cluster", "role", "environment", "name")[position]
    assert str(caught.value).startswith(what)
    assert len(str(caught.value)) < 300


def test_a_key_of_too_few_parts_says_what_a_key_is() -> None:
    with pytest.raises(Invalid, match="cluster/role/environment/name"):
        JobKey.parse("a/b/c")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "rack=a"),
        ("b,a", "rack=a,b"),
        ("!a,b", "rack=!a,b"),
        ("limit:2", "rack=limit:2"),
        ("limit: 2", "rack=limit:2"),
    ],
)
def test_a_constraint_reads_auroras_notation(text: str, shown: str) -> None:
    assert str(Constraint.parse("rack", text)) == shown


@pytest.mark.parametrize("text", ["", "!", ",", "limit:", "limit:0", "limit:-1", "limit:x", "limit:1e3"])
def test_a_constraint_that_says_nothing_is_refused_with_the_notation(text: str) -> None:
    with pytest.raises(Invalid, match="limit:N"):
        Constraint.parse("rack", text)


def expand(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


@given(st.sets(st.integers(0, 5000), max_size=60))
def test_instance_ranges_name_exactly_the_instances(instances: set[int]) -> None:
    assert expand(format_instances(sorted(instances))) == instances
