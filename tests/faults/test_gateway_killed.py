"""F1: kill -9 of the gateway at any of the marked points, over and over, in the middle of its work.

A client works off a list of requests on a real Mesos with real executors. Whenever the gateway dies
it is started again, and the client repeats the request that was not answered, as clients do. What has
been answered with 2xx must hold, and no instance may run twice: every task holds a lock of its
instance as long as it lives, and tells when it does not get it.
"""

from __future__ import annotations

import http.client
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.harness import Client, Server, eventually, key_of, local_mesos, service, start_gateway
from tests.faults.launcher import POINTS
from tests.faults.seeds import seeded
from tests.measured import Measured, Stopwatch

RESOURCES = "--resources=cpus:8;mem:2048;disk:4096;ports:[31000-31099]"
ROUND = 6
KILLS = 6
# A point that is not passed in a round kills nobody; then another one is tried.
TRIES = 4 * KILLS
# How often a point may be passed before it kills: what happens once in a process, and the rest.
ONCE = ("claim", "load", "subscription", "SUBSCRIBED", "Registered", "StartUpdate")
OFTEN = ("commit", "COMMIT", "carrying out", "publication", "StatusReceived", "ACKNOWLEDGE")
CONVERGED_SECS = 30.0


@pytest.fixture(scope="module")
def mesos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_mesos(tmp_path_factory.mktemp("mesos"), "--agents=2", RESOURCES) as running:
        yield running


def body(directory: Path, name: str, instances: int, version: str) -> bytes:
    """A service whose instances tell which version they are and whether another one of them runs."""
    here = f"{directory}/{name}-{{{{mesos.instance}}}}"
    command = (
        f"exec 9>>{here}; flock -n 9 || echo {here} >>{directory}/twice; "
        f"echo {version} >&9; while :; do sleep 1 9>&-; done"
    )
    return service(name, command, instances=instances)


def locked_files() -> set[int]:
    """The inodes that somebody holds a lock on. To ask by trying would be to get in the tasks' way."""
    lines = Path("/proc/locks").read_text().splitlines()
    return {int(word.rpartition(":")[2]) for line in lines for word in line.split() if ":" in word[1:-1]}


class Step(NamedTuple):
    """A request with the statuses of its first and of its repeated sending, and what then runs.

    ``patient``: the next request needs the effect of this one.
    """

    method: str
    path: str
    content: bytes | None
    first: set[int]
    again: set[int]
    job: str
    effect: dict[str, str]
    patient: bool = False


def round_of_requests(directory: Path) -> list[Step]:
    a, b = f"/alpha/jobs/{key_of('a')}", f"/alpha/jobs/{key_of('b')}"
    first, second = body(directory, "a", 3, "v1"), body(directory, "a", 3, "v2")
    all_of_a, without_1 = {"a-0": "v1", "a-1": "v1", "a-2": "v1"}, {"a-0": "v1", "a-2": "v1"}
    both = {"b-0": "v1", "b-1": "v1"}
    updated = {"a-0": "v2", "a-2": "v1"}
    return [
        Step("PUT", a, first, {201}, {201, 409}, "a", all_of_a),
        Step("DELETE", f"{a}?shards=1", None, {200}, {200, 404}, "a", without_1, patient=True),
        Step("PUT", f"{a}/update?shards=0", second, {202}, {200, 202, 409}, "a", updated, patient=True),
        Step("PUT", b, body(directory, "b", 2, "v1"), {201}, {201, 409}, "b", both),
        Step("DELETE", b, None, {200}, {200, 404}, "b", {}, patient=True),
        Step("DELETE", a, None, {200}, {200, 404}, "a", {}, patient=True),
    ]


