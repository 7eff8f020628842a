"""F10: the Docker daemon refuses, forgets, hangs, goes away; the task ends as it should, nothing stays.

With the real daemon. More of the kind: tests/executor/test_docker_runtime.py (an image or a command
that does not exist, out of memory), tests/executor/test_crashes.py (kill -9 of the executor).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from executor.task import TaskPayload
from tests.executor.docker_proxy import DOCKER
from tests.executor.harness import TERMINAL, Bench, containers, eventually, payload, process
from tests.executor.harness import container as in_image
from tests.faults.docker_faults import CALLS, Fault, FaultyProxy
from tests.faults.seeds import LONG, seeded
from tests.measured import Measured

pytestmark = pytest.mark.docker

# The time for which the daemon is away; half a minute in the long form.
AWAY_SECS = 30.0 if LONG else 2.0
SWEPT_SECS = 60.0
# A daemon on a busy machine may take half a minute for five containers at once.
PATIENCE = 120.0


@pytest.fixture
def client(docker_daemon: None) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(f"unix://{DOCKER}")
    yield made
    made.close()


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_daemon: None) -> Iterator[FaultyProxy]:
    made = FaultyProxy(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.path}")
    yield made
    made.faults.clear()
    made.down()


def name() -> str:
    return f"fault-{uuid.uuid4().hex[:12]}"


def task(task_id: str, command: str, image: str, **more: Any) -> TaskPayload:
    return payload(task_id, process(command), container=in_image(image), **more)


def check_swept(client: docker.DockerClient, task_id: str) -> float:
    """Returns after how many seconds nothing of the task was left."""
    began = time.monotonic()
    eventually(lambda: not containers(client, task_id), SWEPT_SECS)
    return time.monotonic() - began


@pytest.mark.parametrize("call", ["create", "start"])
@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_a_daemon_that_refuses_fails_the_task_with_its_words(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient, call: str, status: int
) -> None:
    task_id, words = name(), f"the daemon has a bad day {status}"
    proxy.faults.append(Fault(call, status=status, message=words, times=10))
    end = bench.run(task(task_id, "true", image))
    assert end["state"] == "TASK_FAILED"
    assert words in end["message"]
    assert end["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
    check_swept(client, task_id)


@pytest.mark.parametrize(("call", "status"), [("create", 409), ("create", 503), ("start", 503)])
def test_what_passes_is_tried_again(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient, call: str, status: int
) -> None:
    """503: the daemon starts or stops. 409 for a name that is free by now."""
    task_id = name()
    proxy.faults.append(Fault(call, status=status, message="not now"))
    end = bench.run(task(task_id, "echo done", image))
    assert proxy.met == 1
    assert end["state"] == "TASK_FINISHED", end
    assert bench.log(task_id) == "done\n"
    check_swept(client, task_id)


OF_ONE = sorted(CALLS.keys() - {"exec"})


@pytest.mark.parametrize("call", OF_ONE)
def test_an_answer_that_is_lost_costs_nothing(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient, call: str
) -> None:
    """The call has had its effect, and nobody has heard of it."""
    task_id = name()
    proxy.faults.append(Fault(call, lost=True))
    end = bench.run(task(task_id, "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done; exit 3", image))
    assert proxy.met == 1
    assert (end["state"], end["message"]) == ("TASK_FAILED", "process hello exited with code 3")
    assert bench.log(task_id).split() == ["1", "2", "3", "4", "5"]
    check_swept(client, task_id)


@pytest.mark.parametrize(
    ("meanwhile", "words"),
    # A removal by force kills first; which of the two is seen is a matter of luck.
    [("kill", ["code 137 (SIGKILL)"]), ("remove", ["its container is gone", "code 137 (SIGKILL)"])],
)
def test_a_container_that_somebody_else_ends(
    proxy: FaultyProxy,
    bench: Bench,
    image: str,
    client: docker.DockerClient,
    meanwhile: str,
    words: list[str],
) -> None:
    task_id = name()
    bench.launch(task(task_id, "exec sleep 1000", image))
    bench.wait(task_id, "TASK_RUNNING")
    (one,) = containers(client, task_id)
    one.kill() if meanwhile == "kill" else one.remove(force=True)
    end = bench.wait(task_id, TERMINAL)
    assert end["state"] == "TASK_FAILED"
    assert any(word in end["message"] for word in words)
    check_swept(client, task_id)


def test_a_container_that_is_removed_before_its_end_is_read(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient
) -> None:
    task_id = name()
    bench.launch(task(task_id, "while [ ! -e go ]; do sleep 0.02; done; exit 7", image))
    bench.wait(task_id, "TASK_RUNNING")
    proxy.faults.append(Fault("inspect", meanwhile=lambda: containers(client, task_id)[0].remove()))
    (bench.sandbox(task_id) / "go").touch()
    end = bench.wait(task_id, TERMINAL)
    assert proxy.met == 1
    assert end["state"] == "TASK_FAILED"
    assert "its container is gone" in end["message"]


def test_a_start_whose_answer_is_lost_is_not_made_twice(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient
) -> None:
    """To start a container that has ended would run its task again."""
    for seconds in (0, 0.3, 0.6):
        task_id = name()
        proxy.faults.append(Fault("start", lost=True, times=2))
        command = f"sleep {seconds}; echo run; test -e failed || {{ touch failed; exit 1; }}"
        end = bench.run(payload(task_id, process(command, max_failures=2), container=in_image(image)))
        assert end["state"] == "TASK_FINISHED", end
        # Once for each run that was wanted.
        assert [bench.log(task_id, run=run) for run in (0, 1)] == ["run\n", "run\n"]
        check_swept(client, task_id)
    assert proxy.met == 6


def test_a_process_among_several_whose_start_is_not_answered_runs_once(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient
) -> None:
    task_id = name()
    proxy.faults.append(Fault("exec", lost=True, times=2))
    first = process("echo run >>ran; sleep 0.2; exit 0", name="first")
    second = process("echo run >>ran; exit 4", name="second")
    end = bench.run(payload(task_id, first, second, container=in_image(image)))
    assert proxy.met == 2
    assert end["state"] == "TASK_FAILED"
    assert "process second exited with code 4" in end["message"]
    assert (bench.sandbox(task_id) / "ran").read_text() == "run\n" * 2
    check_swept(client, task_id)


@pytest.mark.slow
def test_a_daemon_that_is_away_for_long(
    proxy: FaultyProxy, bench: Bench, image: str, client: docker.DockerClient, measured: Measured
) -> None:
    """What runs goes on, what is to be started waits, what is to be killed is killed when it is back."""
    runs, waits, dies = name(), name(), name()
    bench.launch(task(runs, "n=0; while [ ! -e stop ]; do n=$((n+1)); echo $n; sleep 0.05; done", image))
    bench.launch(task(dies, "exec sleep 1000", image, task={"finalization_wait": 1}))
    bench.wait(runs, "TASK_RUNNING")
    bench.wait(dies, "TASK_RUNNING")
    proxy.down()
    gone = time.monotonic()
    bench.launch(task(waits, "echo hello", image))
    bench.executor.kill(dies)
    eventually(lambda: "waiting for the Docker daemon" in str(bench.of(waits)))
    time.sleep(max(0.0, gone + AWAY_SECS - time.monotonic()))
    assert bench.states(runs)[-1] == "TASK_RUNNING"
    proxy.up()
    assert bench.wait(waits, TERMINAL)["state"] == "TASK_FINISHED"
    assert bench.wait(dies, TERMINAL)["state"] == "TASK_KILLED"
    (bench.sandbox(runs) / "stop").touch()
    assert bench.wait(runs, TERMINAL)["state"] == "TASK_FINISHED"
    numbers = [int(line) for line in bench.log(runs).split()]
    assert numbers == list(range(1, len(numbers) + 1))
    measured("F10 daemon away for, s", AWAY_SECS)
    for task_id in (runs, waits, dies):
        check_swept(client, task_id)


@pytest.mark.alone
@pytest.mark.parametrize("grace", [1, 3])
def test_a_deaf_task_gets_sigkill_when_its_grace_is_over(
    proxy: FaultyProxy, bench: Bench, image: str, grace: int, measured: Measured
) -> None:
    task_id = name()
    deaf = "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done"
    bench.launch(task(task_id, deaf, image, task={"finalization_wait": grace}))
    bench.wait(task_id, "TASK_RUNNING")
    eventually(lambda: bench.log(task_id) == "up\n")
    began = time.monotonic()
    bench.executor.kill(task_id)
    took = bench.wait(task_id, "TASK_KILLED")["at"] - began
    measured("F10 SIGKILL later than the grace period by, s", took - grace)
    assert abs(took - grace) <= 1.0, took
    assert bench.log(task_id) == "up\nasked\n"


@pytest.mark.slow
@seeded(3, 20)
def test_whatever_the_daemon_does_each_task_ends_as_it_should(
    seed: int,
    proxy: FaultyProxy,
    bench: Bench,
    image: str,
    client: docker.DockerClient,
    measured: Measured,
) -> None:
    """Several tasks at once, answers lost and calls put off at random, the daemon away now and then."""
    chance = random.Random(seed)
    for _ in range(8):
        call = chance.choice(OF_ONE)
        proxy.faults.append(Fault(call, lost=True) if chance.random() < 0.6 else Fault(call, status=503))
    expected = {}
    for _ in range(5):
        task_id, seconds = name(), chance.choice([0, 0.1, 0.5, 1])
        kind = chance.choice(["finish", "fail", "kill"])
        code = {"finish": 0, "fail": chance.randint(1, 99), "kill": 0}[kind]
        end = "exec sleep 1000" if kind == "kill" else f"sleep {seconds}; echo end; exit {code}"
        bench.launch(task(task_id, end, image, task={"finalization_wait": 1}))
        expected[task_id] = (kind, code)
        if chance.random() < 0.3:
            proxy.down()
            time.sleep(chance.uniform(0, 0.5))
            proxy.up()
    for task_id, (kind, _) in expected.items():
        if kind == "kill":
            if chance.random() < 0.5:
                bench.wait(task_id, "TASK_RUNNING", PATIENCE)
            bench.executor.kill(task_id)
    for task_id, (kind, code) in expected.items():
        end = bench.wait(task_id, TERMINAL, PATIENCE)
        wanted = {"finish": "TASK_FINISHED", "fail": "TASK_FAILED", "kill": "TASK_KILLED"}[kind]
        assert end["state"] == wanted, end
        if kind == "fail":
            assert f"exited with code {code}" in end["message"]
        if kind != "kill":
            assert bench.log(task_id) == "end\n"
        measured("F10 tasks at random faults: no container left after, s", check_swept(client, task_id))
