"""The processes of a benchmark: started, waited for, measured, and ended whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0


class Process:
    """``python -m module arguments``; ``address`` is what it says after "listens on"."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        try:
            self.address = self.line().partition("listens on ")[2].strip()
        except BaseException:
            self.stop()
            raise

    def line(self) -> str:
        """Returns the next line that it writes."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise RuntimeError(f"{self._process.args} has ended: {self._process.wait(PATIENCE)}")
        return text.rstrip("\n")

    def ask(self, order: Any) -> Any:
        """Sends a line of JSON and returns the one that answers it."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self.line())

    def rss(self) -> float:
        """Returns the resident memory in MiB."""
        return rss(self.pid)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def rss(pid: int) -> float:
    """Returns a process's resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


@contextlib.contextmanager
def running(module: str, *arguments: str) -> Iterator[Process]:
    process = Process(module, *arguments)
    try:
        yield process
    finally:
        process.stop()


class Master:
    """The fake master, as a benchmark commands it."""

    def __init__(self, process: Process) -> None:
        self.address = process.address
        host, _, port = process.address.partition(":")
        self._http = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)

    def order(self, do: str, **fields: Any) -> dict[str, Any]:
        """Has an order carried out (:class:`benchmarks.fake_master.Order`) and returns the answer."""
        self._http.request("POST", "/bench", msgspec.json.encode({"do": do, **fields}))
        answer: dict[str, Any] = msgspec.json.decode(self._http.getresponse().read())
        return answer

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def fake_master() -> Iterator[Master]:
    with running("benchmarks.fake_master") as process:
        master = Master(process)
        try:
            yield master
        finally:
            master.close()
