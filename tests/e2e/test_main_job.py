"""The main job, for real: a configuration is PUT, its processes and containers run and are driven."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL_AGENTS
from tests.e2e.harness import ROOT, Client, eventually, gateway, key_of, service

LOOP = "echo instance {{mesos.instance}} here; while true; do sleep 1; done"
RUNNING = "RUNNING"


def put(client: Client, name: str, body: bytes, path: str = "") -> None:
    answer = client.call("PUT", f"/alpha/jobs/{key_of(name)}{path}", body)
    assert answer.status in (201, 202), answer


def test_a_service_is_created_updated_restarted_and_killed_by_shards(client: Client) -> None:
    name = "life"
    key = key_of(name)
    put(client, name, service(name, LOOP, instances=3))
    client.wait_states(key, {0: RUNNING, 1: RUNNING, 2: RUNNING})
    first = client.tasks(key)

    put(client, name, service(name, LOOP + " # two", instances=3), "/update?shards=1")
    eventually(
        lambda: client.call("GET", f"/alpha/jobs/{key}/update").json["update"]["status"],
        lambda status: status == "ROLLED_FORWARD",
    )
    second = client.tasks(key)
    assert {n for n in first if first[n] != second[n]} == {1}

    put(client, name, b"", "/restart?shards=0,2")
    eventually(lambda: client.tasks(key), lambda now: now[0] != second[0] and now[2] != second[2])
    client.wait_states(key, {0: RUNNING, 1: RUNNING, 2: RUNNING})
    assert client.tasks(key)[1] == second[1]
    eventually(
        lambda: client.call("GET", f"/alpha/jobs/{key}/update").json["update"]["status"],
        lambda status: status == "ROLLED_FORWARD",
    )

    assert client.call("DELETE", f"/alpha/jobs/{key}?shards=2").status == 200
    eventually(lambda: client.states(key), lambda s: s[2] == "KILLED" and s[0] == s[1] == RUNNING)
    assert client.call("DELETE", f"/alpha/jobs/{key}").status == 200
    eventually(lambda: client.states(key), lambda s: set(s.values()) == {"KILLED"})
    eventually(
        lambda: client.call("GET", "/alpha/jobs/devcluster/www-data"),
        lambda answer: key not in str(answer.body),
    )


def test_the_output_of_an_instance_is_read_and_followed_to_its_end(client: Client) -> None:
    name = "talker"
    key = key_of(name)
    body = service(name, "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done", kind="Job")
    put(client, name, body)
    eventually(lambda: client.states(key).get(0), lambda s: s in ("RUNNING", "FINISHED"))
    answer = client.call("GET", f"/alpha/jobs/{key}/instances/0/logs?stream=stdout&follow=true")
    assert answer.body.decode().split("\n") == [f"line {i}" for i in range(1, 6)] + [""]
    client.wait_states(key, {0: "FINISHED"})
    part = client.call("GET", f"/alpha/jobs/{key}/instances/0/logs?stream=stdout&offset=7&length=6")
    assert part.body == b"line 2"


def test_history_names_every_state_with_its_time(client: Client) -> None:
    name = "history"
    key = key_of(name)
    put(client, name, service(name, "true", kind="Job"))
    client.wait_states(key, {0: "FINISHED"})
    history = client.job(key)["instances"][0]["history"]
    states = [event["state"] for event in history]
    assert [s for s in states if s != "STARTING"] == ["PENDING", "ASSIGNED", "RUNNING", "FINISHED"]
    times = [event["at"] for event in history]
    assert times == sorted(times)


def test_a_job_that_no_agent_can_hold_says_which_resource_lacks(client: Client) -> None:
    name = "giant"
    key = key_of(name)
    body = service(name, LOOP).replace(b"cpu = 0.1", b"cpu = 64")
    put(client, name, body)
    pending = eventually(
        lambda: client.job(key)["instances"][0]["pending"], lambda p: bool(p) and "cpus" in str(p)
    )
    assert "64" in str(pending)
    assert client.call("DELETE", f"/alpha/jobs/{key}").status == 200
    eventually(lambda: client.states(key), lambda s: "PENDING" not in s.values())


def test_a_command_that_does_not_exist_fails_with_the_reason(client: Client) -> None:
    name = "nocommand"
    key = key_of(name)
    put(client, name, service(name, "no-such-command-at-all", kind="Job"))
    client.wait_states(key, {0: "FAILED"})
    assert "127" in str(client.job(key)["instances"][0]["history"][-1]["message"])
    assert "no-such-command-at-all" in client.log(key, 0, "stderr")


def test_ports_are_assigned_and_filled_in(client: Client) -> None:
    name = "ports"
    key = key_of(name)
    put(client, name, service(name, "echo port={{thermos.ports[http]}}; " + LOOP, instances=2))
    client.wait_states(key, {0: RUNNING, 1: RUNNING})
    for instance in client.job(key)["instances"]:
        port = instance["ports"]["http"]
        assert 31000 <= port <= 31099
        number = instance["instance"]
        eventually(lambda n=number: client.log(key, n), lambda text, p=port: f"port={p}\n" in text)
    client.call("DELETE", f"/alpha/jobs/{key}")
    eventually(lambda: client.states(key), lambda s: set(s.values()) == {"KILLED"})


def test_every_metric_is_documented(client: Client) -> None:
    text = client.call("GET", "/metrics").body.decode()
    # When a histogram was made is the library's own.
    there = {name for name in re.findall(r"(?m)^# TYPE (\S+)", text) if not name.endswith("_created")}
    page = (ROOT / "docs" / "operations" / "metrics.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(?:mesos_gateway)?(_[a-z_]+)`", page))
    assert {name for name in there if name.removeprefix("mesos_gateway") not in told} == set()


@pytest.mark.docker
class TestDocker:
    def test_a_container_runs_and_is_removed(self, client: Client, image: str) -> None:
        import docker

        name = "boxed"
        key = key_of(name)
        body = service(name, "cat /etc/passwd; " + LOOP, instances=2, image=image)
        put(client, name, body)
        client.wait_states(key, {0: RUNNING, 1: RUNNING})
        eventually(lambda: client.log(key, 1), lambda text: "instance 1 here" in text)
        docker_client = docker.from_env()
        try:
            task_ids = set(client.tasks(key).values())

            def containers() -> set[str]:
                listed = docker_client.containers.list(all=True, ignore_removed=True)
                return {c.labels.get("mesos-gateway.task-id", "") for c in listed} & task_ids

            assert containers() == task_ids
            assert client.call("DELETE", f"/alpha/jobs/{key}").status == 200
            eventually(lambda: client.states(key), lambda s: set(s.values()) == {"KILLED"})
            eventually(containers, lambda left: not left)
        finally:
            docker_client.close()

    def test_running_out_of_memory_is_told_apart(self, client: Client, image: str) -> None:
        name = "hungry"
        key = key_of(name)
        # tail keeps its last line in memory, and /dev/zero has no line end.
        put(client, name, service(name, "tail /dev/zero", image=image, kind="Job"))
        client.wait_states(key, {0: "FAILED"})
        assert "memory" in client.job(key)["instances"][0]["history"][-1]["message"]

    def test_an_image_that_does_not_exist_fails_with_its_name(self, client: Client, image: str) -> None:
        name = "noimage"
        key = key_of(name)
        # The registry is this very host, where none is: the answer does not depend on the network.
        put(client, name, service(name, "true", image="127.0.0.1:9/absent:1", kind="Job"))
        client.wait_states(key, {0: "FAILED"})
        assert "127.0.0.1:9/absent:1" in client.job(key)["instances"][0]["history"][-1]["message"]


@pytest.mark.parametrize("mode", ["thread", "process", "coroutine", "sync"])
def test_every_execution_mode_runs_a_job(tmp_path: Path, mode: str) -> None:
    arguments = ["--master=local", "--local-agents=1", *SMALL_AGENTS[1:], f"--application={mode}"]
    with gateway(tmp_path, *arguments, "--parallel=2") as running:
        client = Client(running.address)
        put(client, "modal", service("modal", LOOP))
        client.wait_states(key_of("modal"), {0: RUNNING})
        broken = client.call("PUT", f"/alpha/jobs/{key_of('broken')}", b"jobs = [Job(nme = 'x')]")
        assert broken.status == 400, broken
        assert "nme" in broken.json["errors"][0]
        assert client.call("DELETE", f"/alpha/jobs/{key_of('modal')}").status == 200
        eventually(lambda: client.states(key_of("modal")), lambda s: s == {0: "KILLED"})
        assert running.stop() == 0
