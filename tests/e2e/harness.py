"""Real processes for the end-to-end tests: a local Mesos, a gateway, and a client with patience."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120.0


def eventually(read: Callable[[], T], holds: Callable[[T], bool], timeout: float = PATIENCE) -> T:
    """Returns the first value of ``read()`` that ``holds``; fails with the last one seen."""
    deadline = time.monotonic() + timeout
    while True:
        value = read()
        if holds(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; last seen: {value!r}")
        time.sleep(0.05)


class Server:
    """A server process that says where it listens, in a line with ``marker``."""

    def __init__(self, command: Sequence[str], marker: str, log: Path) -> None:
        self.log = log
        self.lines: list[str] = []
        self._marker = marker
        self._found = threading.Event()
        self.address = ""
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._found.wait(PATIENCE) or not self.address:
            code = self.stop()
            tail = log.read_text()[-3000:]
            raise AssertionError(f"{command} did not start ({code}): {self.lines}\n{tail}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if not self.address and self._marker in line:
                self.address = line.partition(self._marker)[2].split()[0].rstrip("/,.")
                self._found.set()
        self._found.set()

    def kill(self) -> None:
        """SIGKILL to this one process, as ``kill -9`` does."""
        self.process.kill()
        self._end()

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._end()
            raise AssertionError(f"did not stop:\n{self.log.read_text()[-3000:]}") from None
        self._end()
        return code

    def _end(self) -> None:
        self.process.wait()
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Answer:
    """An HTTP answer: ``status``, ``headers``, ``body`` (bytes) and ``json``."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:400]!r}>"


class Client:
    """Speaks the alpha API of a gateway."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        timeout: float = 30,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises ``OSError`` where nobody answers, or who answers dies in the middle of it."""
        request = urllib.request.Request(self.url + path, body, dict(headers or {}), method=method)
        try:
            with self._open(request, timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"the answer has broken off: {error!r}") from error

    @staticmethod
    def _open(request: urllib.request.Request, timeout: float) -> Any:
        try:
            return urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            return error

    def job(self, key: str) -> Any:
        return self.call("GET", f"/alpha/jobs/{key}").json

    def states(self, key: str) -> dict[int, str]:
        answer = self.call("GET", f"/alpha/jobs/{key}")
        if answer.status != 200:
            return {}
        return {i["instance"]: i["state"] for i in answer.json["instances"]}

    def tasks(self, key: str) -> dict[int, str]:
        """Task ids of the instances, by number."""
        return {i["instance"]: i["task_id"] for i in self.job(key)["instances"]}

    def wait_states(self, key: str, wanted: dict[int, str], timeout: float = PATIENCE) -> None:
        eventually(lambda: self.states(key), lambda states: states == wanted, timeout)

    def log(self, key: str, instance: int, stream: str = "stdout") -> str:
        path = f"/alpha/jobs/{key}/instances/{instance}/logs?stream={stream}"
        return self.call("GET", path).body.decode()


@contextlib.contextmanager
def local_mesos(directory: Path, *arguments: str, port: int = 0) -> Iterator[Server]:
    """A standing local Mesos; ``address`` is the master's ``host:port``."""
    server = Server(
        [
            sys.executable,
            "-m",
            "framework.local",
            f"--port={port}",
            "--ready-fd=1",
            f"--work-dir={directory / 'mesos'}",
            *arguments,
        ],
        '"master": "',
        directory / "mesos.log",
    )
    server.address = server.address.partition('"')[0]
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def gateway(directory: Path, *arguments: str) -> Iterator[Server]:
    """A gateway on a free port; ``address`` is its URL. May be killed by the test."""
    server = start_gateway(directory, *arguments)
    try:
        yield server
    finally:
        server.stop()


def start_gateway(directory: Path, *arguments: str) -> Server:
    command = [
        sys.executable,
        "-m",
        "gateway",
        "--port=0",
        f"--state={directory / 'state.db'}",
        *arguments,
    ]
    return Server(command, "listens on ", directory / "gateway.log")


def processes(pattern: str) -> list[int]:
    """Pids of the processes whose command line or environment holds ``pattern``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            if pattern.encode() in words:
                found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    """The processes that any thread of ``pid`` has started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread, or all of the process, may have ended since it was listed.
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def service(
    name: str,
    command: str,
    *,
    instances: int = 1,
    image: str | None = None,
    extra: str = "",
    task: str = "",
    kind: str = "Service",
) -> bytes:
    """An .aurora text of one job devcluster/www-data/prod/``name``."""
    container = f"container = Docker(image = {image!r})," if image else ""
    return f"""
p = Process(name = {name!r}, cmdline = {command!r})
t = SequentialTask(processes = [p], finalization_wait = 2, {task}
  resources = Resources(cpu = 0.1, ram = 32*MB, disk = 16*MB))
jobs = [{kind}(task = t, cluster = 'devcluster', role = 'www-data', environment = 'prod',
  name = {name!r}, instances = {instances}, {container} {extra}
  update_config = UpdateConfig(watch_secs = 1))]
""".encode()


def key_of(name: str) -> str:
    return f"devcluster/www-data/prod/{name}"
