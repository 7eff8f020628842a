"""Tasks in real containers."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from executor.identity import owner_of
from executor.runtimes.base import Options
from executor.runtimes.choice import Runtimes
from executor.task import Container, Parameter, Volume
from tests.executor.docker_proxy import DOCKER, DockerProxy
from tests.executor.harness import Bench, containers, eventually, payload, process
from tests.ports import free_port

pytestmark = pytest.mark.docker


@pytest.fixture
def client(docker_daemon: None) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(f"unix://{DOCKER}")
    yield made
    made.close()


def in_image(image: str, *parameters: tuple[str, str], **more: Any) -> Container:
    return Container(image, parameters=tuple(Parameter(*p) for p in parameters), **more)


def test_a_task_runs_in_its_image_and_leaves_no_container(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    until_told = "while [ ! -e go ]; do sleep 0.05; done"
    command = f"echo $MESOS_SANDBOX; pwd; id -u; echo oops >&2; echo made > file; {until_told}; exit 3"
    bench.launch(payload("d1", process(command), container=in_image(image)))
    running = bench.wait("d1", "TASK_RUNNING")
    about = client.containers.get(running["data"]["container_id"])
    assert about.labels["mesos-gateway.framework-id"] == "F-0000"
    assert about.attrs["HostConfig"]["Memory"] == 128 * 1024 * 1024
    assert about.attrs["HostConfig"]["MemorySwap"] == 128 * 1024 * 1024
    assert about.attrs["HostConfig"]["CpuShares"] == 102
    assert about.attrs["HostConfig"]["PidsLimit"] == 4096
    assert about.attrs["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]
    (bench.sandbox("d1") / "go").touch()
    end = bench.wait("d1", "TASK_FAILED")
    assert end["message"] == "process hello exited with code 3: oops"
    assert bench.log("d1").split() == ["/mnt/mesos/sandbox", "/mnt/mesos/sandbox", "0"]
    assert bench.log("d1", stream="stderr") == "oops\n"
    assert (bench.sandbox("d1") / "file").read_text() == "made\n"
    assert containers(client, "d1") == []


def test_a_task_without_processes_runs_what_its_image_says(bench: Bench, image: str) -> None:
    end = bench.run(payload("d1", container=in_image(image, ("entrypoint", "id"))))
    assert end["state"] == "TASK_FINISHED"
    assert bench.log("d1", "main").startswith("uid=0")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"pull_policy": "never"}, "and the pull policy is 'never'"),
        ({"pull_policy": "missing"}, "no such image mesos-gateway-test-absent:1"),
        ({"pull_policy": "always"}, "no such image mesos-gateway-test-absent:1"),
    ],
)
def test_an_image_that_does_not_exist_is_said(
    bench: Bench, docker_daemon: None, more: dict, sentence: str
) -> None:
    # The registry is this very host, where none is: the answer does not depend on the network.
    end = bench.run(
        payload("d1", process("true"), container=Container("mesos-gateway-test-absent:1"), **more)
        if more["pull_policy"] == "never"
        else payload("d1", process("true"), container=Container("127.0.0.1:9/absent:1"), **more)
    )
    assert end["state"] == "TASK_FAILED"
    assert sentence.replace("mesos-gateway-test-absent:1", "127.0.0.1:9/absent:1") in end["message"]
    assert end["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"


def test_a_missing_command_is_named_and_the_container_it_left_is_removed(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    cases = {
        "shell": payload("shell", process("no-such-command"), container=in_image(image)),
        "init": payload("init", container=in_image(image, ("entrypoint", "/no-such-command"))),
        "bare": payload(
            "bare", container=in_image(image, ("entrypoint", "no-such-command"), ("init", "false"))
        ),
    }
    for task_id, task in cases.items():
        end = bench.run(task)
        assert end["state"] == "TASK_FAILED"
        assert "no-such-command does not exist" in end["message"]
        assert containers(client, task_id) == []


def test_out_of_memory_is_told_apart_from_an_exit_code(bench: Bench, image: str) -> None:
    bench.launch(payload("oom", process("tail /dev/zero"), mem_mb=16, container=in_image(image)))
    bench.launch(payload("code", process("exit 137"), mem_mb=16, container=in_image(image)))
    out_of_memory = bench.wait("oom", "TASK_FAILED")
    assert out_of_memory["message"] == (
        "process hello was killed by the kernel: out of memory (limit 16 MiB)"
    )
    assert out_of_memory["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"
    assert bench.wait("code", "TASK_FAILED")["message"] == "process hello exited with code 137 (SIGKILL)"


def test_a_container_gets_sigterm_and_after_the_grace_period_sigkill(bench: Bench, image: str) -> None:
    mild = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    bench.launch(
        payload("mild", process(mild), task={"finalization_wait": 60}, container=in_image(image))
    )
    bench.launch(
        payload("deaf", process(deaf), task={"finalization_wait": 2}, container=in_image(image))
    )
    for task in ("mild", "deaf"):
        bench.wait(task, "TASK_RUNNING")
        eventually(lambda task=task: bench.log(task) == "up\n")
    begun = time.monotonic()
    bench.executor.kill("mild")
    bench.executor.kill("deaf")
    bench.wait("mild", "TASK_KILLED")
    assert bench.log("mild") == "up\nbye\n"
    assert bench.wait("deaf", "TASK_KILLED")["at"] - begun >= 1.0


def test_several_processes_share_one_container(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    bench.launch(
        payload(
            "d1",
            process("echo from a > /tmp/file; hostname", name="a"),
            process(
                "trap 'exit 0' TERM; cat /tmp/file; hostname; while :; do sleep 0.05; done", name="b"
            ),
            process("cat /tmp/file", name="f", final=True),
            task={"constraints": [{"order": ["a", "b"]}], "finalization_wait": 60},
            container=in_image(image),
        )
    )
    eventually(lambda: bench.states("d1")[-1:] == ["TASK_RUNNING"] and _lines(bench, "d1", "b") == 2)
    assert len(containers(client, "d1")) == 1
    bench.executor.kill("d1")
    end = bench.wait("d1", "TASK_KILLED")
    assert end["data"]["processes"]["b"]["last"] == "exited with code 0"
    assert bench.log("d1", "f") == "from a\n"
    assert bench.log("d1", "b").splitlines() == ["from a", bench.log("d1", "a").strip()]
    assert containers(client, "d1") == []


def test_processes_hear_the_signal_although_their_children_end_meanwhile(
    bench: Bench, image: str
) -> None:
    # One in eight has a child that is there when it is looked for, and gone when it is signalled.
    restless, names = "trap 'exit 0' TERM; echo up; while :; do /bin/true; done", "abcdefghijklmnop"
    processes = [process(restless, name=name) for name in names]
    # They take all of the CPUs, and hear of it one after the other.
    patient = {"finalization_wait": 60}
    bench.launch(payload("d1", *processes, task=patient, mem_mb=512, container=in_image(image)))
    eventually(lambda: all(_lines(bench, "d1", name) == 1 for name in names))
    bench.executor.kill("d1")
    ended = bench.wait("d1", "TASK_KILLED")["data"]["processes"]
    assert [ended[name].get("last") for name in names] == ["exited with code 0"] * len(names)


def _lines(bench: Bench, task_id: str, name: str) -> int:
    path = bench.sandbox(task_id) / ".logs" / name / "0" / "stdout"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_process_among_several_that_runs_out_of_memory_is_said_to(bench: Bench, image: str) -> None:
    end = bench.run(
        payload(
            "d1",
            # Not before the other runs: its start needs some of the memory, too.
            process("while [ ! -e b ]; do sleep 0.02; done; exec tail /dev/zero", name="a"),
            process("touch b; exec sleep 100", name="b"),
            mem_mb=16,
            container=in_image(image),
        )
    )
    assert end["message"] == "process a was killed by the kernel: out of memory (limit 16 MiB)"


def test_a_single_process_is_run_again_in_the_same_container(bench: Bench, image: str) -> None:
    command = "echo $(hostname) $(cat /n || echo 0); test -e /n && exit 0; echo 1 > /n; exit 1"
    end = bench.run(payload("d1", process(command, max_failures=2), container=in_image(image)))
    assert end["state"] == "TASK_FINISHED"
    first, second = (bench.log("d1", run=n).split() for n in range(2))
    assert (first[1], second[1]) == ("0", "1")
    assert first[0] == second[0]


def test_ports_are_published_under_their_own_number(bench: Bench, image: str) -> None:
    port = free_port()
    command = "echo hello > index.html; exec httpd -f -p {{thermos.ports[http]}}"
    bench.launch(payload("d1", process(command), ports={"http": port}, container=in_image(image)))
    bench.wait("d1", "TASK_RUNNING")

    def fetched() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return answer.read()
        except OSError:
            return b""

    assert eventually(fetched) == b"hello\n"
    end = bench.run(payload("d2", process("true"), ports={"http": port}, container=in_image(image)))
    assert end["message"] == f"the port {port} is already in use on this agent"


def test_an_image_that_says_nothing_needs_a_process(bench: Bench, image: str) -> None:
    end = bench.run(payload("d1", container=in_image(image)))
    assert end["message"] == (
        f"image {image} has neither an entry point nor a command: there is nothing to run"
    )


def test_a_host_path_that_is_a_link_is_not_mounted(bench: Bench, image: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    box = Container(image=image, volumes=(Volume("/data", str(tmp_path / "link")),))
    end = bench.run(payload("d1", process("ls /data"), container=box))
    assert end["state"] == "TASK_FAILED"
    assert "symbolic link to /etc" in end["message"]


def test_parameters_and_volumes_reach_the_container(bench: Bench, image: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("on the host\n")
    box = in_image(
        image,
        ("env", "COLOUR=red=green"),
        ("hostname", "somebody"),
        ("network", "none"),
        ("user", "65534"),
        ("ulimit", "nofile=77:88"),
        ("add-host", "db:10.1.2.3"),
        ("label", "team=blue"),
        ("workdir", "/tmp"),
        volumes=(Volume("/data", str(data)),),
    )
    command = (
        "echo $COLOUR $(hostname) $(id -u) $(ulimit -n) $(pwd); grep db /etc/hosts; ls /sys/class/net;"
        "cat /data/file; touch /data/x || echo read-only; echo mine > $MESOS_SANDBOX/mine"
    )
    end = bench.run(payload("d1", process(command), container=box, ports={"http": 31000}))
    assert end["state"] == "TASK_FINISHED", end
    assert bench.log("d1").split("\n") == [
        "red=green somebody 65534 77 /tmp",
        "10.1.2.3\tdb",
        "lo",
        "on the host",
        "read-only",
        "",
    ]
    assert (bench.sandbox("d1") / "mine").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("frobnicate", "1", "'frobnicate' is not supported; known are: add-host"),
        ("ulimit", "nofile=x", "ulimit='nofile=x' cannot be read"),
        ("env", "NOVALUE", "it should be NAME=VALUE"),
        ("label", "mesos-gateway.owner=me", "the executor's own"),
        ("entrypoint", "/bin/x", "contradicts the task's processes"),
        ("network", "no-such-net", "the Docker network no-such-net does not exist"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(
    bench: Bench, image: str, name: str, value: str, sentence: str
) -> None:
    end = bench.run(payload("d1", process("true"), container=in_image(image, (name, value))))
    assert end["state"] == "TASK_FAILED"
    assert sentence in end["message"]


def test_a_shell_checker_runs_in_the_container(bench: Bench, image: str) -> None:
    config = {
        "health_checker": {"shell": {"shell_command": "test -e /tmp/well || { echo not well; false; }"}},
        "initial_interval_secs": 60,
        "interval_secs": 0.1,
        "timeout_secs": 30,
    }
    command = "touch /tmp/well; while [ ! -e ill ]; do sleep 0.05; done; rm /tmp/well; sleep 100"
    bench.launch(
        payload(
            "d1", process(command), document={"health_check_config": config}, container=in_image(image)
        )
    )
    bench.wait("d1", "TASK_RUNNING")
    (bench.sandbox("d1") / "ill").touch()
    end = bench.wait("d1", "TASK_FAILED")
    assert end["message"] == "the task is not healthy: the health command exited with code 1: not well"


def test_a_container_removed_by_somebody_else_fails_its_task(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    bench.launch(payload("d1", process("exec sleep 100"), container=in_image(image)))
    running = bench.wait("d1", "TASK_RUNNING")
    client.containers.get(running["data"]["container_id"]).remove(force=True)
    assert "process hello" in bench.wait("d1", "TASK_FAILED")["message"]


def test_a_name_that_is_taken_is_freed_of_the_dead_and_left_to_the_living(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    dead = subprocess.Popen(["sleep", "100"])
    owner = owner_of(dead.pid)
    dead.kill()
    dead.wait()
    one, two = (f"d{n}-{uuid.uuid4().hex[:8]}" for n in (1, 2))
    client.containers.create(
        image, "true", name=f"mesos-gateway-{one}", labels={"mesos-gateway.owner": owner}
    )
    other = client.containers.create(image, "true", name=f"mesos-gateway-{two}")
    try:
        for task in (one, two):
            end = bench.run(payload(task, process("true"), container=in_image(image)))
            assert end["state"] == "TASK_FINISHED"
        left = client.containers.list(all=True, filters={"name": f"mesos-gateway-({one}|{two})"})
        assert [c.id for c in left] == [other.id]
    finally:
        other.remove(force=True)


def test_a_container_of_another_stays_though_the_task_of_its_name_never_gets_one(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    task = f"d1-{uuid.uuid4().hex[:8]}"
    other = client.containers.create(image, "true", name=f"mesos-gateway-{task}")
    try:
        absent = in_image("mesos-gateway-test-absent:1")
        end = bench.run(payload(task, process("true"), container=absent, pull_policy="never"))
        assert end["state"] == "TASK_FAILED"
        assert client.containers.get(other.id).status == "created"
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            other.remove(force=True)


def test_a_task_that_is_killed_while_it_is_made_leaves_nothing(
    bench: Bench, image: str, client: docker.DockerClient
) -> None:
    for n in range(5):
        bench.launch(payload(f"d{n}", process("exec sleep 100"), container=in_image(image)))
        time.sleep(0.03 * n)
        bench.executor.kill(f"d{n}")
    for n in range(5):
        assert bench.wait(f"d{n}", {"TASK_KILLED", "TASK_FAILED"})["state"] == "TASK_KILLED"
        assert containers(client, f"d{n}") == []


class TestDaemonDown:
    @pytest.fixture
    def proxy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_daemon: None
    ) -> Iterator[DockerProxy]:
        made = DockerProxy(tmp_path / "docker.sock")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{made.path}")
        yield made
        made.down()

    def test_a_task_waits_for_the_daemon_and_says_so(
        self, proxy: DockerProxy, bench: Bench, image: str
    ) -> None:
        proxy.down()
        bench.launch(payload("d1", process("echo hello"), container=in_image(image)))
        eventually(lambda: any("waiting for the Docker daemon" in u["message"] for u in bench.of("d1")))
        assert set(bench.states("d1")) == {"TASK_STARTING"}
        assert bench.of("d1")[-1]["data"]["trouble"].count("the Docker daemon does not answer") == 1
        proxy.up()
        assert bench.wait("d1", "TASK_FINISHED")["data"]["trouble"] == ""
        assert bench.log("d1") == "hello\n"

    def test_a_running_container_is_attached_again_and_no_output_is_lost(
        self, proxy: DockerProxy, bench: Bench, image: str
    ) -> None:
        count = "n=0; while [ ! -e stop ]; do n=$((n+1)); echo $n; sleep 0.01; done"
        bench.launch(payload("d1", process(count), container=in_image(image)))
        bench.wait("d1", "TASK_RUNNING")
        eventually(lambda: _lines(bench, "d1", "hello") > 10)
        proxy.down()
        eventually(lambda: any("waiting for the Docker daemon" in u["message"] for u in bench.of("d1")))
        seen = _lines(bench, "d1", "hello")
        proxy.up()
        eventually(lambda: _lines(bench, "d1", "hello") > seen + 10)
        (bench.sandbox("d1") / "stop").touch()
        assert bench.wait("d1", {"TASK_FINISHED", "TASK_FAILED"})["state"] == "TASK_FINISHED"
        numbers = [int(line) for line in bench.log("d1").split()]
        assert numbers == list(range(1, len(numbers) + 1))

    def test_a_container_that_ended_meanwhile_is_found_ended(
        self, proxy: DockerProxy, bench: Bench, image: str
    ) -> None:
        command = "while [ ! -e stop ]; do sleep 0.02; done; echo ended; exit 5"
        bench.launch(payload("d1", process(command), container=in_image(image)))
        bench.wait("d1", "TASK_RUNNING")
        proxy.down()
        (bench.sandbox("d1") / "stop").touch()
        eventually(lambda: any("waiting for the Docker daemon" in u["message"] for u in bench.of("d1")))
        proxy.up()
        end = bench.wait("d1", "TASK_FAILED")
        assert end["message"] == "process hello exited with code 5"
        assert bench.log("d1") == "ended\n"

    def test_a_later_run_that_ends_meanwhile_loses_no_output_either(
        self, proxy: DockerProxy, bench: Bench, image: str
    ) -> None:
        command = (
            "run=1; [ ! -e run1 ] || run=2; touch run$run; "
            "while [ ! -e stop$run ]; do sleep 0.02; done; echo ended $run; exit $((2-run))"
        )
        bench.launch(payload("d1", process(command, max_failures=2), container=in_image(image)))
        for run in (1, 2):
            eventually((bench.sandbox("d1") / f"run{run}").exists)
            proxy.down()
            (bench.sandbox("d1") / f"stop{run}").touch()
            eventually(lambda: bench.of("d1")[-1]["message"].startswith("waiting for the Docker"))
            proxy.up()
        assert bench.wait("d1", {"TASK_FINISHED", "TASK_FAILED"})["state"] == "TASK_FINISHED"
        assert bench.log("d1", run=1) == "ended 2\n"
        assert bench.log("d1") == "ended 1\n"

    def test_patience_has_an_end_and_the_container_is_removed_later(
        self,
        proxy: DockerProxy,
        runtimes: Runtimes,
        image: str,
        tmp_path: Path,
        client: docker.DockerClient,
    ) -> None:
        bench = Bench(tmp_path, runtimes, Options(docker_patience=1.0))
        bench.launch(payload("d1", process("exec sleep 100"), container=in_image(image)))
        bench.wait("d1", "TASK_RUNNING")
        proxy.down()
        end = bench.wait("d1", "TASK_FAILED")
        assert "no answer from the Docker daemon for 1 s" in end["message"]
        assert len(containers(client, "d1")) == 1
        proxy.up()
        eventually(lambda: containers(client, "d1") == [])
        bench.close()
