"""A gateway on the embedded Mesos, shared by a module's tests, and an image for its containers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Client, Server, gateway

IMAGE = f"mesos-gateway/test-e2e-{os.getpid()}:latest"
SMALL_AGENTS = ["--local-agents=3", "--local-resources=cpus:4;mem:2048;disk:4096;ports:[31000-31099]"]


@pytest.fixture(scope="session")
def image(docker_daemon: None) -> Iterator[str]:
    """An image made from this host's own programs; removed at the end."""
    run = [sys.executable, "-m", "executor.runtimes.images"]
    made = subprocess.run([*run, "make", IMAGE], capture_output=True, text=True, check=False)
    assert made.returncode in (0, 3), made.stderr
    yield IMAGE
    subprocess.run([*run, "remove", IMAGE], capture_output=True, check=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("gateway")
    with gateway(directory, "--master=local", *SMALL_AGENTS) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.address)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a short path, for what keeps sockets in it."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mg", dir=os.environ.get("TMPDIR", "/tmp")) as name:
        yield Path(name)
