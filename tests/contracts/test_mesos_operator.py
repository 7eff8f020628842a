"""Contract: the recorded operator requests to master and agent, asked of the local ones.

One framework with a finished, a failed and a running task, as when they were recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.framework.local.clusters import Cluster, until
from tests.framework.local.replay import EXECUTOR, Names, compare
from tests.framework.local.wire import (
    RESOURCES,
    Answer,
    Connection,
    Framework,
    Stream,
    executor,
    get,
    task,
)

Json = dict[str, Any]
# A busy machine is told of otherwise, by metrics and by offers.
pytestmark = pytest.mark.alone

# recording -> why the answer is not compared
LEFT_OUT = {
    "master.root": "the web interface of Mesos is not part of the local one: / is not found",
    "agent.sandbox": "a listing made by ls, not an answer",
    "agent.sandbox.stdout": "a file of the sandbox, not an answer",
    "agent.sandbox.stderr": "a file of the sandbox, not an answer",
}
# recording -> parts of the answer that are not compared: a function that takes them out, and the reason
FLAGS = "flags that mean nothing here are not listed"
METRICS = (
    "what is not counted here (registrar, quantiles, revocable resources, operations) is not listed"
)


def _without_flags(body: Any) -> Any:
    return {k: v for k, v in body.items() if k != "flags"} if isinstance(body, dict) else body


class Scene:
    """The cluster as it was when the answers were recorded."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        info = {
            "name": "op",
            "hostname": "gateway.example",
            "role": "*",
            "webui_url": "http://gateway.example/ui",
            "capabilities": [{"type": "GPU_RESOURCES"}],
        }
        self.framework = Framework(cluster.address, info)
        variables = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
        self.executor = executor("op-e", f"head -c 4186 /dev/zero | tr '\\0' x; {EXECUTOR}")
        self.executor["command"]["environment"] = {"variables": variables}
        self._agent = Connection(cluster.agent_address())
        self.stream: Stream | None = None
        self._number = 0
        for task_id, state in (("op-t1", "TASK_FINISHED"), ("op-t2", "TASK_FAILED"), ("op-t3", None)):
            self._run(task_id, state)
        self.framework.offer(after=self._mark)
        self.agent_id = cluster.state()["slaves"][0]["id"]

    def _run(self, task_id: str, end: str | None) -> None:
        offer = self.framework.offer(after=0 if self._number == 0 else self._mark)
        labels = {"labels": [{"key": "owner", "value": "me"}]}
        self._mark = self.framework.mark()
        self.framework.accept(
            offer, [task(task_id, offer, labels=labels, executor=self.executor)], refuse=0
        )
        if self.stream is None:
            until(lambda: (self.cluster.sandbox("op-e") / "stderr").exists(), "the executor has started")
            body = {"type": "SUBSCRIBE", **self._who, "subscribe": {}}
            self.stream = Stream(self.cluster.agent_address(), "/api/v1/executor", body)
        self.stream.wait(
            lambda e: e["type"] == "LAUNCH" and e["launch"]["task"]["task_id"]["value"] == task_id
        )
        self._send(task_id, "TASK_RUNNING", message="up", data="c29tZSBkYXRh")
        self.framework.update(task_id, "TASK_RUNNING")
        if end is not None:
            self._mark = self.framework.mark()
            self._decline_all()
            self._send(task_id, end)
            self.framework.update(task_id, end)

    def _decline_all(self) -> None:
        """Offers that are held would keep the freed resources from being offered together."""
        offers = [
            o["id"]
            for e in self.framework.stream.events
            if e["type"] == "OFFERS"
            for o in e["offers"]["offers"]
        ]
        self.framework.call("DECLINE", {"offer_ids": offers, "filters": {"refuse_seconds": 0}})
        self._mark = self.framework.mark()

    @property
    def _who(self) -> Json:
        return {"framework_id": {"value": self.framework.id}, "executor_id": {"value": "op-e"}}

    def _send(self, task_id: str, state: str, **more: str) -> None:
        import base64
        import uuid

        self._number += 1
        status = {"task_id": {"value": task_id}, "state": state, "source": "SOURCE_EXECUTOR", **more}
        status["uuid"] = base64.b64encode(uuid.uuid4().bytes).decode()
        call = {
            "type": "UPDATE",
            **self._who,
            "update": {"status": {**status, "timestamp": 1.0 * self._number}},
        }
        assert self._agent.request("POST", "/api/v1/executor", call).status == 202

    def end_executor(self) -> None:
        """Resources of a removed framework are free once its executors are gone; Mesos does not wait."""
        assert self.stream is not None
        self.stream.wait_type("SHUTDOWN")
        (self.cluster.sandbox("op-e") / "exit").write_text("0")
        until(lambda: not self.cluster.state()["slaves"][0]["used_resources"]["cpus"], "all is free")

    def close(self) -> None:
        (self.cluster.sandbox("op-e") / "exit").write_text("0")
        self._agent.close()
        if self.stream is not None:
            self.stream.close()
        self.framework.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    cluster = Cluster(1, "--heartbeat-interval=0.5")
    cluster.start()
    try:
        scene = Scene(cluster)
        try:
            yield scene
        finally:
            scene.close()
    finally:
        cluster.stop()


def recordings(shared: Path) -> dict[str, Json]:
    found = {}
    for path in sorted((shared / "data" / "mesos-v1" / "operator").glob("*.json")):
        found[path.name.removesuffix(".json")] = json.loads(path.read_text())
    return found


