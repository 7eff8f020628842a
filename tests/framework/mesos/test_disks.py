"""Data disks: read from offers, named whole in launches, told to the executor as paths."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.task import DiskMount, Node, decode_payload
from framework.mesos.executors import check_disk_path, disk_paths, executor_of, payload, whereabouts
from framework.mesos.resources import Pool
from framework.mesos.translate import read_offer
from framework.model.errors import Invalid, NotFound, Unavailable
from framework.model.tasks import Task, TaskState
from tests.framework.mesos.test_translate import SETTINGS, infos, launch, offer, scalar, task

AMOUNTS = (scalar("cpus", 4.0), scalar("mem", 4096.0), scalar("disk", 4096.0))


def disks(*items: str, **more: Any) -> dict[str, Any]:
    return {"name": "dataDisks", "type": "SET", "set": {"item": list(items)}, **more}


def with_disks(*names: str, **more: Any) -> Task:
    node = Node("node-1", disks=(DiskMount("/data"),) * len(names))
    plain = task(data_disks=len(names), disk_names=names)
    config = msgspec.structs.replace(plain.config, node=node)
    return msgspec.structs.replace(plain, config=config, disks=names, **more)


def test_an_offer_has_the_disks_that_are_ours_to_use() -> None:
    raw = offer(
        *AMOUNTS,
        disks("disk1", "disk2", role="*"),
        disks("disk3", role="web"),
        disks("disk4", role="others"),
        {"name": "otherSet", "type": "SET", "set": {"item": ["x"]}, "role": "*"},
    )
    assert read_offer(raw, "web", SETTINGS)[0].disks == ("disk3", "disk1", "disk2")
    assert read_offer(raw, "*", SETTINGS)[0].disks == ("disk1", "disk2")
    assert read_offer(offer(*AMOUNTS, disks()), "*", SETTINGS)[0].disks == ()


def test_a_launch_takes_disks_from_where_they_are() -> None:
    raw = offer(*AMOUNTS, disks("disk1", "disk2", role="*"), disks("disk3", role="web"))
    (info,) = infos(launch(raw, with_disks("disk2", "disk3"), role="web"))
    assert [r for r in info["resources"] if r["name"] == "dataDisks"] == [
        disks("disk3", role="web"),
        disks("disk2", role="*"),
    ]
    told = decode_payload(base64.b64decode(info["data"]))
    assert told.disk_paths == ("/data/disk2", "/data/disk3")
    assert told.node == with_disks("disk2", "disk3").config.node


def test_two_tasks_never_name_one_disk_as_theirs() -> None:
    """What is not there (any more) is named all the same: Mesos answers what is wrong."""
    raw = offer(*AMOUNTS, disks("disk1", reservation={"principal": "p"}, role="web"))
    first, second = infos(launch(raw, with_disks("disk1"), with_disks("disk1", "disk9"), role="web"))
    reserved = disks("disk1", reservation={"principal": "p"}, role="web")
    assert [r for r in first["resources"] if r["name"] == "dataDisks"] == [reserved]
    assert [r for r in second["resources"] if r["name"] == "dataDisks"] == [
        disks("disk1", "disk9", role="*")
    ]


NAMES = [f"disk{n}" for n in range(6)]


@given(st.permutations(NAMES), st.integers(0, 6), st.lists(st.sampled_from(NAMES), unique=True))
def test_each_disk_is_taken_once(order: list[str], border: int, wanted: list[str]) -> None:
    pool = Pool([disks(*order[:border], role="*"), disks(*order[border:], role="web")], "web")
    taken = [i for piece in pool.take_disks(wanted) for i in piece["set"]["item"]]
    assert sorted(taken) == sorted(wanted)
    assert sorted([*taken, *pool.disks()]) == sorted(NAMES)


def test_paths_are_made_of_the_template() -> None:
    settings = msgspec.structs.replace(SETTINGS, disk_path="/mnt/{hostname}/{disk}/data")
    assert disk_paths(with_disks("b", "a"), settings) == (
        "/mnt/agent.example/b/data",
        "/mnt/agent.example/a/data",
    )
    assert payload(task(), settings).disk_paths == ()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("data/{disk}", "must be absolute"),
        ("/data", "hold {disk}"),
        ("/data/{disk}/{name}", "has a '{' too many"),
        ("/data/{disk}}", "has a '}' too many"),
    ],
)
def test_a_template_that_gives_no_paths_is_refused(template: str, words: str) -> None:
    with pytest.raises(Invalid, match=words.replace("{", r"\{")):
        check_disk_path(template)
    with pytest.raises(Invalid):
        msgspec.structs.replace(SETTINGS, disk_path=template).check()


SANDBOX = "/var/lib/mesos/slaves/s-1/frameworks/f-1/executors/{}/runs/0b3f/tasks/t-1"


@pytest.mark.parametrize(
    ("sandbox", "executor_id"),
    [
        (SANDBOX.format("mesos-gateway-0a1b2c"), "mesos-gateway-0a1b2c"),
        # An agent that is itself a task of another Mesos.
        (SANDBOX.format("outer") + SANDBOX.format("inner"), "inner"),
        ("/tmp/somewhere/else", None),
        ("", None),
    ],
)
def test_the_executor_is_known_by_the_sandbox(sandbox: str, executor_id: str | None) -> None:
    assert executor_of(sandbox) == executor_id


def test_where_a_task_can_be_talked_to() -> None:
    running = with_disks(
        state=TaskState.RUNNING, agent_id="s-1", sandbox=SANDBOX.format("e-1"), hostname="h"
    )
    assert whereabouts(running) == ("s-1", "e-1")
    with pytest.raises(Unavailable, match="task-0 does not run yet: it is ASSIGNED"):
        whereabouts(with_disks(agent_id="s-1"))
    ended = msgspec.structs.replace(running, state=TaskState.FAILED)
    with pytest.raises(NotFound, match="task-0 does not run: it is FAILED"):
        whereabouts(ended)
