"""The sorted list of live jobs is that of the set, whatever came and went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framework.core.live import LiveJobs
from framework.model.jobs import JobKey

# "-" sorts before "/", so that the order of texts is not that of keys.
KEYS = st.builds(
    JobKey,
    st.just("devcluster"),
    st.just("ann"),
    st.sampled_from(["a", "a-b", "b"]),
    st.sampled_from(["x", "x.y", "z"]),
)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "read"]), KEYS)))
def test_it_is_a_set_with_its_texts_in_order(steps: list[tuple[str, JobKey]]) -> None:
    live, expected = LiveJobs(), set[JobKey]()
    for what, key in steps:
        if what == "add":
            live.add(key)
            expected.add(key)
        elif what == "remove" and key in live:
            live.remove(key)
            expected.remove(key)
        elif what == "read":
            assert live.texts() == tuple(sorted(map(str, expected)))
        assert len(live) == len(expected)
        assert set(live) == expected
    assert live.texts() == tuple(sorted(map(str, expected)))
    assert live.texts() is live.texts(), "an unchanged list is not made again"
