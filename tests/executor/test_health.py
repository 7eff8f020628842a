"""Health checks and the kill sequence: the rules as such, then against tasks that serve HTTP."""

from __future__ import annotations

import contextlib
import shlex
import socket
import sys
import threading
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.health import HealthTracker, Verdict, http_check
from executor.lifecycle import farewells
from executor.task import HealthCheckConfig, HttpHealthChecker, HttpLifecycle, Lifecycle
from tests.executor.harness import Bench, eventually, payload, process
from tests.ports import free_port

U, H, X = Verdict.UNDECIDED, Verdict.HEALTHY, Verdict.UNHEALTHY


@pytest.mark.parametrize(
    ("config", "answers", "verdicts"),
    [
        # The defaults: 2 checks of grace, then the third must succeed.
        ({}, "FFS", [U, U, H]),
        ({}, "FFF", [U, U, X]),
        ({}, "S", [H]),
        ({}, "SF", [H, X]),
        ({"max_consecutive_failures": 1}, "SFSF", [H, H, H, H]),
        ({"max_consecutive_failures": 1}, "SFF", [H, H, X]),
        ({"min_consecutive_successes": 2}, "FSS", [U, U, H]),
        # 2 + 0 + 2 checks: after FFS only one is left, and it suffices; after FFF it cannot.
        ({"min_consecutive_successes": 2}, "FFSS", [U, U, U, H]),
        ({"min_consecutive_successes": 2}, "FFF", [U, U, X]),
        ({"initial_interval_secs": 0}, "F", [X]),
        # There is a pause between checks even for who wants none: the grace is one of time.
        ({"initial_interval_secs": 0.2, "interval_secs": 0}, "FFF", [U, U, X]),
    ],
)
def test_the_verdict_follows_auroras_rule(
    config: dict[str, object], answers: str, verdicts: list[Verdict]
) -> None:
    tracker = HealthTracker(HealthCheckConfig(**config))
    assert [tracker.answered(a == "S") for a in answers] == verdicts


@given(
    st.lists(st.booleans(), max_size=40),
    st.integers(0, 4),
    st.integers(1, 4),
    st.floats(0, 50),
    st.floats(1, 20),
)
def test_a_verdict_comes_in_time_and_for_a_reason(
    answers: list[bool], tolerated: int, needed: int, initial: float, interval: float
) -> None:
    import math

    tracker = HealthTracker(
        HealthCheckConfig(
            initial_interval_secs=initial,
            interval_secs=interval,
            max_consecutive_failures=tolerated,
            min_consecutive_successes=needed,
        )
    )
    most = math.ceil(initial / interval) + tolerated + needed
    was_healthy = False
    for n, good in enumerate(answers, 1):
        verdict = tracker.answered(good)
        if verdict is X:
            assert not good
            if was_healthy:
                assert not any(answers[n - tolerated - 1 : n])
            return
        if verdict is H and not was_healthy:
            assert all(answers[n - needed : n])
            was_healthy = True
        assert was_healthy or n < most


SERVER = """
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = os.path.exists('sick')
        with open('asked', 'a') as file: file.write('.')
        self.send_response(500 if sick else 200); self.end_headers(); self.wfile.write(b'OK')
    def do_POST(self):
        print('POST', self.path, flush=True)
        self.send_response(200); self.end_headers()
        if self.path == os.environ.get('LEAVES_AT'): os._exit(0)
    def log_message(self, *a): pass
print('up', flush=True)
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()
"""


def server(port: int, before: str = "") -> dict:
    command = f"{before} exec {shlex.quote(sys.executable)} -c {shlex.quote(SERVER)} {port}"
    return process(command.replace("{{", "{{&").replace("}}", "}}"))


# Often; but who has to answer may take long to start, and to answer.
def test_a_task_is_not_asked_without_a_pause(bench: Bench) -> None:
    checker = {"shell": {"shell_command": "echo >> asked; false"}}
    config = {"health_checker": checker, "initial_interval_secs": 0.5, "interval_secs": 0}
    begun = time.monotonic()
    bench.run(
        payload(
            "t1", process("sleep 60"), document={"health_check_config": {**config, "timeout_secs": 30}}
        )
    )
    assert time.monotonic() - begun >= 0.5
    assert (bench.sandbox("t1") / "asked").read_text() == 6 * "\n"


