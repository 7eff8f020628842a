"""A real ZooKeeper (Debian's package ``zookeeper``) in a process of its own, on loopback.

``python -m tests.zookeeper DIRECTORY PORT`` becomes one that keeps its data in DIRECTORY.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

JAR = Path(os.environ.get("MESOS_GATEWAY_ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"))
# Sessions last from two ticks to what a test may take for a moment (ZooKeeper's own limit: 20 ticks).
TICK_MS = 500
LONGEST_SESSION = 300.0
# For a Java machine that shares its processor with twenty others.
PATIENCE = 120.0


def missing() -> str | None:
    """Returns what is missing to run one, None if nothing is."""
    if shutil.which("java") is None:
        return "there is no java"
    return None if JAR.exists() else f"there is no {JAR} (Debian's package zookeeper)"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def command(directory: Path, port: int) -> list[str]:
    """Writes the configuration, and returns what runs a ZooKeeper with it."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "zoo.cfg"
    config.write_text(
        f"tickTime={TICK_MS}\nmaxSessionTimeout={LONGEST_SESSION * 1000:.0f}\n"
        f"dataDir={directory}\nclientPort={port}\n"
        "clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n"
    )
    options = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dzookeeper.preAllocSize=64"]
    # Its process is killed, never its machine: nothing is lost without fsync, and no disk is waited for.
    options.append("-Dzookeeper.forceSync=no")
    main = "org.apache.zookeeper.server.ZooKeeperServerMain"
    return ["java", *options, "-cp", str(JAR), main, str(config)]


class ZooKeeper:
    """A ZooKeeper of a test's own, which it may kill, freeze and start again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it serves; with the data that it had before."""
        with (self._directory / "zookeeper.log").open("ab") as log:
            self._process = subprocess.Popen(
                command(self._directory, self.port), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not serves(self.port):
            assert self._process.poll() is None, "ZooKeeper has ended"
            assert time.monotonic() < deadline, "ZooKeeper does not serve"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL; does nothing to one that has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """It keeps its connections, and says nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def serves(port: int) -> bool:
    """Whether a ZooKeeper answers the question how it is."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.settimeout(1)
        connection.sendall(b"srvr")
        while more := connection.recv(4096):
            answer += more
    return b"Mode:" in answer


if __name__ == "__main__":
    words = command(Path(sys.argv[1]), int(sys.argv[2]))
    os.execvp(words[0], words)
