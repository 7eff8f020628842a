"""The executor as a process against a scripted agent: what Mesos asks of it, and what it survives."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executor.agent import ScriptedAgent, record
from tests.executor.harness import (
    ExecutorProcess,
    encoded,
    eventually,
    long_sleep,
    marked,
    payload,
    process,
)

Start = Callable[..., ExecutorProcess]
UNTIL_TOLD = "while [ ! -e go ]; do sleep 0.05; done"


def launch(agent: ScriptedAgent, task_id: str, *commands: str, **more: object) -> None:
    processes = [process(c, name=f"p{n}") for n, c in enumerate(commands)]
    agent.launch(task_id, encoded(payload(task_id, *processes, **more)))


def wait_acknowledged(agent: ScriptedAgent, executor: ExecutorProcess) -> None:
    """Waits until the executor has heard that the agent has taken its updates."""
    log = executor.sandbox / ".executor/updates.jsonl"

    def heard() -> bool:
        records = map(json.loads, log.read_text().rpartition("\n")[0].splitlines())
        acknowledged = {r["ack"]["uuid"] for r in records if "ack" in r}
        return {c["update"]["status"]["uuid"] for c in agent.of("UPDATE")} <= acknowledged

    eventually(heard)


def recorded_calls(shared: Path, scenario: str, kind: str) -> list[dict]:
    lines = (shared / "data/mesos-v1" / scenario).read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        e["json"]
        for e in entries
        if e.get("link") == "executor-agent"
        and e["kind"] == "request"
        and e.get("json", {}).get("type") == kind
    ]


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {k: shape(v) for k, v in sorted(value.items())}
    return [shape(v) for v in value] if isinstance(value, list) else type(value).__name__


def test_calls_have_the_shape_of_the_recorded_ones(
    agent: ScriptedAgent, start_executor: Start, shared: Path
) -> None:
    start_executor()
    agent.wait_subscribed()
    assert shape(agent.of("SUBSCRIBE")[0]) == shape(
        recorded_calls(shared, "02-launch-finish.jsonl", "SUBSCRIBE")[0]
    )
    launch(agent, "t1", "echo hello; exit 3")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"])
    theirs = recorded_calls(shared, "03-kill.jsonl", "UPDATE")[-1]
    ours = agent.of("UPDATE")[-1]
    assert ours.keys() == theirs.keys()
    assert theirs["update"]["status"].keys() <= ours["update"]["status"].keys()
    assert ours["update"]["status"]["source"] == "SOURCE_EXECUTOR"
    assert len(b64decode(ours["update"]["status"]["uuid"])) == 16
    assert ours["update"]["status"]["message"] == "process p0 exited with code 3"
    headers = agent.headers[-1]
    assert headers["Content-Type"] == "application/json"
    assert "Mesos-Stream-Id" not in headers


def test_a_report_names_the_sandbox_and_the_log_lies_where_it_says(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor()
    agent.wait_subscribed()
    launch(agent, "t1", "echo out of {{mesos.instance}}")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
    report = json.loads(b64decode(agent.last("t1")["data"]))
    assert report["sandbox"] == str(executor.sandbox / "tasks" / "t1")
    assert report["processes"]["p0"]["state"] == "succeeded"
    assert Path(report["sandbox"], ".logs/p0/0/stdout").read_text() == "out of 0\n"


def test_events_arrive_whole_however_they_are_cut(agent: ScriptedAgent, start_executor: Start) -> None:
    start_executor()
    agent.wait_subscribed()
    task = {"task_id": {"value": "t1"}, "data": encoded(payload("t1", process("true")))}
    event = {"type": "LAUNCH", "launch": {"task": task}}
    # One event in many HTTP chunks, then two in one.
    body = json.dumps(event).encode()
    framed = b"%d\n" % len(body) + body
    for n in range(0, len(framed), 7):
        piece = framed[n : n + 7]
        agent.send_bytes(b"%x\r\n" % len(piece) + piece + b"\r\n")
    agent.send_bytes(record({"type": "HEARTBEAT"}) + record({"type": "NO_SUCH_EVENT"}))
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
    assert len(agent.of("SUBSCRIBE")) == 1


@pytest.mark.alone
def test_shutdown_ends_all_tasks_within_the_grace_period_and_exits_0(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor()
    agent.wait_subscribed()
    launch(agent, "mild", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    launch(agent, "wild", "trap '' TERM; while :; do sleep 0.05; done")
    for task in ("mild", "wild"):
        agent.wait_states(task, ["TASK_STARTING", "TASK_RUNNING"])
    begun = time.monotonic()
    agent.send({"type": "SHUTDOWN"})
    assert executor.wait() == 0
    assert time.monotonic() - begun < 5.5  # MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs, and the exit
    for task in ("mild", "wild"):
        assert agent.states(task)[-1] == "TASK_KILLED"


def test_an_agent_restart_loses_neither_tasks_nor_updates(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    longest = 10.0  # when the agent gives up; by default 2 s, which a busy machine may need for itself
    executor = start_executor(MESOS_SUBSCRIPTION_BACKOFF_MAX=f"{longest:g}secs")
    agent.wait_subscribed()
    launch(agent, "long", UNTIL_TOLD)
    launch(agent, "short", UNTIL_TOLD)
    for task in ("long", "short"):
        agent.wait_states(task, ["TASK_STARTING", "TASK_RUNNING"])
    wait_acknowledged(agent, executor)
    agent.kill()
    (executor.sandbox / "tasks/short/go").touch()
    log = executor.sandbox / ".executor/updates.jsonl"
    eventually(lambda: "TASK_FINISHED" in log.read_text())
    agent.start()
    back = time.monotonic()
    agent.wait_subscribed(2)
    assert agent.subscribed_at[1] - back < longest
    resubscribed = agent.of("SUBSCRIBE")[1]["subscribe"]
    assert [u["status"]["state"] for u in resubscribed["unacknowledged_updates"]] == ["TASK_FINISHED"]
    (executor.sandbox / "tasks/long/go").touch()
    agent.wait_states("long", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
    agent.wait_states("short", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])


def test_unacknowledged_tasks_and_updates_are_in_the_next_subscription_with_their_uuids(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor()
    agent.wait_subscribed()
    agent.acknowledges = False
    launch(agent, "t1", "exit 4")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"])
    sent = [c["update"]["status"] for c in agent.of("UPDATE")]
    agent.kill()
    agent.start()
    agent.wait_subscribed(2)
    again = agent.of("SUBSCRIBE")[1]["subscribe"]
    assert [u["status"] for u in again["unacknowledged_updates"]] == sent
    assert [t["task_id"]["value"] for t in again["unacknowledged_tasks"]] == ["t1"]
    # Acknowledged at last, nothing of it is said again.
    for status in sent:
        agent.acknowledge(status)
    agent.acknowledges = True
    launch(agent, "t2", "true")
    agent.wait_states("t2", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
    wait_acknowledged(agent, executor)
    agent.kill()
    agent.start()
    agent.wait_subscribed(3)
    assert agent.of("SUBSCRIBE")[2]["subscribe"] == {
        "unacknowledged_tasks": [],
        "unacknowledged_updates": [],
    }


def test_an_executor_started_again_in_its_sandbox_knows_what_was_not_acknowledged(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    agent.acknowledges = False
    first = start_executor()
    agent.wait_subscribed()
    launch(agent, "t1", "true")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
    sent = [c["update"]["status"]["uuid"] for c in agent.of("UPDATE")]
    first.kill()
    start_executor()
    agent.wait_subscribed(2)
    again = agent.of("SUBSCRIBE")[1]["subscribe"]["unacknowledged_updates"]
    assert [u["status"]["uuid"] for u in again] == sent


def test_an_update_that_is_not_taken_now_is_sent_again_and_holds_the_order(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    start_executor()
    agent.wait_subscribed()
    agent.update_answer = (503, "Agent has not finished recovery")
    launch(agent, "t1", "true")
    first = agent.wait(lambda: len(agent.of("UPDATE")) >= 2 and agent.of("UPDATE")[:2])
    assert first[0] == first[1]
    agent.update_answer = (202, "")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])


def test_without_checkpointing_the_end_of_the_agent_ends_everything(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor(MESOS_CHECKPOINT="0")
    agent.wait_subscribed()
    seconds = long_sleep()
    launch(agent, "t1", f"exec sleep {seconds}")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING"])
    agent.kill()
    assert executor.wait() == 0
    eventually(lambda: not marked(seconds))


def test_an_agent_gone_for_longer_than_the_recovery_timeout_ends_everything(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor(MESOS_RECOVERY_TIMEOUT="1secs", MESOS_SUBSCRIPTION_BACKOFF_MAX="200ms")
    agent.wait_subscribed()
    seconds = long_sleep()
    launch(agent, "t1", f"exec sleep {seconds}")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING"])
    agent.kill()
    assert executor.wait() == 0
    eventually(lambda: not marked(seconds))


@pytest.mark.parametrize("status", [503, 404])
def test_an_agent_that_is_not_ready_is_asked_again(
    agent: ScriptedAgent, start_executor: Start, status: int
) -> None:
    agent.subscribe_answer = (status, "Agent has not finished recovery")
    start_executor(MESOS_SUBSCRIPTION_BACKOFF_MAX="200ms")
    agent.wait(lambda: len(agent.of("SUBSCRIBE")) >= 3)
    gaps = [b - a for a, b in zip(agent.times, agent.times[1:], strict=False)]
    assert min(gaps) >= 0.01  # never without a pause
    agent.subscribe_answer = (200, "")
    agent.wait_subscribed()


def test_an_executor_that_the_agent_does_not_know_exits(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    agent.subscribe_answer = (400, "Executor cannot be found")
    executor = start_executor()
    assert executor.wait() == 0
    assert "Executor cannot be found" in executor.log.read_text()


def test_sigterm_is_a_shutdown(agent: ScriptedAgent, start_executor: Start) -> None:
    executor = start_executor()
    agent.wait_subscribed()
    seconds = long_sleep()
    launch(agent, "t1", f"exec sleep {seconds}")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING"])
    executor.process.terminate()
    assert executor.wait() == 0
    assert agent.states("t1")[-1] == "TASK_KILLED"
    eventually(lambda: not marked(seconds))


def test_an_executor_that_ends_waits_for_an_agent_that_is_slow(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor(MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD="100secs")
    agent.wait_subscribed()
    agent.acknowledges = False
    launch(agent, "t1", UNTIL_TOLD)
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING"])
    executor.process.terminate()
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_KILLED"])
    time.sleep(1.5)
    assert executor.process.poll() is None
    for call in agent.of("UPDATE"):
        agent.acknowledge(call["update"]["status"])
    assert executor.wait() == 0


def test_an_idle_executor_leaves_only_when_told_so(agent: ScriptedAgent, start_executor: Start) -> None:
    executor = start_executor("--idle-timeout", "0.5")
    assert executor.wait() == 0


def test_it_says_what_is_missing_when_no_agent_started_it(
    agent: ScriptedAgent, start_executor: Start
) -> None:
    executor = start_executor(MESOS_AGENT_ENDPOINT="")
    assert executor.wait() == 2
    assert "MESOS_AGENT_ENDPOINT is not set" in executor.log.read_text()


def test_a_token_is_shown_to_the_agent(agent: ScriptedAgent, start_executor: Start) -> None:
    start_executor(MESOS_EXECUTOR_AUTHENTICATION_TOKEN="abc.def")
    agent.wait_subscribed()
    launch(agent, "t1", "true")
    agent.wait_states("t1", ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
    assert {h["Authorization"] for h in agent.headers} == {"Bearer abc.def"}
