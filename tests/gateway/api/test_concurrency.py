"""Slow requests, crashed workers, too many requests: what they cost the others."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado.ioloop import IOLoop
from tornado.web import Application

from framework.core.messages import JobView
from framework.model.errors import NotFound, Unavailable
from framework.model.jobs import JobKey
from gateway.app import make_app
from gateway.context import Gateway
from gateway.jobs.limits import Limits
from gateway.jobs.sandbox import evaluation_workers
from gateway.pool import Mode, Pool
from gateway.schedulers.command import CommandBackend
from gateway.schedulers.registry import Registry, external
from gateway.workers import WorkerProcesses
from tests.gateway.api.conftest import JOB, Client, config, errors

pytestmark = pytest.mark.gen_test(timeout=120)

# Takes for ever: 10^12 turns of a loop.
BURNING = b"""
def burn(n):
  for i in range(n):
    x = [a for a in range(n)]
for i in range(1000):
  burn(1000)
jobs = []
"""


async def settled(gateway: Gateway, running: int) -> None:
    while gateway.pool.running < running:
        await asyncio.sleep(0.005)


class TestSlowConfigurations:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(steps=10**12, total_chars=10**15, seconds=1.0)

    @pytest.fixture(params=["thread", "process"])
    def mode(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.mark.alone
    async def test_the_version_answers_meanwhile(self, client: Client, gateway: Gateway) -> None:
        """Within 50 ms; the machine may be busy with something else, but not each time."""
        took: list[float] = []
        for _ in range(3):
            took = await self.times_meanwhile(client, gateway)
            if len(took) > 10 and sorted(took)[len(took) * 95 // 100] < 0.05:
                return
        raise AssertionError(f"GET /alpha/version took {took}")

    async def times_meanwhile(self, client: Client, gateway: Gateway) -> list[float]:
        slow = [asyncio.ensure_future(client("PUT", JOB, BURNING)) for _ in range(2)]
        await settled(gateway, 2)
        took = []
        while not all(request.done() for request in slow):
            began = time.monotonic()
            assert (await client("GET", "/alpha/version")).code == 200
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
        for request in slow:
            response = request.result()
            assert response.code == 400, response.body
            assert "1 second" in errors(response)[0]
        return took


class TestASlowConfiguration:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(steps=10**12, total_chars=10**15, seconds=60.0)

    @pytest.fixture
    def workers(self) -> Iterator[WorkerProcesses]:
        """Its own, which can be closed: the configuration need not be waited for to its limit."""
        with evaluation_workers(2) as workers:
            yield workers

    @pytest.fixture(params=["thread", "process"])
    def mode(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    async def test_other_jobs_are_created_meanwhile(
        self, client: Client, gateway: Gateway, workers: WorkerProcesses
    ) -> None:
        slow = asyncio.ensure_future(client("PUT", JOB.replace("hello", "slow"), BURNING))
        await settled(gateway, 1)
        assert (await client("PUT", JOB, config())).code == 201
        assert not slow.done()
        workers.close()
        assert (await slow).code == 503


class Stuck:
    """A backend whose reads wait until the test lets them go."""

    reads_source = False

    def __init__(self) -> None:
        self.gate = threading.Event()

    def list_jobs(self, role: str) -> list[str]:
        assert self.gate.wait(60)
        return ["devcluster/www-data/prod/hello"]

    def get_job(self, key: JobKey) -> JobView:
        raise NotFound("there is none")


class TestTooMany:
    @pytest.fixture(params=["thread", "process", "coroutine"])
    def mode(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def stuck(self) -> Iterator[Stuck]:
        stuck = Stuck()
        yield stuck
        stuck.gate.set()

    @pytest.fixture
    def registry(self, stuck: Stuck) -> Registry:
        return Registry({"devcluster": stuck})  # type: ignore[dict-item]

    @pytest.fixture
    def source(self) -> Any:
        return None

    @pytest.fixture
    def pool(self, mode: Mode, commands: WorkerProcesses) -> Iterator[Pool]:
        pool = Pool(mode, 2, commands, waiting=3)
        yield pool
        pool.close()

    async def test_beyond_the_queue_it_is_503_with_retry_after(
        self, client: Client, gateway: Gateway, stuck: Stuck
    ) -> None:
        parallel = 1 if gateway.pool.mode == "coroutine" else 2
        path = "/alpha/jobs/devcluster/www-data"
        waiting = [asyncio.ensure_future(client("GET", path)) for _ in range(parallel + 3)]
        while gateway.pool.waiting < 3:
            await asyncio.sleep(0.005)
        assert gateway.pool.running == parallel
        refused = await client("GET", path)
        assert (refused.code, refused.headers["Retry-After"]) == (503, "1")
        assert "too many" in errors(refused)[0]
        assert (await client("GET", "/alpha/version")).code == 200
        stuck.gate.set()
        assert [response.code for response in await asyncio.gather(*waiting)] == [200] * len(waiting)
        assert (await client("GET", path)).code == 200
        assert gateway.pool.running == gateway.pool.waiting == 0


class TestCrashes:
    """An external command that takes its worker with it."""

    @pytest.fixture
    def mode(self) -> Any:
        return "process"

    @pytest.fixture
    def source(self) -> Any:
        return None

    @pytest.fixture
    def registry(self, pool: Pool, tmp_path: Path) -> Registry:
        command = tmp_path / "aurora"
        command.write_text(
            "#!/bin/sh\n"
            f'if [ ! -e "{tmp_path}/crashed" ]; then touch "{tmp_path}/crashed"; kill -9 $PPID; fi\n'
            "echo 'INFO] Response from scheduler: OK (message: created)'\n"
        )
        command.chmod(0o700)
        return external((), lambda name: CommandBackend(str(command), "v1", name, pool.isolated, 60.0))

    async def test_a_crashed_worker_costs_its_request_a_503_and_no_other(
        self, client: Client, tmp_path: Path
    ) -> None:
        crashed = await client("PUT", JOB, b"whatever")
        assert crashed.code == 503, crashed.body
        assert int(crashed.headers["Retry-After"]) >= 1
        assert (tmp_path / "crashed").exists()
        assert (await client("PUT", JOB, b"whatever")).code == 201


class Defective:
    reads_source = False

    def list_jobs(self, role: str) -> list[str]:
        raise RuntimeError("a secret detail")

    def glance_job(self, key: JobKey) -> None:
        return None

    def get_job(self, key: JobKey) -> JobView:
        raise Unavailable("not now", retry_after=7)


class TestFailures:
    @pytest.fixture
    def source(self) -> Any:
        return None

    @pytest.fixture
    def registry(self) -> Registry:
        return Registry({"devcluster": Defective()})  # type: ignore[dict-item]

    async def test_a_defect_is_a_500_with_an_id_that_the_log_has_too(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        response = await client("GET", "/alpha/jobs/devcluster/www-data")
        assert response.code == 500
        assert json.loads(response.body)["jobs"] == {}
        (sentence,) = errors(response)
        identity = sentence.rpartition(" ")[2]
        assert len(identity) == 12
        (record,) = [r for r in caplog.records if identity in r.getMessage()]
        assert record.exc_info is not None
        assert "a secret detail" in str(record.exc_info[1])
        assert b"secret" not in response.body

    async def test_what_is_unavailable_says_when_to_come_back(self, client: Client) -> None:
        response = await client("GET", JOB)
        assert (response.code, response.headers["Retry-After"]) == (503, "7")
        assert errors(response) == ["not now"]


class TestDrain:
    @pytest.fixture
    def mode(self) -> Any:
        return "thread"

    @pytest.fixture
    def stuck(self) -> Iterator[Stuck]:
        stuck = Stuck()
        yield stuck
        stuck.gate.set()

    @pytest.fixture
    def registry(self, stuck: Stuck) -> Registry:
        return Registry({"devcluster": stuck})  # type: ignore[dict-item]

    async def test_running_requests_end_and_new_ones_are_refused(
        self, client: Client, gateway: Gateway, stuck: Stuck, app: Application, io_loop: IOLoop
    ) -> None:
        path = "/alpha/jobs/devcluster/www-data"
        events = asyncio.ensure_future(client("GET", "/alpha/events"))
        running = asyncio.ensure_future(client("GET", path))
        await settled(gateway, 1)
        while not gateway.requests.streams:
            await asyncio.sleep(0.005)
        assert not await gateway.requests.drain(0.05)
        assert (await client("GET", path)).code == 503
        stuck.gate.set()
        assert await gateway.requests.drain(30.0)
        assert (await running).code == 200
        assert (await events).code == 200


class TestNumbers:
    @pytest.fixture
    def mode(self) -> Any:
        return "thread"

    async def test_metrics_are_prometheus_text(self, client: Client, gateway: Gateway) -> None:
        await client("PUT", JOB, config())
        await client("GET", "/nowhere")
        response = await client("GET", "/metrics")
        assert response.code == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        samples = {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for family in text_string_to_metric_families(response.body.decode())
            for s in family.samples
        }
        job = "/alpha/jobs/{cluster}/{role}/{environment}/{name}"
        for route, method, status in ((job, "PUT", "201"), ("unknown", "GET", "404")):
            labels = (("method", method), ("route", route), ("status", status))
            assert samples["mesos_gateway_request_seconds_count", labels] == 1
        assert samples["mesos_gateway_ready", ()] == 1
        assert samples["mesos_gateway_driver_connected", ()] in (0, 1)
        for step in ("wait", "handle", "commit"):
            count = samples["mesos_gateway_scheduler_seconds_count", (("step", step),)]
            assert count >= 1
            buckets = [
                (float(dict(labels)["le"]), value)
                for (name, labels), value in samples.items()
                if name == "mesos_gateway_scheduler_seconds_bucket" and ("step", step) in labels
            ]
            values = [value for _, value in sorted(buckets)]
            assert values == sorted(values)
            assert values[-1] == count

    async def test_health(self, client: Client, mesos: Any, service: Any) -> None:
        healthy = await client("GET", "/health")
        assert healthy.code == 200
        assert json.loads(healthy.body)["ready"] is True
        assert (await client("GET", "/health?live")).code == 200
        # An agent whose Docker does not answer is named; the rest goes on.
        assert (await client("PUT", JOB, config())).code == 201
        while len(mesos.launched) < 2:
            await asyncio.sleep(0.02)
        mesos.update(mesos.launched[0], "TASK_RUNNING", data=b'{"trouble": "Docker is down"}')
        while not service.status().counts.troubles:
            await asyncio.sleep(0.02)
        warned = await client("GET", "/health")
        assert (warned.code, json.loads(warned.body)["ready"]) == (200, True)
        assert json.loads(warned.body)["warnings"] == ["devcluster: agent agent.example: Docker is down"]
        mesos.close()
        while service.status().ready:
            await asyncio.sleep(0.02)
        ill = await client("GET", "/health")
        assert ill.code == 503
        body = json.loads(ill.body)
        assert body["ready"] is False
        assert "Mesos" in body["problems"][0]
        assert (await client("GET", "/health?live=true")).code == 200


def test_a_route_twice_is_a_mistake(gateway: Gateway) -> None:
    from gateway.api.ops.status import ROUTES

    with pytest.raises(ValueError, match="twice"):
        make_app(gateway, (*ROUTES, *ROUTES))
