"""What the executor's tests share: payloads, an executor in this process, executors as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.models.containers

from executor.environment import ExecutorEnvironment
from executor.executor import Executor
from executor.identity import owner_of
from executor.messages import Fetch, Reply, Run, decode, encode
from executor.runtimes.base import Options
from executor.runtimes.choice import Runtimes
from executor.task import Container, TaskPayload, encode_payload

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
# Tests run beside each other, with one Docker daemon: by this agent a process knows its containers.
AGENT = f"A-S{os.getpid()}"
# A process that goes on until it is told to end.
UP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
TERMINAL = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"}

T = TypeVar("T")


def eventually(read: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Returns the first true value of ``read()``; fails with the last one."""
    deadline = time.monotonic() + timeout
    while not (value := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; last seen: {value!r}")
        time.sleep(0.01)
    return value


def process(cmdline: str, name: str = "hello", **more: Any) -> dict[str, Any]:
    return {"name": name, "cmdline": cmdline, "min_duration": 0, **more}


def payload(
    task_id: str,
    *processes: dict[str, Any],
    document: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
    **more: Any,
) -> TaskPayload:
    """A payload whose task has these processes; ``task`` and ``document`` add to their levels."""
    body = {
        "task": {"name": "t", "processes": list(processes), "finalization_wait": 5, **(task or {})},
        **(document or {}),
    }
    fields: dict[str, Any] = {
        "task_id": task_id,
        "cluster": "devcluster",
        "role": "www-data",
        "environment": "prod",
        "name": "hello",
        "instance": 0,
        "executor_data": json.dumps(body),
        "cpus": 0.1,
        "mem_mb": 128,
        "disk_mb": 16,
        **more,
    }
    return TaskPayload(**fields)


def encoded(task: TaskPayload) -> str:
    return b64encode(encode_payload(task)).decode()


class Bench:
    """An executor in this process, without an agent: it records what would be reported."""

    def __init__(self, directory: Path, runtimes: Runtimes, options: Options | None = None) -> None:
        self.directory = directory
        environment = ExecutorEnvironment("127.0.0.1:1", "F-0000", "e1", AGENT, str(directory))
        self.executor = Executor(
            environment, options or Options(), owner_of(os.getpid()), runtimes.choose
        )
        self.executor.driver = self
        self.updates: list[dict[str, Any]] = []
        self.replies: list[Reply] = []
        self._changed = threading.Condition()

    # the driver's side

    def send_update(
        self, task_id: str, state: str, message: str = "", data: bytes = b"", **more: Any
    ) -> None:
        with self._changed:
            update = {
                "task_id": task_id,
                "state": state,
                "message": message,
                "at": time.monotonic(),
                **more,
            }
            self.updates.append({**update, "data": json.loads(data) if data else {}})
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        return True

    def send_message(self, data: bytes) -> None:
        reply = decode(data)
        assert isinstance(reply, Reply)
        with self._changed:
            self.replies.append(reply)
            self._changed.notify_all()

    # the test's side

    def call(self, run: Run, timeout: float = PATIENCE) -> tuple[Reply, bytes, bytes]:
        """Runs a command beside a task; returns the final reply, what came on stdout and stderr."""
        self.executor.message(encode(run))
        deadline, next_one = time.monotonic() + timeout, 0
        output = {"stdout": b"", "stderr": b""}
        with self._changed:
            while time.monotonic() < deadline:
                for reply in self.replies:
                    if (reply.call, reply.number) == (run.call, next_one):
                        output[reply.stream] += reply.data
                        next_one += 1
                        if reply.final:
                            return reply, output["stdout"], output["stderr"]
                        break
                else:
                    self._changed.wait(0.5)
                    self.executor.message(encode(Fetch(run.call, next_one)))
        raise AssertionError(f"no end of {run.call}: {self.replies}")

    def launch(self, task: TaskPayload) -> None:
        self.executor.launch({"task_id": {"value": task.task_id}, "data": encoded(task)})

    def run(self, task: TaskPayload, timeout: float = PATIENCE) -> dict[str, Any]:
        """Launches a task and returns its terminal update."""
        self.launch(task)
        return self.wait(task.task_id, TERMINAL, timeout)

    def of(self, task_id: str) -> list[dict[str, Any]]:
        with self._changed:
            return [u for u in self.updates if u["task_id"] == task_id]

    def states(self, task_id: str) -> list[str]:
        return [u["state"] for u in self.of(task_id)]

    def wait(self, task_id: str, states: set[str] | str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Returns the first update of the task with (one of) these states."""
        wanted = {states} if isinstance(states, str) else states
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for update in self.updates:
                    if update["task_id"] == task_id and update["state"] in wanted:
                        return update
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{task_id} did not become {wanted}: {self.updates}")
                self._changed.wait(left)

    def sandbox(self, task_id: str) -> Path:
        return self.directory / "tasks" / task_id

    def log(self, task_id: str, name: str = "hello", run: int = 0, stream: str = "stdout") -> str:
        return (self.sandbox(task_id) / ".logs" / name / str(run) / stream).read_text()

    def close(self) -> None:
        self.executor.shutdown("the test is over")
        assert self.executor.stopped.wait(PATIENCE)


def run(bench: Bench, task: str, script: str, call: str = "", **more: object) -> tuple[int | None, str]:
    """Runs a script in a node; returns its code and all that it has written, or the problem."""
    command = Run(call or uuid.uuid4().hex, task, ("/bin/sh", "-c", script), **more)  # type: ignore[arg-type]
    final, out, err = bench.call(command)
    return final.code, final.problem or (out + err).decode()


class ExecutorProcess:
    """``python -m executor`` with the environment that a real agent gives it."""

    def __init__(
        self, recorded: Path, endpoint: str, directory: Path, *arguments: str, **more: str
    ) -> None:
        variables = json.loads(recorded.read_text())["env"]
        run = directory / "executors" / "e1" / "runs" / "r1"
        run.mkdir(parents=True, exist_ok=True)
        self.sandbox = run
        self.log = directory / "executor.log"
        variables |= {
            "MESOS_AGENT_ENDPOINT": endpoint,
            "MESOS_DIRECTORY": str(run),
            "MESOS_SANDBOX": str(run),
            "MESOS_FRAMEWORK_ID": "F-0000",
            "MESOS_EXECUTOR_ID": "e1",
            "MESOS_SLAVE_ID": AGENT,
            "PWD": str(run),
            "PYTHONPATH": str(ROOT),
            **more,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "executor", *arguments],
                cwd=run,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to this one process, as ``kill -9`` does."""
        self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = PATIENCE) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the executor did not exit:\n{self.log.read_text()[-3000:]}") from None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


def containers(client: docker.DockerClient, task_id: str) -> list[docker.models.containers.Container]:
    """The containers of a task that an executor of these tests has run in this process or below it."""
    wanted = [f"mesos-gateway.task-id={task_id}", f"mesos-gateway.agent-id={AGENT}"]
    return client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)


def long_sleep() -> str:
    """A number of seconds that no other process sleeps for: ``sleep`` is found by it."""
    return f"1000.{uuid.uuid4().int}"


def marked(text: str) -> list[int]:
    """The pids of living processes with ``text`` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def container(image: str, **more: Any) -> Container:
    return Container(image, **more)
