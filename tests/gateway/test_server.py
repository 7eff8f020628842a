"""The gateway as a process: it listens, drains, and says why it does not start."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Answer, Client, Server, children, eventually, processes
from tests.gateway.schedulers.test_command import Client as Aurora
from tests.measured import Stopwatch


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "--port=0", *arguments]


def external(tmp_path: Path, *arguments: str) -> list[str]:
    """A gateway before an aurora client of ``tmp_path``, which starts in no time."""
    path = tmp_path / "aurora"
    return command("--executor=external", f"--aurora-command={path}", "--aurora-client=v1", *arguments)


def start(arguments: list[str], tmp_path: Path) -> Server:
    return Server(arguments, "listens on ", tmp_path / "gateway.log")


def refused(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def aurora(tmp_path: Path) -> Aurora:
    return Aurora(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, aurora: Aurora, number: signal.Signals) -> None:
    server = start(external(tmp_path), tmp_path)
    try:
        assert server.lines == [f"mesos-gateway 0.1.0 listens on {server.address}"]
        client = Client(server.address)
        assert client.call("GET", "/alpha/version").body == b'{"status": "success", "version": "0.1"}'
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


def test_what_evaluates_is_there_before_anybody_asks(tmp_path: Path, aurora: Aurora) -> None:
    server = start(external(tmp_path), tmp_path)
    try:
        # What workers are forked from, and the first of them.
        eventually(lambda: children(server.process.pid), bool)
        (nursery,) = children(server.process.pid)
        eventually(lambda: children(nursery), bool)
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def test_a_hangup_while_it_starts_does_not_end_it(tmp_path: Path) -> None:
    """As of whoever rotates logs at that moment."""
    log = tmp_path / "gateway.log"
    arguments = ("--master=local", "--local-agents=1", f"--state={tmp_path / 'state.db'}")
    with log.open("wb") as out:
        process = subprocess.Popen(command(*arguments), stdout=out, stderr=out)
    try:
        eventually(log.read_text, lambda text: "has the gateway_revision" in text)
        process.send_signal(signal.SIGHUP)
        eventually(log.read_text, lambda text: process.poll() is not None or "listens on" in text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_request_that_runs_may_end(tmp_path: Path, aurora: Aurora, mode: str) -> None:
    aurora.will(output="west/ops/prod/a\n", seconds=1.5)
    server = start(external(tmp_path, f"--application={mode}"), tmp_path)
    answers: list[Answer] = []
    try:
        client = Client(server.address)
        request = threading.Thread(
            target=lambda: answers.append(client.call("GET", "/alpha/jobs/west/ops"))
        )
        request.start()
        eventually(lambda: aurora.calls, bool)
        server.process.send_signal(signal.SIGTERM)
        # Refused, or reset if it stood in the line of a socket that was closed; 503 if it had got
        # through to the server and no further.
        with pytest.raises(OSError, match=r"refused|reset|closed"):
            eventually(
                lambda: client.call("GET", "/alpha/version").status, lambda s: s not in (200, 503)
            )
        request.join(30)
        assert [answer.status for answer in answers] == [200]
        assert server.process.wait(30) == 0
    finally:
        server.stop()


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_request_that_does_not_end_is_given_up_and_told_so(
    tmp_path: Path, aurora: Aurora, mode: str
) -> None:
    aurora.will(output="west/ops/prod/a\n", seconds=40)
    server = start(external(tmp_path, f"--application={mode}"), tmp_path)
    answers: list[Answer] = []
    try:
        client = Client(server.address)
        request = threading.Thread(
            target=lambda: answers.append(client.call("GET", "/alpha/jobs/west/ops"))
        )
        request.start()
        eventually(lambda: aurora.calls, bool)
        watch = Stopwatch()
        assert server.stop() == 0
        assert watch.own <= 10
        request.join(60)
        assert [answer.status for answer in answers] == [503]
        assert "look before you repeat it" in answers[0].json["errors"][0]
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    # Where nobody else is given a free port, so that its own is nobody's afterwards.
    host = "127.8.8.8"
    server = start(
        command(
            f"--address={host}",
            "--master=local",
            "--local-agents=1",
            f"--local-work-dir={tmp_path / 'mesos'}",
            f"--state={tmp_path / 'state.db'}",
        ),
        tmp_path,
    )
    client = Client(server.address)
    eventually(lambda: client.call("GET", "/health").status, lambda status: status == 200)
    assert processes(str(tmp_path / "mesos"))
    assert server.stop() == 0
    eventually(lambda: processes(str(tmp_path / "mesos")), lambda left: not left)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(server.address.rpartition(":")[2])))
    assert (tmp_path / "state.db").exists()


def test_a_stream_does_not_hold_a_stop_up(tmp_path: Path) -> None:
    server = start(command("--master=127.0.0.1:9", f"--state={tmp_path / 'state.db'}"), tmp_path)
    stream = socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])))
    try:
        stream.sendall(b"GET /alpha/events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in stream.recv(4096)
        assert server.stop() == 0
    finally:
        stream.close()
        server.stop()
    assert "have not ended within" not in server.log.read_text()


def test_without_a_master_it_serves_and_says_that_it_is_not_ready(tmp_path: Path) -> None:
    server = start(command("--master=127.0.0.1:9", f"--state={tmp_path / 'state.db'}"), tmp_path)
    try:
        health = Client(server.address).call("GET", "/health")
        assert health.status == 503
        assert "not connected to Mesos" in health.json["problems"][0]
    finally:
        assert server.stop() == 0


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = refused(f"--port={port}", f"--state={tmp_path / 's.db'}")
    assert run.returncode == 1
    assert f"127.0.0.1:{port}" in run.stderr
    assert "--port" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def wrong(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    broken = tmp_path / "broken"
    broken.write_text("[{]")
    return {
        "no aurora client": (["--executor=external", "--aurora-command=/no/aurora"], "--aurora-command"),
        "clusters": ([f"--clusters={broken}", "--master=127.0.0.1:9"], "not JSON"),
        "policy": ([f"--policy={broken}"], "policy"),
        "principal alone": (["--principal=me"], "principal and secret"),
        "failover": (["--failover-timeout=60"], "failover timeout"),
        "state": ([f"--state={broken}/x.db"], "state"),
        "resources": (["--local-resources=cpus:many"], "cpus"),
    }


@pytest.mark.parametrize(
    "kind",
    ["no aurora client", "clusters", "policy", "principal alone", "failover", "state", "resources"],
)
def test_options_that_cannot_work_end_the_start_with_a_sentence(tmp_path: Path, kind: str) -> None:
    arguments, about = wrong(tmp_path)[kind]
    defaults = [] if any("--state" in a for a in arguments) else [f"--state={tmp_path / 's.db'}"]
    run = refused(*defaults, *arguments)
    assert run.returncode in (1, 2), run.stderr
    assert about in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_a_remote_cluster_is_known_and_not_served(tmp_path: Path) -> None:
    clusters = tmp_path / "clusters.json"
    clusters.write_text(json.dumps([{"name": "far", "zk": "zk.example"}, {"name": "near"}]))
    server = start(
        command("--master=127.0.0.1:9", f"--state={tmp_path / 's.db'}", f"--clusters={clusters}"),
        tmp_path,
    )
    try:
        client = Client(server.address)
        statuses: dict[str, Any] = {
            name: client.call("GET", f"/alpha/jobs/{name}/ops") for name in ("far", "near", "no")
        }
        assert {name: a.status for name, a in statuses.items()} == {"far": 501, "near": 404, "no": 404}
        assert "--executor external" in statuses["far"].json["errors"][0]
        assert statuses["near"].json["status"] == "success"
        assert statuses["no"].json["status"] == "failure"
    finally:
        server.stop()
