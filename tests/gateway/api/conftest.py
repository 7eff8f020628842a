"""A gateway in this process, in each execution mode, over a real scheduler and a peer on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop
from tornado.web import Application

from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.guarded import Timing
from framework.service import SchedulerService
from framework.storage import Storage
from gateway.app import make_app
from gateway.context import Gateway
from gateway.events import EventHub
from gateway.http_server import GatewayServer
from gateway.jobs.limits import Limits
from gateway.jobs.sandbox import JobReader, evaluation_workers
from gateway.logs import AgentFiles
from gateway.metrics import Metrics
from gateway.operations import Operations
from gateway.policy import Policy
from gateway.pool import MODES, Mode, Pool
from gateway.requests import Requests
from gateway.schedulers.framework import FrameworkBackend
from gateway.schedulers.registry import Registry
from gateway.workers import WorkerProcesses
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import eventually

QUICK = Timing(
    answer_timeout=5.0, call_timeout=5.0, first_pause=0.02, longest_pause=0.1, settled_after=1.0
)
KEY = "devcluster/www-data/prod/hello"
JOB = f"/alpha/jobs/{KEY}"


def config(name: str = "hello", instances: int = 2, command: str = "sleep 1", extra: str = "") -> bytes:
    """An .aurora text of one service devcluster/www-data/prod/``name``."""
    return f"""
task = SequentialTask(processes = [Process(name = 'main', cmdline = '{command}')],
  resources = Resources(cpu = 0.1, ram = 16*MB, disk = 16*MB))
jobs = [Service(task = task, cluster = 'devcluster', role = 'www-data', environment = 'prod',
  name = '{name}', instances = {instances}, {extra} update_config = UpdateConfig(watch_secs = 0))]
""".encode()


@pytest.fixture(scope="session")
def workers() -> Iterator[WorkerProcesses]:
    with evaluation_workers(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def commands() -> Iterator[WorkerProcesses]:
    """Worker processes for commands, which only the process mode uses."""
    with WorkerProcesses(2) as pool:
        yield pool


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def mesos() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def service(mesos: Cluster, tmp_path: Path) -> Iterator[SchedulerService]:
    storage = Storage(str(tmp_path / "state.db"))

    def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
        return MesosDriver(
            mesos.address,
            FrameworkSettings(user="nobody"),
            ExecutorSettings(command="/opt/executor"),
            sink,
            framework_id=framework_id,
            timing=QUICK,
        )

    service = SchedulerService(storage, make_driver, Settings())
    service.start()
    eventually(lambda: service.status().ready, 60)
    yield service
    service.stop()
    storage.close()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def registry(service: SchedulerService) -> Registry:
    return Registry({"devcluster": FrameworkBackend(service, "devcluster", timeout=30.0)})


@pytest.fixture
def source(service: SchedulerService) -> Any:
    """Where events come from."""
    return service


@pytest.fixture
def pool(mode: Mode, commands: WorkerProcesses) -> Iterator[Pool]:
    pool = Pool(mode, 4, commands)
    yield pool
    pool.close()


@pytest.fixture
def open_gateway(
    pool: Pool,
    registry: Registry,
    source: Any,
    workers: WorkerProcesses,
    limits: Limits,
    io_loop: IOLoop,
) -> Iterator[Gateway]:
    """A gateway that asks nobody who they are, and has no clusters: what others are made from."""
    metrics = Metrics()
    if source is not None:
        metrics.scheduler(source.status)
    made = Gateway(
        pool=pool,
        operations=Operations(registry, JobReader(workers, limits), Policy()),
        events=EventHub(source),
        files=AgentFiles(),
        metrics=metrics,
        requests=Requests(),
        max_body=64 * 1024,
        keep_alive_secs=0.2,
    )
    io_loop.run_sync(_started(made))
    yield made
    made.events.stop()
    made.files.close()


def _started(made: Gateway) -> Callable[[], Any]:
    async def start() -> None:
        made.events.start()

    return start


@pytest.fixture
def gateway(open_gateway: Gateway) -> Gateway:
    """The gateway that the client calls."""
    return open_gateway


@pytest.fixture
def app(gateway: Gateway) -> Application:
    return make_app(gateway)


@pytest.fixture
def http_server(app: Application, io_loop: IOLoop, _unused_port: Any) -> Iterator[GatewayServer]:
    """pytest-tornado's server, with the gateway's own in its place."""
    server = GatewayServer(app)
    server.add_socket(_unused_port[0])
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections)


class Client:
    """Calls the gateway of a test: ``await client("PUT", path, body)``."""

    def __init__(self, http: AsyncHTTPClient, url: str) -> None:
        self.http = http
        self.url = url

    async def __call__(
        self, method: str, path: str, body: bytes | None = None, **more: Any
    ) -> HTTPResponse:
        request = HTTPRequest(
            self.url + path,
            method=method,
            body=b"" if body is None and method in ("PUT", "POST", "PATCH") else body,
            allow_nonstandard_methods=True,
            request_timeout=60.0,
            **more,
        )
        return await self.http.fetch(request, raise_error=False)


def errors(response: HTTPResponse) -> list[str]:
    """The sentences of a failure."""
    body = json.loads(response.body)
    assert body["status"] == "failure"
    found: list[str] = body["errors"]
    assert found
    assert all(isinstance(sentence, str) and sentence for sentence in found)
    return found


@pytest.fixture
def client(http_client: AsyncHTTPClient, http_port: int) -> Client:
    return Client(http_client, f"http://127.0.0.1:{http_port}")
