"""The master is killed and comes back on the same port and directory (recordings 16, 28, 36, 37)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.local.clusters import ATTRIBUTES, FAST, RESOURCES, processes_in, until
from tests.framework.local.replay import EXECUTOR
from tests.framework.local.wire import PATIENCE, Framework, Stream, executor, get, post, task
from tests.ports import free_port


class Standalone:
    """``python -m framework.local`` as a person starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # It comes back to the same one, which must not be somebody else's meanwhile.
        self.address = f"127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        reader, writer = os.pipe()
        port = self.address.rpartition(":")[2]
        command = [sys.executable, "-m", "framework.local", f"--port={port}", f"--work-dir={self.root}"]
        command += [
            "--agents=1",
            f"--resources={RESOURCES}",
            f"--attributes={ATTRIBUTES}",
            f"--ready-fd={writer}",
        ]
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen([*command, *FAST], stderr=log, pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as ready:
            line = ready.readline()
        assert line, (self.root / "log").read_text()
        self.address = json.loads(line)["master"]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def agent(self) -> int:
        return int(json.loads((self.root / "agents" / "1" / "process.json").read_text())[0])

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def mesos(tmp_path: Path) -> Iterator[Standalone]:
    mesos = Standalone(tmp_path)
    mesos.start()
    yield mesos
    assert mesos.stop() == 0
    assert processes_in(tmp_path) == []


def run_task(mesos: Standalone, framework: Framework) -> Stream:
    """A task whose executor the test plays; returns its stream."""
    offer = framework.offer()
    framework.accept(offer, [task("t1", offer, executor=executor("e", EXECUTOR))])
    address = f"127.0.0.1:{offer['url']['address']['port']}"
    who = {"framework_id": {"value": framework.id}, "executor_id": {"value": "e"}}
    until(lambda: list(mesos.root.glob("agents/1/slaves/*/frameworks/*/executors/e/runs/latest/stderr")))
    stream = Stream(address, "/api/v1/executor", {"type": "SUBSCRIBE", **who, "subscribe": {}})
    stream.wait_type("LAUNCH")
    status = {"task_id": {"value": "t1"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR"}
    status |= {"uuid": "Bf4pT1ZQTe6Hb5C5GZ9nUA=="}
    assert (
        post(address, "/api/v1/executor", {"type": "UPDATE", **who, "update": {"status": status}}).status
        == 202
    )
    return stream


def test_tasks_are_known_again_after_the_master_was_killed(mesos: Standalone) -> None:
    framework = Framework(mesos.address, {"name": "steady", "checkpoint": True})
    stream = run_task(mesos, framework)
    status = framework.update("t1", "TASK_RUNNING", acknowledge=False)
    agent = mesos.agent()

    mesos.kill()
    assert framework.stream.wait_end() == "closed"
    framework.close()
    mesos.start()

    assert mesos.agent() == agent, "the agent outlived its master and was adopted"
    assert not stream.ended, "and so did the executor's connection"
    again = Framework(mesos.address, {"name": "steady", "checkpoint": True}, framework.id)
    # As in 37: the executor is on offer again, the unacknowledged update comes again.
    assert again.offer()["executor_ids"] == [{"value": "e"}]
    assert again.update("t1", "TASK_RUNNING")["uuid"] == status["uuid"]
    again.call("RECONCILE", {"tasks": [{"task_id": {"value": "t1"}}]})
    reconciled = again.stream.wait(
        lambda e: e.get("update", {}).get("status", {}).get("reason") is not None
    )
    assert reconciled["update"]["status"]["state"] == "TASK_RUNNING"
    assert reconciled["update"]["status"]["reason"] == "REASON_RECONCILIATION"
    used = get(mesos.address, "/slaves").json["slaves"][0]["used_resources"]
    assert used["cpus"] == 0.2
    (
        next(mesos.root.glob("agents/1/slaves/*/frameworks/*/executors/e/runs/latest")) / "exit"
    ).write_text("0")
    stream.close()
    again.close()


def test_a_framework_that_was_torn_down_stays_removed(mesos: Standalone) -> None:
    framework = Framework(mesos.address)
    assert framework.call("TEARDOWN").status == 202
    framework.close()
    mesos.kill()
    mesos.start()
    again = Framework(mesos.address, None, framework.id)
    assert again.stream.wait_type("ERROR")["error"]["message"] == "Framework has been removed"
    assert again.stream.wait_end() == "end"
    again.close()


def test_a_framework_torn_down_while_the_master_was_away_loses_its_tasks(mesos: Standalone) -> None:
    framework = Framework(mesos.address, {"checkpoint": True})
    stream = run_task(mesos, framework)
    mesos.kill()
    framework.close()
    mesos.start()
    answer = post(
        mesos.address,
        "/master/teardown",
        f"frameworkId={framework.id}".encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 200
    stream.wait_type("SHUTDOWN")
    stream.close()


def test_an_agent_that_died_with_its_master_is_recovered(mesos: Standalone) -> None:
    framework = Framework(mesos.address, {"checkpoint": True})
    stream = run_task(mesos, framework)
    framework.update("t1", "TASK_RUNNING")
    agent_id = get(mesos.address, "/slaves").json["slaves"][0]["id"]
    mesos.kill()
    os.kill(mesos.agent(), signal.SIGKILL)
    stream.close()
    framework.close()
    mesos.start()
    assert get(mesos.address, "/slaves").json["slaves"][0]["id"] == agent_id
    again = Framework(mesos.address, {"checkpoint": True}, framework.id)
    again.call("RECONCILE", {"tasks": []})
    assert again.update("t1", "TASK_RUNNING")["agent_id"]["value"] == agent_id
    again.call("TEARDOWN")
    again.close()


def test_a_second_master_on_the_same_directory_is_refused(mesos: Standalone) -> None:
    command = [sys.executable, "-m", "framework.local", "--port=0", f"--work-dir={mesos.root}"]
    second = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert second.returncode == 1
    assert b"another master runs" in second.stderr


def test_sigterm_ends_everything(tmp_path: Path) -> None:
    mesos = Standalone(tmp_path)
    mesos.start()
    framework = Framework(mesos.address, {"checkpoint": True})
    offer = framework.offer()
    framework.accept(offer, [task("t1", offer, command={"value": "sleep 1000 & sleep 1000"})])
    framework.update("t1", "TASK_STARTING")
    framework.update("t1", "TASK_RUNNING")
    assert len(processes_in(tmp_path)) > 3
    assert mesos.stop() == 0
    assert processes_in(tmp_path) == []
    lost = [e for e in framework.stream.events if "TASK_LOST" in json.dumps(e)]
    assert lost == [], "the framework sees its master go, not its tasks"
    framework.close()