class Workload:
    """Rounds of requests, worked off whichever gateway is there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._steps = round_of_requests(directory) * (TRIES + 2)
        self.done = 0
        self._sent = False
        self._expected: dict[str, str] = {}

    def of_round(self) -> int:
        """Returns how many requests there are until the end of the round."""
        return (self.done // ROUND + 1) * ROUND

    def until_something_runs(self) -> int:
        """Returns how many requests there are until the next round's last but two."""
        return (self.done // ROUND + 1) * ROUND + 4

    def go_on(self, client: Client, until: int, hurry: Callable[[], bool] = lambda: False) -> None:
        """Makes ``until`` requests in all. ``hurry()``: without waiting for the effect of the last."""
        self._look_for_what_was_promised(client)
        if self.done and self._steps[self.done - 1].patient and not self._sent:
            self.wait(client)
        while self.done < until:
            step = self._steps[self.done]
            again, self._sent = self._sent, True
            answer = client.call(step.method, step.path, step.content)
            assert answer.status in (step.again if again else step.first), (step[:2], answer)
            self._sent = False
            self.done += 1
            others = {i: v for i, v in self._expected.items() if not i.startswith(step.job)}
            self._expected = {**others, **step.effect}
            if step.patient or not hurry():
                self.wait(client)

    def _look_for_what_was_promised(self, client: Client) -> None:
        for name in {instance[0] for instance in self._expected}:
            answer = client.call("GET", f"/alpha/jobs/{key_of(name)}")
            assert answer.status == 200, f"job {name} is lost: {answer}"

    def wait(self, client: Client) -> None:
        """Waits until exactly what was asked for runs, by the locks and by the gateway's word."""
        wanted = (set(self._expected), self._expected)
        try:
            eventually(lambda: (self._told(client), self.running()), lambda both: both == wanted)
        except AssertionError as error:
            raise AssertionError(f"after {self._steps[: self.done]}: {error}, wanted {wanted}") from None

    def running(self) -> dict[str, str]:
        locked, running = locked_files(), {}
        for name in [f"{job}-{number}" for job in "ab" for number in range(3)]:
            path = self.directory / name
            if path.exists() and path.stat().st_ino in locked:
                running[name] = path.read_text()[-3:].strip()
        return running

    def _told(self, client: Client) -> set[str]:
        told = set()
        for name in "ab":
            states = client.states(key_of(name))
            told |= {f"{name}-{i}" for i, s in states.items() if s not in ("KILLED", "LOST", "FAILED")}
            waiting = {i for i, s in states.items() if s not in ("RUNNING", "KILLED", "LOST", "FAILED")}
            told |= {f"{name}-{i} is not ready" for i in waiting}
            update = client.call("GET", f"/alpha/jobs/{key_of(name)}/update")
            if update.status == 200 and update.json["update"]["status"] == "ROLLING_FORWARD":
                told.add(f"{name} is being updated")
        return told


def start_victim(directory: Path, point: str, *arguments: str) -> Server | None:
    """Returns a gateway that will kill itself; None if it has done so before it listened."""
    command = [sys.executable, "-m", "tests.faults.launcher", point, "--port=0", *arguments]
    log = directory / "victim.log"
    before = log.stat().st_size if log.exists() else 0
    try:
        return Server(command, "listens on ", log)
    except AssertionError:
        # Another of its threads may have had the last word.
        words = log.read_bytes()[before:].decode()
        assert f"kill -9 {point.rpartition(':')[0]}\n" in words, words[-3000:]
        return None


def work_until_killed(workload: Workload, victim: Server, hurry: Callable[[], bool]) -> bool:
    """Returns whether the gateway was killed, by itself, before the end of the list."""
    try:
        workload.go_on(Client(victim.address), workload.of_round(), hurry)
    except (OSError, http.client.HTTPException):
        assert victim.process.wait(60) == -signal.SIGKILL, victim.log.read_text()[-3000:]
        return True
    return False


def choose(chance: random.Random) -> str:
    point = chance.choice(POINTS)
    most = 2
    if any(word in point for word in (*ONCE, *OFTEN)):
        most = 8 if any(word in point for word in OFTEN) else 1
    return f"{point}:{chance.randint(1, most)}"


@pytest.mark.slow
@seeded(3, 34)
def test_no_promise_is_lost_and_no_instance_runs_twice(
    seed: int, mesos: Server, tmp_path: Path, measured: Measured
) -> None:
    chance = random.Random(seed)
    options = [f"--master={mesos.address}", f"--framework-name=killed-{seed}", "--parallel=4"]
    state = f"--state={tmp_path / 'state.db'}"
    workload = Workload(tmp_path)
    passed: list[str] = []
    for _ in range(TRIES):
        point = choose(chance)
        victim = start_victim(tmp_path, point, state, *options)
        try:
            if victim is None or work_until_killed(workload, victim, lambda: chance.random() < 0.5):
                passed.append(point)
        finally:
            if victim is not None:
                victim.kill()
        if len(passed) == KILLS:
            break
    print("killed:", "; ".join(passed))
    assert len(passed) == KILLS
    measured("F1 kills", len(passed))
    final = start_gateway(tmp_path, *options)
    try:
        client = Client(final.address)
        watch = Stopwatch()
        workload.go_on(client, workload.until_something_runs())
        workload.wait(client)
        watch.stop()
        measured("F1 converged after, s", watch.passed)
        assert not (tmp_path / "twice").exists(), (tmp_path / "twice").read_text()
        assert watch.own <= CONVERGED_SECS, f"{watch.passed:.1f} s after {passed}"
        check_frameworks(Client(f"http://{mesos.address}"), f"killed-{seed}")
        workload.go_on(client, workload.of_round())
        assert workload.running() == {}
    finally:
        assert final.stop() == 0
        forget_frameworks(Client(f"http://{mesos.address}"), f"killed-{seed}")
    assert "Traceback" not in final.log.read_text()


def check_frameworks(master: Client, name: str) -> None:
    """One framework has had all tasks, and none was torn down."""
    state: dict[str, Any] = master.call("GET", "/state").json
    named = [f for f in state["frameworks"] if f["name"] == name]
    used = [f["id"] for f in named if f["tasks"] or f["completed_tasks"]]
    assert len(used) == 1, used
    assert [f["id"] for f in state["completed_frameworks"] if f["name"] == name] == []


def forget_frameworks(master: Client, name: str) -> None:
    """Ends what a run has left in Mesos: executors that wait for work take room."""
    for framework in master.call("GET", "/state").json["frameworks"]:
        if framework["name"] == name:
            body = f"frameworkId={framework['id']}".encode()
            assert master.call("POST", "/master/teardown", body).status == 200
