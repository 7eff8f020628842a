"""Plain JSON jobs are read without the language, to the same jobs or not at all."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framework.model.errors import GatewayError
from gateway.jobs import Limits, read_jobs
from gateway.jobs.plain import MOST_BYTES, read_plain

JOB: dict[str, Any] = {
    "cluster": "devcluster",
    "role": "www-data",
    "environment": "prod",
    "name": "hello",
    "task": {
        "processes": [{"name": "hello", "cmdline": "exec web --port {{thermos.ports[http]}}"}],
        "resources": {"cpu": 1, "ram": 134217728, "disk": 134217728},
    },
}
PROCESS = ("task", "processes", 0)
# What may stand, or be taken away, where: each of them is right, wrong or odd in its own way.
TEXTS = [
    "x",
    "",
    "{{mesos.instance}}",
    "{{role}}",
    "{{thermos.user}}",
    "{{&role}}",
    "a\0",
    "é</script>",
    "{{",
    "5",
]
NUMBERS = [0, 1, 7, -1, 2.5, 2**63, 1e308, True, "3", "{{x}}", None, float("nan")]
TRUTHS = [True, False, "true", 1, None]
CHANGES: list[tuple[tuple[Any, ...], list[Any]]] = [
    (("name",), TEXTS),
    (("cluster",), TEXTS),
    (("contact",), TEXTS),
    (("unknown",), [1]),
    (("cron_policy",), ["CANCEL_NEW"]),
    (("instances",), NUMBERS),
    (("priority",), NUMBERS),
    (("service",), TRUTHS),
    (("daemon",), TRUTHS),
    (("metadata",), [[], [{"key": "a", "value": "b"}], [{"key": "a"}], {}, None]),
    (("constraints",), [{}, {"rack": "limit:2"}, {"rack": "{{role}}"}, {"": "a"}, {"rack": 5}, []]),
    (("task_links",), [{"a": "http://{{mesos.hostname}}/"}, {"a": 1}]),
    (("container",), [{}, {"docker": {"image": "a:1"}}, {"image": "a:1"}, {"image": 5}, {"x": 1}, None]),
    (("container",), [{"image": {"name": "a", "tag": "1"}, "volumes": []}, {"volumes": []}]),
    (("container",), [{"image": "a", "parameters": [{"name": "n", "value": "v"}]}]),
    (("update_config",), [{}, {"watch_secs": 1}, {"restart_threshold": 3}, {"batch_size": "2"}]),
    (("update_config",), [{"update_strategy": {"batch_size": 2}}, {"update_strategy": {}}]),
    (("sla_policy",), [{"count": 1, "duration_secs": 2}, {"percentage": 5, "duration_secs": 2}]),
    (("sla_policy",), [{"coordinator_url": "http://x"}, {"duration_secs": 2}]),
    (("announce",), [{}, {"portmap": {"a": "http"}}, {"portmap": {"a": "80"}}]),
    (("health_check_config",), [{}, {"interval_secs": 1}, {"endpoint": "/x"}, {"health_checker": {}}]),
    (("lifecycle",), [{}, {"http": {}}, {"http": {"port": "p"}}]),
    (("partition_policy",), [{}, {"reschedule": False, "delay_secs": 3}]),
    (("executor_config",), [{}, {"name": "other", "data": "d"}]),
    (("task", "name"), TEXTS),
    (("task", "max_failures"), NUMBERS),
    (("task", "user"), TEXTS),
    (("task", "constraints"), [[], [{"order": ["hello"]}], [{"order": ["hello", "other"]}], [{}]]),
    (("task", "processes"), [[], [{}], None]),
    (("task", "resources"), [{}, None, {"cpu": 1, "ram": 1, "disk": 1}]),
    (("task", "resources", "cpu"), NUMBERS),
    (("task", "resources", "gpu"), NUMBERS),
    ((*PROCESS, "name"), TEXTS),
    ((*PROCESS, "cmdline"), TEXTS),
    ((*PROCESS, "final"), TRUTHS),
    (
        (*PROCESS, "logger"),
        [{}, {"mode": "rotate", "rotate": {}}, {"mode": "x"}, {"destination": "both"}],
    ),
]
REMOVED = [("name",), ("task", "name"), ("cluster",), ("task", "resources"), (*PROCESS, "cmdline")]
EDITS = st.lists(
    st.sampled_from(CHANGES).flatmap(lambda c: st.tuples(st.just(c[0]), st.sampled_from(c[1]))),
    max_size=4,
)


def edited(edits: list[tuple[tuple[Any, ...], Any]], removed: list[tuple[Any, ...]]) -> dict[str, Any]:
    job = copy.deepcopy(JOB)
    for path, value in [*edits, *((path, ...) for path in removed)]:
        place: Any = job
        try:
            for step in path[:-1]:
                place = place[step]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit has taken the place away
    return job


@settings(max_examples=500)
@given(EDITS, st.lists(st.sampled_from(REMOVED), max_size=2), st.booleans())
@example([(("container",), {"volumes": []})], [], False)
@example([(("task", "name"), "x"), (("task", "processes"), [])], [], True)
def test_it_gives_the_same_jobs_or_nothing(
    edits: list[tuple[tuple[Any, ...], Any]], removed: list[tuple[Any, ...]], several: bool
) -> None:
    job = edited(edits, removed)
    body = json.dumps({"jobs": [job, JOB]} if several else job).encode()
    plain = read_plain(body, Limits())
    try:
        usual = read_jobs(body, user="ann")
    except GatewayError:
        assert plain is None
        return
    if plain is not None:
        assert not usual.refused
        assert plain == list(usual)


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {"service": True, "instances": 3, "contact": "ann@example.com"},
        {"container": {"docker": {"image": "web:1"}}, "constraints": {"rack": "limit:1"}},
        {"update_config": {"watch_secs": 5, "batch_size": 2}, "metadata": [{"key": "a", "value": "b"}]},
    ],
)
def test_what_programs_send_is_plain(edits: dict[str, Any]) -> None:
    body = json.dumps({**JOB, **edits}).encode()
    assert read_plain(body, Limits()) == list(read_jobs(body, user="ann"))


@pytest.mark.parametrize(
    "body",
    [
        b"jobs = []",
        b"[1, 2]",
        b'["jobs"]',
        b"{",
        b'{"jobs": 5}',
        b'{"jobs": {"a": 1}}',
        b'{"jobs": []}',
        b'{"a": 1, "a": 2}',
        b"[" * MOST_BYTES,
        b"\xff{}",
        json.dumps({**JOB, "contact": "x" * MOST_BYTES}).encode(),
        json.dumps({**JOB, "contact": "\ud800"}).encode(),
    ],
)
def test_whatever_else_is_left_to_the_usual_way(body: bytes) -> None:
    assert read_plain(body, Limits()) is None
