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
import threading
import time
from pathlib import Path

from tests.ports import reserve

JAR = Path(os.environ.get("MESOS_GATEWAY_ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"))
# Sessions last from two ticks to twenty.
TICK_MS = 500
# For a Java machine that shares its processor with twenty others.
PATIENCE = 120.0


def missing() -> str | None:
    """Returns what is missing to run one, None if nothing is."""
    if shutil.which("java") is None:
        return "there is no java"
    return None if JAR.exists() else f"there is no {JAR} (Debian's package zookeeper)"


def command(directory: Path, port: int) -> list[str]:
    """Writes the configuration, and returns what runs a ZooKeeper with it."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "zoo.cfg"
    config.write_text(
        f"tickTime={TICK_MS}\ndataDir={directory}\nclientPort={port}\n"
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
        self._reserved = reserve()
        self.port = self._reserved.getsockname()[1]
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

    def close(self) -> None:
        """Ends it for good."""
        self.kill()
        self._reserved.close()

    def freeze(self) -> None:
        """It keeps its connections, and says nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Way:
    """A way to a ZooKeeper that can be cut, for exactly as long as a test wants.

    To kill the ZooKeeper instead is to wait for a Java machine, which on a busy machine may take longer
    to start than a session lasts.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._cut = False
        self._unanswered = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def unanswered(self) -> int:
        """How many connections more will be taken and never answered."""
        return self._unanswered

    def cut(self) -> None:
        """Ends every connection, and each new one at once."""
        with self._lock:
            self._cut = True
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def restore(self, unanswered: int = 0) -> None:
        """Lets connections pass; the first are taken and get no answer, as from one that just starts."""
        with self._lock:
            self._unanswered = unanswered
            self._cut = False

    def close(self) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            with self._lock:
                if self._cut:
                    return
                self._sockets |= {client, server}
                deaf = self._unanswered > 0
                self._unanswered -= deaf
            with contextlib.suppress(OSError):
                if deaf:
                    while client.recv(4096):
                        pass
                    return
                server.connect(("127.0.0.1", self._port))
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


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
