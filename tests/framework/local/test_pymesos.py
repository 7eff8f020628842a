"""Real pymesos drivers, scheduler and executor, on the local Mesos."""

from __future__ import annotations

import os
from collections.abc import Callable

from pymesos import encode_data

from tests.framework.local.clusters import Cluster, until
from tests.framework.local.drivers import Json, Recorder, driver, work
from tests.framework.local.wire import get, post

Start = Callable[..., Cluster]


def test_a_task_runs_and_finishes(start_cluster: Start) -> None:
    cluster = start_cluster(2)
    with driver(cluster.address) as (made, seen):
        seen.wait("registered")
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [work("t1", offer, sleep=0.2)], {"refuse_seconds": 0})
        running = seen.update("t1", "TASK_RUNNING")
        assert running["container_status"]["executor_pid"] > 1
        seen.update("t1", "TASK_FINISHED")
        # What was used is offered again in no time, with the executor that still runs.
        seen.wait("offer", lambda o: o.get("executor_ids") == [{"value": "e"}])


def test_a_task_is_killed_and_messages_travel(start_cluster: Start) -> None:
    cluster = start_cluster(1)
    with driver(cluster.address) as (made, seen):
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [work("t1", offer, message="hello")])
        seen.update("t1", "TASK_RUNNING")
        assert seen.wait("message") == b"hello"
        made.sendFrameworkMessage({"value": "e"}, offer["agent_id"], encode_data(b"\x00\xffping"))
        seen.wait("message", lambda m: m == b"echo: \x00\xffping")
        made.killTask({"value": "t1"})
        seen.update("t1", "TASK_KILLED")


def test_an_executor_that_exits_is_lost_with_its_tasks(start_cluster: Start) -> None:
    cluster = start_cluster(1)
    with driver(cluster.address) as (made, seen):
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [work("t1", offer, exit=3)])
        assert seen.update("t1", "TASK_FAILED")["reason"] == "REASON_EXECUTOR_TERMINATED"
        seen.wait("executor lost", lambda executor_id, status: (executor_id, status) == ("e", 768))


def test_an_executor_and_its_tasks_survive_their_agent(start_cluster: Start) -> None:
    """The executor of pymesos needs some seconds to come back, on a busy machine more than most."""
    cluster = start_cluster(1, "--executor-reregistration-timeout=60")
    with driver(cluster.address) as (made, seen):
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [work("t1", offer, sleep=1.5)])
        pid = seen.update("t1", "TASK_RUNNING")["container_status"]["executor_pid"]
        cluster.await_acknowledged()
        cluster.kill_agent()
        cluster.await_agents()
        finished = seen.update("t1", "TASK_FINISHED")
        assert finished["container_status"]["executor_pid"] == pid
        assert finished["agent_id"] == offer["agent_id"]
        assert not [t for t in seen.told if t[0] in {"executor lost", "agent lost"}]
        # It is said after the executor has its connection, which the task's thread may use before.
        until(lambda: "reregistered" in (cluster.sandbox("e") / "stdout").read_text())


def test_without_checkpointing_the_tasks_die_with_the_agent(start_cluster: Start) -> None:
    cluster = start_cluster(1)
    with driver(cluster.address, checkpoint=None) as (made, seen):
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [work("t1", offer)], {"refuse_seconds": 0})
        pid = seen.update("t1", "TASK_RUNNING")["container_status"]["executor_pid"]
        mark = seen.mark()
        cluster.kill_agent()
        assert seen.update("t1", "TASK_LOST")["reason"] == "REASON_AGENT_DISCONNECTED"
        cluster.await_agents()
        until(lambda: not os.path.exists(f"/proc/{pid}"), "the new agent ends the old executor")
        until(lambda: _offered_cpus(seen, mark) == 2.0, "all of the agent is on offer again")


def _offered_cpus(seen: Recorder, mark: int) -> float:
    told = seen.told[mark:]
    gone = {about[0] for kind, about in told if kind == "rescinded"}
    offers = [
        about[0] for kind, about in told if kind == "offer" and about[0]["id"]["value"] not in gone
    ]
    cpus = (r["scalar"]["value"] for o in offers for r in o["resources"] if r["name"] == "cpus")
    return round(sum(cpus), 3)


def test_a_scheduler_fails_over(start_cluster: Start) -> None:
    cluster = start_cluster(1)
    with driver(cluster.address) as (made, seen):
        framework_id = seen.wait("registered")
        offer = seen.wait("offer")
        made.launchTasks(offer["id"], [work("t1", offer)])
        seen.update("t1", "TASK_RUNNING")
    with driver(cluster.address, id={"value": framework_id}) as (made, seen):
        seen.wait("reregistered")
        seen.wait("offer", lambda o: o.get("executor_ids") == [{"value": "e"}])
        made.reconcileTasks([])
        assert seen.update("t1", "TASK_RUNNING")["reason"] == "REASON_RECONCILIATION"


def test_two_frameworks_share_the_agents(start_cluster: Start) -> None:
    cluster = start_cluster(2)
    with (
        driver(cluster.address, name="one") as (one, first),
        driver(cluster.address, name="two") as (two, second),
    ):
        held = first.wait("offer")
        one.launchTasks(held["id"], [work("one", held)], {"refuse_seconds": 0})
        first.update("one", "TASK_RUNNING")

        def left_to_the_second() -> Json | None:
            for kind, about in list(first.told):
                if kind == "offer":
                    one.declineOffer(about[0]["id"], {"refuse_seconds": 60})
            return next((about[0] for kind, about in list(second.told) if kind == "offer"), None)

        offer = until(left_to_the_second, "the second framework is offered something")
        two.launchTasks(offer["id"], [work("two", offer)], {"refuse_seconds": 0})
        second.update("two", "TASK_RUNNING")
        for slave in cluster.state()["slaves"]:
            used, offered, total = (
                slave[k]["cpus"] for k in ("used_resources", "offered_resources", "resources")
            )
            assert used + offered <= total + 1e-9


def test_an_executor_that_does_not_end_is_killed_with_its_children(start_cluster: Start) -> None:
    """TEARDOWN: whatever an executor has started ends with it, also what left its session."""
    cluster = start_cluster(1, "--executor-shutdown-grace-period=0.5")
    stubborn = "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo $! > pids; jobs -p >> pids; wait"
    with driver(cluster.address) as (made, seen):
        offer = seen.wait("offer")
        task = work("t1", offer)
        task["executor"]["command"]["value"] = stubborn
        made.launchTasks(offer["id"], [task])
        pids = until(lambda: _numbers(cluster), "the executor has started its children")
        body = f"frameworkId={seen.wait('registered')}".encode()
        answer = post(
            cluster.address, "/teardown", body, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status == 200
        until(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), "all are gone")
        until(lambda: not get(cluster.address, "/slaves").json["slaves"][0]["used_resources"]["cpus"])


def _numbers(cluster: Cluster) -> list[int]:
    path = cluster.sandbox("e") / "pids"
    text = path.read_text() if path.exists() else ""
    return [int(n) for n in text.split()] if text.count("\n") >= 3 else []
