"""Starts a local Mesos under this process, and ends it with this process.

The cluster runs in processes of its own and watches this one: whatever happens here, nothing of it
stays behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from framework.local.supervisor import LOG_FILE, python_environment
from framework.model.errors import GatewayError

log = logging.getLogger(__name__)

_LAST_WORDS = 2000


class LocalMesosFailed(GatewayError):
    """The local Mesos did not start, or has ended; the text holds what it said last."""

    code = "local_mesos_failed"


class LocalMesos:
    """A master and ``agents`` agents. ``resources`` and ``attributes`` are those of each agent.

    ``work_dir`` None: a temporary one, removed at the end. ``port`` 0: a free one. ``options``:
    further options of ``python -m framework.local``.
    """

    def __init__(
        self,
        agents: int,
        resources: str,
        attributes: Sequence[str] = (),
        work_dir: Path | None = None,
        port: int = 0,
        options: Sequence[str] = (),
    ) -> None:
        self._agents = agents
        self._arguments = [f"--agents={agents}", f"--resources={resources}", f"--port={port}"]
        self._arguments += [f"--attributes={a}" for a in attributes]
        self._arguments += options
        self._given_dir = work_dir
        self._work_dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.address: str | None = None

    @property
    def work_dir(self) -> Path:
        """Where it keeps its files; raises :class:`LocalMesosFailed` before the start."""
        if self._work_dir is None:
            raise LocalMesosFailed("the local Mesos has not been started")
        return self._work_dir

    @property
    def pid(self) -> int | None:
        """The master's process, None when it does not run."""
        return None if self._process is None else self._process.pid

    def start(self, timeout: float = 30.0) -> str:
        """Starts it; returns the master's ``host:port`` once master and all agents answer.

        Raises :class:`LocalMesosFailed` if that takes more than ``timeout`` seconds, or fails.
        """
        if self._process is not None:
            raise LocalMesosFailed("the local Mesos has been started already")
        self._work_dir = self._given_dir or Path(tempfile.mkdtemp(prefix="local-mesos-"))
        self._work_dir.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        try:
            try:
                self._process = self._spawn(writer)
            finally:
                os.close(writer)
            said = self._await_line(reader, timeout)
        finally:
            os.close(reader)
        if said is None:
            status = self._process.poll()
            problem = (
                f"was not ready within {timeout:g} s"
                if status is None
                else f"ended with status {status}"
            )
            words = self._last_words()
            self.stop()
            raise LocalMesosFailed(f"the local Mesos {problem}. It said last:\n{words}")
        self.address = str(msgspec.json.decode(said)["master"])
        return self.address

    def _spawn(self, ready_fd: int) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            # What it needs is where its environment says, and never in the working directory.
            "-P",
            "-m",
            "framework.local",
            f"--die-with-parent={os.getpid()}",
            f"--ready-fd={ready_fd}",
            f"--work-dir={self.work_dir}",
            *self._arguments,
        ]
        if self._given_dir is None:
            command.append("--ephemeral")
        with open(self.work_dir / "master.log", "ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=python_environment(),
                pass_fds=[ready_fd],
                start_new_session=True,
            )

    def _await_line(self, reader: int, timeout: float) -> bytes | None:
        """Returns the line that says that all is ready, None at the end of time or of the process."""
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        deadline = time.monotonic() + timeout
        said = b""
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            data = os.read(reader, 65536)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if self._process is not None:
                        self._process.wait(5)
                return None
            said += data
        return said

    def _last_words(self) -> str:
        logs = [self.work_dir / "master.log", *sorted(self.work_dir.glob(f"agents/*/{LOG_FILE}"))]
        words = []
        for path in logs:
            with contextlib.suppress(OSError):
                text = path.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").strip()
                if text:
                    words.append(f"--- {path.relative_to(self.work_dir)}\n{text}")
        return "\n".join(words) or "(nothing)"

    def stop(self, timeout: float = 30.0) -> None:
        """Ends it with everything under it, and removes a temporary directory; again is harmless."""
        process, self._process = self._process, None
        self.address = None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                log.error("the local Mesos did not end within %g s: killed", timeout)
                process.kill()  # its agents see that and end with their executors
                process.wait()
        if self._given_dir is None and self._work_dir is not None:
            shutil.rmtree(self._work_dir, ignore_errors=True)
            self._work_dir = None

    def __enter__(self) -> LocalMesos:
        if self.address is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
