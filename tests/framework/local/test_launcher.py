"""Starting, failing to start, and never staying behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from framework.local import options
from framework.local.launcher import LocalMesos, LocalMesosFailed
from tests.framework.local.clusters import RESOURCES, processes_in, until
from tests.framework.local.wire import PATIENCE, Framework, get, task


def test_it_starts_and_ends(tmp_path: Path) -> None:
    local = LocalMesos(3, RESOURCES, ["rack:r{n}"], tmp_path)
    try:
        address = local.start(PATIENCE)
        slaves = get(address, "/slaves").json["slaves"]
        assert sorted((s["hostname"], s["attributes"]["rack"]) for s in slaves) == [
            ("127.0.0.1", "r1"),
            ("127.0.0.2", "r2"),
            ("127.0.0.3", "r3"),
        ]
        for slave in slaves:
            assert get(f"{slave['hostname']}:{slave['port']}", "/health").status == 200
    finally:
        local.stop()
    local.stop()
    assert processes_in(tmp_path) == []


def test_a_temporary_directory_goes_with_it() -> None:
    with LocalMesos(1, RESOURCES) as local:
        root = local.work_dir
        assert root.is_dir()
        with pytest.raises(LocalMesosFailed, match="started already"):
            local.start()
    assert not root.exists()


def test_a_cluster_without_agents_starts() -> None:
    with LocalMesos(0, RESOURCES) as local:
        assert get(local.address or "", "/health").status == 200


@pytest.mark.parametrize(
    ("resources", "more", "patience", "says"),
    [
        ("cpus:none", [], PATIENCE, "'none' is not a positive number"),
        ("cpus:1", ["--attributes=rack"], PATIENCE, "is not NAME:VALUE"),
        ("cpus:1", ["--agent-address=192.0.2.1"], 2.0, "agent-1 died|not ready"),
    ],
)
def test_a_failure_says_what_was_said_last(
    resources: str, more: list[str], patience: float, says: str
) -> None:
    with pytest.raises(LocalMesosFailed, match=says):
        LocalMesos(1, resources, options=more).start(patience)


def test_a_port_in_use_says_so(tmp_path: Path) -> None:
    with LocalMesos(0, RESOURCES) as local:
        port = int((local.address or "").rpartition(":")[2])
        with pytest.raises(LocalMesosFailed, match=r"cannot listen on 127\.0\.0\.1"):
            LocalMesos(1, RESOURCES, port=port, work_dir=tmp_path).start(PATIENCE)
    assert processes_in(tmp_path) == []


def test_it_waits_for_the_end_of_the_one_that_was_left_behind(tmp_path: Path) -> None:
    master = tmp_path / "master"
    master.mkdir()
    with open(master / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = threading.Timer(2.0, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        with LocalMesos(0, RESOURCES, work_dir=tmp_path) as local:
            assert get(local.address or "", "/health").status == 200
        release.join()


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """SIGKILL to the parent: master, agents, executors and their children end, the directory goes."""
    script = f"""
        import sys, time
        from framework.local.launcher import LocalMesos
        local = LocalMesos(2, {RESOURCES!r})
        print(local.start(), local.work_dir, flush=True)
        time.sleep(1000)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    )
    assert parent.stdout is not None
    address, directory = parent.stdout.readline().split()
    root = Path(directory)
    framework = Framework(address, {"checkpoint": True})
    offer = framework.offer()
    command = {"value": "trap '' TERM; sleep 1000 & setsid sleep 1000 & sleep 1000"}
    framework.accept(offer, [task("t1", offer, command=command)])
    framework.update("t1", "TASK_STARTING")
    framework.update("t1", "TASK_RUNNING")
    # Master and agents, the task's executor, its shell, and three that sleep.
    until(lambda: len(processes_in(root)) >= 8, "all of them run")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not root.exists(), "the directory is gone")
    until(lambda: not processes_in(root), "and so is everything else")
    framework.close()


def test_agents_die_with_their_master(tmp_path: Path) -> None:
    local = LocalMesos(1, RESOURCES, [], tmp_path)
    local.start()
    assert local.pid is not None
    os.kill(local.pid, signal.SIGKILL)
    until(lambda: not processes_in(tmp_path), "all are gone")
    local.stop()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port=x"], "--port: 'x' is not a whole number"),
        (["--port=70000"], "--port: 70000 is not between 0 and 65535"),
        (["--agents=-1"], "--agents: -1 is not between"),
        (["--address=nowhere"], "--address: 'nowhere' is not an IPv4 address"),
        (["--resources=cpus"], "not NAME:AMOUNT"),
        (["--attributes=x"], "not NAME:VALUE"),
        (["--agent-ports=1,2"], "2 ports are not enough for 3 agents"),
        (["--heartbeat-interval=soon"], "--heartbeat-interval: 'soon' is not a duration"),
        (["--agent-timeout=0"], "must be more than 0"),
        (["--follow=x"], "neither HOST:PORT nor 'nobody'"),
        (["--credentials=/no/such"], "No such file"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_options_end_with_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_agents_are_told_apart(tmp_path: Path) -> None:
    given = options.parse(
        ["--agents=3", "--resources=cpus:1", "--resources=cpus:2", "--attributes=rack:r{n}", "--port=0"]
    )
    configs = given.agent_configs(tmp_path, 1, 5050)
    assert [c.resources for c in configs] == ["cpus:1", "cpus:2", "cpus:1"]
    assert [c.attributes for c in configs] == ["rack:r1", "rack:r2", "rack:r3"]
    assert [c.address for c in configs] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
