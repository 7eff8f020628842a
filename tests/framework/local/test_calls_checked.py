"""What is refused, and with which words; the recorded texts are in tests/contracts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.local import attributes, durations, validation
from framework.local.protobuf import Malformed, convert, parse_json

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    [
        "type",
        "framework_id",
        "accept",
        "kill",
        "task_id",
        "value",
        "subscribe",
        "framework_info",
        "offer_ids",
    ]
)


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_malformed(body: bytes) -> None:
    try:
        parse_json(body)
    except Malformed as error:
        assert str(error).startswith("Failed to parse body into JSON: syntax error at line")


@given(st.dictionaries(_FIELDS, _JSON | st.dictionaries(_FIELDS, _JSON, max_size=3), max_size=5))
def test_any_object_is_a_call_or_malformed(value: dict[str, Any]) -> None:
    try:
        call = convert(value, "SchedulerCall")
    except Malformed as error:
        assert str(error).startswith("Failed to convert JSON into Call protobuf: ")
    else:
        problem = validation.scheduler_call(call)
        assert problem is None or isinstance(problem, str)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000, b"\xff\xfe{\x00}\x00", b"NaN"]
)
def test_absurd_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        convert(parse_json(body), "SchedulerCall")


def test_messages_in_messages_end_somewhere() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"labels": {"labels": [deep]}}
    info = {"user": "u", "name": "n", "labels": deep}
    with pytest.raises(Malformed, match="Missing required fields"):
        convert({"subscribe": {"framework_info": info}}, "SchedulerCall")


def info(**more: Any) -> dict[str, Any]:
    return {"user": "root", "name": "x", **more}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (info(role="a/"), "cannot start or end with a slash"),
        (info(role="a//b"), "two adjacent slashes"),
        (info(role="a/../b"), "Role component '..' is invalid"),
        (info(role="-a"), "begins with a dash"),
        (info(role=""), "Empty role name"),
        (info(roles=["a"]), "must not be set when the framework is not MULTI_ROLE"),
        (
            info(role="a", capabilities=[{"type": "MULTI_ROLE"}]),
            "must not be set when the framework is MULTI_ROLE",
        ),
        (info(roles=["a", "a"], capabilities=[{"type": "MULTI_ROLE"}]), "duplicate"),
        (info(failover_timeout=-1.0), "failover_timeout"),
        (info(id={"value": "../x"}), "contains invalid characters"),
        (info(id={"value": ".."}), "is disallowed"),
        (info(id={"value": "x" * 300}), "greater than 255"),
    ],
)
def test_a_framework_info_is_refused(given: dict[str, Any], says: str) -> None:
    assert says in (validation.framework_info(given) or "")


def task(**more: Any) -> dict[str, Any]:
    cpus = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}}
    base = {"name": "t", "task_id": {"value": "t"}, "agent_id": {"value": "s"}, "resources": [cpus]}
    return {**base, "command": {"value": "true", "shell": True}, **more}


def problem(given: dict[str, Any], executors: dict[str, Any] | None = None) -> str | None:
    return validation.task(
        given, agent_id="s", known_ids=["known"], executors=executors or {}, framework_id="f"
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (task(task_id={"value": "a/b"}), "invalid"),
        (task(task_id={"value": "known"}), "Task has duplicate ID: known"),
        (task(agent_id={"value": "other"}), "invalid agent"),
        (task(resources=[]), "no resources"),
        (
            task(resources=[{"name": "cpus", "type": "SCALAR", "scalar": {"value": -1.0}}]),
            "invalid resources",
        ),
        (task(resources=[{"name": "x", "type": "SET", "set": {"item": ["a", "a"]}}]), "duplicated"),
        (task(resources=[{"name": "x", "type": "TEXT"}]), "invalid resources"),
        (task(command={"value": "a\0b"}), "NUL"),
        (task(command={"environment": {"variables": [{"name": "A=B", "value": ""}]}}), "invalid"),
        (task(command={"environment": {"variables": [{"name": "A"}]}}), "must have a value"),
    ],
)
def test_a_task_is_refused(given: dict[str, Any], says: str) -> None:
    assert says in (problem(given) or "")


def test_a_good_task_passes() -> None:
    assert problem(task()) is None


def test_an_executor_may_not_change_under_its_id() -> None:
    executor = {"executor_id": {"value": "e"}, "command": {"value": "run", "shell": True}}
    given = task(executor=executor)
    del given["command"]
    assert problem(given) is None
    running = {**executor, "framework_id": {"value": "f"}}
    assert problem(given, {"e": running}) is None
    changed = {**running, "command": {"value": "other"}}
    assert "not compatible" in (problem(given, {"e": changed}) or "")
    given["executor"] = {**executor, "type": "DEFAULT"}
    assert "nested containers" in (problem(given) or "")


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("5secs", 5, "5secs"),
        ("900", 900, "15mins"),
        ("90s", 90, "1.5mins"),
        ("50ms", 0.05, "50ms"),
        ("0", 0, "0ns"),
    ],
)
def test_durations(text: str, seconds: float, shown: str) -> None:
    assert durations.read(text) == pytest.approx(seconds)
    assert durations.show(seconds) == shown


@pytest.mark.parametrize("text", ["", "soon", "-1secs", "5 parsecs"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        durations.read(text)


def test_attributes() -> None:
    read = attributes.parse("rack:r1; weight:2.5;ports:[1-2,5-9]")
    assert [a["type"] for a in read] == ["TEXT", "SCALAR", "RANGES"]
    with pytest.raises(ValueError, match="is not NAME:VALUE"):
        attributes.parse("rack")
