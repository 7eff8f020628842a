"""The aurora client's arguments and exits, from contract to values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotSupported,
    Unavailable,
    Unsatisfiable,
)
from framework.model.jobs import JobKey
from gateway.errors import UpstreamFailed
from gateway.schedulers.aurora import Dialect, Verb, arguments, failure, list_arguments, succeeded

KEY = JobKey("west", "www-data", "prod", "hello")
K = str(KEY)


@pytest.mark.parametrize(
    ("verb", "instances", "spec", "v1", "v2"),
    [
        ("create", None, "f", f"create {K} f", f"job create {K} f"),
        ("update", None, "f", f"update {K} f", f"update start {K} f"),
        (
            "update",
            (1, 3, 4, 5, 7),
            "f",
            f"update --shards=1,3-5,7 {K} f",
            f"update start {K}/1,3-5,7 f",
        ),
        ("cancel_update", None, None, f"cancel_update {K}", f"update abort {K}"),
        ("cancel_update", None, "f", f"cancel_update {K} f", f"update abort {K}"),
        ("restart", None, None, f"restart {K}", f"job restart {K}"),
        ("restart", (0, 2), "f", f"restart --shards=0,2 {K} f", f"job restart {K}/0,2"),
        ("kill", None, None, f"killall {K}", f"job killall {K}"),
        ("kill", None, "f", f"killall {K} f", f"job killall {K}"),
        ("kill", (2,), "f", f"kill --shards=2 {K} f", f"job kill {K}/2"),
    ],
)
def test_verbs(verb: Verb, instances: tuple[int, ...] | None, spec: str, v1: str, v2: str) -> None:
    assert arguments("v1", verb, KEY, instances, spec) == v1.split()
    assert arguments("v2", verb, KEY, instances, spec) == v2.split()


def test_lists() -> None:
    assert list_arguments("v1", "west", "ops") == ["list_jobs", "west/ops"]
    assert list_arguments("v2", "west", "ops") == ["job", "list", "west/ops"]


def test_bindings() -> None:
    bound = arguments("v2", "create", KEY, None, "f", {"tag": "a b"})
    assert bound == ["job", "create", "--bind=tag=a b", K, "f"]
    with pytest.raises(NotSupported):
        arguments("v1", "create", KEY, None, "f", {"tag": "x"})


segments = st.from_regex(r"(?!-)[A-Za-z0-9_.-]{1,20}", fullmatch=True).filter(
    lambda text: text not in (".", "..")
)


@given(
    st.builds(JobKey.of, segments, segments, segments, segments),
    st.sampled_from(["v1", "v2"]),
    st.sampled_from(["create", "update", "cancel_update", "restart", "kill"]),
    st.none() | st.sets(st.integers(0, 99), min_size=1).map(tuple),
)
def test_no_value_can_become_an_option(
    key: JobKey, dialect: Dialect, verb: Verb, instances: tuple[int, ...] | None
) -> None:
    words = arguments(dialect, verb, key, instances, "/tmp/f.aurora")
    assert [w for w in words if w.startswith("-") and not w.startswith("--shards=")] == []


OK = "INFO] Response from scheduler: OK (message: 1 new tasks pending)"


def test_what_success_is() -> None:
    assert succeeded("v1", 0, ["x", OK])
    assert not succeeded("v1", 0, ["x"])
    assert not succeeded("v1", 1, [OK])
    assert succeeded("v2", 0, [])
    assert not succeeded("v2", 4, [OK])


@pytest.mark.parametrize(
    ("code", "line", "kind"),
    [
        (3, "Error loading configuration", Invalid),
        (5, "no such command", UpstreamFailed),
        (6, "bad key", Invalid),
        (7, "", Unavailable),
        (9, "", Unavailable),
        (30, "", Forbidden),
        (130, "", Unavailable),
        (20, "", UpstreamFailed),
        (-9, "", UpstreamFailed),
        (1, "Response from scheduler: INVALID_REQUEST (message: Job x already exists)", Conflict),
        (10, "JOB_UPDATING_ERROR: Job is currently updating", Conflict),
        (1, "Response from scheduler: LOCK_ERROR (message: held)", Conflict),
        (1, "INVALID_REQUEST (message: Insufficient resource quota: CPU)", Unsatisfiable),
        (1, "Response from scheduler: AUTH_FAILED (message: no)", Forbidden),
        (4, "No matching jobs found", NotFound),
        (1, "ERROR_TRANSIENT", Unavailable),
        (1, "Response from scheduler: INVALID_REQUEST (message: bad)", Invalid),
        (0, "something else", UpstreamFailed),
    ],
)
def test_what_a_failure_means(code: int, line: str, kind: type[Exception]) -> None:
    error = failure("create", code, [line, "more"])
    assert type(error) is kind
    assert error.messages == ("Error reported by aurora client:", line, "more")


def test_the_heading_of_a_kill_has_no_colon() -> None:
    assert failure("kill", 1, ["x"]).messages == ("Error reported by aurora client", "x")