FAST = {"initial_interval_secs": 60, "interval_secs": 0.1, "timeout_secs": 30}


def test_a_task_is_running_only_when_it_is_healthy_and_failed_when_no_more(bench: Bench) -> None:
    port = free_port()
    task = server(port, "while [ ! -e go ]; do sleep 0.02; done;")
    bench.launch(payload("t1", task, document={"health_check_config": FAST}, ports={"health": port}))
    eventually(lambda: (bench.sandbox("t1") / ".logs").exists())
    assert bench.states("t1") == ["TASK_STARTING"]
    (bench.sandbox("t1") / "go").touch()
    assert bench.wait("t1", "TASK_RUNNING")["healthy"] is True
    (bench.sandbox("t1") / "sick").touch()
    end = bench.wait("t1", "TASK_FAILED")
    assert end["message"].startswith("the task is not healthy: GET /health on port")
    assert "status 500" in end["message"]
    assert end["healthy"] is False


def test_a_task_that_never_gets_healthy_fails_without_having_run(bench: Bench) -> None:
    config = {**FAST, "initial_interval_secs": 0.2}
    end = bench.run(
        payload(
            "t1",
            process("sleep 100"),
            document={"health_check_config": config},
            ports={"health": free_port()},
        )
    )
    assert bench.states("t1") == ["TASK_STARTING", "TASK_FAILED"]
    assert "Connection refused" in end["message"]


def test_without_the_port_nothing_is_checked(bench: Bench) -> None:
    bench.run(payload("t1", process("true"), document={"health_check_config": FAST}))
    assert bench.states("t1") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]


def test_a_shell_checker_runs_beside_the_processes(bench: Bench) -> None:
    shell = {"health_checker": {"shell": {"shell_command": "echo not yet; test -e {{mesos.instance}}"}}}
    bench.launch(
        payload("t1", process("sleep 100"), document={"health_check_config": {**FAST, **shell}})
    )
    bench.wait("t1", "TASK_STARTING")
    (bench.sandbox("t1") / "0").touch()
    bench.wait("t1", "TASK_RUNNING")
    (bench.sandbox("t1") / "0").unlink()
    end = bench.wait("t1", "TASK_FAILED")
    assert end["message"] == "the task is not healthy: the health command exited with code 1: not yet"


def test_a_shell_checker_that_hangs_is_a_failure(bench: Bench) -> None:
    shell = {"health_checker": {"shell": {"shell_command": "sleep 50"}}, "initial_interval_secs": 0}
    config = {**FAST, **shell, "timeout_secs": 0.2}
    end = bench.run(payload("t1", process("sleep 100"), document={"health_check_config": config}))
    assert "did not end within 0.2 s" in end["message"]


def test_a_snoozed_task_is_not_checked(bench: Bench) -> None:
    port = free_port()
    bench.launch(
        payload("t1", server(port), document={"health_check_config": FAST}, ports={"health": port})
    )
    bench.wait("t1", "TASK_RUNNING")
    asked = bench.sandbox("t1") / "asked"
    (bench.sandbox("t1") / ".healthchecksnooze").touch()
    before = asked.stat().st_size
    time.sleep(1.0)
    # One check may have been under way.
    assert asked.stat().st_size <= before + 1
    (bench.sandbox("t1") / "sick").touch()
    (bench.sandbox("t1") / ".healthchecksnooze").unlink()
    bench.wait("t1", "TASK_FAILED")


@pytest.mark.parametrize(
    ("checker", "trouble"),
    [
        (HttpHealthChecker(), None),
        (HttpHealthChecker(expected_response="Ok"), None),
        (HttpHealthChecker(expected_response="well"), "answer 'OK', expected 'well'"),
        (HttpHealthChecker(expected_response_code=200), None),
        (HttpHealthChecker(expected_response_code=204), "status 200, expected 204"),
    ],
)
def test_an_http_answer_is_compared(
    bench: Bench, checker: HttpHealthChecker, trouble: str | None
) -> None:
    port = free_port()
    bench.launch(payload("t1", server(port)))
    eventually(lambda: bench.states("t1")[-1:] == ["TASK_RUNNING"] and bench.log("t1") == "up\n")
    eventually(lambda: http_check(HttpHealthChecker(), "127.0.0.1", port, 30) is None)
    said = http_check(checker, "127.0.0.1", port, 30)
    assert said == (trouble and f"GET /health on port {port}: {trouble}")


