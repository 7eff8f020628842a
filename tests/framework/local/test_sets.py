"""Sets of an agent's resources: offered, used up, given back, never given twice; its data disks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from framework.local import options
from framework.local.settings import DATA_DISKS
from tests.framework.local.clusters import RESOURCES, Cluster, until
from tests.framework.local.drivers import Recorder, driver, work
from tests.framework.local.wire import get, post

WITH_DISKS = f"{RESOURCES};dataDisks:{{disk1,disk2,disk3}}"
AT_ONCE = {"refuse_seconds": 0}


def disks(*items: str) -> dict[str, Any]:
    return {"name": DATA_DISKS, "type": "SET", "set": {"item": list(items)}, "role": "*"}


def on(offer: dict[str, Any], task_id: str, *items: str, **todo: Any) -> dict[str, Any]:
    """A task on these disks."""
    info = work(task_id, offer, **todo)
    return {**info, "resources": [*info["resources"], disks(*items)]}


def offered(offer: dict[str, Any]) -> list[str]:
    return [i for r in offer["resources"] if r["name"] == DATA_DISKS for i in r["set"]["item"]]


def next_offer(seen: Recorder, after: int, *items: str) -> Any:
    """The next offer, which has these disks."""
    return seen.wait("offer", lambda offer: offered(offer) == list(items), after=after)


def test_disks_are_exclusive(start_cluster: Callable[..., Cluster]) -> None:
    cluster = start_cluster(1, resources=WITH_DISKS)
    with driver(cluster.address) as (made, seen):
        offer = seen.wait("offer")
        assert offered(offer) == ["disk1", "disk2", "disk3"]
        assert offer["resources"][-1]["type"] == "SCALAR", "scalars come last"
        mark = seen.mark()
        tasks = [on(offer, "one", "disk1"), on(offer, "two", "disk1"), on(offer, "three", "disk9")]
        made.launchTasks(offer["id"], tasks, AT_ONCE)
        seen.update("one", "TASK_RUNNING")
        for name, disk in (("two", "disk1"), ("three", "disk9")):
            error = seen.update(name, "TASK_ERROR")
            assert error["reason"] == "REASON_TASK_INVALID"
            assert f"{{{disk}}}" in error["message"]
            assert "is more than available" in error["message"]
            assert "{disk2, disk3}" in error["message"]
        slave = get(cluster.address, "/slaves").json["slaves"][0]
        assert slave["used_resources"][DATA_DISKS] == "{disk1}"
        assert slave["resources"][DATA_DISKS] == "{disk1, disk2, disk3}"
        (role,) = get(cluster.address, "/roles").json["roles"]
        assert role["allocated"][DATA_DISKS] == 1.0
        kind = {"Content-Type": "application/json"}
        roles = post(cluster.address, "/api/v1", {"type": "GET_ROLES"}, kind).json["get_roles"]["roles"]
        assert {r["name"] for r in roles[0]["resources"]} == {"cpus", "mem", "disk"}
        again = next_offer(seen, mark, "disk2", "disk3")
        mark = seen.mark()
        made.declineOffer(again["id"], AT_ONCE)
        made.killTask({"value": "one"})
        seen.update("one", "TASK_KILLED")

        def back() -> bool:
            for kind, about in seen.told[mark:]:
                if kind == "offer" and "disk1" in offered(about[0]):
                    return True
                if kind == "offer":
                    with contextlib.suppress(KeyError):
                        made.declineOffer(about[0]["id"], AT_ONCE)
            return False

        until(back, "the disk is offered again")


def test_an_agent_comes_back_with_its_disks_in_use(start_cluster: Callable[..., Cluster]) -> None:
    cluster = start_cluster(1, resources=WITH_DISKS)
    with driver(cluster.address) as (made, seen):
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [on(offer, "one", "disk2")], AT_ONCE)
        seen.update("one", "TASK_RUNNING")
        cluster.await_acknowledged()
        # What is left of the agent that will be killed is not taken for its successor's offer.
        next_offer(seen, 0, "disk1", "disk3")
        mark = seen.mark()
        cluster.kill_agent()
        cluster.await_agents()
        next_offer(seen, mark, "disk1", "disk3")


def test_agents_make_their_disks(start_cluster: Callable[..., Cluster]) -> None:
    cluster = start_cluster(2, resources="cpus:1;mem:64;dataDisks:{disk1,own{n}}")
    made = {str(p.relative_to(cluster.root)) for p in cluster.root.glob("disks/*/*") if p.is_dir()}
    assert made == {
        options.DISK_PATH.format(hostname=f"127.0.0.{n}", disk=disk)
        for n in (1, 2)
        for disk in ("disk1", f"own{n}")
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--agent-address=127.0.0.1", "--resources=cpus:1;dataDisks:{a}"], "two agents on 127.0.0.1"),
        (["--resources=cpus:1;dataDisks:{a/b}"], "'a/b' cannot be the name of a directory"),
        (["--resources=cpus:1;dataDisks:{..}"], "'..' cannot be the name of a directory"),
    ],
)
def test_disks_that_cannot_be_are_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        options.parse(arguments)
    assert says in capsys.readouterr().err


def test_agents_on_one_address_have_disks_if_their_names_differ() -> None:
    given = options.parse(["--agent-address=127.0.0.1", "--resources=cpus:1;dataDisks:{a{n},b{n}}"])
    assert given.resources[1] == "cpus:1;dataDisks:{a2,b2}"
    assert DATA_DISKS not in "".join(options.parse(["--agent-address=127.0.0.1"]).resources)
    assert all("{disk1, disk2, disk3, disk4}" in text for text in options.parse([]).resources)