def ask(scene: Scene, recorded: Json, names: Names) -> Answer:
    request = recorded["request"]
    master = request["port"] == 5050
    method, path, _ = request["line"].split()
    body = request["body"]
    if isinstance(body, dict):
        body = names.live_json(body)
    elif isinstance(body, str):
        body = names.live(body).encode()
    connection = Connection(scene.cluster.address if master else scene.cluster.agent_address())
    try:
        headers = {k: v for k, v in request["headers"].items() if v}
        return connection.request(method, names.live(path), body, headers)
    finally:
        connection.close()


def names_of(scene: Scene, recorded: dict[str, Json]) -> Names:
    """The recorded ids' live names, read off the state."""
    then = recorded["master.state"]["json"]
    sandbox = scene.cluster.sandbox("op-e").resolve()
    names = Names()
    names.learn(then["frameworks"][0]["id"], scene.framework.id)
    names.learn(then["slaves"][0]["id"], scene.agent_id)
    names.learn(then["id"], scene.cluster.state()["id"])
    agent = recorded["agent.state"]["json"]["frameworks"][0]["executors"][0]
    names.learn(agent["container"], sandbox.name)
    names.learn(agent["directory"], str(sandbox))
    return names


def test_every_recorded_request_is_answered_as_recorded(shared: Path, scene: Scene) -> None:
    recorded = recordings(shared)
    names = names_of(scene, recorded)
    last = ("master.teardown", "master.state_after_teardown")
    differences = []
    for name in [*(n for n in recorded if n not in last), *last]:
        if name in LEFT_OUT:
            continue
        if name == "master.state_after_teardown":
            scene.end_executor()
        try:
            check(scene, name, recorded[name], names)
        except AssertionError as error:
            differences.append(f"{name}: {error}"[:3000])
    assert not differences, "\n\n".join(differences)


def check(scene: Scene, name: str, recorded: Json, names: Names) -> None:
    answer = ask(scene, recorded, names)
    assert (answer.status, answer.reason) == (recorded["status"], recorded["reason"]), answer.text
    ignored = {"date", "content-length"}
    headers = {k: names.live(v) for k, v in recorded["headers"] if k.lower() not in ignored}
    if "Location" in headers:
        headers["Location"] = headers["Location"].replace("127.0.0.1:5050", scene.cluster.address)
    assert headers == {k: v for k, v in answer.headers if k.lower() not in ignored}
    if "json" in recorded:
        then, now = prepared(name, recorded["json"]), prepared(name, answer.json)
        compare(then, now, names)
    elif "state_jsonp" in name:
        assert answer.text.startswith("cb({")
        assert answer.text.endswith("})")
    elif "download" in name:
        assert answer.body == (scene.cluster.sandbox("op-e") / "stdout").read_bytes()
    else:
        assert answer.text == recorded["text"]


def prepared(name: str, body: Any) -> Any:
    """Takes out of an answer what cannot be the same, each with its reason."""
    if "metrics" in name or "METRICS" in name:
        return {}  # METRICS; see the test of the metrics
    if "flags" in name or "FLAGS" in name:
        return {}  # FLAGS; see the test of the flags
    body = _replaced(body)
    return _without_flags(body)


def _replaced(value: Any) -> Any:
    if isinstance(value, list):
        return [_replaced(v) for v in value]
    if not isinstance(value, dict):
        return value
    result = {k: _replaced(v) for k, v in value.items()}
    if "statistics" in result:
        result["statistics"] = dict.fromkeys(result["statistics"], 0)  # what a process uses differs
    if "resource_statistics" in result:
        result["resource_statistics"] = dict.fromkeys(result["resource_statistics"], 0)
    if "variables" in result:
        # The recordings leave the variables' names out; their values were of that machine.
        result["variables"] = [{"type": v["type"]} for v in result["variables"]]
    if "command" in result:
        result["command"] = {**result["command"], "value": "the executor"}
    for key in ("data", "size", "offset", "gid", "uid", "mode", "master_hostname"):
        if key in result and "state" not in result:
            result[key] = type(result[key])()
    return result


def names_of_metrics(body: Any) -> set[str]:
    listed = body["get_metrics"]["metrics"] if "get_metrics" in body else None
    return {m["name"] for m in listed} if listed else set(body)


@pytest.mark.parametrize(
    "name", ["master.metrics_snapshot", "agent.metrics_snapshot", "master.v1.GET_METRICS"]
)
def test_metrics_have_recorded_names(shared: Path, scene: Scene, name: str) -> None:
    """What is not counted here is left out; nothing goes by a name that Mesos does not have."""
    recorded = recordings(shared)
    names = names_of(scene, recorded)
    then = {names.live(n) for n in names_of_metrics(recorded[name]["json"])}
    now = names_of_metrics(ask(scene, recorded[name], names).json)
    assert now <= then | {
        n for n in now if n.endswith(("operations/create_disk", "operations/destroy_disk"))
    }
    wanted = (
        {"slave/tasks_running", "slave/cpus_used"}
        if "agent" in name
        else {"master/tasks_running", "master/elected"}
    )
    assert wanted <= now


@pytest.mark.parametrize("name", ["master.flags", "agent.flags"])
def test_flags_have_recorded_names(shared: Path, scene: Scene, name: str) -> None:
    recorded = recordings(shared)
    answer = ask(scene, recorded[name], Names()).json["flags"]
    assert answer.keys() <= recorded[name]["json"]["flags"].keys()
    assert all(isinstance(v, str) for v in answer.values())


def test_what_is_left_out_says_why(shared: Path) -> None:
    known = {p.name.rpartition(".")[0] for p in (shared / "data" / "mesos-v1" / "operator").iterdir()}
    assert LEFT_OUT.keys() <= known
    assert all(LEFT_OUT.values())


del RESOURCES, get, Callable
