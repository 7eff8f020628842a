"""Mesos's JSON to values and back: recorded offers and updates, launches on split resources."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.task import Container, decode_payload
from framework.core.messages import Acknowledge, Action, Launch, Reconcile
from framework.mesos.executors import ExecutorSettings
from framework.mesos.resources import Pool, is_usable, owner
from framework.mesos.translate import calls_for, read_attributes, read_offer, read_status
from framework.model.cluster import PortRange, StatusUpdate
from framework.model.errors import Invalid
from framework.model.jobs import JobKey, Resources, TaskConfig
from framework.model.tasks import Task, TaskEvent, TaskState
from tests.framework.mesos.peer import Recording

SETTINGS = ExecutorSettings(command="/opt/executor", cpus=0.1, mem_mb=64)
KEY = JobKey("devcluster", "www-data", "prod", "hello")


def scalar(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **more}


def ports(*ranges: tuple[int, int], **more: Any) -> dict[str, Any]:
    listed = [{"begin": begin, "end": end} for begin, end in ranges]
    return {"name": "ports", "type": "RANGES", "ranges": {"range": listed}, **more}


def offer(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": {"value": "o-1"},
        "agent_id": {"value": "a-1"},
        "hostname": "agent.example",
        "resources": list(resources),
        **more,
    }


def task(number: int = 0, **wanted: Any) -> Task:
    resources = {"cpus": 0.5, "mem_mb": 128, "disk_mb": 64, **wanted}
    numbers = resources.pop("numbers", {})
    config = TaskConfig(
        resources=Resources(**resources), executor_data='{"task": {}}', metadata=(("owner", "me"),)
    )
    events = (TaskEvent(0.0, TaskState.ASSIGNED),)
    return Task(
        f"task-{number}",
        KEY,
        number,
        config,
        TaskState.ASSIGNED,
        events,
        hostname="agent.example",
        ports=numbers,
    )


def launch(
    raw: dict[str, Any], *tasks: Task, role: str = "*", settings: ExecutorSettings = SETTINGS
) -> Any:
    """Returns the ACCEPT that launches the tasks on one offer."""
    _, held = read_offer(raw, role, settings)
    (call,) = calls_for(Launch(("o-1",), "a-1", tasks), "f-1", role, settings, [held])
    return call["accept"]


def infos(accept: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = accept["operations"][0]["launch"]["task_infos"]
    return found


# -- offers ---------------------------------------------------------------------------------------


def test_every_recorded_offer_can_be_read(shared: Path) -> None:
    names = sorted(p.stem for p in (shared / "data" / "mesos-v1").glob("*.jsonl"))
    count = 0
    for name in names:
        for event in Recording(shared, name).events("OFFERS"):
            for raw in event["offers"]["offers"]:
                seen, held = read_offer(raw, raw.get("allocation_info", {}).get("role", "*"), SETTINGS)
                assert seen.cpus > 0
                assert seen.ports or seen.cpus < 2
                assert held.offer_id == seen.offer_id
                count += 1
    assert count > 40


def test_only_what_is_ours_to_use_counts() -> None:
    raw = offer(
        scalar("cpus", 1.0, role="*"),
        scalar("cpus", 2.0, role="gw"),
        scalar("cpus", 4.0, role="others"),
        scalar("cpus", 8.0, role="*", revocable={}),
        scalar("mem", 100.0, role="gw", reservation={"principal": "p"}),
        scalar("disk", 10.0, role="*"),
        scalar("disk", 20.0, role="gw", disk={"persistence": {"id": "volume"}}),
        scalar("disk", 40.0, role="*", disk={"source": {"type": "MOUNT"}}),
        scalar("gpus", 3.0, role="*"),
        scalar("bandwidth", 5.0, role="*"),
        ports((31000, 31001), role="gw"),
        ports((32000, 32000), (33000, 33000), role="*"),
        ports((40000, 40000), role="others"),
    )
    seen, _ = read_offer(raw, "gw", SETTINGS)
    assert (seen.cpus, seen.mem_mb, seen.disk_mb, seen.gpus) == (3.0, 100.0, 10.0, 3.0)
    assert seen.ports == (PortRange(31000, 31001), PortRange(32000, 32000), PortRange(33000, 33000))
    bare, _ = read_offer(raw, "*", SETTINGS)
    assert (bare.cpus, bare.mem_mb) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("resource", "holder", "ours"),
    [
        ({"name": "cpus"}, "*", True),
        ({"name": "cpus", "role": "eng"}, "eng", True),  # an ancestor's is ours
        ({"name": "cpus", "role": "eng/prod"}, "eng/prod", True),
        ({"name": "cpus", "role": "eng/test"}, "eng/test", False),
        ({"name": "cpus", "role": "en"}, "en", False),
        ({"name": "cpus", "reservations": [{"role": "eng"}, {"role": "eng/prod"}]}, "eng/prod", True),
        ({"name": "cpus", "reservations": [{"role": "eng"}, {"role": "eng/test"}]}, "eng/test", False),
        ({"name": "cpus", "reservations": []}, "*", True),
        ({"name": "cpus", "shared": {}}, "*", False),
        ({"name": "cpus", "provider_id": {"value": "x"}}, "*", False),
    ],
)
def test_whose_a_resource_is(resource: dict[str, Any], holder: str, ours: bool) -> None:
    assert owner(resource) == holder
    assert is_usable(resource, "eng/prod") is ours


def test_attributes_of_every_type() -> None:
    found = read_attributes(
        [
            {"name": "rack", "type": "TEXT", "text": {"value": "r1"}},
            {"name": "level", "type": "SCALAR", "scalar": {"value": 4.0}},
            {"name": "weight", "type": "SCALAR", "scalar": {"value": 1.25}},
            {
                "name": "ids",
                "type": "RANGES",
                "ranges": {"range": [{"begin": 1, "end": 3}, {"begin": 7, "end": 7}]},
            },
            {"name": "kinds", "type": "SET", "set": {"item": ["ssd", "nvme"]}},
            {"name": "rack", "type": "TEXT", "text": {"value": "r2"}},
            {"name": "odd", "type": "NEW"},
        ]
    )
    assert found == {
        "rack": ("r1", "r2"),
        "level": ("4",),
        "weight": ("1.25",),
        "ids": ("1-3", "7-7"),
        "kinds": ("ssd", "nvme"),
        "odd": (),
    }


def test_where_the_agent_is() -> None:
    url = {"address": {"hostname": "a.example", "ip": "10.0.0.1", "port": 5055}}
    assert read_offer(offer(url=url), "*", SETTINGS)[0].agent_address == "a.example:5055"
    del url["address"]["hostname"]
    assert read_offer(offer(url=url), "*", SETTINGS)[0].agent_address == "10.0.0.1:5055"
    assert read_offer(offer(), "*", SETTINGS)[0].agent_address == "agent.example:5051"


def test_our_executor_is_recognised_and_no_other() -> None:
    raw = offer(scalar("cpus", 1.0, role="*"), scalar("mem", 256.0, role="*"))
    executor_id = infos(launch(raw, task()))[0]["executor"]["executor_id"]
    assert read_offer({**raw, "executor_ids": [executor_id]}, "*", SETTINGS)[0].has_executor
    assert not read_offer({**raw, "executor_ids": [{"value": "other"}]}, "*", SETTINGS)[0].has_executor
    # After a change of settings the old executor is not the one that new tasks get.
    changed = msgspec.structs.replace(SETTINGS, command="/opt/executor-2")
    assert not read_offer({**raw, "executor_ids": [executor_id]}, "*", changed)[0].has_executor


# -- updates --------------------------------------------------------------------------------------


def test_recorded_updates_are_read(shared: Path) -> None:
    event = Recording(shared, "02-launch-finish").events("UPDATE")[0]
    update = read_status(event["update"]["status"])
    assert update.task_id == "s02-t1"
    assert update.state == "TASK_RUNNING"
    assert update.source == "SOURCE_EXECUTOR"
    assert update.data == b"some data"
    assert update.uuid == "lI2VaCj8S2WEFURZ4NnkXA=="
    assert update.timestamp == 1795188948.0
    reconciled = Recording(shared, "10-agent-unregisters").events("UPDATE")[-1]
    update = read_status(reconciled["update"]["status"])
    assert (update.uuid, update.agent_id, update.reason) == (None, None, "REASON_RECONCILIATION")


def test_data_that_is_no_base64_does_not_lose_the_update() -> None:
    raw = {"task_id": {"value": "t"}, "state": "TASK_LOST", "data": "%%%", "uuid": ""}
    assert read_status(raw) == StatusUpdate("t", "TASK_LOST")


@pytest.mark.parametrize(
    "update", [StatusUpdate("t", "TASK_LOST", "a"), StatusUpdate("t", "TASK_LOST", uuid="x")]
)
def test_what_must_not_be_acknowledged_is_not(update: StatusUpdate) -> None:
    assert list(calls_for(Acknowledge(update), "f-1", "*", SETTINGS)) == []


def test_implicit_reconciliation_is_one_call() -> None:
    calls = list(calls_for(Reconcile(), "f-1", "*", SETTINGS))
    assert calls == [{"type": "RECONCILE", "framework_id": {"value": "f-1"}, "reconcile": {"tasks": []}}]


def test_an_action_nobody_knows_is_a_defect() -> None:
    with pytest.raises(TypeError, match="Action"):
        list(calls_for(Action(), "f-1", "*", SETTINGS))


# -- launches -------------------------------------------------------------------------------------


def test_a_launch_has_the_shape_of_the_recorded_one(shared: Path) -> None:
    recorded = Recording(shared, "07-executor-exits").requests("ACCEPT")[0]
    (known,) = recorded["accept"]["operations"][0]["launch"]["task_infos"]
    raw = Recording(shared, "07-executor-exits").events("OFFERS")[0]["offers"]["offers"][0]
    accept = launch(raw, task(numbers={"http": 31005}))
    assert set(accept) == {*recorded["accept"], "filters"}
    (info,) = infos(accept)
    assert set(known) <= set(info)
    assert {"executor_id", "name", "source", "command", "resources"} <= set(info["executor"])
    assert set(known["executor"]) <= set(info["executor"])
    json.dumps(accept)


def test_what_the_task_and_its_executor_are_told() -> None:
    raw = offer(
        scalar("cpus", 4.0, role="*"),
        scalar("mem", 1024.0, role="*"),
        scalar("disk", 500.0, role="*"),
        ports((31000, 31009), role="*"),
    )
    settings = msgspec.structs.replace(
        SETTINGS,
        task_user="role",
        default_image="debian:12",
        pull_policy="never",
        environment=(("A", "b c"),),
    )
    (info,) = infos(
        launch(raw, task(numbers={"http": 31003, "admin": 31004, "other": 31009}), settings=settings)
    )
    assert info["name"] == "www-data/prod/hello"
    assert {label["key"]: label["value"] for label in info["labels"]["labels"]} == {
        "job": "devcluster/www-data/prod/hello",
        "instance": "0",
        "owner": "me",
    }
    assert info["resources"] == [
        scalar("cpus", 0.5, role="*"),
        scalar("mem", 128.0, role="*"),
        scalar("disk", 64.0, role="*"),
        ports((31003, 31004), (31009, 31009), role="*"),
    ]
    payload = decode_payload(base64.b64decode(info["data"]))
    assert payload.task_id == "task-0"
    assert payload.ports == {"http": 31003, "admin": 31004, "other": 31009}
    assert payload.user == "www-data"
    assert payload.container == Container("debian:12")
    assert payload.pull_policy == "never"
    assert payload.hostname == "agent.example"
    executor = info["executor"]
    assert executor["command"]["value"] == "/opt/executor"
    assert executor["command"]["environment"] == {"variables": [{"name": "A", "value": "b c"}]}
    assert executor["resources"] == [scalar("cpus", 0.1, role="*"), scalar("mem", 64, role="*")]


@pytest.mark.parametrize(("policy", "user"), [("role", "www-data"), ("batch", "batch"), (None, None)])
def test_as_whom_a_task_runs(policy: str | None, user: str | None) -> None:
    settings = msgspec.structs.replace(SETTINGS, task_user=policy)
    (info,) = infos(launch(offer(scalar("cpus", 4.0)), task(), settings=settings))
    assert decode_payload(base64.b64decode(info["data"])).user == user


def test_every_task_names_the_identical_executor() -> None:
    raw = offer(scalar("cpus", 4.0, role="*"), scalar("mem", 1024.0, role="*"))
    first, second = infos(launch(raw, task(0), task(1)))
    later = offer(scalar("cpus", 1.0, role="*"), executor_ids=[first["executor"]["executor_id"]])
    (third,) = infos(launch(later, task(2)))
    assert first["executor"] == second["executor"] == third["executor"]


def test_reserved_resources_go_first_and_are_named_as_reserved() -> None:
    dynamic = {"role": "gw", "reservation": {"principal": "p", "labels": {"labels": []}}}
    raw = offer(
        scalar("cpus", 0.3, role="*"),
        scalar("cpus", 0.4, **dynamic),
        scalar("mem", 256.0, role="*"),
        ports((31000, 31000), role="*"),
        ports((31001, 31001), (31002, 31002), role="gw"),
    )
    (info,) = infos(
        launch(raw, task(mem_mb=128, disk_mb=0, numbers={"a": 31000, "b": 31002}), role="gw")
    )
    # The executor takes unreserved ones, where there are: its ExecutorInfo must always be the same.
    assert info["executor"]["resources"] == [scalar("cpus", 0.1, role="*"), scalar("mem", 64, role="*")]
    assert info["resources"] == [
        scalar("cpus", 0.4, **dynamic),
        scalar("cpus", 0.1, role="*"),
        scalar("mem", 128.0, role="*"),
        ports((31002, 31002), role="gw"),
        ports((31000, 31000), role="*"),
    ]


def test_an_executor_on_reserved_resources_is_another_and_found_again() -> None:
    reserved = offer(scalar("cpus", 4.0, role="gw"), scalar("mem", 512.0, role="gw"))
    (info,) = infos(launch(reserved, task(), role="gw"))
    assert {resource["role"] for resource in info["executor"]["resources"]} == {"gw"}
    executor_ids = [info["executor"]["executor_id"]]
    unreserved = offer(
        scalar("cpus", 4.0, role="*"), scalar("mem", 512.0, role="*"), executor_ids=executor_ids
    )
    assert read_offer(unreserved, "gw", SETTINGS)[0].has_executor
    (again,) = infos(launch(unreserved, task(1), role="gw"))
    assert again["executor"] == info["executor"]


def test_offers_that_are_gone_are_still_accepted() -> None:
    """Mesos then answers that they are no longer valid, which is what the core has to hear."""
    (call,) = calls_for(Launch(("o-9",), "a-1", (task(),)), "f-1", "*", SETTINGS, [])
    assert call["accept"]["offer_ids"] == [{"value": "o-9"}]
    assert infos(call["accept"])[0]["resources"][0] == scalar("cpus", 0.5, role="*")


@pytest.mark.parametrize(
    ("uri", "command", "extract"),
    [
        ("http://x/executor.pex", "./executor.pex", False),
        ("hdfs://n/a%20b.pex", "./a\\%20b.pex", False),
        ("http://x/executor.tar.gz?v=1", "./executor.tar.gz", True),
    ],
)
def test_an_executor_that_is_fetched(uri: str, command: str, extract: bool) -> None:
    (info,) = infos(launch(offer(scalar("cpus", 4.0)), task(), settings=ExecutorSettings(uri=uri)))
    assert info["executor"]["command"] == {
        "value": command,
        "uris": [{"value": uri, "executable": not extract, "extract": extract}],
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ExecutorSettings(), "give a command"),
        (ExecutorSettings(command="x", mem_mb=16), "at least 0.01 cpus and 32 MiB"),
        (ExecutorSettings(command="x", cpus=0.0), "at least 0.01 cpus"),
    ],
)
def test_an_executor_that_cannot_start_is_refused(settings: ExecutorSettings, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        settings.check()


pieces = st.lists(st.tuples(st.sampled_from(["*", "gw"]), st.integers(1, 4000)), max_size=6)


@given(pieces, st.lists(st.integers(0, 3000), max_size=6))
def test_what_is_taken_is_what_was_wanted_and_never_more_than_there_is(
    parts: list[tuple[str, int]], wanted: list[int]
) -> None:
    """In thousandths of a cpu, so that the arithmetic can be exact."""
    pool = Pool([scalar("cpus", value / 1000, role=role) for role, value in parts], "gw")
    there = sum(value for _, value in parts)
    assert round(pool.total("cpus") * 1000) == there
    for amount in wanted:
        taken = pool.take("cpus", amount / 1000)
        assert sum(round(piece["scalar"]["value"] * 1000) for piece in taken) == amount
        there = max(0, there - amount)
        assert round(pool.total("cpus") * 1000) == there


@given(
    st.sets(st.integers(31000, 31040), max_size=20).flatmap(
        lambda available: st.tuples(
            st.just(available),
            st.sets(st.sampled_from(sorted(available)) if available else st.nothing()),
        )
    ),
    st.integers(31000, 31040),
)
def test_ports_are_taken_from_where_they_are(sets: tuple[set[int], set[int]], border: int) -> None:
    available, wanted = sets
    low, high = (sorted(p for p in available if (p < border) is side) for side in (True, False))
    pool = Pool(
        [ports(*((p, p) for p in low), role="*"), ports(*((p, p) for p in high), role="gw")], "gw"
    )
    taken = pool.take_ports(sorted(wanted))
    numbers = [
        (piece["role"], port)
        for piece in taken
        for one in piece["ranges"]["range"]
        for port in range(one["begin"], one["end"] + 1)
    ]
    assert sorted(numbers) == sorted(("*" if p < border else "gw", p) for p in wanted)
    left = {port for r in pool.ports() for port in range(r.begin, r.end + 1)}
    assert left == available - wanted
