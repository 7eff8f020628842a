"""Tasks as real processes on this machine."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import time
from pathlib import Path

import pytest

from executor.runtimes.base import Options
from executor.runtimes.choice import Runtimes
from executor.runtimes.zygote import Zygote
from tests.executor.harness import Bench, eventually, long_sleep, marked, payload, process

FULL_LIFE = ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_a_task_runs_in_its_sandbox_with_a_clean_environment(bench: Bench, monkeypatch) -> None:
    monkeypatch.setenv("LEAKED", "secret")
    end = bench.run(
        payload(
            "t1", process("pwd; env; echo {{thermos.ports[http]}}; echo oops >&2"), ports={"http": 31001}
        )
    )
    assert bench.states("t1") == FULL_LIFE
    out = bench.log("t1").splitlines()
    assert out[0] == str(bench.sandbox("t1"))
    assert out[-1] == "31001"
    assert "LEAKED=secret" not in out
    assert f"HOME={bench.sandbox('t1')}" in out
    assert "MESOS_TASK_ID=t1" in out
    assert "PORT_HTTP=31001" in out
    assert bench.log("t1", stream="stderr") == "oops\n"
    assert end["data"]["processes"]["hello"] == {
        "state": "succeeded",
        "runs": 1,
        "last": "exited with code 0",
    }


def test_announced_names_stand_for_their_ports(bench: Bench) -> None:
    announce = {"primary_port": "http", "portmap": {"aurora": "admin", "admin": "http", "fixed": "8080"}}
    command = "echo {{thermos.ports[aurora]}} {{thermos.ports[fixed]}} $PORT_ADMIN"
    ports = {"http": 31001}
    bench.run(payload("t1", process(command), document={"announce": announce}, ports=ports))
    assert bench.log("t1") == "31001 8080 31001\n"


def test_an_announced_name_is_where_health_is_asked_for(bench: Bench) -> None:
    # Nobody listens there.
    document = {
        "announce": {"portmap": {"health": "http"}},
        "health_check_config": {"initial_interval_secs": 0, "interval_secs": 0.1},
    }
    end = bench.run(payload("t1", process("sleep 60"), document=document, ports={"http": 1}))
    assert "GET /health on port 1: " in end["message"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("exit 3", "process hello exited with code 3"),
        ("echo no luck >&2; exit 3", "process hello exited with code 3: no luck"),
        (
            "no-such-command",
            "process hello exited with code 127: the command no-such-command does not exist",
        ),
        ("kill -KILL $$", "process hello was ended by SIGKILL"),
    ],
)
def test_a_failure_says_how(bench: Bench, command: str, message: str) -> None:
    end = bench.run(payload("t1", process(command)))
    assert (end["state"], end["message"]) == ("TASK_FAILED", message)


def test_bad_payloads_become_failed_tasks_with_a_reason(bench: Bench) -> None:
    cases = {
        "unbound": (
            payload("unbound", process("echo {{nobody.knows}}")),
            "unbound variables: nobody.knows",
        ),
        "no-json": (payload("no-json", executor_data="{"), "executor data cannot be read"),
        "array": (payload("array", executor_data="[]"), "it is not a JSON object"),
        "deep": (payload("deep", executor_data="[" * 100_000), "nested too deeply"),
        "typed": (payload("typed", executor_data='{"task":{"processes":3}}'), r"\$.task.processes"),
        "empty": (payload("empty"), "neither a process nor an image"),
        "portmap": (
            payload(
                "portmap", process("true"), document={"announce": {"portmap": {"a": "b", "b": "a"}}}
            ),
            "announce.portmap: 'a' leads back to itself",
        ),
        "circle": (
            payload("circle", process("true"), task={"constraints": [{"order": ["hello", "hello"]}]}),
            "in a circle",
        ),
        "nul": (payload("nul", process("echo \0")), "null"),
        "long": (payload("long", process("#" * 200_000)), "Argument list too long"),
    }
    for task_id, (task, sentence) in cases.items():
        end = bench.run(task)
        assert end["state"] == "TASK_FAILED"
        assert re.search(sentence, end["message"]), (task_id, end["message"])


def test_data_that_is_no_payload_becomes_a_failed_task(bench: Bench) -> None:
    for task_id, data in {"a": None, "b": "bm90IGpzb24=", "c": "!", "../d": "e30="}.items():
        bench.executor.launch({"task_id": {"value": task_id}, **({"data": data} if data else {})})
        assert bench.wait(task_id, "TASK_FAILED")["message"]


@as_root
def test_a_task_runs_as_its_user_in_a_sandbox_of_his(bench: Bench) -> None:
    bench.run(payload("t1", process("id -un; id -u; touch mine"), user="nobody"))
    uid = pwd.getpwnam("nobody").pw_uid
    assert bench.log("t1").split() == ["nobody", str(uid)]
    assert (bench.sandbox("t1") / "mine").stat().st_uid == uid


@as_root
def test_a_task_runs_as_the_user_that_it_names_itself(bench: Bench) -> None:
    asks = {"user": "nobody"}
    for task_id, given in (("plain", None), ("as-role", "www-data")):
        end = bench.run(payload(task_id, process("id -un"), task=asks, user=given))
        assert (end["state"], bench.log(task_id)) == ("TASK_FINISHED", "nobody\n")


def test_a_task_cannot_name_another_user_where_all_run_as_one(bench: Bench) -> None:
    end = bench.run(payload("t1", process("id"), task={"user": "www-data"}, user="nobody"))
    assert end["state"] == "TASK_FAILED"
    assert "all tasks here run as 'nobody' (--task-user)" in end["message"]


def test_an_unknown_user_fails_the_task(bench: Bench) -> None:
    end = bench.run(payload("t1", process("id"), user="no-such-user"))
    assert end["state"] == "TASK_FAILED"
    assert "user 'no-such-user', which does not exist" in end["message"]


def test_processes_keep_their_order_and_final_ones_come_last(bench: Bench) -> None:
    end = bench.run(
        payload(
            "t1",
            process("echo final >> order", name="f", final=True),
            process("echo b >> order", name="b"),
            process("echo a >> order", name="a"),
            task={"constraints": [{"order": ["a", "b"]}]},
        )
    )
    assert end["state"] == "TASK_FINISHED"
    assert (bench.sandbox("t1") / "order").read_text().split() == ["a", "b", "final"]


def test_a_process_is_run_again_and_each_run_has_its_logs(bench: Bench) -> None:
    command = "n=$(cat n 2>/dev/null || echo 0); echo run $n; echo $((n+1)) > n; test $n = 2"
    end = bench.run(payload("t1", process(command, max_failures=3)))
    assert end["state"] == "TASK_FINISHED"
    assert [bench.log("t1", run=n) for n in range(3)] == ["run 0\n", "run 1\n", "run 2\n"]


def test_kill_lets_a_task_end_by_itself(bench: Bench) -> None:
    trap = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    bench.launch(payload("t1", process(trap), task={"finalization_wait": 60}))
    bench.wait("t1", "TASK_RUNNING")
    eventually(lambda: bench.log("t1") == "up\n")
    bench.executor.kill("t1")
    bench.executor.kill("t1")
    end = bench.wait("t1", "TASK_KILLED")
    assert end["message"] == "killed on request"
    assert bench.log("t1") == "up\nbye\n"
    bench.executor.kill("t1")
    assert bench.states("t1").count("TASK_KILLED") == 1


def test_kill_ends_a_task_that_does_not_listen_after_the_grace_period(bench: Bench) -> None:
    deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    bench.launch(payload("t1", process(deaf), task={"finalization_wait": 2}))
    eventually(lambda: bench.states("t1")[-1:] == ["TASK_RUNNING"] and bench.log("t1") == "up\n")
    begun = time.monotonic()
    bench.executor.kill("t1")
    end = bench.wait("t1", "TASK_KILLED")
    assert end["at"] - begun >= 1.0


def test_kill_leaves_no_descendant_whatever_it_did_to_hide(bench: Bench) -> None:
    mark = long_sleep()
    deaf = f"setsid sh -c 'trap \"\" TERM; sleep {mark} & exec sleep {mark}'"
    hide = f"({deaf} &) ; nohup sleep {mark} & wait"
    bench.launch(payload("t1", process(hide), task={"finalization_wait": 1}))
    bench.wait("t1", "TASK_RUNNING")
    eventually(lambda: len(marked(f"sleep\0{mark}")) >= 3)
    bench.executor.kill("t1")
    bench.wait("t1", "TASK_KILLED")
    assert marked(mark) == []


def test_a_daemonized_child_does_not_hold_the_task_and_dies_with_it(bench: Bench) -> None:
    mark = long_sleep()
    end = bench.run(payload("t1", process(f"(setsid sleep {mark} &); echo done")))
    assert end["state"] == "TASK_FINISHED"
    assert marked(mark) == []


def test_a_kill_before_the_launch_and_of_an_unknown_task_is_answered(bench: Bench) -> None:
    bench.executor.kill("never")
    assert bench.wait("never", "TASK_KILLED")["message"] == "this executor has no such task"
    bench.launch(payload("never", process("true")))
    assert bench.states("never") == ["TASK_KILLED"]


def test_a_second_launch_of_the_same_task_is_ignored(bench: Bench) -> None:
    bench.launch(payload("t1", process("echo once")))
    bench.launch(payload("t1", process("echo once")))
    bench.wait("t1", "TASK_FINISHED")
    assert bench.states("t1") == FULL_LIFE
    assert bench.log("t1") == "once\n"


def test_too_much_memory_ends_the_task_with_the_reason(bench: Bench) -> None:
    hog = "exec python3 -c 'import time; x = b\"x\" * 10**9; time.sleep(100)'"
    end = bench.run(payload("t1", process(hog), mem_mb=64))
    assert end["state"] == "TASK_FAILED"
    assert "out of memory (limit 64 MiB" in end["message"]
    assert end["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"


def test_all_of_a_flood_of_output_is_in_the_logs_and_the_lines_are_whole(bench: Bench) -> None:
    rotate = {"destination": "file", "mode": "rotate", "rotate": {"log_size": 100_000, "backups": 50}}
    lines = 50_000
    end = bench.run(payload("t1", process(f"seq 1 {lines}; seq 1 {lines} >&2", logger=rotate)))
    assert end["state"] == "TASK_FINISHED"
    directory = bench.sandbox("t1") / ".logs/hello/0"
    for stream in ("stdout", "stderr"):
        backups = sorted(directory.glob(f"{stream}.*"), key=lambda p: -int(p.suffix[1:]))
        files = [*backups, directory / stream]
        assert len(files) > 2
        assert all(f.read_bytes().endswith(b"\n") for f in files)
        assert max(f.stat().st_size for f in files) <= 100_000
        assert b"".join(f.read_bytes() for f in files).split() == [
            b"%d" % n for n in range(1, lines + 1)
        ]


def test_no_log_is_written_through_a_link_that_the_task_has_laid(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    end = bench.run(
        payload("t1", process(f"mv .logs old; ln -s {outside} .logs; exit 1", max_failures=2))
    )
    assert end["state"] == "TASK_FAILED"
    assert "the logs of process hello cannot be written" in end["message"]
    assert list(outside.iterdir()) == []


def test_sandboxes_of_old_tasks_are_removed(tmp_path: Path, runtimes: Runtimes) -> None:
    bench = Bench(tmp_path, runtimes, Options(sandboxes_kept=2))
    for n in range(4):
        bench.run(payload(f"t{n}", process("true")))
    eventually(lambda: sorted(p.name for p in (tmp_path / "tasks").iterdir()) == ["t2", "t3"])
    bench.close()


def test_many_tasks_at_once(bench: Bench) -> None:
    for n in range(40):
        bench.launch(payload(f"t{n}", process(f"echo {n}; exit {n % 2}")))
    for n in range(40):
        end = bench.wait(f"t{n}", {"TASK_FINISHED", "TASK_FAILED"})
        assert end["state"] == ("TASK_FAILED" if n % 2 else "TASK_FINISHED")
        assert bench.log(f"t{n}") == f"{n}\n"


def test_nothing_is_left_open_after_many_tasks(bench: Bench) -> None:
    bench.run(payload("first", process("true")))
    before = len(os.listdir("/proc/self/fd"))
    for n in range(10):
        bench.run(payload(f"t{n}", process("echo; sleep 0.01 & exit 1", max_failures=2)))
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_a_process_inherits_neither_the_coordinators_socket_nor_its_pipes_twice(bench: Bench) -> None:
    bench.run(payload("t1", process("for fd in /proc/$$/fd/*; do readlink $fd; done")))
    # What pytest itself has inherited is there, too.
    links = [link for link in bench.log("t1").splitlines() if link.startswith(("pipe:", "socket:"))]
    assert len(links) >= 2
    assert len(links) == len(set(links))
    assert not any(link.startswith("socket:") for link in links)


def test_a_coordinator_that_is_killed_beside_a_daemon_loses_its_task(bench: Bench) -> None:
    # The daemon, no child of the coordinator's, must not hold the coordinator's socket open.
    mark = long_sleep()
    command = f"(sleep {mark} >/dev/null 2>&1 &); exec sleep {mark}"
    bench.launch(payload("t1", process(command)))
    pid = bench.wait("t1", "TASK_RUNNING")["data"]["processes"]["hello"]["pid"]
    eventually(lambda: len(marked(mark)) == 2)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert "was lost" in bench.wait("t1", "TASK_FAILED")["message"]
    eventually(lambda: not marked(mark))


def test_a_coordinator_that_is_killed_loses_its_task_and_its_processes(bench: Bench) -> None:
    mark = long_sleep()
    bench.launch(payload("t1", process(f"exec sleep {mark}")))
    pid = bench.wait("t1", "TASK_RUNNING")["data"]["processes"]["hello"]["pid"]
    parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    end = bench.wait("t1", "TASK_FAILED")
    assert "was lost" in end["message"]
    eventually(lambda: not marked(mark))


def test_a_zygote_that_is_killed_is_replaced(bench: Bench, zygote: Zygote) -> None:
    mark = long_sleep()
    bench.launch(payload("before", process(f"exec sleep {mark}")))
    bench.wait("before", "TASK_RUNNING")
    os.kill(zygote.pid, signal.SIGKILL)
    assert bench.run(payload("after", process("echo here")))["state"] == "TASK_FINISHED"
    assert bench.log("after") == "here\n"
    assert len(marked(mark)) == 1


def test_reports_are_json_that_the_gateway_reads(bench: Bench) -> None:
    bench.run(payload("t1", process("true")))
    for update in bench.of("t1"):
        assert update["data"]["sandbox"] == str(bench.sandbox("t1"))
        json.dumps(update["data"])
