"""bin/quickstart: one command to RUNNING, arguments for the gateway, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import PATIENCE, ROOT, Client, Server, eventually, processes

KEY = "devcluster/www-data/prod/hello"


def quickstart(log: Path, environment: dict[str, str], *arguments: str) -> Server:
    old = dict(os.environ)
    os.environ.update(environment)
    try:
        return Server([sys.executable, "-m", "gateway.quickstart", *arguments], "serves on ", log)
    finally:
        os.environ.clear()
        os.environ.update(old)


def run_and_interrupt(
    tmp_path: Path,
    environment: dict[str, str],
    runtime: str,
    at_work: Callable[[set[str]], None] = lambda tasks: None,
) -> list[str]:
    """Runs the main job; ``at_work`` is told the ids of its tasks while they run."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    mark = f"quickstart-{os.getpid()}-{runtime}"
    environment = {"TMPDIR": str(scratch), "MESOS_GATEWAY_TEST_MARK": mark, **environment}
    server = quickstart(tmp_path / "log", environment, "--port=0")
    try:
        text = "\n".join(server.lines)
        assert "PENDING" in text
        assert "All 3 instances are RUNNING" in text
        client = Client(server.address)
        assert client.states(KEY) == {0: "RUNNING", 1: "RUNNING", 2: "RUNNING"}
        eventually(lambda: client.log(KEY, 1), lambda log: "hello world" in log)
        launch_reference(server.address)
        at_work(set(client.tasks(KEY).values()))
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
    finally:
        server.stop()
    eventually(lambda: processes(mark), lambda left: not left)
    assert list(scratch.iterdir()) == []
    return server.lines


def launch_reference(url: str) -> None:
    """The commands of the document that the API comes from, as they stand there but for the port."""
    products = f"{url}/bigdata/api/v1/products"
    header = '-H "Content-type: application/json"'
    launch = f"curl -s {header} -X POST -d '{{\"size\": 2}}' {products}/reference/1.0.0"
    assert "/queue/" in pasted(launch)
    gluster = (
        '{"name":"gluster", "version":"3.7.11", "description": "GlusterFS parallel filesystem cluster"}'
    )
    assert pasted(f"curl -s -X POST {products} -d '{gluster}' {header}") == ""
    folder = ROOT / "products" / "reference"
    for part, file in (
        ("template", "template.json"),
        ("options", "options.json"),
        ("orquestrator", "orchestrator.py"),
    ):
        put = f"curl -s -X PUT {products}/reference/1.0.0/{part} --data-binary @{folder}/{file} {header}"
        assert pasted(put) == ""
    assert '"size": 2' in pasted(f"curl -s {products}/reference/1.0.0/options")
    cluster = f"{url}/bigdata/api/v1/clusters/anonymous/reference/1.0.0/1"
    data = eventually(
        lambda: json.loads(pasted(f"curl -s {cluster}"))["data"],
        lambda data: data["status"] == "ready" or data["status"].startswith("error"),
    )
    assert (data["status"], data["reason"]) == ("ready", "")


def pasted(command: str) -> str:
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    return run.stdout


def test_with_plain_processes_where_no_docker_answers(tmp_path: Path) -> None:
    lines = run_and_interrupt(tmp_path, {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}, "process")
    assert lines[0].startswith("Runtime: plain processes")


@pytest.mark.alone  # it looks at all images
@pytest.mark.docker
def test_with_docker_where_a_daemon_answers(tmp_path: Path, docker_daemon: None) -> None:
    import docker

    client = docker.from_env()
    try:
        had = client.images.list("mesos-gateway/sample") != []
        # Other gateways have containers here at the same time: those of this one have its framework.
        frameworks: set[str] = set()

        def of_tasks(tasks: set[str]) -> None:
            labels = [one.labels for one in labelled("mesos-gateway.task-id")]
            own = [found for found in labels if found["mesos-gateway.task-id"] in tasks]
            assert len(own) == len(tasks) == 3
            frameworks.update(found["mesos-gateway.framework-id"] for found in own)

        def labelled(label: str) -> list[Any]:
            found: list[Any] = client.containers.list(
                all=True, filters={"label": label}, ignore_removed=True
            )
            return found

        lines = run_and_interrupt(tmp_path, {}, "docker", of_tasks)
        assert lines[0].startswith("Runtime: Docker containers")
        (framework,) = frameworks
        assert labelled(f"mesos-gateway.framework-id={framework}") == []
        assert (client.images.list("mesos-gateway/sample") != []) == had
    finally:
        client.close()


def test_a_wrong_option_is_refused_with_the_gateways_own_sentence() -> None:
    with tempfile.TemporaryDirectory() as directory:
        run = subprocess.run(
            [sys.executable, "-m", "gateway.quickstart", "--prot=9000"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "TMPDIR": directory, "DOCKER_HOST": "unix:///nonexistent.sock"},
            check=False,
        )
        assert run.returncode != 0
        assert "--port" in run.stderr
        assert list(Path(directory).iterdir()) == []


def test_its_help_is_its_own_and_starts_nothing() -> None:
    command = [sys.executable, "-m", "gateway.quickstart", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert run.stdout.startswith("usage: bin/quickstart")
    assert "Runtime" not in run.stdout