def test_an_answer_without_end_is_no_answer() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with listener, listener.accept()[0] as peer, contextlib.suppress(OSError):
            peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            for _ in range(200):
                peer.sendall(b".")
                time.sleep(0.05)

    dripping = threading.Thread(target=drip)
    dripping.start()
    port, begun = listener.getsockname()[1], time.monotonic()
    said = http_check(HttpHealthChecker(), "127.0.0.1", port, 0.5)
    assert said == f"GET /health on port {port}: timed out"
    assert time.monotonic() - begun < 8
    dripping.join()


def test_farewells_need_the_port() -> None:
    assert farewells(None, {"health": 1}) == ()
    assert farewells(Lifecycle(), {"health": 1}) == ()
    assert farewells(Lifecycle(HttpLifecycle()), {"http": 1}) == ()
    both = farewells(Lifecycle(HttpLifecycle(port="http")), {"http": 80})
    assert [(f.port, f.endpoint, f.wait) for f in both] == [
        (80, "/quitquitquit", 5.0),
        (80, "/abortabortabort", 5.0),
    ]


def lifecycle(**more: object) -> dict:
    return {"lifecycle": {"http": {"port": "http", **more}}}


@pytest.fixture
def patient_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks' servers answer, but on a busy machine not within a second."""
    monkeypatch.setattr("executor.lifecycle._TIMEOUT", 30.0)


def test_a_kill_asks_by_http_first_and_stops_as_soon_as_the_task_has_gone(
    bench: Bench, patient_farewells: None
) -> None:
    port = free_port()
    task = server(port, "LEAVES_AT=/abortabortabort")
    # It would be waited for at the second endpoint until long after this test's patience.
    document = lifecycle(graceful_shutdown_wait_secs=1, shutdown_wait_secs=600)
    bench.launch(payload("t1", task, document=document, ports={"http": port}))
    eventually(lambda: bench.states("t1")[-1:] == ["TASK_RUNNING"] and bench.log("t1") == "up\n")
    eventually(lambda: http_check(HttpHealthChecker(), "127.0.0.1", port, 30) is None)
    begun = time.monotonic()
    bench.executor.kill("t1")
    end = bench.wait("t1", "TASK_KILLED")
    asked = [line for line in bench.log("t1").splitlines() if line.startswith("POST")]
    assert asked == ["POST /quitquitquit", "POST /abortabortabort"]
    assert end["at"] - begun >= 1.0


def test_an_endpoint_that_is_not_there_is_not_waited_for(bench: Bench) -> None:
    document = lifecycle(graceful_shutdown_wait_secs=600, shutdown_wait_secs=600)
    bench.launch(
        payload("t1", process("exec sleep 100"), document=document, ports={"http": free_port()})
    )
    bench.wait("t1", "TASK_RUNNING")
    bench.executor.kill("t1")
    bench.wait("t1", "TASK_KILLED")


def test_a_short_time_is_shared_between_asking_and_signals(
    bench: Bench, patient_farewells: None
) -> None:
    port = free_port()
    bench.executor._environment = msgspec.structs.replace(bench.executor._environment, shutdown_grace=10)
    bench.launch(payload("t1", server(port), document=lifecycle(), ports={"http": port}))
    eventually(lambda: bench.states("t1")[-1:] == ["TASK_RUNNING"] and bench.log("t1") == "up\n")
    eventually(lambda: http_check(HttpHealthChecker(), "127.0.0.1", port, 30) is None)
    begun = time.monotonic()
    bench.executor.shutdown("the agent asked the executor to shut down")
    end = bench.wait("t1", "TASK_KILLED")
    # Of nine seconds the first half, and then there was time left for the signal to be heard.
    assert end["at"] - begun > 4.4
    assert end["data"]["processes"]["hello"]["last"] == "was ended by SIGTERM"
    assert "POST /quitquitquit" in bench.log("t1")
