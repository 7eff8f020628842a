"""Query parameters: what is understood, and that nothing that is not is taken for "all"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model.errors import Invalid
from framework.model.jobs import format_instances
from gateway.api.query import MAX_SHARD, MAX_SHARDS, Query, parse_shards
from gateway.jobs import read_jobs

numbers = st.integers(0, MAX_SHARD)
ranges = st.tuples(numbers, st.integers(0, 50)).map(lambda r: (r[0], min(r[0] + r[1], MAX_SHARD)))


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ([], None),
        (["1"], (1,)),
        (["1,3-5"], (1, 3, 4, 5)),
        (["3-5", "1"], (1, 3, 4, 5)),
        (["2,2", "2"], (2,)),
        ([" 1 , 3-5 "], (1, 3, 4, 5)),
        (["007"], (7,)),
        (["4-4"], (4,)),
        (["0"], (0,)),
    ],
)
def test_shards(forms: list[str], expected: tuple[int, ...] | None) -> None:
    assert parse_shards(forms) == expected


@given(st.lists(st.lists(ranges, min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_written_as_ranges_is_read_as_their_union(forms: list[list[tuple[int, int]]]) -> None:
    texts = [",".join(f"{a}-{b}" if a != b else str(a) for a, b in form) for form in forms]
    union = {n for form in forms for a, b in form for n in range(a, b + 1)}
    assert parse_shards(texts) == tuple(sorted(union))


@given(st.sets(numbers, min_size=1, max_size=60))
def test_reading_undoes_writing(chosen: set[int]) -> None:
    assert parse_shards([format_instances(sorted(chosen))]) == tuple(sorted(chosen))


@given(st.lists(st.text(alphabet="0123456789,- \t٣x.+e\0", max_size=12), min_size=1, max_size=3))
def test_any_text_is_a_refusal_or_some_instances_but_never_all(forms: list[str]) -> None:
    try:
        found = parse_shards(forms)
    except Invalid as error:
        assert "shards" in str(error)
    else:
        assert found
        assert len(found) <= MAX_SHARDS
        assert all(0 <= n <= MAX_SHARD for n in found)


@pytest.mark.parametrize(
    "form", ["", " ", "5-3", "3 - 5", "-1", "1-", "-", "1,,2", "one", "1;2", "1.0", "0-99999"]
)
def test_what_is_not_understood_is_named(form: str) -> None:
    with pytest.raises(Invalid, match="shards="):
        parse_shards(["1", form])


def test_bindings() -> None:
    query = Query({"bind": ["tag=v1", "profile.x= a=b ", "tag=v2"]})
    assert query.bindings() == {"tag": "v2", "profile.x": " a=b "}


def test_a_binding_may_have_the_name_that_an_error_asks_for() -> None:
    name = "docker.image[library/python][2.7-slim-stretch]"
    with pytest.raises(Invalid) as caught:
        read_jobs(f'{{"name": "{{{{{name}}}}}"}}'.encode(), user="u")
    asked = next(text for text in caught.value.messages if "?bind=" in text)
    assert f"?bind={name}=VALUE" in asked
    assert Query({"bind": [f"{name}=python@sha256:0"]}).bindings() == {name: "python@sha256:0"}


def test_unknown_parameters_get_a_hint() -> None:
    with pytest.raises(Invalid, match="did you mean shards"):
        Query.read({"shard": [b"1"]}, ("shards", "bind"))
    with pytest.raises(Invalid, match="known are shards, bind"):
        Query.read({"zzz": [b"1"]}, ("shards", "bind"))
    with pytest.raises(Invalid, match="takes none"):
        Query.read({"zzz": [b"1"]}, ())


@pytest.mark.parametrize(("text", "truth"), [("true", True), ("1", True), ("", True), ("False", False)])
def test_flags(text: str, truth: bool) -> None:
    assert Query({"follow": [text]}).flag("follow") is truth


def test_numbers_have_bounds() -> None:
    query = Query({"limit": ["50"], "offset": ["-1"], "two": ["1", "2"]})
    assert query.integer("limit", 10, 1, 50) == 50
    assert query.integer("absent", 10, 1, 50) == 10
    largest = 2**63 - 1
    assert Query({"after": [str(largest)]}).integer("after", 0, 0, largest) == largest
    with pytest.raises(Invalid, match=f"not an integer between 0 and {largest}"):
        Query({"after": [str(largest + 1)]}).integer("after", 0, 0, largest)
    for name, high in (("limit", 49), ("offset", 50), ("two", 50)):
        with pytest.raises(Invalid, match=name):
            query.integer(name, 0, 0, high)
