from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.runtimes.choice import Runtimes
from executor.runtimes.zygote import Zygote
from tests.executor.agent import ScriptedAgent
from tests.executor.docker_proxy import DOCKER
from tests.executor.harness import Bench, ExecutorProcess
from tests.executor.images import make_busybox_image, remove_image


@pytest.fixture
def zygote() -> Zygote:
    """What starts the tasks of :func:`runtimes`, which ends it."""
    return Zygote.start()


@pytest.fixture
def runtimes(zygote: Zygote) -> Iterator[Runtimes]:
    made = Runtimes(zygote)
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path, runtimes: Runtimes) -> Iterator[Bench]:
    made = Bench(tmp_path, runtimes)
    yield made
    made.close()


@pytest.fixture
def agent() -> Iterator[ScriptedAgent]:
    made = ScriptedAgent()
    yield made
    made.kill()


@pytest.fixture
def start_executor(
    shared: Path, agent: ScriptedAgent, tmp_path: Path
) -> Iterator[Callable[..., ExecutorProcess]]:
    """Starts executors with the recorded environment of a checkpointing framework."""
    started: list[ExecutorProcess] = []

    def start(*arguments: str, **variables: str) -> ExecutorProcess:
        recorded = shared / "data/mesos-v1/executor-env.11-agent-restart.json"
        endpoint = f"127.0.0.1:{agent.port}"
        started.append(ExecutorProcess(recorded, endpoint, tmp_path, *arguments, **variables))
        return started[-1]

    yield start
    for executor in started:
        executor.stop()


@pytest.fixture(scope="session")
def image(docker_daemon: None) -> Iterator[str]:
    """A busybox image of these tests' own."""
    import docker

    client = docker.DockerClient(f"unix://{DOCKER}")
    tag = make_busybox_image(client, f"mesos-gateway-test-{uuid.uuid4().hex[:8]}:1")
    yield tag
    remove_image(client, tag)
    client.close()
